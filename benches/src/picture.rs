//! Tables as horizontal bars, in plain SVG: white ground, dark text, one panel for each table, two panels side by side.
//! Each panel has a scale of its own from zero; a bar longer than `LIMIT` times the reference is cut, with a mark across it.

use crate::table::{Bar, Table};

/// A bar this many times as long as the reference's is cut.
const LIMIT: f64 = 4.0;

const PANEL: f64 = 570.0;
const MARGIN: f64 = 16.0;
const NAMES: f64 = 175.0;
const BARS: f64 = 240.0;
const BAR_PITCH: f64 = 20.0;
const HEAD: f64 = 70.0;
const TITLE: f64 = 26.0;
const GAP: f64 = 18.0;

/// The legend of a picture of times.
pub const TIMES: &str = "Shorter is faster: median time for one operation · how many times AimDB's. Each panel has a scale of its own.";

/// Draws tables as one picture. `legend` explains the length of the bars.
#[must_use]
pub fn draw(title: &str, legend: &str, tables: &[Table]) -> String {
    let rows: Vec<_> = tables.chunks(2).collect();
    let height = |row: &[Table]| row.iter().map(panel_height).fold(0.0, f64::max);
    // Wide enough for the legend, whatever is below it.
    let width = 2.0 * (PANEL + MARGIN);
    let total = HEAD + rows.iter().map(|row| height(row)).sum::<f64>() + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{total}\" \
         viewBox=\"0 0 {width} {total}\" font-family=\"system-ui, Helvetica, Arial, sans-serif\" font-size=\"12\" \
         fill=\"#1f2933\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    svg += &text(MARGIN, 28.0, "font-size=\"18\" font-weight=\"bold\"", title);
    svg += &text(MARGIN, 48.0, "fill=\"#52606d\"", legend);
    let mut top = HEAD;
    for row in rows {
        for (column, table) in row.iter().enumerate() {
            svg += &panel(MARGIN + PANEL * column as f64, top, table);
        }
        top += height(row);
    }
    svg + "</svg>\n"
}

fn panel_height(table: &Table) -> f64 {
    TITLE + BAR_PITCH * table.bars.len() as f64 + GAP
}

fn panel(left: f64, top: f64, table: &Table) -> String {
    let longest = table.bars.iter().map(|bar| bar.length).fold(0.0, f64::max);
    let reference = table.bars.iter().find(|bar| bar.reference);
    let full = reference.map_or(longest, |bar| longest.min(LIMIT * bar.length));
    let mut svg = text(left, top + 14.0, "font-weight=\"bold\"", &table.title);
    if let Some(reference) = reference {
        // A vertical line at the reference's length.
        let x = left + NAMES + BARS * reference.length / full;
        let (from, to) = (top + TITLE - 3.0, top + TITLE + BAR_PITCH * table.bars.len() as f64);
        svg += &format!(
            "<line x1=\"{x:.1}\" y1=\"{from:.1}\" x2=\"{x:.1}\" y2=\"{to:.1}\" stroke=\"#c2410c\" \
             stroke-dasharray=\"3 3\"/>\n"
        );
    }
    for (line, bar) in table.bars.iter().enumerate() {
        svg += &bar_row(left, top + TITLE + BAR_PITCH * line as f64, bar, full);
    }
    svg
}

fn bar_row(left: f64, top: f64, bar: &Bar, full: f64) -> String {
    let (start, cut) = (left + NAMES, bar.length > full * 1.001);
    let width = (BARS * (bar.length / full).min(1.0)).max(1.0);
    let ours = bar.name.starts_with("aimdb");
    let color = if ours { "#c2410c" } else { "#829ab1" };
    let weight = if ours { "font-weight=\"bold\"" } else { "" };
    let mut svg =
        text(start - 8.0, top + 12.0, &format!("text-anchor=\"end\" {weight}"), &bar.name);
    svg += &format!(
        "<rect x=\"{start:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"15\" fill=\"{color}\"/>\n"
    );
    if cut {
        let x = start + width - 18.0;
        svg +=
            &format!("<path d=\"M{x:.1} {:.1}l5 -19h5l-5 19z\" fill=\"#ffffff\"/>\n", top + 17.0);
    }
    // A white outline of the letters keeps the line from crossing them.
    let halo = format!("{weight} paint-order=\"stroke\" stroke=\"#ffffff\" stroke-width=\"4\"");
    svg + &text(start + width + 6.0, top + 12.0, &halo, &bar.text)
}

fn text(x: f64, y: f64, attributes: &str, text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{text}</text>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(name: &str, length: f64) -> Bar {
        Bar {
            name: name.into(),
            length,
            text: "1 ns".into(),
            ratio: None,
            reference: name == "aimdb",
        }
    }

    #[test]
    fn a_bar_far_beyond_the_reference_is_cut() {
        let bars = vec![bar("aimdb", 10.0), bar("slow", 400.0)];
        let table =
            Table { name: "", title: "a < b".into(), columns: Vec::new(), rows: Vec::new(), bars };
        let svg = draw("title", TIMES, &[table]);
        assert_eq!(svg.matches("<path").count(), 1);
        assert!(svg.contains("width=\"60.0\""), "a quarter of the width: {svg}");
        assert!(svg.contains("a &lt; b"));
    }
}
