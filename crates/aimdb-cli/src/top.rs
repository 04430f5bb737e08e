//! `aimdb top`: rates, waiting values and losses of all records, and the links.
//!
//! ```text
//!   Client ── two snapshots ──▶ View ──┬── table ──▶ stdout      --once
//!             of the metrics           ├── JSON ───▶ stdout      --once --json
//!                                      └── draw ───▶ the screen, until `q`
//! ```
//!
//! A rate is the difference of two counters by the difference of the snapshots' times, so that it is exact over the time
//! between two looks, however fast the values come.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Clear, Paragraph, Row, Table as Widget, TableState};
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::client::{Client, key_in_path};
use crate::model::{Diagnosis, Metrics, buffer};
use crate::outcome::{Failure, Outcome};
use crate::table::{Table, causes, printable, rate, span};

/// The order of the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Order {
    /// The order of the graph
    #[default]
    Graph,
    /// The key
    Key,
    /// Values a second, most first
    Rate,
    /// Values that the slowest reader has yet to take, most first
    Behind,
    /// Values lost, most first
    Lost,
}

/// Options of `top`.
#[derive(Args)]
pub(crate) struct Options {
    /// Prints one table and ends
    #[arg(long)]
    once: bool,
    /// With --once: as JSON
    #[arg(long, requires = "once")]
    json: bool,
    /// The order of the records
    #[arg(long, value_enum, default_value_t)]
    sort: Order,
    /// Only keys of this pattern; `*` matches any characters
    #[arg(long, value_name = "PATTERN", default_value = "*")]
    filter: String,
    /// Milliseconds between two looks
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(50..=600_000))]
    every: u64,
}

/// The figures of one moment.
#[derive(Serialize)]
struct View {
    records: Vec<RecordRow>,
    links: Vec<LinkRow>,
}

#[derive(Serialize)]
struct RecordRow {
    key: String,
    buffer: String,
    /// Values a second since the look before.
    rate: f64,
    produced: u64,
    depth: u64,
    /// Values that the slowest reader has yet to take.
    behind: u64,
    /// The reader that is furthest behind.
    slowest: Option<String>,
    /// Without a value where readers get the newest value by design.
    lost: Option<u64>,
    observers: usize,
    /// Nanoseconds since the newest value.
    age: Option<u64>,
    /// The reader that its writers wait for.
    blocked_by: Option<String>,
}

#[derive(Serialize)]
struct LinkRow {
    key: String,
    address: String,
    direction: String,
    connected: bool,
    rate: f64,
    messages: u64,
    lost: std::collections::BTreeMap<String, u64>,
    error: Option<String>,
}

impl View {
    /// The changes between two snapshots. A database that restarted in between begins at zero.
    fn between(before: &Metrics, now: &Metrics, filter: &str, order: Order) -> Self {
        let chosen = aimdb_console::Grants::none().read(filter);
        let seconds = now.at.saturating_sub(before.at) as f64 / 1e9;
        let per_second = |before: u64, now: u64| {
            if seconds > 0.0 { now.saturating_sub(before) as f64 / seconds } else { 0.0 }
        };
        let mut records: Vec<RecordRow> = Vec::new();
        for (at, record) in now.records.iter().enumerate() {
            if !chosen.may_read(&record.key) {
                continue;
            }
            let earlier = before.records.get(at).filter(|earlier| earlier.key == record.key);
            let slowest = record.readers.iter().max_by_key(|reader| reader.pending);
            records.push(RecordRow {
                key: record.key.clone(),
                buffer: buffer(&record.buffer),
                rate: per_second(earlier.map_or(0, |it| it.produced), record.produced),
                produced: record.produced,
                depth: record.depth,
                behind: record.behind(),
                slowest: slowest.filter(|it| it.pending > 0).map(|it| it.name.clone()),
                lost: record.lost(),
                observers: record.observers.len(),
                age: record.last_update.map(|update| now.at.saturating_sub(update)),
                blocked_by: record.blocked.as_ref().map(|blocked| blocked.held_back_by.clone()),
            });
        }
        match order {
            Order::Graph => {}
            Order::Key => records.sort_by(|a, b| a.key.cmp(&b.key)),
            Order::Rate => records.sort_by(|a, b| b.rate.total_cmp(&a.rate)),
            Order::Behind => records.sort_by_key(|record| std::cmp::Reverse(record.behind)),
            Order::Lost => records.sort_by_key(|record| std::cmp::Reverse(record.lost)),
        }
        let mut links = Vec::new();
        for (at, link) in
            now.links.iter().enumerate().filter(|(_, link)| chosen.may_read(&link.key))
        {
            let earlier = before.links.get(at).map_or(0, |earlier| earlier.messages());
            links.push(LinkRow {
                key: link.key.clone(),
                address: link.address.clone(),
                direction: link.direction.clone(),
                connected: link.connected,
                rate: per_second(earlier, link.messages()),
                messages: link.messages(),
                lost: link.lost.clone(),
                error: link.error().map(str::to_owned),
            });
        }
        Self { records, links }
    }
}

