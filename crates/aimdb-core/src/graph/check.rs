//! The rules, one function each, and the plan that only a graph without findings becomes.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use super::order::{ByKey, listed, sorted_places};
use crate::buffer::cfg::BufferCfg;
use crate::graph::finding::{Finding, Findings, Rule, Severity};
use crate::graph::node::{Graph, InputNode, RecordNode, StageKind, StageNode};

/// A graph in which every rule holds: keys are unique, every record has one buffer, every input exists.
///
/// Only [`Graph::check`] makes one.
#[derive(Clone, Debug)]
pub struct Plan {
    graph: Graph,
    /// Indices of records; whatever a record is made from comes before it.
    order: Vec<usize>,
    warnings: Findings,
}

impl Plan {
    /// The graph it was made from.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Indices into [`Graph::records`], upstream first.
    #[must_use]
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// What may be meant, and may be a mistake.
    #[must_use]
    pub fn warnings(&self) -> &Findings {
        &self.warnings
    }

    pub(crate) fn buffer(&self, record: usize) -> BufferCfg {
        self.graph.records[record].buffers[0]
    }

    pub(crate) fn into_graph(self) -> Graph {
        self.graph
    }
}

impl Graph {
    /// Checks everything and gives the plan, or all findings that are errors.
    ///
    /// # Errors
    ///
    /// [`Findings`], complete and in an order that does not depend on the order of registration.
    pub fn check(self) -> Result<Plan, Findings> {
        let rules = [
            empty_keys,
            two_types,
            buffers,
            conflicting_writers,
            several_takers,
            inputs,
            cycles,
            connector_names,
            addresses,
            connector_faults,
            unused,
        ];
        let mut found = Found::default();
        for rule in rules {
            rule(&self, &mut found);
        }
        let Found { errors, warnings } = found;
        if !errors.is_empty() {
            return Err(Findings::new(errors));
        }
        let order = upstream_first(&self);
        Ok(Plan { graph: self, order, warnings: Findings::new(warnings) })
    }

    /// Who transforms from this record: the other record and the stage.
    pub(super) fn transforms_of<'g>(
        &'g self,
        key: &'g str,
    ) -> impl Iterator<Item = (&'g RecordNode, &'g StageNode)> {
        let stages = self
            .records
            .iter()
            .flat_map(|record| record.stages.iter().map(move |stage| (record, stage)));
        stages.filter(move |(_, stage)| stage.kind.inputs().iter().any(|input| input.key == key))
    }
}

/// What the rules have found so far.
///
/// Its methods are no generics, and the rules are loops: for a microcontroller, where every copy of a closure and of an
/// iterator around it counts.
#[derive(Default)]
struct Found {
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
}

impl Found {
    fn add(&mut self, rule: Rule, record: &str, problem: fmt::Arguments<'_>, help: &str) {
        let problem = alloc::fmt::format(problem);
        self.push(Finding { rule, record: record.into(), problem, help: help.into() });
    }

    fn push(&mut self, finding: Finding) {
        match finding.rule.severity() {
            Severity::Error => self.errors.push(finding),
            Severity::Warning => self.warnings.push(finding),
        }
    }
}

fn empty_keys(graph: &Graph, found: &mut Found) {
    for record in &graph.records {
        if record.key.is_empty() {
            let problem = format_args!("a record of type `{}` has an empty key", record.value.name);
            found.add(
                Rule::EmptyKey,
                "",
                problem,
                "give it a name, for instance `sensor.temperature`",
            );
        }
    }
}

fn two_types(graph: &Graph, found: &mut Found) {
    let records = &graph.records;
    let by_key = ByKey::of(graph);
    for same_key in by_key.places.chunk_by(|&a, &b| records[a].key == records[b].key) {
        if same_key.len() > 1 {
            let names = listed(same_key, "` and `", &|&at| records[at].value.name.into());
            let problem = format_args!("is configured with {} types: `{names}`", same_key.len());
            let help = "give each type a key of its own, or use one type for both";
            found.add(Rule::TwoTypes, &records[same_key[0]].key, problem, help);
        }
    }
}

