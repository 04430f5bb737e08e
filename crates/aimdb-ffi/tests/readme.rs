//! The README's programs are those of `examples/ffi/hello`, word for word. `examples/ffi/run hello` compiles and runs them.
#![allow(missing_docs)]

const README: &str = include_str!("../README.md");

/// The text between the first line that starts with `open` and the next fence.
fn block(open: &str) -> &'static str {
    let from =
        README.find(open).unwrap_or_else(|| panic!("the README has no block {open}")) + open.len();
    let to = README[from..].find("```").expect("the block is closed");
    README[from..from + to].trim()
}

#[test]
fn the_readme_shows_the_programs_in_c_and_in_cpp() {
    let programs = [
        ("```c\n", include_str!("../../../examples/ffi/hello/hello.c")),
        ("```cpp\n", include_str!("../../../examples/ffi/hello/hello.cpp")),
    ];
    for (open, program) in programs {
        let (_, program) = program.split_once('\n').unwrap();
        assert_eq!(block(open), program.trim());
    }
}

#[test]
fn the_readme_shows_the_exported_struct_of_the_examples() {
    let records = include_str!("../../../examples/ffi/records/src/lib.rs");
    assert!(records.contains(block("```rust\n")));
}
