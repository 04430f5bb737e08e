//! A crate that `cargo new` makes runs the README's program with the README's `Cargo.toml` lines, offline.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const README: &str = include_str!("../../../README.md");
const FIRST_PAGE: &str = include_str!("../../../docs/guide/src/first.md");
const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The first block of a language.
fn block<'t>(text: &'t str, language: &str) -> &'t str {
    let open = format!("```{language}\n");
    let from = text.find(&open).expect("the page has such a block") + open.len();
    text[from..].split("```").next().unwrap_or_default().trim()
}

/// `cargo` as this test was built, without what it set for this package.
fn cargo(folder: &Path) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(folder).arg("--offline").env_remove("RUSTFLAGS");
    cargo
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8_lossy(&output.stdout).trim().to_string()
}

/// The build folder of this test, so that the fresh crate finds there what is built already.
fn build_folder() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_hello"));
    program.ancestors().nth(2).unwrap().into()
}

#[test]
fn a_fresh_crate_runs_the_readmes_program_at_the_first_try() {
    let folder = std::env::temp_dir().join(format!("aimdb-fresh-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    run(cargo(&folder).args(["new", "--quiet", "--vcs", "none", "thermometer"]));
    let package = folder.join("thermometer");

    let lines = block(README, "toml");
    assert!(lines.starts_with("[dependencies]\n") && lines.lines().count() == 3, "{lines}");
    let repository = fs::canonicalize(REPOSITORY).unwrap();
    let lines = lines.replace("../aimdb", repository.to_str().unwrap());
    let manifest = fs::read_to_string(package.join("Cargo.toml")).unwrap();
    let before = manifest.split("[dependencies]").next().unwrap();
    fs::write(package.join("Cargo.toml"), format!("{before}{lines}\n")).unwrap();
    fs::write(package.join("src/main.rs"), block(README, "rust")).unwrap();
    // The versions that this repository has: the test may not download others.
    fs::copy(repository.join("Cargo.lock"), package.join("Cargo.lock")).unwrap();

    let mut build = cargo(&package);
    // The profile of this repository, whose artifacts it shares.
    for line in
        ["profile.dev.debug = \"line-tables-only\"", "profile.dev.package.\"*\".debug = false"]
    {
        build.args(["--config", line]);
    }
    let printed = run(build.args(["run", "--quiet", "--target-dir"]).arg(build_folder()));
    assert_eq!(printed, block(FIRST_PAGE, "text"));
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_guide_begins_with_the_lines_and_the_program_of_the_readme() {
    let without_comments = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split(" # ").next().unwrap().to_string()).collect()
    };
    assert_eq!(
        without_comments(block(FIRST_PAGE, "toml")),
        without_comments(block(README, "toml"))
    );
    assert_eq!(block(FIRST_PAGE, "rust"), block(README, "rust"));
}