fn buffers(graph: &Graph, found: &mut Found) {
    for record in &graph.records {
        match record.buffers.as_slice() {
            [] => no_buffer(graph, record, found),
            [buffer] if buffer.capacity() == 0 => {
                let problem = format_args!("its buffer is a {buffer}, which can hold nothing");
                let help = "give it a capacity of at least 1, or use `BufferCfg::SingleLatest`";
                found.add(Rule::ZeroCapacity, &record.key, problem, help);
            }
            [_] => {}
            several => {
                let names = listed(several, " and ", &|buffer| format!("a {buffer}"));
                let problem = format_args!("has {} buffers: {names}", several.len());
                found.add(Rule::TwoBuffers, &record.key, problem, "keep one `.buffer(…)` call");
            }
        }
    }
}

fn no_buffer(graph: &Graph, record: &RecordNode, found: &mut Found) {
    // A key with two types has two nodes; what is missing in both is told once.
    for other in &graph.records {
        let same_key = other.key == record.key;
        if same_key && (!other.buffers.is_empty() || other.value.name < record.value.name) {
            return;
        }
    }
    let help = "add `.buffer(BufferCfg::SpmcRing { capacity: 16 })` or another kind";
    let key = &record.key;
    if record.stages.is_empty() {
        found.add(Rule::NoBuffer, key, format_args!("is configured but has no buffer"), help);
    } else {
        let users = name_list(&record.stages, &|_| true);
        found.add(Rule::NoBuffer, key, format_args!("is used by {users} but has no buffer"), help);
    }
}

/// A record has one owner: one source, or one transform and nothing else.
fn conflicting_writers(graph: &Graph, found: &mut Found) {
    for record in &graph.records {
        let (mut writers, mut sources, mut derived) = (0, 0, false);
        for stage in record.writers() {
            writers += 1;
            sources += usize::from(stage.kind == StageKind::Source);
            derived |= matches!(stage.kind, StageKind::Transform { .. });
        }
        let help = match (sources, derived) {
            (_, true) if writers > 1 => {
                "a derived record follows its inputs alone: give every other writer a record of its own and join them"
            }
            (2.., false) => {
                "let one source write it, or give each source its own record and join them"
            }
            _ => continue,
        };
        let writers = name_list(&record.stages, &|stage| stage.kind.writes());
        let problem = format_args!("its writers exclude each other: {writers}");
        found.add(Rule::ConflictingWriters, &record.key, problem, help);
    }
}

fn several_takers(graph: &Graph, found: &mut Found) {
    for record in &graph.records {
        if record.shared || !record.buffers.contains(&BufferCfg::Mailbox) {
            continue;
        }
        let mut takers = Vec::new();
        for stage in record.readers() {
            takers.push(describe(stage));
        }
        for (to, stage) in graph.transforms_of(&record.key) {
            takers.push(transform_name(to, stage));
        }
        if takers.len() > 1 {
            let problem = format_args!(
                "its mailbox gives each command to one taker, but has {}: {}",
                takers.len(),
                listed(&takers, " and ", &String::clone)
            );
            let help = "keep one, declare the record `.shared()` if they are meant to divide the commands, or use a queue";
            found.add(Rule::SeveralTakers, &record.key, problem, help);
        }
    }
}

fn inputs(graph: &Graph, found: &mut Found) {
    let by_key = ByKey::of(graph);
    for record in &graph.records {
        for stage in &record.stages {
            for input in stage.kind.inputs() {
                let reads = format!("its {} reads `{}`", describe(stage), input.key);
                wrong_input(&by_key, record, &reads, input, found);
            }
            if matches!(&stage.kind, StageKind::Transform { inputs, join: true } if inputs.is_empty())
            {
                let problem = format_args!(
                    "its {} has no inputs and would never produce anything",
                    describe(stage)
                );
                let help = "give the join at least one `input::<T>(key)`";
                found.add(Rule::EmptyJoin, &record.key, problem, help);
            }
        }
    }
}

