//! Why a record has no new values: the graph, walked upstream from the record, in sentences.
//!
//! ```text
//!   graph ──────┐
//!   metrics ────┤                          ┌─ a fault: what, since when, because of what, what next
//!   health ─────┼─▶ Facts ── explain(key) ─┤
//!   events ─────┘     walks upstream       └─ no fault: what is there, and what is waited for
//! ```
//!
//! The walk begins at the record and looks at whatever writes it. A writer that is at fault is a [`Step`]; where no writer
//! is, the walk continues at the records that the writers read. It ends where nothing upstream is left, or at a record that
//! it has seen: graphs may have circles.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use aimdb_core::graph::{PortNode, RecordNode, StageKind, StageNode};
use aimdb_core::health::{DbState, Health, StageHealth, StageState};
use aimdb_core::loss::Loss;
use aimdb_core::metrics::{LinkMetrics, Metrics, RecordMetrics};
use aimdb_core::{BufferCfg, Graph, Instant, Owner, StageId};
use serde::Serialize;

use crate::journal::Journal;

/// The answer to why a record has no new values. `Display` prints it as lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The record's key.
    pub record: String,
    /// The values that the record has had.
    pub state: String,
    /// Whether a fault was found.
    pub at_fault: bool,
    /// The findings, from the record upstream.
    pub steps: Vec<Step>,
}

/// One sentence of a [`Diagnosis`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// The record that the sentence is about.
    pub record: String,
    /// The number of records between that one and the one that was asked for.
    pub depth: usize,
    /// Whether it keeps values from coming.
    pub is_fault: bool,
    /// The sentence.
    pub text: String,
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.state)?;
        for step in &self.steps {
            let mark = if step.is_fault { "✗" } else { "·" };
            write!(f, "\n{:indent$}{mark} {}", "", step.text, indent = 2 + 2 * step.depth)?;
        }
        Ok(())
    }
}

/// How long a stage may leave a value unread before that is a fault.
const IDLE: Duration = Duration::from_secs(2);

/// A database at one moment, with its events.
pub(crate) struct Facts<'f> {
    graph: &'f Graph,
    metrics: &'f Metrics,
    health: &'f Health,
    journal: &'f Journal,
}

impl<'f> Facts<'f> {
    pub(crate) fn new(
        graph: &'f Graph,
        metrics: &'f Metrics,
        health: &'f Health,
        journal: &'f Journal,
    ) -> Self {
        Self { graph, metrics, health, journal }
    }

    /// Explains the record `key`, which the graph has.
    pub(crate) fn explain(&self, key: &str) -> Diagnosis {
        let mut walk = Walk { facts: self, seen: HashSet::new(), steps: Vec::new() };
        match self.health.state {
            DbState::Running => walk.record(key, 0),
            DbState::Built => {
                walk.fault(key, 0, "The database has not started: `run()` or `start()` starts it.");
            }
            DbState::Stopping => {
                walk.fault(key, 0, "The database shuts down: its sources have stopped.");
            }
            _ => walk.fault(key, 0, "The database has shut down."),
        }
        let steps = walk.steps;
        let at_fault = steps.iter().any(|step| step.is_fault);
        Diagnosis { record: key.to_owned(), state: self.state(key), at_fault, steps }
    }

    fn state(&self, key: &str) -> String {
        let Some(record) = self.metrics.record(key) else { return format!("`{key}` is unknown.") };
        match record.age(self.metrics.at) {
            None => format!("`{key}` has had no value yet."),
            Some(age) => {
                let values = if record.produced == 1 { "value" } else { "values" };
                format!(
                    "`{key}` has had {} {values}, the newest {} ago.",
                    record.produced,
                    Span(age)
                )
            }
        }
    }

