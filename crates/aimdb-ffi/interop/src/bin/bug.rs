//! Runs a bug in C that was made for a sanitizer: `race` or `use-after-free`. `tools/sanitizers` expects it to be found.

use std::process::ExitCode;

use aimdb_ffi_interop as c;

fn main() -> ExitCode {
    let outcome = match std::env::args().nth(1).as_deref() {
        Some("race") => c::race_made_for_the_sanitizer(),
        Some("use-after-free") => c::use_after_free_made_for_the_sanitizer(),
        _ => return ExitCode::from(2),
    };
    ExitCode::from(u8::from(outcome != 0))
}
