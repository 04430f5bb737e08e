//! The report: `docs/benchmarks/README.md` with all tables, and one picture for each group. It is written on request only.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::cases::versus::Group;
use crate::table::Table;
use crate::{machine, picture};

/// What stands before the tables.
const INTRODUCTION: &str = "\
# AimDB next to what you would otherwise pick

Written by `cargo bench -p benches --bench peers -- --report`; please do not edit.

Same work, same values, same process. Contestants run in turn, round by round, and each is judged against AimDB's run of
the same round; the tables give medians. **ratio** is the contestant's time over AimDB's: above 1 the other is slower.
*min–max* is the spread of that ratio over the rounds. Where nothing may get lost, every run checks that all values came
out, and that they add up. The disruptor spins and takes a core for each thread; it is there as the limit.
";

/// Where the table of the published crates is left by the program that measures it.
const PUBLISHED: &str = "published.md";

/// Whether the command line asks for it.
#[must_use]
pub fn asked_for() -> bool {
    std::env::args().any(|arg| arg == "--report")
}

/// The folder of the report.
#[must_use]
pub fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks"))
}

/// Writes the report. Groups of which nothing was run are left out.
///
/// # Errors
///
/// If the folder cannot be written.
pub fn write(sections: &[(Group, Vec<Table>)]) -> io::Result<()> {
    let folder = folder();
    fs::create_dir_all(&folder)?;
    let mut text = format!("{INTRODUCTION}\n{}\n", machine::markdown());
    for (group, tables) in sections.iter().filter(|(_, tables)| !tables.is_empty()) {
        let file = format!("{}.svg", group.name);
        fs::write(folder.join(&file), picture::draw(group.title, tables))?;
        text += &format!("## {}\n\n{}\n\n![{}]({file})\n\n", group.title, group.about, group.title);
        for table in tables {
            text += &format!("{}\n", table.markdown());
        }
    }
    if let Ok(published) = fs::read_to_string(folder.join(PUBLISHED)) {
        text += &published;
    }
    fs::write(folder.join("README.md"), text.trim_end().to_owned() + "\n")
}

/// Leaves the comparison with the published crates where [`write`] takes it in.
///
/// # Errors
///
/// If the folder cannot be written.
pub fn write_published(about: &str, tables: &[Table]) -> io::Result<()> {
    let folder = folder();
    fs::create_dir_all(&folder)?;
    let tables: String = tables.iter().map(|table| format!("{}\n", table.markdown())).collect();
    fs::write(folder.join(PUBLISHED), format!("{about}\n\n{}\n", tables.trim_end()))
}
