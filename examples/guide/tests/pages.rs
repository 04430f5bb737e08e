//! The programs of the guide are files of this package, word for word, and print what the guide says.
//!
//! | marker | the next block |
//! |---|---|
//! | `<!-- program: NAME -->` | a Rust block that is `src/bin/NAME.rs` without its first line, then a text block with its output |
//! | `<!-- program: NAME < INPUT -->` | the same; `INPUT` has the lines of its stdin, divided by a vertical bar |
//! | `<!-- part of: NAME -->` | occurs in `src/bin/NAME.rs`, word for word |
//! | `<!-- output of: NAME -->` | the output of `src/bin/NAME.rs`, of which the page shows parts |
//! | `<!-- part of file: PATH -->` | occurs in the file, whose path is relative to the repository |
#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A marked block of a page, and the block after it.
struct Marked {
    page: String,
    /// The marker after its colon.
    what: String,
    block: String,
    next: Option<String>,
}

/// A program and its output, as a page has them.
struct Run {
    page: String,
    name: String,
    input: String,
    output: String,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn folder() -> PathBuf {
    repository().join("docs/guide/src")
}

fn source(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/bin/{name}.rs"));
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The text of the first block in `text`, and the text after it.
fn block(text: &str) -> Option<(&str, &str)> {
    let (_, text) = text.split_once("\n```")?;
    let (_language, text) = text.split_once('\n')?;
    text.split_once("```")
}

/// The blocks of all pages after a marker of this kind.
fn marked(kind: &str) -> Vec<Marked> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let (page, text) = (path.display().to_string(), fs::read_to_string(&path).unwrap());
        for rest in text.split(&format!("<!-- {kind}: ")).skip(1) {
            let (what, rest) = rest.split_once(" -->").unwrap();
            let (first, rest) = block(rest).unwrap_or_else(|| panic!("{page}: no block: {what}"));
            found.push(Marked {
                page: page.clone(),
                what: what.into(),
                block: first.trim_matches('\n').into(),
                next: block(rest).map(|(next, _)| next.trim().into()),
            });
        }
    }
    found
}

/// The name and the input of `program: NAME < INPUT`.
fn name_and_input(what: &str) -> (&str, String) {
    let (name, input) = what.split_once(" < ").unwrap_or((what, ""));
    (name, input.replace('|', "\n"))
}

fn runs() -> Vec<Run> {
    let whole = marked("program").into_iter().map(|Marked { page, what, next, .. }| {
        let (name, input) = name_and_input(&what);
        let output = next.unwrap_or_else(|| panic!("{page}: {name} has no output"));
        Run { page, name: name.into(), input, output }
    });
    let in_parts = marked("output of").into_iter().map(|Marked { page, what, block, .. }| Run {
        page,
        name: what,
        input: String::new(),
        output: block.trim().into(),
    });
    whole.chain(in_parts).collect()
}

#[test]
fn every_program_of_the_guide_is_a_file_of_this_package_and_every_file_is_in_the_guide() {
    for Marked { page, what, block, .. } in marked("program") {
        let (name, _) = name_and_input(&what);
        let file = source(name);
        // The first line documents the crate, which the page does not show.
        let (_, shown) = file.split_once('\n').unwrap();
        assert_eq!(block.trim(), shown.trim(), "{page}: {name}");
    }
    let named: BTreeSet<_> = runs().into_iter().map(|run| format!("{}.rs", run.name)).collect();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin");
    let files: BTreeSet<_> = fs::read_dir(sources)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(named, files);
}

#[test]
fn every_part_of_a_program_or_of_a_file_is_in_it_word_for_word() {
    for Marked { page, what, block, .. } in marked("part of") {
        assert!(source(&what).contains(&block), "{page}: not in {what}:\n{block}");
    }
    for Marked { page, what, block, .. } in marked("part of file") {
        let file = fs::read_to_string(repository().join(&what)).unwrap();
        assert!(file.contains(&block), "{page}: not in {what}:\n{block}");
    }
}

/// A program that runs longer waits for something that does not happen.
const LONGEST_RUN: Duration = Duration::from_secs(120);

#[test]
fn every_program_prints_what_its_page_says() {
    for Run { page, name, input, output } in runs() {
        let built = Path::new(env!("CARGO_BIN_EXE_first")).with_file_name(&name);
        let mut process = Command::new(built)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let begin = Instant::now();
        while process.try_wait().unwrap().is_none() {
            if begin.elapsed() > LONGEST_RUN {
                process.kill().unwrap();
            }
            sleep(Duration::from_millis(5));
        }
        let done = process.wait_with_output().unwrap();
        let [stdout, stderr] =
            [done.stdout, done.stderr].map(|text| String::from_utf8(text).unwrap());
        assert!(done.status.success(), "{page}: {name}: {}\n{stdout}\n{stderr}", done.status);
        assert_eq!(stdout.trim(), output, "{page}: {name}");
    }
}

#[test]
fn every_page_is_in_the_table_of_contents_and_every_link_of_a_page_leads_to_a_file() {
    let contents = fs::read_to_string(folder().join("SUMMARY.md")).unwrap();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name == "SUMMARY.md" || contents.contains(&format!("({name})")), "{name}");
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')) {
            let target = link.0.split('#').next().unwrap();
            let local = !target.is_empty() && !target.contains("://");
            assert!(!local || folder().join(target).exists(), "{name}: {target}");
        }
    }
}