    fn node(&self, key: &str) -> Option<&'f RecordNode> {
        self.graph.records.iter().find(|record| record.key == key)
    }

    fn stage(&self, record: &str, stage: &str) -> Option<&'f StageHealth> {
        self.health.stage(record, stage)
    }

    fn link(&self, record: &str, stage: &str) -> Option<&'f LinkMetrics> {
        self.metrics.links.iter().find(|link| link.key == record && link.stage == stage)
    }

    /// When the stage's last attempt ended: ` 12 s ago`, or nothing.
    fn ended(&self, owner: Owner, stage: &str) -> (String, Option<String>) {
        let entries = self.journal.entries();
        let Some(ended) = entries.stages.get(&StageId::new(owner, stage)) else {
            return (String::new(), None);
        };
        let now = self.metrics.at;
        let next = ended.pause.map(|pause| {
            let at = ended.at.saturating_add(pause);
            let left = at.duration_since(now);
            if left.is_zero() { "now".to_owned() } else { format!("in {}", Span(left)) }
        });
        (format!(" {} ago", Span(now.duration_since(ended.at))), next)
    }

    fn down_since(&self, record: &str, stage: &str) -> Option<Instant> {
        let id = StageId::new(Owner::Record(record.into()), stage);
        self.journal.entries().links.get(&id).copied()
    }
}

/// One walk upstream.
struct Walk<'w, 'f> {
    facts: &'w Facts<'f>,
    seen: HashSet<String>,
    steps: Vec<Step>,
}

impl Walk<'_, '_> {
    fn add(&mut self, record: &str, depth: usize, is_fault: bool, text: String) {
        self.steps.push(Step { record: record.to_owned(), depth, is_fault, text });
    }

    fn fault(&mut self, record: &str, depth: usize, text: impl Into<String>) {
        self.add(record, depth, true, text.into());
    }

    fn note(&mut self, record: &str, depth: usize, text: impl Into<String>) {
        self.add(record, depth, false, text.into());
    }

    fn record(&mut self, key: &str, depth: usize) {
        if !self.seen.insert(key.to_owned()) {
            return;
        }
        let facts = self.facts;
        let (Some(node), Some(metrics)) = (facts.node(key), facts.metrics.record(key)) else {
            return;
        };
        self.blocked(key, depth, metrics);
        let mut writers = 0;
        for stage in node.writers() {
            writers += 1;
            self.writer(key, depth, stage, metrics);
        }
        // Processors of other records write this one, too.
        for other in &facts.graph.records {
            for stage in &other.stages {
                if stage.kind.outputs().iter().any(|port| port.key == key) {
                    writers += 1;
                    self.stage(&other.key, depth, stage, "processor", metrics);
                }
            }
        }
        if node.is_written_from_outside && writers == 0 {
            let text = if metrics.produced > 0 {
                format!("`{key}` is written by code outside of the graph.")
            } else if node.exposures.iter().any(|exposure| exposure.settable) {
                format!(
                    "`{key}` is set from outside of the graph, and nobody has set it yet: `aimdb set {key} VALUE`."
                )
            } else {
                format!(
                    "`{key}` is written by code outside of the graph, which has not written it yet."
                )
            };
            self.note(key, depth, text);
        } else if writers == 0 {
            self.fault(key, depth, format!("Nothing writes `{key}`."));
        }
        self.lost_commands(key, depth, metrics);
    }

    fn blocked(&mut self, key: &str, depth: usize, metrics: &RecordMetrics) {
        let Some(blocked) = &metrics.blocked else { return };
        let text = format!(
            "`{key}` is full: reader `{}` has held its writers back for {}.",
            blocked.held_back_by,
            Span(blocked.waiting)
        );
        self.fault(key, depth, text);
    }

    /// A mailbox without a taker loses its commands.
    fn lost_commands(&mut self, key: &str, depth: usize, metrics: &RecordMetrics) {
        if metrics.buffer == BufferCfg::Mailbox
            && metrics.readers.is_empty()
            && metrics.produced > 0
        {
            let text = format!(
                "`{key}` is a mailbox that nobody takes from: each command replaces the one before."
            );
            self.fault(key, depth, text);
        }
    }

    fn writer(&mut self, key: &str, depth: usize, stage: &StageNode, metrics: &RecordMetrics) {
        match &stage.kind {
            StageKind::LinkFrom { .. } => self.link(key, depth, stage),
            StageKind::Transform { join: true, .. } => {
                self.stage(key, depth, stage, "join", metrics)
            }
            StageKind::Transform { .. } => self.stage(key, depth, stage, "transform", metrics),
            StageKind::Processor { .. } => self.stage(key, depth, stage, "processor", metrics),
            _ => self.stage(key, depth, stage, "source", metrics),
        }
    }

