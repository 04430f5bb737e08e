//! The README's program is this example, word for word, and prints the lines that the README shows.
#![allow(missing_docs)]

use std::process::Command;

const README: &str = include_str!("../../../README.md");
const MAIN: &str = include_str!("../src/main.rs");

/// The text between the first line that starts with `open` and the next fence.
fn block<'r>(readme: &'r str, open: &str) -> &'r str {
    let from =
        readme.find(open).unwrap_or_else(|| panic!("the README has no block {open}")) + open.len();
    let to = readme[from..].find("```").expect("the block is closed");
    readme[from..from + to].trim()
}

#[test]
fn the_readme_shows_this_program() {
    let (_, program) = MAIN.split_once('\n').unwrap();
    assert_eq!(block(README, "```rust\n"), program.trim());
}

/// `examples/ffi/run` compiles both programs and compares their output.
#[test]
fn the_readme_shows_the_programs_in_c_and_in_cpp() {
    let programs = [
        ("```c\n", include_str!("../../ffi/hello/hello.c")),
        ("```cpp\n", include_str!("../../ffi/hello/hello.cpp")),
    ];
    for (open, program) in programs {
        let (_, program) = program.split_once('\n').unwrap();
        assert_eq!(block(README, open), program.trim());
    }
}

#[test]
fn the_program_prints_the_lines_that_the_readme_shows() {
    let output = Command::new(env!("CARGO_BIN_EXE_hello")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        block(README, "It prints:\n\n```text\n")
    );
}
