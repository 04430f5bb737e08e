//! AimDB next to what a user would otherwise pick, on the same work.
//!
//! `cargo bench` in this folder prints one table for each case (four minutes or so); `AIMDB_BENCH_QUICK=1` takes seconds.
//!
//! - `--bench engine`: AimDB against Tokio's channels, the figures of DESIGN.md; a source and a tap through the engine.
//! - `--bench sync`: the blocking door against what threads use without it.
//! - `--bench ffi`: what the way through C costs.
//! - `--bench mqtt`: MQTT through the engine against the bare client, on a real broker.
//! - `--bench peers`: every buffer against channels of every kind, from one thread to a hundred thousand records.
//!   `-- --report` writes `docs/benchmarks/` from it.
//! - `published/`: a workspace of its own, against the crates published under the same name.
//!
//! Read from the bottom up:
//!
//! - [`kit`] measures. Contestants run in turn and are judged round by round against a baseline, so that whatever else the
//!   machine does hits both.
//! - [`payload`] is what they carry: 32 bytes, a KiB, an `Arc` of a KiB. Each value has a number in it; where nothing may
//!   get lost a case adds up the numbers that came out and compares them with those that went in.
//! - [`peers`] gives every contestant the same faces, a pair of small traits for each calling convention: trying, waiting
//!   as a task, waiting as a thread. Batches are methods of these with a plain loop as their default, so who has batches
//!   of its own says so and the others take part all the same.
//! - [`cases`] are the comparisons, generic over those traits: the work is written once, and a case lists who does it.
//! - [`table`] is what comes out, as plain data; [`report`] and [`picture`] turn it into Markdown and SVG.
//!
//! Nothing here asserts a time: a machine is what it is, and only ratios of paired runs mean anything. What is asserted is
//! that everybody did all of the work.
#![forbid(unsafe_code)]

pub mod broker;
pub mod cases;
pub mod kit;
pub mod machine;
pub mod payload;
pub mod peers;
pub mod picture;
pub mod report;
pub mod table;

/// Runs those cases that the command line asks for, prints their tables, and gives them.
pub fn run(cases: &[cases::NamedCase]) -> Vec<table::Table> {
    let asked = Asked::by_command_line();
    asked.introduce();
    asked.tables(cases)
}

/// The same for groups of cases; with `--report` they become a report.
pub fn compare(groups: &[cases::versus::Group]) {
    let asked = Asked::by_command_line();
    asked.introduce();
    let sections: Vec<_> = groups.iter().map(|group| (*group, asked.section(group))).collect();
    if report::asked_for() {
        report::write(&sections).expect("docs/benchmarks can be written");
    }
}

/// What the command line and the environment ask for.
struct Asked {
    scale: kit::Scale,
    parts_of_names: Vec<String>,
}

#[expect(clippy::print_stdout, reason = "tables are what it is for")]
impl Asked {
    fn by_command_line() -> Self {
        let parts_of_names = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
        Self { scale: kit::Scale::asked_for(), parts_of_names }
    }

    fn introduce(&self) {
        println!("{}", machine::line());
        let rounds = self.scale.rounds();
        println!("{rounds} paired rounds; ratio = time over the baseline's, below 1 is faster\n");
    }

    fn section(&self, group: &cases::versus::Group) -> Vec<table::Table> {
        if group.cases.iter().any(|(name, _)| self.wants(name)) {
            println!("== {}\n", group.title);
        }
        self.tables(group.cases)
    }

    fn tables(&self, cases: &[cases::NamedCase]) -> Vec<table::Table> {
        let run = |(name, case): &cases::NamedCase| {
            let table = table::Table { name, ..case(self.scale) };
            println!("{table}");
            table
        };
        cases.iter().filter(|(name, _)| self.wants(name)).map(run).collect()
    }

    fn wants(&self, name: &str) -> bool {
        let parts = &self.parts_of_names;
        parts.is_empty() || parts.iter().any(|part| name.contains(part.as_str()))
    }
}
