//! The committed headers are those that this crate generates, and a C compiler accepts them.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

#[path = "../interop/src/records.rs"]
#[expect(unreachable_pub, reason = "the module belongs to another crate")]
mod records;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The header that cbindgen generates, without the `# Safety` sections: for C callers the text above them has the rules of each
/// parameter.
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
    let mut in_safety_section = false;
    for line in header.lines() {
        let text = line.trim_start_matches([' ', '*']);
        if text == "# Safety" {
            in_safety_section = true;
            // Also drop the empty line above the section.
            lines.pop();
        }
        in_safety_section &= line.starts_with(" *") && !line.starts_with(" */");
        if !in_safety_section {
            lines.push(line);
        }
    }
    lines.join("\n") + "\n"
}

/// Compares a committed file with its generated text; `AIMDB_BLESS=1` writes the file first.
fn is_up_to_date(file: &str, generated: &str) {
    let path = Path::new(ROOT).join(file);
    if env::var_os("AIMDB_BLESS").is_some() {
        // A rename is atomic: another test may compile the header meanwhile.
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
fn the_committed_header_is_the_generated_one() {
    is_up_to_date("include/aimdb.h", &generated());
}

#[test]
fn the_committed_header_of_exported_records_is_the_generated_one() {
    is_up_to_date("interop/c/interop_records.h", &records::records_header());
}

#[test]
fn a_c_compiler_accepts_the_header_alone_without_a_warning() {
    let include = format!("-I{ROOT}/include");
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".into());
    let flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"];
    let header = format!("{ROOT}/include/aimdb.h");
    let output =
        Command::new(compiler).args(flags).arg(include).args(["-x", "c", &header]).output();
    let output = output.expect("there is a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
