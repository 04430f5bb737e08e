//! The result of a comparison as plain data: printed as text, and written into the report as Markdown and as bars.

use std::fmt;

/// One comparison's result.
#[derive(Clone, Debug)]
pub struct Table {
    /// The name of the case; the caller that runs the case sets it.
    pub name: &'static str,
    /// The heading.
    pub title: String,
    /// The names of the columns after the contestant's.
    pub columns: Vec<&'static str>,
    /// The contestants' names and cells.
    pub rows: Vec<(String, Vec<String>)>,
    /// The same results as bars.
    pub bars: Vec<Bar>,
}

/// One contestant in a picture.
#[derive(Clone, Debug)]
pub struct Bar {
    /// The contestant's name.
    pub name: String,
    /// The length, in the unit that all bars of a table share.
    pub length: f64,
    /// The text after the bar.
    pub text: String,
    /// The contestant's time over the reference's, if the table has a reference.
    pub ratio: Option<f64>,
    /// Whether this is the reference of the other bars.
    pub reference: bool,
}

impl Table {
    /// Renders the table as Markdown, with a heading.
    #[must_use]
    pub fn markdown(&self) -> String {
        let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
        let head = std::iter::once("contestant").chain(self.columns.iter().copied()).collect();
        let rule = std::iter::once("---").chain(self.columns.iter().map(|_| "---:")).collect();
        let row = |(name, cells): &(String, Vec<String>)| {
            line(std::iter::once(name.as_str()).chain(cells.iter().map(String::as_str)).collect())
        };
        let rows: String = self.rows.iter().map(row).collect();
        // Markdown would parse the angle brackets of types as tags.
        let title = self.title.replace('<', "&lt;");
        format!("### {title}\n\n{}{}{rows}", line(head), line(rule))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |at: usize| {
            let cells = self.rows.iter().map(|(_, cells)| cells[at].chars().count());
            cells.chain([self.columns[at].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..self.columns.len()).map(width).collect();
        let names = self.rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        writeln!(f, "{}", self.title)?;
        let mut line = |name: &str, cells: Vec<&str>| {
            write!(f, "  {name:<names$}", names = names.max(26))?;
            cells
                .iter()
                .zip(&widths)
                .try_for_each(|(cell, width)| write!(f, "  {cell:>width$}"))?;
            writeln!(f)
        };
        line("contestant", self.columns.clone())?;
        self.rows
            .iter()
            .try_for_each(|(name, cells)| line(name, cells.iter().map(String::as_str).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            name: "",
            title: "title".into(),
            columns: vec!["ns/op"],
            rows: vec![("a".into(), vec!["1.5".into()])],
            bars: Vec::new(),
        }
    }

    #[test]
    fn a_table_as_text_starts_with_its_title() {
        let text = table().to_string();
        assert_eq!(text.lines().next(), Some("title"));
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn a_table_as_markdown_has_a_heading_and_a_rule() {
        assert_eq!(
            table().markdown(),
            "### title\n\n| contestant | ns/op |\n| --- | ---: |\n| a | 1.5 |\n"
        );
    }
}