const RECORD_HEAD: [&str; 9] =
    ["RECORD", "BUFFER", "RATE/S", "VALUES", "DEPTH", "BEHIND", "LOST", "AGE", "NOTE"];
const LINK_HEAD: [&str; 6] = ["LINK", "STATE", "RATE/S", "MESSAGES", "LOST", "LAST ERROR"];

impl RecordRow {
    fn cells(&self) -> Vec<String> {
        let note = match (&self.blocked_by, &self.slowest) {
            (Some(reader), _) => format!("writers wait for {reader}"),
            (None, Some(reader)) => format!("slowest: {reader}"),
            (None, None) => String::new(),
        };
        vec![
            self.key.clone(),
            self.buffer.clone(),
            rate(self.rate),
            self.produced.to_string(),
            self.depth.to_string(),
            self.behind.to_string(),
            self.lost.map_or_else(|| "-".to_owned(), |lost| lost.to_string()),
            self.age.map_or_else(|| "never".to_owned(), span),
            note,
        ]
    }
}

impl LinkRow {
    fn cells(&self) -> Vec<String> {
        let arrow = if self.direction == "inbound" { '←' } else { '→' };
        vec![
            format!("{} {arrow} {}", self.key, self.address),
            if self.connected { "up" } else { "DOWN" }.to_owned(),
            rate(self.rate),
            self.messages.to_string(),
            causes(&self.lost),
            self.error.clone().unwrap_or_default(),
        ]
    }
}