fn wrong_input(
    by_key: &ByKey<'_>,
    record: &RecordNode,
    reads: &str,
    input: &InputNode,
    found: &mut Found,
) {
    let holders = by_key.all(&input.key);
    let [first, others @ ..] = holders.as_slice() else {
        let help = format!(
            "configure it: `builder.configure::<{}>(\"{}\", …)`{}",
            input.value.short_name(),
            input.key,
            did_you_mean(by_key.graph, &input.key)
        );
        let problem = format_args!("{reads}, which does not exist");
        return found.add(Rule::MissingInput, &record.key, problem, &help);
    };
    if !holders.iter().any(|holder| holder.value == input.value) {
        let held = listed(&holders, "` or `", &|holder| holder.value.name.into());
        let problem = format_args!("{reads} as `{}`, but it holds `{held}`", input.value.name);
        let help = match others {
            [] => format!("use `input::<{}>` and take that type", first.value.short_name()),
            _ => "decide on its type and use that in `input::<…>`".into(),
        };
        found.add(Rule::InputType, &record.key, problem, &help);
    } else if holders.iter().all(|holder| holder.buffers.is_empty()) {
        let problem = format_args!("{reads}, which has no buffer to read from");
        let help = format!("give `{}` a buffer", input.key);
        found.add(Rule::InputWithoutBuffer, &record.key, problem, &help);
    }
}

