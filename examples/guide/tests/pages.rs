//! The programs of the guide are files of this package, word for word, and print what the guide says.
//!
//! A page marks a program by `<!-- program: NAME -->`, or `<!-- program: NAME < INPUT -->` with the lines of its stdin
//! divided by `|`. The next Rust block is `src/bin/NAME.rs`, and the text block after it is its output.
#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

struct Program {
    page: String,
    name: String,
    input: String,
    source: String,
    output: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/src")
}

/// The text of the first block of a language in `text`, and the text after it.
fn block<'t>(text: &'t str, language: &str, page: &str) -> (&'t str, &'t str) {
    let open = format!("```{language}\n");
    let from = text.find(&open).unwrap_or_else(|| panic!("{page}: no {language} block"));
    let text = &text[from + open.len()..];
    let to = text.find("```").expect("the block is closed");
    (&text[..to], &text[to..])
}

fn programs() -> Vec<Program> {
    let mut programs = Vec::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let (page, text) = (path.display().to_string(), fs::read_to_string(&path).unwrap());
        for rest in text.split("<!-- program: ").skip(1) {
            let (marker, rest) = rest.split_once(" -->").unwrap();
            let (name, input) = marker.split_once(" < ").unwrap_or((marker, ""));
            let (source, rest) = block(rest, "rust", &page);
            let (output, _) = block(rest, "text", &page);
            programs.push(Program {
                page: page.clone(),
                name: name.into(),
                input: input.replace('|', "\n"),
                source: source.trim().into(),
                output: output.trim().into(),
            });
        }
    }
    programs
}

#[test]
fn every_program_of_the_guide_is_a_file_of_this_package_and_every_file_is_in_the_guide() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin");
    let mut named = BTreeSet::new();
    for Program { page, name, source, .. } in programs() {
        let file = fs::read_to_string(sources.join(format!("{name}.rs"))).unwrap();
        // The first line documents the crate, which the page does not show.
        let (_, shown) = file.split_once('\n').unwrap();
        assert_eq!(source, shown.trim(), "{page}: {name}");
        named.insert(format!("{name}.rs"));
    }
    let files: BTreeSet<_> = fs::read_dir(sources)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(named, files);
}

#[test]
fn every_program_prints_what_its_page_says() {
    for Program { page, name, input, output, .. } in programs() {
        let built = Path::new(env!("CARGO_BIN_EXE_first")).with_file_name(&name);
        let mut process = Command::new(built)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let done = process.wait_with_output().unwrap();
        let [stdout, stderr] =
            [done.stdout, done.stderr].map(|text| String::from_utf8(text).unwrap());
        assert!(done.status.success(), "{page}: {name}: {stderr}");
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
