//! The committed header is the one that this crate gives, and a C compiler takes it.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

#[path = "../interop/src/records.rs"]
#[expect(unreachable_pub, reason = "it is another crate's")]
mod records;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The header as cbindgen makes it, without what only Rust's readers need: who calls from C has the rules of each
/// parameter in the text above.
fn generated() -> String {
    let config = cbindgen::Config::from_file(Path::new(ROOT).join("cbindgen.toml")).unwrap();
    let mut header = Vec::new();
    cbindgen::Builder::new()
        .with_crate(ROOT)
        .with_config(config)
        .generate()
        .unwrap()
        .write(&mut header);
    let header = String::from_utf8(header).unwrap();
    let mut lines = Vec::new();
    let mut passing_over = false;
    for line in header.lines() {
        let text = line.trim_start_matches([' ', '*']);
        if text == "# Safety" {
            passing_over = true;
            // And the empty line above it.
            lines.pop();
        }
        passing_over &= line.starts_with(" *") && !line.starts_with(" */");
        if !passing_over {
            lines.push(line);
        }
    }
    lines.join("\n") + "\n"
}

/// `AIMDB_BLESS=1` writes it.
fn is_up_to_date(file: &str, generated: &str) {
    let path = Path::new(ROOT).join(file);
    if env::var_os("AIMDB_BLESS").is_some() {
        // In one step: another test compiles the header meanwhile.
        let new = path.with_extension("h.new");
        fs::write(&new, generated).unwrap();
        fs::rename(&new, &path).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let differs =
        committed.lines().zip(generated.lines()).find(|(committed, new)| committed != new);
    assert!(
        committed == generated,
        "{file} is not up to date, first in {differs:?}; AIMDB_BLESS=1 writes it"
    );
}

#[test]
fn the_committed_header_is_what_the_crate_gives() {
    is_up_to_date("include/aimdb.h", &generated());
}

#[test]
fn the_committed_header_of_exported_records_is_what_the_macro_gives() {
    is_up_to_date("interop/c/interop_records.h", &records::records_header());
}

#[test]
fn a_c_compiler_takes_the_header_by_itself_and_without_a_warning() {
    let include = format!("-I{ROOT}/include");
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".into());
    let flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"];
    let header = format!("{ROOT}/include/aimdb.h");
    let output =
        Command::new(compiler).args(flags).arg(include).args(["-x", "c", &header]).output();
    let output = output.expect("there is a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