    /// A stage of the record `owner` that writes the record of `metrics`.
    fn stage(
        &mut self,
        owner: &str,
        depth: usize,
        stage: &StageNode,
        kind: &str,
        metrics: &RecordMetrics,
    ) {
        let facts = self.facts;
        let name = named(kind, &stage.name);
        let Some(health) = facts.stage(owner, &stage.name) else { return };
        let cause = health.cause.as_deref().unwrap_or("no cause is known");
        let (ago, next) = facts.ended(health.owner.clone(), &stage.name);
        match health.state {
            StageState::Failed => {
                let text =
                    format!("The {name} of `{owner}` failed{ago}: {cause}. Nothing restarts it.");
                return self.fault(owner, depth, text);
            }
            StageState::Restarting => {
                let next = next.unwrap_or_else(|| "soon".to_owned());
                let attempt = u64::from(health.restarts) + 2;
                let returned = cause == "returned";
                let ended = if returned {
                    format!("returned{ago}")
                } else {
                    format!("failed{ago}: {cause}")
                };
                let text =
                    format!("The {name} of `{owner}` {ended}. Attempt {attempt} begins {next}.");
                return self.add(owner, depth, !returned, text);
            }
            StageState::Finished => {
                let text = format!("The {name} of `{owner}` has returned{ago}: it writes no more.");
                // A source that wrote what it had, and a record that others write, is as it should be.
                let is_fault =
                    metrics.produced == 0 || depth == 0 && self.writers(&metrics.key) == 1;
                return self.add(owner, depth, is_fault, text);
            }
            StageState::Stopped => {
                return self.fault(owner, depth, format!("The {name} of `{owner}` was stopped."));
            }
            StageState::Ready => {
                return self.note(
                    owner,
                    depth,
                    format!("The {name} of `{owner}` has not started."),
                );
            }
            _ => {}
        }
        let inputs = stage.kind.inputs();
        if inputs.is_empty() {
            let wrote = if metrics.produced == 0 {
                "and has written nothing yet"
            } else {
                "and writes when it has something"
            };
            return self.note(owner, depth, format!("The {name} of `{owner}` runs, {wrote}."));
        }
        self.filtered(owner, depth, &name, metrics, inputs);
        let (mut silent, mut others) = (Vec::new(), Vec::new());
        for port in inputs {
            let Some(input) = facts.metrics.record(&port.key) else { continue };
            if input.produced == 0 {
                let text = match inputs.len() {
                    1 => format!(
                        "The {name} of `{owner}` waits for `{}`, which has had none.",
                        port.key
                    ),
                    _ => format!("The {name} of `{owner}` has had no value of `{}` yet.", port.key),
                };
                self.note(owner, depth, text);
                silent.push(port.key.clone());
            } else {
                self.idle(owner, depth, stage, &name, input);
                others.push(port.key.clone());
            }
        }
        // An input that is silent explains more than the others.
        silent.into_iter().chain(others).for_each(|key| self.record(&key, depth + 1));
    }

    /// A stage that runs and does not take the values that it has had for some time.
    fn idle(
        &mut self,
        owner: &str,
        depth: usize,
        stage: &StageNode,
        name: &str,
        input: &RecordMetrics,
    ) {
        let reader = format!("{owner}/{}", stage.name);
        let pending = input.readers.iter().find(|it| it.name == reader).map_or(0, |it| it.pending);
        let age = input.age(self.facts.metrics.at).unwrap_or_default();
        if pending > 0 && age > IDLE {
            let (noun, key) = (if pending == 1 { "value" } else { "values" }, &input.key);
            let text = format!(
                "The {name} of `{owner}` has {pending} {noun} of `{key}` and takes none: the newest came {} ago.",
                Span(age)
            );
            self.fault(owner, depth, text);
        }
    }

    /// The number of those that write the record.
    fn writers(&self, key: &str) -> usize {
        let Some(node) = self.facts.node(key) else { return 0 };
        let outputs = |stage: &StageNode| stage.kind.outputs().iter().any(|port| port.key == key);
        let records = self.facts.graph.records.iter();
        let processors = records.flat_map(|other| &other.stages).filter(|stage| outputs(stage));
        node.writers().count() + processors.count() + usize::from(node.is_written_from_outside)
    }

