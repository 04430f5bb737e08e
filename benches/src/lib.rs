//! AimDB next to Tokio's channels on the same work.
//!
//! `cargo bench -p benches` prints one table for each case (about a minute); `AIMDB_BENCH_QUICK=1` takes seconds.
//!
//! Read from the bottom up: [`kit`] measures, [`peers`] gives every contestant the same two faces, [`cases`] are the
//! comparisons. Nothing here asserts a time: a machine is what it is, and only ratios of paired runs mean anything.
#![forbid(unsafe_code)]

pub mod cases;
pub mod kit;
pub mod machine;
pub mod payload;
pub mod peers;
pub mod table;

/// Runs those cases that the command line asks for, and prints their tables.
#[expect(clippy::print_stdout, reason = "tables are what it is for")]
pub fn run(cases: &[cases::NamedCase]) {
    let scale = kit::Scale::asked_for();
    let wanted: Vec<_> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    println!("{}", machine::line());
    println!(
        "{} paired rounds; ratio = time over the baseline's, below 1 is faster\n",
        scale.rounds()
    );
    for (name, case) in cases {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())) {
            println!("{}", case(scale));
        }
    }
}
