//! Runs a deliberate bug in C, `race` or `use-after-free`; `tools/sanitizers` expects the sanitizer to report it.

use std::process::ExitCode;

use aimdb_ffi_interop as c;

fn main() -> ExitCode {
    let outcome = match std::env::args().nth(1).as_deref() {
        Some("race") => c::race_for_the_sanitizer(),
        Some("use-after-free") => c::use_after_free_for_the_sanitizer(),
        _ => return ExitCode::from(2),
    };
    ExitCode::from(u8::from(outcome != 0))
}