    fn filtered(
        &mut self,
        owner: &str,
        depth: usize,
        name: &str,
        metrics: &RecordMetrics,
        inputs: &[PortNode],
    ) {
        let all = metrics.filtered + metrics.produced;
        if metrics.filtered == 0 || metrics.key != owner {
            return;
        }
        let left = metrics.filtered;
        let text = match inputs {
            [input] => format!(
                "The {name} of `{owner}` left out {left} of {all} values of `{}`.",
                input.key
            ),
            _ => format!("The {name} of `{owner}` left out {left} of {all} values."),
        };
        self.add(owner, depth, metrics.produced == 0, text);
    }

    /// An inbound link of the record `key`.
    fn link(&mut self, key: &str, depth: usize, stage: &StageNode) {
        let facts = self.facts;
        let Some(link) = facts.link(key, &stage.name) else { return };
        let address = &link.address;
        let connector =
            address.split_once("://").and_then(|(name, _)| facts.health.connector(name));
        if let Some(connector) = connector
            && matches!(
                connector.state,
                StageState::Failed | StageState::Restarting | StageState::Finished
            )
        {
            let cause = connector.cause.as_deref().unwrap_or("no cause is known");
            let (ago, next) = facts.ended(connector.owner.clone(), &connector.stage);
            let next = match (connector.state, next) {
                (StageState::Restarting, Some(next)) => format!("The next attempt begins {next}."),
                _ => "Nothing restarts it.".to_owned(),
            };
            let text = format!("The connector of `{address}` failed{ago}: {cause}. {next}");
            return self.fault(key, depth, text);
        }
        let error = link.last_error.as_deref().filter(|_| !link.last_error_is_over);
        if !link.connected {
            let since = match facts.down_since(key, &stage.name) {
                Some(since) => {
                    format!("has been down for {}", Span(facts.metrics.at.duration_since(since)))
                }
                None => "has not been connected yet".to_owned(),
            };
            let because = error.map_or_else(String::new, |error| format!(": {error}"));
            return self.fault(key, depth, format!("The link from `{address}` {since}{because}."));
        }
        let undecoded = link.lost.of(Loss::DecodeError);
        if undecoded > 0 {
            let last = link.last_error.as_deref().filter(|error| error.contains("did not decode"));
            let last = last.map_or_else(String::new, |error| format!(", the last: {error}"));
            let text = format!(
                "{undecoded} of {} messages from `{address}` did not decode{last}.",
                link.received
            );
            return self.add(key, depth, link.delivered == 0, text);
        }
        if link.dropped() > 0 {
            let text = format!(
                "The link from `{address}` lost {} of {} messages: {}.",
                link.dropped(),
                link.received,
                link.lost
            );
            self.add(key, depth, false, text);
        }
        if link.received == 0 {
            let text =
                format!("The link from `{address}` is connected, and no message has come yet.");
            self.note(key, depth, text);
        } else {
            let text = format!(
                "The link from `{address}` is connected, and has had {} messages.",
                link.received
            );
            self.note(key, depth, text);
        }
    }
}

/// ``source `sensor` ``. A closure has the name of its kind, which is not repeated.
fn named(kind: &str, name: &str) -> String {
    if name == kind { kind.to_owned() } else { format!("{kind} `{name}`") }
}

/// A duration for people: two digits are enough.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        match seconds {
            ..0.001 => write!(f, "{:.0} µs", seconds * 1e6),
            ..1.0 => write!(f, "{:.0} ms", seconds * 1e3),
            ..10.0 => write!(f, "{seconds:.1} s"),
            ..120.0 => write!(f, "{seconds:.0} s"),
            ..7200.0 => write!(f, "{:.0} min", seconds / 60.0),
            ..172_800.0 => write!(f, "{:.0} h", seconds / 3600.0),
            _ => write!(f, "{:.0} days", seconds / 86_400.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        for (millis, text) in [
            (0, "0 µs"),
            (1, "1 ms"),
            (999, "999 ms"),
            (2100, "2.1 s"),
            (12_000, "12 s"),
            (119_000, "119 s"),
            (600_000, "10 min"),
            (7_200_000, "2 h"),
            (300_000_000, "3 days"),
        ] {
            assert_eq!(Span(Duration::from_millis(millis)).to_string(), text);
        }
    }
}
