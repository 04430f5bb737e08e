//! Compiles the C programs, with warnings as errors. `CFLAGS` can add the flags of a sanitizer.

fn main() {
    let sources = [
        "c/threads.c",
        "c/callbacks.c",
        "c/detach.c",
        "c/misuse.c",
        "c/waiting.c",
        "c/typed.c",
        "c/looking.c",
        "c/cost.c",
        "c/links.c",
        "c/signals.c",
        "c/bugs.c",
    ];
    for file in sources.iter().chain(&["c/check.h", "c/interop_records.h", "../include/aimdb.h"]) {
        println!("cargo::rerun-if-changed={file}");
    }
    cc::Build::new()
        .files(sources)
        .include("../include")
        .include("c")
        .std("c99")
        .define("_POSIX_C_SOURCE", "200809L")
        .flag("-pthread")
        .flag("-Wpedantic")
        .warnings(true)
        .extra_warnings(true)
        .warnings_into_errors(true)
        .compile("aimdb_interop");
}
