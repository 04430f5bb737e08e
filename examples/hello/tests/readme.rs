//! The README's programs compile and run: each is a file of this package, or a part of one, word for word.
#![allow(missing_docs)]

use std::process::Command;

use aimdb::prelude::*;

const README: &str = include_str!("../../../README.md");
const MAIN: &str = include_str!("../src/main.rs");
const SECTIONS: &str = include_str!("sections.rs");

/// The text between the first line that starts with `open` and the next fence.
fn block<'r>(readme: &'r str, open: &str) -> &'r str {
    let from =
        readme.find(open).unwrap_or_else(|| panic!("the README has no block {open}")) + open.len();
    let to = readme[from..].find("```").expect("the block is closed");
    readme[from..from + to].trim()
}

/// The lines without their indentation, which differs between the README and a function's body.
fn unindented(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_readme_shows_this_program() {
    let (_, program) = MAIN.split_once('\n').unwrap();
    assert_eq!(block(README, "```rust\n"), program.trim());
}

#[test]
fn every_rust_block_of_the_readme_is_compiled() {
    let sources = [MAIN, SECTIONS].map(unindented);
    let blocks: Vec<_> = README.split("```rust").skip(1).collect();
    assert!(blocks.len() > 1, "the README has shorter programs too");
    for rest in blocks {
        let (attributes, rest) = rest.split_once('\n').unwrap();
        assert_eq!(attributes, "", "no Rust block is left out of the comparison");
        let program = unindented(rest.split("```").next().unwrap().trim());
        assert!(
            sources.iter().any(|source| source.contains(&program)),
            "no source of this package has this block of the README:\n{program}"
        );
    }
}

#[test]
fn the_program_prints_what_the_readme_says() {
    let output = Command::new(env!("CARGO_BIN_EXE_hello")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        block(README, "before the first source starts:\n\n```text\n")
    );
}

#[tokio::test]
async fn a_misspelt_input_is_the_finding_that_the_readme_shows() {
    let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter));
    builder.configure::<f32>("temp.celsius", |reg| {
        reg.buffer(BufferCfg::SpmcRing { capacity: 10 });
    });
    builder.configure::<String>("temp.report", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 4 })
            .transform(input::<f32>("temp.celsus"), |celsius| format!("{celsius:.1} °C"));
    });
    let findings = builder.run().await.unwrap_err().to_string();
    // The README's program has its transform at another place than this test.
    let place = findings.lines().find(|line| line.starts_with("  --> ")).unwrap();
    let findings = findings.replace(place, &format!("  --> src/main.rs:{}", place_of("transform")));
    assert_eq!(findings.trim(), block(README, "<!-- findings-format -->\n```text\n"));
}

/// The line and the column of a method call in the README's program.
fn place_of(method: &str) -> String {
    let mut lines = block(README, "```rust\n").lines().zip(1..);
    let call = format!(".{method}(");
    let (column, line) =
        lines.find_map(|(text, line)| Some((text.find(&call)?, line))).expect("the call is there");
    format!("{line}:{}", column + 2)
}
