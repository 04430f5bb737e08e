//! Benchmarks of AimDB and its alternatives, on the same work.
//!
//! `cargo bench` in this folder prints one table for each case (four minutes or so); `AIMDB_BENCH_QUICK=1` takes seconds.
//!
//! - `--bench engine`: AimDB against Tokio's channels, the figures of DESIGN.md; a source and a tap through the engine.
//! - `--bench sync`: the sync API against channels for threads.
//! - `--bench ffi`: the C ABI against the same calls in Rust.
//! - `--bench mqtt`: MQTT through the engine against the bare client, on a real broker.
//! - `--bench peers`: every buffer against channels of every kind, from one thread to a hundred thousand records.
//!   `-- --report` writes `docs/benchmarks/` from it.
//! - `published/`: a workspace of its own, against the crates published under the same name.
//!
//! Read from the bottom up:
//!
//! - [`kit`] measures. Contestants run in turn and are compared round by round with a baseline, so that other load on the
//!   machine affects all of them.
//! - [`payload`] has the values that they transport: 32 bytes, a KiB, an `Arc` of a KiB. Each value contains a number; a
//!   case without losses compares the sums of the sent and the received numbers.
//! - [`peers`] implements the same small traits for every contestant, a pair for each calling convention: without waiting,
//!   waiting as a task, waiting as a thread. Batches are methods of these traits whose default is a loop, which a
//!   contestant with batches of its own overrides.
//! - [`cases`] are the comparisons, generic over those traits: the work is written once, and a case lists its contestants.
//! - [`table`] is the result as plain data; [`report`] and [`picture`] render it as Markdown and SVG.
//!
//! No benchmark asserts a time: times depend on the machine, and only ratios of paired runs are comparable. The cases
//! assert that each contestant did all of its work.
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

/// Runs the cases that the command line selects; prints and returns their tables.
pub fn run(cases: &[cases::NamedCase]) -> Vec<table::Table> {
    let asked = Selection::from_command_line();
    asked.print_header();
    asked.tables(cases)
}

/// Runs the cases of groups that the command line selects; with `--report` it writes the report.
pub fn compare(groups: &[cases::versus::Group]) {
    let asked = Selection::from_command_line();
    asked.print_header();
    let sections: Vec<_> = groups.iter().map(|group| (*group, asked.section(group))).collect();
    if report::is_requested() {
        report::write(&sections).expect("docs/benchmarks can be written");
    }
}

/// The cases and the scale that the command line and the environment select.
struct Selection {
    scale: kit::Scale,
    filters: Vec<String>,
}

#[expect(clippy::print_stdout, reason = "tables are what it is for")]
impl Selection {
    fn from_command_line() -> Self {
        let filters = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
        Self { scale: kit::Scale::from_command_line(), filters }
    }

    fn print_header(&self) {
        println!("{}", machine::summary());
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
        let parts = &self.filters;
        parts.is_empty() || parts.iter().any(|part| name.contains(part.as_str()))
    }
}
