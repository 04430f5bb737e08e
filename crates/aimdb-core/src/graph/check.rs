//! The rules, one function each, and the plan that only a graph without findings becomes.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::{
    Finding, Findings, Graph, InputNode, RecordNode, Rule, Severity, StageKind, StageNode,
};
use crate::buffer::BufferCfg;

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
            capacities,
            conflicting_writers,
            several_takers,
            inputs,
            empty_joins,
            cycles,
            connector_names,
            addresses,
            connector_faults,
            unused,
        ];
        let sorted = self.sorted();
        let findings = rules.iter().flat_map(|rule| rule(&sorted));
        let (errors, warnings): (Vec<_>, Vec<_>) =
            findings.partition(|finding| finding.rule.severity() == Severity::Error);
        if !errors.is_empty() {
            return Err(Findings::new(errors));
        }
        let order = upstream_first(&self);
        Ok(Plan { graph: self, order, warnings: Findings::new(warnings) })
    }

    /// The same graph in an order that does not depend on the order of registration, which findings must not show.
    fn sorted(&self) -> Self {
        let mut sorted = self.clone();
        for record in &mut sorted.records {
            record.buffers.sort_by_key(ToString::to_string);
            record.stages.sort_by_cached_key(describe);
        }
        sorted.records.sort_by(|a, b| (&a.key, a.value.name).cmp(&(&b.key, b.value.name)));
        sorted.connectors.sort_by(|a, b| (&a.name, &a.description).cmp(&(&b.name, &b.description)));
        sorted
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

fn empty_keys(graph: &Graph) -> Vec<Finding> {
    let empty = graph.records.iter().filter(|record| record.key.is_empty());
    empty
        .map(|record| {
            let problem = format!("a record of type `{}` has an empty key", record.value.name);
            Finding::new(
                Rule::EmptyKey,
                "",
                problem,
                "give it a name, for instance `sensor.temperature`",
            )
        })
        .collect()
}

fn two_types(graph: &Graph) -> Vec<Finding> {
    let mut types: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for record in &graph.records {
        types.entry(&record.key).or_default().push(record.value.name);
    }
    types.retain(|_, names| names.len() > 1);
    types
        .into_iter()
        .map(|(key, mut names)| {
            names.sort_unstable();
            let problem =
                format!("is configured with {} types: `{}`", names.len(), names.join("` and `"));
            Finding::new(
                Rule::TwoTypes,
                key,
                problem,
                "give each type a key of its own, or use one type for both",
            )
        })
        .collect()
}

fn buffers(graph: &Graph) -> Vec<Finding> {
    graph
        .records
        .iter()
        .flat_map(|record| [no_buffer(graph, record), two_buffers(record)])
        .flatten()
        .collect()
}

fn no_buffer(graph: &Graph, record: &RecordNode) -> Option<Finding> {
    if !record.buffers.is_empty() || !is_first(graph, record) {
        return None;
    }
    let users = match record.stages.as_slice() {
        [] => "is configured but has no buffer".to_string(),
        stages => format!("is used by {} but has no buffer", name_list(stages.iter())),
    };
    Some(Finding::new(
        Rule::NoBuffer,
        &record.key,
        users,
        "add `.buffer(BufferCfg::SpmcRing { capacity: 16 })` or another kind",
    ))
}

/// A key with two types has two nodes; what is missing in both is told once.
fn is_first(graph: &Graph, record: &RecordNode) -> bool {
    let same_key = graph.records.iter().filter(|other| other.key == record.key);
    same_key.clone().all(|other| other.buffers.is_empty())
        && same_key.clone().next().is_some_and(|first| core::ptr::eq(first, record))
}

fn two_buffers(record: &RecordNode) -> Option<Finding> {
    let [first, second, ..] = record.buffers.as_slice() else { return None };
    let problem = format!("has {} buffers: a {first} and a {second}", record.buffers.len());
    Some(Finding::new(Rule::TwoBuffers, &record.key, problem, "keep one `.buffer(…)` call"))
}

fn capacities(graph: &Graph) -> Vec<Finding> {
    let all = graph
        .records
        .iter()
        .flat_map(|record| record.buffers.iter().map(move |buffer| (record, buffer)));
    all.filter(|(_, buffer)| buffer.capacity() == 0)
        .map(|(record, buffer)| {
            let problem = format!("its buffer is a {buffer}, which can hold nothing");
            let remedy = "give it a capacity of at least 1, or use `BufferCfg::SingleLatest`";
            Finding::new(Rule::ZeroCapacity, &record.key, problem, remedy)
        })
        .collect()
}

/// A record has one owner: one source, or one transform and nothing else.
fn conflicting_writers(graph: &Graph) -> Vec<Finding> {
    graph
        .records
        .iter()
        .filter_map(|record| {
            let sources = record.writers().filter(|stage| stage.kind == StageKind::Source).count();
            let derived = record.writers().any(|stage| matches!(stage.kind, StageKind::Transform { .. }));
            let remedy = match (sources, derived) {
                (_, true) if record.writers().count() > 1 => {
                    "a derived record follows its inputs alone: give every other writer a record of its own and join them"
                }
                (2.., false) => "let one source write it, or give each source its own record and join them",
                _ => return None,
            };
            let problem = format!("its writers exclude each other: {}", name_list(record.writers()));
            Some(Finding::new(Rule::ConflictingWriters, &record.key, problem, remedy))
        })
        .collect()
}

fn several_takers(graph: &Graph) -> Vec<Finding> {
    graph
        .records
        .iter()
        .filter(|record| record.buffers.contains(&BufferCfg::Mailbox) && !record.shared)
        .filter_map(|record| {
            let mut takers: Vec<String> = record.readers().map(describe).collect();
            takers.extend(graph.transforms_of(&record.key).map(|(to, stage)| transform_name(to, stage)));
            if takers.len() < 2 {
                return None;
            }
            let problem = format!(
                "its mailbox gives each command to one taker, but has {}: {}",
                takers.len(),
                takers.join(" and ")
            );
            let remedy =
                "keep one, declare the record `.shared()` if they are meant to divide the commands, or use a queue";
            Some(Finding::new(Rule::SeveralTakers, &record.key, problem, remedy))
        })
        .collect()
}

fn inputs(graph: &Graph) -> Vec<Finding> {
    let all = graph
        .records
        .iter()
        .flat_map(|record| record.stages.iter().map(move |stage| (record, stage)));
    all.flat_map(|(record, stage)| {
        stage.kind.inputs().iter().filter_map(|input| wrong_input(graph, record, stage, input))
    })
    .collect()
}

fn wrong_input(
    graph: &Graph,
    record: &RecordNode,
    stage: &StageNode,
    input: &InputNode,
) -> Option<Finding> {
    let reads = format!("its {} reads `{}`", describe(stage), input.key);
    let found: Vec<&RecordNode> =
        graph.records.iter().filter(|other| other.key == input.key).collect();
    let [first, others @ ..] = found.as_slice() else {
        let remedy = format!(
            "configure it: `builder.configure::<{}>(\"{}\", …)`{}",
            input.value.short_name(),
            input.key,
            did_you_mean(graph, &input.key)
        );
        return Some(Finding::new(
            Rule::MissingInput,
            &record.key,
            format!("{reads}, which does not exist"),
            remedy,
        ));
    };
    if !found.iter().any(|other| other.value == input.value) {
        let held: Vec<&str> = found.iter().map(|other| other.value.name).collect();
        let problem =
            format!("{reads} as `{}`, but it holds `{}`", input.value.name, held.join("` or `"));
        let remedy = match others {
            [] => format!("use `input::<{}>` and take that type", first.value.short_name()),
            _ => "decide on its type and use that in `input::<…>`".to_string(),
        };
        return Some(Finding::new(Rule::InputType, &record.key, problem, remedy));
    }
    let bare = found.iter().all(|other| other.buffers.is_empty());
    bare.then(|| {
        let problem = format!("{reads}, which has no buffer to read from");
        Finding::new(
            Rule::InputWithoutBuffer,
            &record.key,
            problem,
            format!("give `{}` a buffer", input.key),
        )
    })
}

fn empty_joins(graph: &Graph) -> Vec<Finding> {
    let all = graph
        .records
        .iter()
        .flat_map(|record| record.stages.iter().map(move |stage| (record, stage)));
    all.filter(|(_, stage)| matches!(&stage.kind, StageKind::Transform { inputs, join: true } if inputs.is_empty()))
        .map(|(record, stage)| {
            let problem = format!("its {} has no inputs and would never produce anything", describe(stage));
            Finding::new(Rule::EmptyJoin, &record.key, problem, "give the join at least one `input::<T>(key)`")
        })
        .collect()
}

fn cycles(graph: &Graph) -> Vec<Finding> {
    let edges = edges(graph);
    let mut state = vec![Visit::New; graph.records.len()];
    let mut path = Vec::new();
    let mut found = Vec::new();
    for start in 0..graph.records.len() {
        find_cycles(start, &edges, &mut state, &mut path, &mut found);
    }
    found
        .into_iter()
        .map(|mut cycle| {
            // Told from its alphabetically first record on, whatever was registered first.
            let first = (0..cycle.len()).min_by_key(|&at| &graph.records[cycle[at]].key).unwrap_or(0);
            cycle.rotate_left(first);
            let keys: Vec<&str> = cycle.iter().map(|&at| graph.records[at].key.as_str()).collect();
            let problem = format!("depends on itself: {} → {}", keys.join(" → "), keys[0]);
            let remedy = "break the circle: let one of these transforms read a record that a source or a link writes";
            Finding::new(Rule::Cycle, keys[0], problem, remedy)
        })
        .collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Visit {
    New,
    OnPath,
    Done,
}

/// `edges(g)[i]`: the records that are made from record `i`.
fn edges(graph: &Graph) -> Vec<Vec<usize>> {
    // A key with two types is one place in the graph, however wrong.
    let index: BTreeMap<&str, usize> =
        graph.records.iter().enumerate().map(|(at, record)| (record.key.as_str(), at)).collect();
    let mut edges = vec![Vec::new(); graph.records.len()];
    for record in &graph.records {
        let to = index[record.key.as_str()];
        for input in record.stages.iter().flat_map(|stage| stage.kind.inputs()) {
            if let Some(&from) = index.get(input.key.as_str()) {
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
    path: &mut Vec<(usize, usize)>,
    found: &mut Vec<Vec<usize>>,
) {
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
    let edges = edges(graph);
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

fn connector_names(graph: &Graph) -> Vec<Finding> {
    let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for connector in &graph.connectors {
        names.entry(&connector.name).or_default().push(&connector.description);
    }
    names.retain(|_, found| found.len() > 1);
    names
        .into_iter()
        .map(|(name, mut found)| {
            found.sort_unstable();
            let problem = format!("{} connectors are named `{name}`: {}", found.len(), found.join(" and "));
            let remedy = format!("name them apart, for instance `.named(\"{name}-2\")`, and use that as the links' scheme");
            Finding::new(Rule::TwoConnectors, "", problem, remedy)
        })
        .collect()
}

fn addresses(graph: &Graph) -> Vec<Finding> {
    let all = graph
        .records
        .iter()
        .flat_map(|record| record.stages.iter().map(move |stage| (record, stage)));
    all.filter_map(|(record, stage)| {
        let link = stage.kind.link()?;
        match &link.parsed {
            Err(reason) => Some(Finding::new(
                Rule::BadAddress,
                &record.key,
                format!("its link address `{}` cannot be read: {reason}", link.text),
                "write `scheme://topic?option=value`, for instance `mqtt://sensors/temp?qos=1`",
            )),
            Ok(address) if !graph.connectors.iter().any(|known| known.name == address.scheme) => {
                Some(unknown_scheme(graph, record, &link.text, &address.scheme))
            }
            Ok(_) => None,
        }
    })
    .collect()
}

fn unknown_scheme(graph: &Graph, record: &RecordNode, text: &str, scheme: &str) -> Finding {
    let known: Vec<&str> =
        graph.connectors.iter().map(|connector| connector.name.as_str()).collect();
    let there = if known.is_empty() {
        "there are none".to_string()
    } else {
        format!("there are: `{}`", known.join("`, `"))
    };
    let problem = format!(
        "its link `{text}` asks for the connector `{scheme}`, which does not exist ({there})"
    );
    Finding::new(
        Rule::UnknownScheme,
        &record.key,
        problem,
        "add it with `builder.connector(…)`, or correct the scheme",
    )
}

fn connector_faults(graph: &Graph) -> Vec<Finding> {
    graph.connectors.iter().flat_map(|connector| connector.faults.iter().cloned()).collect()
}

fn unused(graph: &Graph) -> Vec<Finding> {
    let mut warnings = Vec::new();
    for record in &graph.records {
        if record.writers().next().is_none() {
            let remedy =
                "add a source, a transform or a link, or write it through `db.producer(…)`";
            warnings.push(Finding::new(
                Rule::NoWriter,
                &record.key,
                "nobody in the graph writes it",
                remedy,
            ));
        }
        if record.readers().next().is_none() && graph.transforms_of(&record.key).next().is_none() {
            let remedy = "add a tap, a transform or a link, or read it through `db.consumer(…)`";
            warnings.push(Finding::new(
                Rule::NoReader,
                &record.key,
                "nobody in the graph reads it",
                remedy,
            ));
        }
    }
    warnings
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

fn name_list<'s>(stages: impl Iterator<Item = &'s StageNode>) -> String {
    stages.map(describe).collect::<Vec<_>>().join(" and ")
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