pub(crate) fn run(
    runtime: &Runtime,
    client: &Client,
    options: &Options,
    out: &mut impl Write,
) -> Outcome {
    let fetch = || runtime.block_on(client.json::<Metrics>("/api/v1/metrics"));
    if !options.once && !std::io::stdout().is_terminal() {
        return Err(Failure::Usage(
            "this is no terminal: `aimdb top --once` prints a table".into(),
        ));
    }
    if !options.once {
        return live(runtime, client, options);
    }
    let before = fetch()?;
    std::thread::sleep(Duration::from_millis(options.every));
    let view = View::between(&before, &fetch()?, &options.filter, options.sort);
    if options.json {
        let json = serde_json::to_string_pretty(&view)
            .map_err(|error| Failure::Failed(error.to_string()))?;
        writeln!(out, "{json}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&RECORD_HEAD, &[2, 3, 4, 5, 6, 7]);
    view.records.iter().for_each(|record| table.add(record.cells()));
    table.lines().iter().try_for_each(|line| writeln!(out, "{line}"))?;
    if !view.links.is_empty() {
        writeln!(out)?;
        let mut table = Table::new(&LINK_HEAD, &[2, 3]);
        view.links.iter().for_each(|link| table.add(link.cells()));
        table.lines().iter().try_for_each(|line| writeln!(out, "{line}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The state of the screen.
struct Screen {
    title: String,
    before: Metrics,
    now: Metrics,
    order: Order,
    filter: String,
    /// The filter is being typed.
    types: bool,
    /// The key of the selected record.
    selected: Option<String>,
    /// The answer of `why` for the selected record.
    why: Option<String>,
    /// Why there is no news.
    trouble: Option<String>,
}

/// The effect of a key.
enum Step {
    Stay,
    End,
    /// Asks why the selected record has no new values.
    Ask(String),
}

impl Screen {
    fn view(&self) -> View {
        // A part of a key is enough.
        let filter = match self.filter.contains('*') {
            true => self.filter.clone(),
            false => format!("*{}*", self.filter),
        };
        View::between(&self.before, &self.now, &filter, self.order)
    }

    /// The place of the selected record, which another order or filter moves.
    fn place(&self, records: &[RecordRow]) -> Option<usize> {
        let key = self.selected.as_ref()?;
        records.iter().position(|record| record.key == *key)
    }

    fn key(&mut self, code: KeyCode, records: &[RecordRow]) -> Step {
        if self.why.take().is_some() {
            return Step::Stay;
        }
        if self.types {
            match code {
                KeyCode::Enter | KeyCode::Esc => self.types = false,
                KeyCode::Backspace => _ = self.filter.pop(),
                KeyCode::Char(c) => self.filter.push(c),
                _ => {}
            }
            return Step::Stay;
        }
        let last = records.len().saturating_sub(1);
        let at = self.place(records);
        let next = match code {
            KeyCode::Char('q') | KeyCode::Esc => return Step::End,
            KeyCode::Char('s') => {
                self.order = match self.order {
                    Order::Graph => Order::Key,
                    Order::Key => Order::Rate,
                    Order::Rate => Order::Behind,
                    Order::Behind => Order::Lost,
                    Order::Lost => Order::Graph,
                };
                return Step::Stay;
            }
            KeyCode::Char('/') => {
                self.types = true;
                return Step::Stay;
            }
            KeyCode::Down | KeyCode::Char('j') => at.map_or(0, |at| at + 1),
            KeyCode::Up | KeyCode::Char('k') => at.unwrap_or(0).saturating_sub(1),
            KeyCode::PageDown => at.unwrap_or(0) + 20,
            KeyCode::PageUp => at.unwrap_or(0).saturating_sub(20),
            KeyCode::Home => 0,
            KeyCode::End => last,
            KeyCode::Enter | KeyCode::Char('w') => {
                let record = records.get(at.unwrap_or(0));
                return record.map_or(Step::Stay, |record| Step::Ask(record.key.clone()));
            }
            _ => return Step::Stay,
        };
        self.selected = records.get(next.min(last)).map(|record| record.key.clone());
        Step::Stay
    }

    fn draw(&mut self, frame: &mut Frame<'_>) {
        let view = self.view();
        let links = if view.links.is_empty() { 0 } else { view.links.len().min(12) as u16 + 2 };
        let [top, records, links, bottom] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Min(4),
            Constraint::Length(links),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        let order = format!("{:?}", self.order).to_lowercase();
        let title = format!("{}   {} records   order: {order}", self.title, view.records.len());
        let bold = Style::new().add_modifier(Modifier::BOLD);
        frame.render_widget(Line::styled(title, bold), top);

        let rows = view.records.iter().map(|record| {
            let color = match record {
                RecordRow { blocked_by: Some(_), .. } => Some(Color::Red),
                RecordRow { lost: Some(1..), .. } => Some(Color::Yellow),
                RecordRow { age: None, .. } => Some(Color::DarkGray),
                _ => None,
            };
            let style = color.map_or(Style::new(), |color| Style::new().fg(color));
            row(&record.cells(), &[2, 3, 4, 5, 6, 7]).style(style)
        });
        let cells: Vec<Vec<String>> = view.records.iter().map(RecordRow::cells).collect();
        let reversed = Style::new().add_modifier(Modifier::REVERSED);
        let numbers = [2, 3, 4, 5, 6, 7];
        let table = Widget::new(rows, widths(&RECORD_HEAD, &cells))
            .header(row(&RECORD_HEAD.map(str::to_owned), &numbers).style(bold))
            .row_highlight_style(reversed);
        let mut state = TableState::default().with_selected(self.place(&view.records));
        frame.render_stateful_widget(table, records, &mut state);

        // Links that are down come first: not all may have room.
        let mut sorted: Vec<&LinkRow> = view.links.iter().collect();
        sorted.sort_by_key(|link| link.connected);
        let cells: Vec<Vec<String>> = sorted.iter().map(|link| link.cells()).collect();
        let rows = sorted.iter().zip(&cells).map(|(link, cells)| {
            let style = if link.connected { Style::new() } else { Style::new().fg(Color::Red) };
            row(cells, &[2, 3]).style(style)
        });
        let block = Block::new().borders(ratatui::widgets::Borders::TOP);
        let head = row(&LINK_HEAD.map(str::to_owned), &[2, 3]).style(bold);
        let table = Widget::new(rows, widths(&LINK_HEAD, &cells)).header(head).block(block);
        frame.render_widget(table, links);

        let text = match (&self.trouble, self.types) {
            (Some(trouble), _) => Line::styled(printable(trouble), Style::new().fg(Color::Red)),
            (None, true) => Line::from(format!("filter: {}▏", printable(&self.filter))),
            (None, false) => Line::from("q quit   s sort   / filter   ↑↓ choose   ⏎ why"),
        };
        frame.render_widget(text, bottom);

        if let Some(why) = &self.why {
            let width = usize::from(frame.area().width.saturating_sub(2)).max(1);
            let rows = why.lines().map(|line| line.chars().count() / width + 1).sum::<usize>();
            let lines = u16::try_from(rows).unwrap_or(u16::MAX - 4);
            let [_, area, _] = Layout::vertical([
                Constraint::Fill(1),
                Constraint::Length(lines + 2),
                Constraint::Fill(1),
            ])
            .areas(frame.area());
            let block = Block::bordered().title(" why (any key closes) ");
            let wrap = ratatui::widgets::Wrap { trim: false };
            frame.render_widget(Clear, area);
            frame.render_widget(Paragraph::new(Text::raw(why)).wrap(wrap).block(block), area);
        }
    }
}

/// A row of cells without control characters; the columns of numbers are aligned on the right.
fn row(cells: &[String], numbers: &[usize]) -> Row<'static> {
    let cell = |(at, cell): (usize, &String)| {
        let line = Line::from(printable(cell));
        if numbers.contains(&at) { line.right_aligned() } else { line }
    };
    Row::new(cells.iter().enumerate().map(cell).collect::<Vec<_>>())
}

/// Columns as wide as their widest cells, so that no number loses a digit. The last
/// column has the room that is left.
fn widths(head: &[&str], cells: &[Vec<String>]) -> Vec<Constraint> {
    let widest = |at: usize| {
        let cells = cells.iter().map(|row| row[at].chars().count());
        cells.chain([head[at].chars().count()]).max().unwrap_or(0)
    };
    let width = |at: usize| u16::try_from(widest(at)).unwrap_or(u16::MAX);
    (0..head.len())
        .map(|at| match at {
            0 => Constraint::Max(width(0)),
            _ if at + 1 == head.len() => Constraint::Fill(1),
            _ => Constraint::Length(width(at)),
        })
        .collect()
}

/// The lines of an answer to `why`.
fn answer(diagnosis: &Diagnosis) -> String {
    let mut text = printable(&diagnosis.state);
    for step in &diagnosis.steps {
        let mark = if step.is_fault { '✗' } else { '·' };
        text +=
            &format!("\n{:indent$}{mark} {}", "", printable(&step.text), indent = 2 * step.depth);
    }
    if !diagnosis.at_fault {
        text += "\nNo fault was found upstream.";
    }
    text
}

/// The time for an answer, in which the screen takes no keys.
const PATIENCE: Duration = Duration::from_millis(1500);

fn live(runtime: &Runtime, client: &Client, options: &Options) -> Outcome {
    let fetch = || {
        let answer = client.json::<Metrics>("/api/v1/metrics");
        let silent =
            |_| Failure::Failed("the program does not answer: is its process stopped?".into());
        runtime.block_on(async { tokio::time::timeout(PATIENCE, answer).await.map_err(silent)? })
    };
    let now = runtime.block_on(client.json::<Metrics>("/api/v1/metrics"))?;
    let mut screen = Screen {
        title: client.place().to_string(),
        before: now.clone(),
        now,
        order: options.sort,
        filter: if options.filter == "*" { String::new() } else { options.filter.clone() },
        types: false,
        selected: None,
        why: None,
        trouble: None,
    };
    let every = Duration::from_millis(options.every);
    // Restores the terminal also when the program panics.
    ratatui::run(|terminal| {
        let mut next = Instant::now() + every.min(Duration::from_millis(250));
        loop {
            terminal.draw(|frame| screen.draw(frame))?;
            if event::poll(next.saturating_duration_since(Instant::now()))? {
                let Event::Key(key) = event::read()? else { continue };
                if key.kind == KeyEventKind::Release {
                    continue;
                }
                let control = key.modifiers.contains(KeyModifiers::CONTROL);
                if control && key.code == KeyCode::Char('c') {
                    return Ok(ExitCode::SUCCESS);
                }
                let records = screen.view().records;
                match screen.key(key.code, &records) {
                    Step::Stay => {}
                    Step::End => return Ok(ExitCode::SUCCESS),
                    Step::Ask(key) => {
                        let path = format!("/api/v1/why/{}", key_in_path(&key));
                        let why = runtime.block_on(client.json::<Diagnosis>(&path));
                        screen.why = Some(why.map_or_else(reason, |why| answer(&why)));
                    }
                }
            } else {
                match fetch() {
                    Ok(now) => {
                        screen.before = std::mem::replace(&mut screen.now, now);
                        screen.trouble = None;
                    }
                    Err(failure) => screen.trouble = Some(reason(failure)),
                }
                next = Instant::now() + every;
            }
        }
    })
}

fn reason(failure: Failure) -> String {
    match failure {
        Failure::Usage(text) | Failure::Failed(text) => text,
        Failure::Gone => "the connection has ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    fn metrics(at: u64, produced: u64, connected: bool) -> Metrics {
        let record = |key: &str, produced: u64, pending: u64| {
            json!({
                "key": key, "buffer": { "SpmcRing": { "capacity": 16 } }, "produced": produced, "overwritten": 0,
                "depth": 3, "last_update": at - 500_000_000,
                "readers": [{ "name": "logger", "lagged": 2, "pending": pending }], "observers": [],
                "departed": { "lagged": 0, "unread": 0 }, "blocked": null,
            })
        };
        let link = json!({
            "key": "temp", "address": "mqtt://a/b", "direction": "outbound", "connected": connected,
            "sent": produced, "received": 0, "lost": { "refused": 4 }, "last_error": "the port is closed",
            "last_error_is_over": connected,
        });
        let records = [record("temp", produced, 1), record("speed", 10 * produced, 9)];
        serde_json::from_value(json!({ "at": at, "records": records, "links": [link] })).unwrap()
    }

    fn screen(connected: bool) -> Screen {
        Screen {
            title: "database `demo`".into(),
            before: metrics(1_000_000_000, 0, connected),
            now: metrics(3_000_000_000, 50, connected),
            order: Order::Graph,
            filter: String::new(),
            types: false,
            selected: None,
            why: None,
            trouble: None,
        }
    }

    fn drawn(screen: &mut Screen) -> String {
        let mut terminal = Terminal::new(TestBackend::new(100, 14)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        let lines = terminal.backend().to_string();
        lines.lines().map(|line| line.trim_matches('"').trim_end()).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_screen_shows_rates_lag_losses_and_links() {
        let text = drawn(&mut screen(false));
        for part in [
            "database `demo`   2 records   order: graph",
            "temp   ring of 16     25     50     3      1    2 500ms slowest: logger",
            "temp → mqtt://a/b",
            "DOWN",
            "the port is closed",
            "q quit",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn keys_sort_filter_choose_and_ask() {
        let mut screen = screen(true);
        let records = screen.view().records;
        for _ in 0..2 {
            screen.key(KeyCode::Char('s'), &records);
        }
        assert_eq!(screen.order, Order::Rate);
        assert_eq!(screen.view().records[0].key, "speed");
        screen.key(KeyCode::Char('/'), &records);
        "tem".chars().for_each(|c| _ = screen.key(KeyCode::Char(c), &records));
        assert!(drawn(&mut screen).contains("filter: tem"));
        screen.key(KeyCode::Enter, &records);
        let records = screen.view().records;
        assert_eq!(records.len(), 1);
        let Step::Ask(key) = screen.key(KeyCode::Enter, &records) else { panic!("it asks") };
        assert_eq!(key, "temp");
        screen.why = Some("`temp` has had no value yet.".into());
        assert!(drawn(&mut screen).contains("why (any key closes)"));
        screen.key(KeyCode::Char('q'), &records);
        assert!(matches!(screen.key(KeyCode::Char('q'), &records), Step::End));
    }

    #[test]
    fn a_selected_record_stays_selected_in_another_order_and_large_numbers_are_whole() {
        let mut screen = screen(true);
        let records = screen.view().records;
        screen.key(KeyCode::Down, &records);
        assert_eq!(screen.selected.as_deref(), Some("temp"));
        screen.order = Order::Rate;
        assert_eq!(screen.place(&screen.view().records), Some(1));
        screen.now = metrics(3_000_000_000, 1_234_567_890, true);
        let text = drawn(&mut screen);
        assert!(text.contains(" 1234567890 ") && text.contains(" 12345678900 "), "{text}");
        // A small screen shows less, and does not panic.
        for (width, height) in [(1, 1), (20, 3), (40, 6)] {
            screen.why = Some("x ".repeat(500));
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| screen.draw(frame)).unwrap();
        }
    }

    #[test]
    fn a_database_that_was_started_anew_shows_no_negative_rates() {
        let view = View::between(
            &metrics(9_000_000_000, 50, true),
            &metrics(1_000_000_000, 5, true),
            "*",
            Order::Key,
        );
        assert!(view.records.iter().all(|record| record.rate == 0.0));
        assert_eq!(view.records[0].key, "speed");
    }
}
