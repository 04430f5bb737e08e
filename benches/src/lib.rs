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
        let run = |(_, case): &cases::NamedCase| {
            let table = case(self.scale);
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
