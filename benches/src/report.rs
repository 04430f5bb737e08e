//! The report: `docs/benchmarks/README.md` with all tables, and one picture for each group. Only `--report` writes it.

use std::cmp::Ordering;
use std::fs;
use std::io;
use std::path::PathBuf;

use crate::cases::versus::Group;
use crate::table::{Bar, Table};
use crate::{machine, picture};

/// The text before the tables.
const INTRODUCTION: &str = "\
# AimDB next to its alternatives

Written by `cargo bench --bench peers -- --report` in `benches`; please do not edit.

Same work, same values, same process. Contestants run in turn, round by round, and each is compared with AimDB's run of
the same round; the tables have medians. **ratio** is the contestant's time over AimDB's: above 1 the other is slower.
*min–max* is the spread of that ratio over the rounds. Where no value may be lost, every run checks that all values
arrived, and their sum. The disruptor spins and occupies a core for each thread. Rows named *limit* are no contestants: the least that the
machine asks for the same exchange, without its promises (`benches/src/peers/limit.rs`).
";

const OVERVIEW: &str = "Overview: AimDB and the usual choice";
const OVERVIEW_LEGEND: &str = "The usual choice's time over AimDB's: beyond the rule AimDB is the faster one. It is Tokio's channel of that kind, or \
     std's for blocking threads.";

/// The file with the tables of the published crates, which [`write_published`] writes.
const PUBLISHED: &str = "published.md";

/// Whether the command line has `--report`.
#[must_use]
pub fn is_requested() -> bool {
    std::env::args().any(|arg| arg == "--report")
}

/// The folder of the report.
#[must_use]
pub fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks"))
}

/// Writes the report. It omits groups without results.
///
/// # Errors
///
/// If the folder cannot be written.
pub fn write(sections: &[(Group, Vec<Table>)]) -> io::Result<()> {
    let folder = folder();
    fs::create_dir_all(&folder)?;
    let comparisons: Vec<(&str, Vec<_>)> = sections
        .iter()
        .map(|(group, tables)| (group.title, tables.iter().filter_map(Comparison::of).collect()))
        .filter(|(_, comparisons): &(_, Vec<_>)| !comparisons.is_empty())
        .collect();
    let charts: Vec<_> =
        comparisons.iter().map(|(title, comparisons)| overview_chart(title, comparisons)).collect();
    fs::write(folder.join("overview.svg"), picture::draw(OVERVIEW, OVERVIEW_LEGEND, &charts))?;
    let comparisons: Vec<_> =
        comparisons.into_iter().flat_map(|(_, comparisons)| comparisons).collect();
    let mut text = format!("{INTRODUCTION}\n{}\n", machine::markdown());
    text += &format!("## {OVERVIEW}\n\n![{OVERVIEW}](overview.svg)\n\n{}\n", summary(&comparisons));
    for (group, tables) in sections.iter().filter(|(_, tables)| !tables.is_empty()) {
        let file = format!("{}.svg", group.name);
        let timed = tables.iter().any(|table| table.bars.iter().any(|bar| bar.reference));
        let legend = if timed { picture::TIMES } else { "Shorter is faster." };
        fs::write(folder.join(&file), picture::draw(group.title, legend, tables))?;
        text += &format!("## {}\n\n{}\n\n![{}]({file})\n\n", group.title, group.about, group.title);
        text += &format!("{}\n\n", group.choose);
        for table in tables {
            text += &format!("{}\n", table.markdown());
        }
    }
    if let Ok(published) = fs::read_to_string(folder.join(PUBLISHED)) {
        text += &published;
    }
    fs::write(folder.join("README.md"), text.trim_end().to_owned() + "\n")
}

/// The most common alternative: Tokio's, std's, or one written by hand around a mutex.
fn is_usual_choice(bar: &Bar) -> bool {
    ["tokio", "std", "Mutex"].iter().any(|start| bar.name.starts_with(start))
}

/// How the names of what the machine allows begin: no contestant.
const LIMIT: &str = "limit";

/// A contestant other than AimDB that parks instead of spinning.
fn is_parking_peer(bar: &Bar) -> bool {
    !["aimdb", "disruptor", LIMIT].iter().any(|start| bar.name.starts_with(start))
}

/// AimDB, the usual choice and the fastest alternative in one case.
struct Comparison<'t> {
    case: &'static str,
    ours: &'t Bar,
    usual: &'t Bar,
    fastest: &'t Bar,
}

impl<'t> Comparison<'t> {
    fn of(table: &'t Table) -> Option<Self> {
        let others = || table.bars.iter().filter(|bar| is_parking_peer(bar) && bar.ratio.is_some());
        Some(Self {
            case: table.name,
            ours: table.bars.iter().find(|bar| bar.reference)?,
            usual: others().find(|bar| is_usual_choice(bar))?,
            // By the paired ratio, which the table shows, and which varies less than the times.
            fastest: others()
                .min_by(|a, b| a.ratio.partial_cmp(&b.ratio).unwrap_or(Ordering::Equal))?,
        })
    }
}

fn ratio(bar: &Bar) -> String {
    format!("{:.2}x", bar.ratio.unwrap_or(f64::NAN))
}

fn summary(comparisons: &[Comparison<'_>]) -> String {
    let head = "| comparison | AimDB | usual choice | ratio | fastest other | ratio |\n\
                | --- | ---: | --- | ---: | --- | ---: |\n";
    let row = |Comparison { case, ours, usual, fastest }: &Comparison<'_>| {
        let time = ours.text.split(" · ").next().unwrap_or_default();
        let cells = [case, time, &usual.name, &ratio(usual), &fastest.name, &ratio(fastest)];
        format!("| {} |\n", cells.join(" | "))
    };
    head.to_owned() + &comparisons.iter().map(row).collect::<String>()
}

/// The chart of the usual choices' times over AimDB's, with a line at one.
fn overview_chart(title: &str, comparisons: &[Comparison<'_>]) -> Table {
    let even = Bar {
        name: "aimdb".into(),
        length: 1.0,
        text: "1.00x".into(),
        ratio: Some(1.0),
        reference: true,
    };
    let bar = |Comparison { case, usual, .. }: &Comparison<'_>| Bar {
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
        bars: std::iter::once(even).chain(comparisons.iter().map(bar)).collect(),
    }
}

/// Writes the tables of the published crates to the file that [`write`](fn@write) includes.
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
            ("limit: one cache line a value", 0.05),
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
        let comparison = Comparison::of(&table).expect("all three are in the table");
        assert_eq!(
            summary(&[comparison]).lines().last(),
            Some("| fan_out::ring | 1 ns | tokio broadcast | 3.00x | embassy pubsub | 2.00x |")
        );
    }
}
