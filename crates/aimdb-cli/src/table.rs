//! Tables of text, and numbers and times for people.

/// Rows of cells, in columns as wide as their widest cell.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    /// The columns of numbers, which are aligned on the right.
    right: &'static [usize],
}

impl Table {
    pub(crate) fn new(head: &[&str], right: &'static [usize]) -> Self {
        Self { rows: vec![head.iter().map(|cell| (*cell).to_owned()).collect()], right }
    }

    pub(crate) fn add(&mut self, row: Vec<String>) {
        self.rows.push(row.iter().map(|cell| printable(cell)).collect());
    }

    /// The lines, without spaces at their ends.
    pub(crate) fn lines(&self) -> Vec<String> {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().enumerate().map(|(at, cell)| {
                let fill = " ".repeat(widths[at] - cell.chars().count());
                if self.right.contains(&at) {
                    format!("{fill}{cell}")
                } else {
                    format!("{cell}{fill}")
                }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

/// Text without control characters: other programs made it, and a terminal would obey them.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// [`printable`], of a text of several lines.
pub(crate) fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// Values a second: `0`, `0.3`, `12`, `1.2k`, `3.4M`.
pub(crate) fn rate(rate: f64) -> String {
    match rate {
        ..0.005 => "0".to_owned(),
        ..9.95 => format!("{rate:.1}"),
        ..1e3 => format!("{rate:.0}"),
        ..1e6 => format!("{:.1}k", rate / 1e3),
        _ => format!("{:.1}M", rate / 1e6),
    }
}

/// A time for people: `12ms`, `3.4s`, `5m`, `2h`.
pub(crate) fn span(nanos: u64) -> String {
    let seconds = nanos as f64 / 1e9;
    match seconds {
        ..1.0 => format!("{:.0}ms", seconds * 1e3),
        ..10.0 => format!("{seconds:.1}s"),
        ..120.0 => format!("{seconds:.0}s"),
        ..7200.0 => format!("{:.0}m", seconds / 60.0),
        ..172_800.0 => format!("{:.0}h", seconds / 3600.0),
        _ => format!("{:.0}d", seconds / 86_400.0),
    }
}

/// Losses by cause in one cell, or `-`.
pub(crate) fn causes(lost: &std::collections::BTreeMap<String, u64>) -> String {
    if lost.is_empty() {
        return "-".to_owned();
    }
    lost.iter().map(|(cause, lost)| format!("{lost} {cause}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["KEY", "N"], &[1]);
        table.add(vec!["temp".into(), "7".into()]);
        table.add(vec!["µ\u{1b}[31m".into(), "100".into()]);
        assert_eq!(table.lines(), ["KEY       N", "temp      7", "µ\u{fffd}[31m  100"]);
    }

    #[test]
    fn numbers_and_times_are_short() {
        let rates = [0.0, 0.34, 9.94, 12.4, 1234.0, 5e6].map(rate);
        assert_eq!(rates, ["0", "0.3", "9.9", "12", "1.2k", "5.0M"]);
        let spans = [12_000_000, 3_400_000_000, 90_000_000_000, 600_000_000_000].map(span);
        assert_eq!(spans, ["12ms", "3.4s", "90s", "10m"]);
    }
}
