//! The report: `docs/benchmarks/README.md` with all tables, and one picture for each group. It is written on request only.

use std::cmp::Ordering;
use std::fs;
use std::io;
use std::path::PathBuf;

use crate::cases::versus::Group;
use crate::table::{Bar, Table};
use crate::{machine, picture};

/// What stands before the tables.
const INTRODUCTION: &str = "\
# AimDB next to what you would otherwise pick

Written by `cargo bench --bench peers -- --report` in `benches`; please do not edit.

Same work, same values, same process. Contestants run in turn, round by round, and each is judged against AimDB's run of
the same round; the tables give medians. **ratio** is the contestant's time over AimDB's: above 1 the other is slower.
*min–max* is the spread of that ratio over the rounds. Where nothing may get lost, every run checks that all values came
out, and that they add up. The disruptor spins and takes a core for each thread; it is there as the limit.
";

const OVERVIEW: &str = "Overview: AimDB and the usual choice";
const OVERVIEW_LEGEND: &str = "The usual choice's time over AimDB's: beyond the rule AimDB is the faster one. It is Tokio's channel of that kind, or \
     std's for blocking threads.";

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
    let standings: Vec<(&str, Vec<_>)> = sections
        .iter()
        .map(|(group, tables)| (group.title, tables.iter().filter_map(Standing::of).collect()))
        .filter(|(_, standings): &(_, Vec<_>)| !standings.is_empty())
        .collect();
    let races: Vec<_> = standings.iter().map(|(title, standings)| race(title, standings)).collect();
    fs::write(folder.join("overview.svg"), picture::draw(OVERVIEW, OVERVIEW_LEGEND, &races))?;
    let standings: Vec<_> = standings.into_iter().flat_map(|(_, standings)| standings).collect();
    let mut text = format!("{INTRODUCTION}\n{}\n", machine::markdown());
    text += &format!("## {OVERVIEW}\n\n![{OVERVIEW}](overview.svg)\n\n{}\n", summary(&standings));
    for (group, tables) in sections.iter().filter(|(_, tables)| !tables.is_empty()) {
        let file = format!("{}.svg", group.name);
        let timed = tables.iter().any(|table| table.bars.iter().any(|bar| bar.reference));
        let legend = if timed { picture::TIMES } else { "Shorter is faster." };
        fs::write(folder.join(&file), picture::draw(group.title, legend, tables))?;
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

/// The contestant that a user would think of first.
fn usual(bar: &Bar) -> bool {
    ["tokio", "std", "Mutex"].iter().any(|start| bar.name.starts_with(start))
}

/// Those who do not spin, and are not AimDB.
fn other(bar: &Bar) -> bool {
    !bar.name.starts_with("aimdb") && !bar.name.starts_with("disruptor")
}

/// How AimDB stands in one comparison.
struct Standing<'t> {
    case: &'static str,
    ours: &'t Bar,
    usual: &'t Bar,
    fastest: &'t Bar,
}

impl<'t> Standing<'t> {
    fn of(table: &'t Table) -> Option<Self> {
        let others = || table.bars.iter().filter(|bar| other(bar) && bar.ratio.is_some());
        Some(Self {
            case: table.name,
            ours: table.bars.iter().find(|bar| bar.reference)?,
            usual: others().find(|bar| usual(bar))?,
            // By the paired ratio: it is what the table shows, and steadier than the times.
            fastest: others()
                .min_by(|a, b| a.ratio.partial_cmp(&b.ratio).unwrap_or(Ordering::Equal))?,
        })
    }
}

fn ratio(bar: &Bar) -> String {
    format!("{:.2}x", bar.ratio.unwrap_or(f64::NAN))
}

fn summary(standings: &[Standing<'_>]) -> String {
    let head = "| comparison | AimDB | usual choice | ratio | fastest other | ratio |\n\
                | --- | ---: | --- | ---: | --- | ---: |\n";
    let row = |Standing { case, ours, usual, fastest }: &Standing<'_>| {
        let time = ours.text.split(" · ").next().unwrap_or_default();
        let cells = [case, time, &usual.name, &ratio(usual), &fastest.name, &ratio(fastest)];
        format!("| {} |\n", cells.join(" | "))
    };
    head.to_owned() + &standings.iter().map(row).collect::<String>()
}

/// The usual choice's time over AimDB's, with a rule at one.
fn race(title: &str, standings: &[Standing<'_>]) -> Table {
    let even = Bar {
        name: "aimdb".into(),
        length: 1.0,
        text: "1.00x".into(),
        ratio: Some(1.0),
        reference: true,
    };
    let bar = |Standing { case, usual, .. }: &Standing<'_>| Bar {
        name: (*case).into(),
        length: usual.ratio.unwrap_or(f64::NAN),
        text: format!("{} {}", ratio(usual), usual.name),
        ratio: usual.ratio,
        reference: false,
    };
    Table {
        name: "",
        title: title.into(),
        columns: Vec::new(),
        rows: Vec::new(),
        bars: std::iter::once(even).chain(standings.iter().map(bar)).collect(),
    }
}

/// Leaves the comparison with the published crates where [`write`](fn@write) takes it in.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overview_names_the_usual_choice_and_the_fastest() {
        let bar = |name: &str, length: f64| Bar {
            name: name.into(),
            length,
            text: format!("{length} ns · {length}x"),
            ratio: Some(length),
            reference: name == "aimdb ring",
        };
        let bars = [
            ("aimdb ring", 1.0),
            ("disruptor", 0.1),
            ("tokio broadcast", 3.0),
            ("embassy pubsub", 2.0),
        ];
        let table = Table {
            name: "fan_out::ring",
            title: String::new(),
            columns: Vec::new(),
            rows: Vec::new(),
            bars: bars.map(|(name, length)| bar(name, length)).into(),
        };
        let standing = Standing::of(&table).expect("everybody takes part");
        assert_eq!(
            summary(&[standing]).lines().last(),
            Some("| fan_out::ring | 1 ns | tokio broadcast | 3.00x | embassy pubsub | 2.00x |")
        );
    }
}