fn cycles(graph: &Graph, found: &mut Found) {
    let by_key = ByKey::of(graph);
    let edges = edges(graph, &by_key);
    let mut state = vec![Visit::New; graph.records.len()];
    let mut circles = Vec::new();
    for &start in &by_key.places {
        find_cycles(start, &edges, &mut state, &mut circles);
    }
    for mut circle in circles {
        // Told from its alphabetically first record on, whatever was registered first.
        let key = |at: usize| graph.records[at].key.as_str();
        let first = (0..circle.len()).min_by_key(|&at| key(circle[at])).unwrap_or(0);
        circle.rotate_left(first);
        let mut keys = String::new();
        for &at in &circle {
            keys.push_str(key(at));
            keys.push_str(" → ");
        }
        let first = key(circle[0]);
        let problem = format_args!("depends on itself: {keys}{first}");
        let help = "break the circle: let one of these transforms read a record that a source or a link writes";
        found.add(Rule::Cycle, first, problem, help);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Visit {
    New,
    OnPath,
    Done,
}

/// `edges(…)[i]`: the records that are made from record `i`.
fn edges(graph: &Graph, by_key: &ByKey<'_>) -> Vec<Vec<usize>> {
    let mut edges = vec![Vec::new(); graph.records.len()];
    for &place in &by_key.places {
        let record = &graph.records[place];
        // A key with two types is one place in the graph, however wrong.
        let Some(to) = by_key.find(&record.key) else { continue };
        for input in record.stages.iter().flat_map(|stage| stage.kind.inputs()) {
            if let Some(from) = by_key.find(&input.key) {
                edges[from].push(to);
            }
        }
    }
    edges
}

/// Depth first, with a stack of its own: graphs may be deep.
fn find_cycles(
    start: usize,
    edges: &[Vec<usize>],
    state: &mut [Visit],
    found: &mut Vec<Vec<usize>>,
) {
    let mut path = Vec::new();
    if state[start] != Visit::New {
        return;
    }
    state[start] = Visit::OnPath;
    path.push((start, 0));
    while let Some((at, next)) = path.last_mut() {
        let Some(&to) = edges[*at].get(*next) else {
            state[*at] = Visit::Done;
            path.pop();
            continue;
        };
        *next += 1;
        match state[to] {
            Visit::New => {
                state[to] = Visit::OnPath;
                path.push((to, 0));
            }
            Visit::OnPath => {
                let from = path.iter().position(|(on_path, _)| *on_path == to).unwrap_or(0);
                found.push(path[from..].iter().map(|(on_path, _)| *on_path).collect());
            }
            Visit::Done => {}
        }
    }
}

/// Kahn's algorithm; the graph has no cycle by now.
fn upstream_first(graph: &Graph) -> Vec<usize> {
    let edges = edges(graph, &ByKey::of(graph));
    let mut waits_for = vec![0_usize; graph.records.len()];
    edges.iter().flatten().for_each(|&to| waits_for[to] += 1);
    let mut order: Vec<usize> = (0..waits_for.len()).filter(|&at| waits_for[at] == 0).collect();
    let mut done = 0;
    while done < order.len() {
        for &to in &edges[order[done]] {
            waits_for[to] -= 1;
            if waits_for[to] == 0 {
                order.push(to);
            }
        }
        done += 1;
    }
    order
}

fn connector_names(graph: &Graph, found: &mut Found) {
    let connectors = &graph.connectors;
    let by_name =
        sorted_places(connectors.len(), &|a, b| connectors[a].name.cmp(&connectors[b].name));
    for same_name in by_name.chunk_by(|&a, &b| connectors[a].name == connectors[b].name) {
        if same_name.len() > 1 {
            let name = &connectors[same_name[0]].name;
            let all = listed(same_name, " and ", &|&at| connectors[at].description.clone());
            let problem = format_args!("{} connectors are named `{name}`: {all}", same_name.len());
            let help = format!(
                "name them apart, for instance `.named(\"{name}-2\")`, and use that as the links' scheme"
            );
            found.add(Rule::TwoConnectors, "", problem, &help);
        }
    }
}

fn addresses(graph: &Graph, found: &mut Found) {
    for record in &graph.records {
        for stage in &record.stages {
            let Some(link) = stage.kind.link() else { continue };
            match &link.parsed {
                Err(reason) => {
                    let problem =
                        format_args!("its link address `{}` cannot be read: {reason}", link.text);
                    let help = "write `scheme://topic?option=value`, for instance `mqtt://sensors/temp?qos=1`";
                    found.add(Rule::BadAddress, &record.key, problem, help);
                }
                Ok(address)
                    if !graph.connectors.iter().any(|known| known.name == address.scheme) =>
                {
                    unknown_scheme(graph, record, &link.text, &address.scheme, found);
                }
                Ok(_) => {}
            }
        }
    }
}

fn unknown_scheme(graph: &Graph, record: &RecordNode, text: &str, scheme: &str, found: &mut Found) {
    let there = if graph.connectors.is_empty() {
        "there are none".to_string()
    } else {
        let known = listed(&graph.connectors, "`, `", &|connector| connector.name.clone());
        format!("there are: `{known}`")
    };
    let problem = format_args!(
        "its link `{text}` asks for the connector `{scheme}`, which does not exist ({there})"
    );
    let help = "add it with `builder.connector(…)`, or correct the scheme";
    found.add(Rule::UnknownScheme, &record.key, problem, help);
}

fn connector_faults(graph: &Graph, found: &mut Found) {
    for connector in &graph.connectors {
        for fault in &connector.faults {
            found.push(fault.clone());
        }
    }
}

fn unused(graph: &Graph, found: &mut Found) {
    for record in &graph.records {
        if record.writers().next().is_none() {
            let help = "add a source, a transform or a link, or write it through `db.producer(…)`";
            found.add(
                Rule::NoWriter,
                &record.key,
                format_args!("nobody in the graph writes it"),
                help,
            );
        }
        if record.readers().next().is_none() && graph.transforms_of(&record.key).next().is_none() {
            let help = "add a tap, a transform or a link, or read it through `db.consumer(…)`";
            found.add(
                Rule::NoReader,
                &record.key,
                format_args!("nobody in the graph reads it"),
                help,
            );
        }
    }
}

fn describe(stage: &StageNode) -> String {
    match &stage.kind {
        StageKind::Source => format!("source `{}`", stage.name),
        StageKind::Tap => format!("tap `{}`", stage.name),
        StageKind::Transform { join: true, .. } => format!("join `{}`", stage.name),
        StageKind::Transform { .. } => format!("transform `{}`", stage.name),
        StageKind::LinkTo { address } => format!("link to `{}`", address.text),
        StageKind::LinkFrom { address } => format!("link from `{}`", address.text),
    }
}

fn transform_name(to: &RecordNode, stage: &StageNode) -> String {
    format!("{} of `{}`", describe(stage), to.key)
}

fn name_list(stages: &[StageNode], wanted: &dyn Fn(&StageNode) -> bool) -> String {
    let mut named = Vec::new();
    for stage in stages {
        if wanted(stage) {
            named.push(stage);
        }
    }
    listed(&named, " and ", &|stage| describe(stage))
}

/// The key that differs least, if it differs little.
fn did_you_mean(graph: &Graph, key: &str) -> String {
    let near = graph.records.iter().map(|record| (distance(&record.key, key), &record.key)).min();
    match near {
        Some((far, near)) if far < key.len() && far <= key.len().div_ceil(3) => {
            format!("; did you mean `{near}`?")
        }
        _ => String::new(),
    }
}

/// Levenshtein's distance, in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = core::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
