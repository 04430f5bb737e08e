//! The rules, one function each, and the plan of a graph that follows all of them.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use super::location::Locations;
use super::order::ByKey;
use super::sort::{join_sorted, sorted_indices};
use crate::buffer::cfg::BufferCfg;
use crate::graph::finding::{Finding, Findings, Rule, Severity};
use crate::graph::node::{
    BufferNode, ConnectorNode, Graph, LinkNode, PortNode, RecordNode, StageKind, StageNode,
};

/// A graph that follows every rule: keys are unique, every record has one buffer, every input exists.
///
/// Only [`Graph::check`] makes one.
///
/// ```
/// use aimdb_core::{AimDbBuilder, Runtime};
///
/// /// A test of the declaration: no errors, and no warnings either.
/// fn assert_complete<R: Runtime>(builder: &AimDbBuilder<R>) {
///     let plan = builder.graph().check().unwrap();
///     assert!(plan.warnings().is_empty(), "{}", plan.warnings());
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Plan {
    graph: Graph,
    /// Indices of records; each record follows the records that it is made from.
    order: Vec<usize>,
    warnings: Findings,
}

impl Plan {
    /// The graph that was checked.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Indices into [`Graph::records`], upstream first.
    #[must_use]
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// Findings that do not prevent the build.
    #[must_use]
    pub fn warnings(&self) -> &Findings {
        &self.warnings
    }

    pub(crate) fn buffer(&self, record: usize) -> BufferNode {
        self.graph.records[record].buffers[0]
    }

    pub(crate) fn into_graph(self) -> Graph {
        self.graph
    }
}

impl Graph {
    /// Checks all rules and returns the plan.
    ///
    /// # Errors
    ///
    /// All [`Findings`] that are errors, in an order that does not depend on the order of registration.
    pub fn check(self) -> Result<Plan, Findings> {
        let mut all = FurtherRules::default();
        all.add_edges();
        all.add_links();
        all.add_connectors();
        all.add_initial_values();
        all.add_exposures();
        all.add_services();
        self.check_with(all)
    }

    /// [`check`](Self::check) with the rules of every graph and those of `further`.
    pub(crate) fn check_with(self, further: FurtherRules) -> Result<Plan, Findings> {
        let mut report = Report::default();
        let everywhere = [
            empty_keys,
            two_types,
            buffers,
            conflicting_writers,
            several_takers,
            stage_names,
            unused,
        ];
        for rule in everywhere {
            rule(&self, &mut report);
        }
        let FurtherRules { edges, links, connectors, initial_values, exposures, services } =
            further;
        let edge_rules = edges.map(|edges| edges.check);
        let rules = [edge_rules, links, connectors, initial_values, exposures, services];
        for rule in rules.into_iter().flatten() {
            rule(&self, &mut report);
        }
        let Report { errors, warnings } = report;
        if !errors.is_empty() {
            return Err(Findings::new(errors));
        }
        let order = match edges {
            Some(edges) => (edges.order)(&self),
            None => (0..self.records.len()).collect(),
        };
        Ok(Plan { graph: self, order, warnings: Findings::new(warnings) })
    }

    /// The transforms and processors that read a record, each with the record that it belongs to.
    pub(super) fn readers_elsewhere(&self) -> Elsewhere<'_> {
        Elsewhere::new(self, &|stage| stage.kind.inputs())
    }

    /// The processors of other records that write a record, each with the record that it belongs to.
    pub(super) fn writers_elsewhere(&self) -> Elsewhere<'_> {
        Elsewhere::new(self, &|stage| stage.kind.outputs())
    }

    /// The `configure` calls of the record `key`, of whatever type.
    fn configured_at(&self, key: &str) -> Locations {
        Locations::collect(|all| {
            for record in self.records.iter().filter(|record| record.key == key) {
                all.extend(&record.locations);
            }
        })
    }
}

type RuleFn = fn(&Graph, &mut Report);

/// Rules that only some stages can break.
///
/// Registering such a stage stores a pointer here, so that a firmware without transforms, links or initial values does not
/// contain the code of their rules.
#[derive(Clone, Copy, Default)]
pub(crate) struct FurtherRules {
    edges: Option<EdgeRules>,
    links: Option<RuleFn>,
    connectors: Option<RuleFn>,
    initial_values: Option<RuleFn>,
    exposures: Option<RuleFn>,
    services: Option<RuleFn>,
}

/// The rules and the order of a graph with edges between its records.
#[derive(Clone, Copy)]
struct EdgeRules {
    check: RuleFn,
    order: fn(&Graph) -> Vec<usize>,
}

impl FurtherRules {
    /// The rules of transforms, joins and processors.
    pub(crate) fn add_edges(&mut self) {
        self.edges = Some(EdgeRules { check: ports_and_cycles, order: upstream_first });
    }

    pub(crate) fn add_links(&mut self) {
        self.links = Some(addresses);
    }

    pub(crate) fn add_connectors(&mut self) {
        self.connectors = Some(names_and_faults);
    }

    pub(crate) fn add_initial_values(&mut self) {
        self.initial_values = Some(initial_values);
    }

    pub(crate) fn add_services(&mut self) {
        self.services = Some(services);
    }

    pub(crate) fn add_exposures(&mut self) {
        self.exposures = Some(exposures);
    }

    /// The rules of both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            edges: self.edges.or(other.edges),
            links: self.links.or(other.links),
            connectors: self.connectors.or(other.connectors),
            initial_values: self.initial_values.or(other.initial_values),
            exposures: self.exposures.or(other.exposures),
            services: self.services.or(other.services),
        }
    }
}

fn ports_and_cycles(graph: &Graph, report: &mut Report) {
    ports(graph, report);
    cycles(graph, report);
}

fn names_and_faults(graph: &Graph, report: &mut Report) {
    connector_names(graph, report);
    linked_queues(graph, report);
    connector_faults(graph, report);
}

/// The findings of the rules that have been checked.
///
/// Its methods are not generic and the rules are plain loops, because each copy of a closure and of an iterator around
/// it costs flash on a microcontroller.
#[derive(Default)]
struct Report {
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
}

impl Report {
    fn add(
        &mut self,
        rule: Rule,
        record: &str,
        locations: &Locations,
        problem: fmt::Arguments<'_>,
        help: &str,
    ) {
        let problem = alloc::fmt::format(problem);
        self.push(Finding::new(rule, record, problem, help).at_all(locations));
    }

    fn push(&mut self, finding: Finding) {
        match finding.rule.severity() {
            Severity::Error => self.errors.push(finding),
            Severity::Warning => self.warnings.push(finding),
        }
    }
}

fn empty_keys(graph: &Graph, report: &mut Report) {
    for record in &graph.records {
        if record.key.is_empty() {
            let problem = format_args!("a record of type `{}` has an empty key", record.value.name);
            let help = "give it a name, for instance `sensor.temperature`";
            report.add(Rule::EmptyKey, "", &record.locations, problem, help);
        }
    }
}

fn two_types(graph: &Graph, report: &mut Report) {
    let records = &graph.records;
    let by_key = ByKey::new(graph);
    for same_key in by_key.indices.chunk_by(|&a, &b| records[a].key == records[b].key) {
        if same_key.len() > 1 {
            let key = &records[same_key[0]].key;
            let names = join_sorted(same_key, "` and `", &|&at| records[at].value.name.into());
            let problem = format_args!("is configured with {} types: `{names}`", same_key.len());
            let help = "give each type a key of its own, or use one type for both";
            report.add(Rule::TwoTypes, key, &graph.configured_at(key), problem, help);
        }
    }
}

fn buffers(graph: &Graph, report: &mut Report) {
    for record in &graph.records {
        match record.buffers.as_slice() {
            [] => no_buffer(graph, record, report),
            [BufferNode { cfg, location }] if cfg.capacity() == 0 => {
                let problem = format_args!("its buffer is a {cfg}, which can hold nothing");
                let help = "give it a capacity of at least 1, or use `BufferCfg::SingleLatest`";
                let location = (*location).into();
                report.add(Rule::ZeroCapacity, &record.key, &location, problem, help);
            }
            [_] => {}
            several => {
                let names = join_sorted(several, " and ", &|buffer| format!("a {}", buffer.cfg));
                let problem = format_args!("has {} buffers: {names}", several.len());
                let locations = Locations::collect(|all| {
                    all.extend(several.iter().map(|buffer| buffer.location));
                });
                let help = "keep one `.buffer(…)` call";
                report.add(Rule::TwoBuffers, &record.key, &locations, problem, help);
            }
        }
    }
}

fn no_buffer(graph: &Graph, record: &RecordNode, report: &mut Report) {
    // A key with two types has two nodes; one finding reports the missing buffer of both.
    for other in &graph.records {
        let same_key = other.key == record.key;
        if same_key && (!other.buffers.is_empty() || other.value.name < record.value.name) {
            return;
        }
    }
    let key = &record.key;
    let locations = graph.configured_at(key);
    let help = "add `.buffer(BufferCfg::SpmcRing { capacity: 16 })` or another kind";
    if record.stages.is_empty() {
        let problem = format_args!("is configured but has no buffer");
        report.add(Rule::NoBuffer, key, &locations, problem, help);
    } else {
        let users = name_list(&record.stages, &|_| true);
        let problem = format_args!("is used by {users} but has no buffer");
        report.add(Rule::NoBuffer, key, &locations, problem, help);
    }
}

/// The stages that belong to one record and use others, by the key of those others. A rule makes it once: a search of all
/// stages for each record would take time in proportion to the square of their number.
pub(super) struct Elsewhere<'g> {
    /// The key that is used, the record of the stage that uses it, and the stage.
    uses: Vec<(&'g str, &'g RecordNode, &'g StageNode)>,
    /// Indices of `uses`, sorted by key; those of one key stay in the order of the graph.
    by_key: Vec<usize>,
}

impl<'g> Elsewhere<'g> {
    fn new(graph: &'g Graph, ports: &dyn Fn(&'g StageNode) -> &'g [PortNode]) -> Self {
        let mut uses = Vec::new();
        for record in &graph.records {
            for stage in &record.stages {
                let ports = ports(stage);
                for (nth, port) in ports.iter().enumerate() {
                    // A stage that uses a record twice is listed once.
                    if ports[..nth].iter().all(|before| before.key != port.key) {
                        uses.push((port.key.as_str(), record, stage));
                    }
                }
            }
        }
        let by_key = sorted_indices(uses.len(), &|a, b| uses[a].0.cmp(uses[b].0));
        Self { uses, by_key }
    }

    /// The stages that use the record `key`.
    pub(super) fn of(&self, key: &str) -> impl Iterator<Item = (&'g RecordNode, &'g StageNode)> {
        let from = self.by_key.partition_point(|&at| self.uses[at].0 < key);
        let to = self.by_key.partition_point(|&at| self.uses[at].0 <= key);
        self.by_key[from..to].iter().map(|&at| (self.uses[at].1, self.uses[at].2))
    }

    /// Whether a stage uses the record `key`.
    fn any(&self, key: &str) -> bool {
        self.of(key).next().is_some()
    }
}

/// Whether a stage of the graph reads the record.
fn is_read(record: &RecordNode, readers_elsewhere: &Elsewhere<'_>) -> bool {
    record.readers().next().is_some() || readers_elsewhere.any(&record.key)
}

/// A record has one kind of writer: one source and any links, or one transform and nothing else, or processors.
fn conflicting_writers(graph: &Graph, report: &mut Report) {
    let elsewhere = graph.writers_elsewhere();
    for record in &graph.records {
        let (mut writers, mut sources, mut transforms, mut processors) = (0, 0, 0, 0);
        let mut names = Vec::new();
        for stage in record.writers() {
            writers += 1;
            match stage.kind {
                StageKind::Source => sources += 1,
                StageKind::Transform { .. } => transforms += 1,
                StageKind::Processor { .. } => processors += 1,
                _ => {}
            }
            names.push(describe(stage));
        }
        for (of, stage) in elsewhere.of(&record.key) {
            writers += 1;
            processors += 1;
            names.push(describe_elsewhere(of, stage));
        }
        let derived = transforms > 0 || processors > 0;
        let help = if derived && writers > 1 && processors < writers {
            "a derived record follows its inputs alone: give every other writer a record of its own and join them"
        } else if !derived && sources > 1 {
            "let one source write it, or give each source its own record: a processor that reads both can merge them, a join combines their newest values"
        } else {
            continue;
        };
        let locations = Locations::collect(|all| {
            all.extend(record.writers().map(|stage| stage.location));
            all.extend(elsewhere.of(&record.key).map(|(_, stage)| stage.location));
        });
        let writers = join_sorted(&names, " and ", &String::clone);
        let problem = format_args!("its writers exclude each other: {writers}");
        report.add(Rule::ConflictingWriters, &record.key, &locations, problem, help);
    }
}

fn several_takers(graph: &Graph, report: &mut Report) {
    let elsewhere = graph.readers_elsewhere();
    for record in &graph.records {
        let is_mailbox = record.buffers.iter().any(|buffer| buffer.cfg == BufferCfg::Mailbox);
        if record.shared || !is_mailbox {
            continue;
        }
        let mut takers = Vec::new();
        for stage in record.readers() {
            takers.push(describe(stage));
        }
        for (to, stage) in elsewhere.of(&record.key) {
            // Each input of a stage is a taker.
            for input in stage.kind.inputs() {
                if input.key == record.key {
                    takers.push(describe_elsewhere(to, stage));
                }
            }
        }
        if takers.len() > 1 {
            let problem = format_args!(
                "its mailbox gives each command to one taker, but has {}: {}",
                takers.len(),
                join_sorted(&takers, " and ", &String::clone)
            );
            let locations = Locations::collect(|all| {
                all.extend(record.readers().map(|stage| stage.location));
                all.extend(elsewhere.of(&record.key).map(|(_, stage)| stage.location));
            });
            let help = "keep one, declare the record `.shared()` if they are meant to divide the commands, or use a queue";
            report.add(Rule::SeveralTakers, &record.key, &locations, problem, help);
        }
    }
}

fn ports(graph: &Graph, report: &mut Report) {
    let by_key = ByKey::new(graph);
    for record in &graph.records {
        for stage in &record.stages {
            for input in stage.kind.inputs() {
                wrong_port(&by_key, record, stage, ("reads", "input"), input, report);
            }
            for output in stage.kind.outputs() {
                wrong_port(&by_key, record, stage, ("writes", "output"), output, report);
            }
            repeated_outputs(record, stage, report);
            let reads_nothing = match &stage.kind {
                StageKind::Transform { inputs, join: true } => inputs.is_empty(),
                StageKind::Processor { inputs, .. } => inputs.is_empty(),
                _ => false,
            };
            if reads_nothing {
                let problem = format_args!(
                    "its {} has no inputs and would never produce anything",
                    describe(stage)
                );
                let help = "give it at least one `input::<T>(key)`";
                let location = stage.location.into();
                report.add(Rule::EmptyJoin, &record.key, &location, problem, help);
            }
        }
    }
}

/// A processor that names a record twice among its outputs, the first of which is its own record.
fn repeated_outputs(record: &RecordNode, stage: &StageNode, report: &mut Report) {
    let outputs = stage.kind.outputs();
    for (at, output) in outputs.iter().enumerate() {
        let before = || outputs[..at].iter().any(|other| other.key == output.key);
        if output.key == record.key || before() {
            let problem = format_args!("its {} writes `{}` twice", describe(stage), output.key);
            let help = "name each further output once; the producer of the record itself is the first of the pair";
            report.add(Rule::RepeatedOutput, &record.key, &stage.location.into(), problem, help);
        }
    }
}

/// A port without its record. `port` is a verb and a noun: what the stage does there, and the function that declares it.
fn wrong_port(
    by_key: &ByKey<'_>,
    record: &RecordNode,
    stage: &StageNode,
    (verb, function): (&str, &str),
    input: &PortNode,
    report: &mut Report,
) {
    let holders = by_key.all(&input.key);
    let right_type = holders.iter().any(|holder| holder.value == input.value);
    if right_type && holders.iter().any(|holder| !holder.buffers.is_empty()) {
        return;
    }
    let reads = format!("its {} {verb} `{}`", describe(stage), input.key);
    let mut locations: Locations = stage.location.into();
    let [first, others @ ..] = holders.as_slice() else {
        let help = format!(
            "configure it: `builder.configure::<{}>(\"{}\", …)`{}",
            input.value.short_name(),
            input.key,
            did_you_mean(by_key.graph, &input.key)
        );
        let problem = format_args!("{reads}, which does not exist");
        return report.add(Rule::MissingInput, &record.key, &locations, problem, &help);
    };
    locations.merge(&by_key.graph.configured_at(&input.key));
    if right_type {
        let problem = format_args!("{reads}, which has no buffer");
        let help = format!("give `{}` a buffer", input.key);
        report.add(Rule::InputWithoutBuffer, &record.key, &locations, problem, &help);
    } else {
        let held = join_sorted(&holders, "` or `", &|holder| holder.value.name.into());
        let problem = format_args!("{reads} as `{}`, but it holds `{held}`", input.value.name);
        let help = match others {
            [] => format!("use `{function}::<{}>` and that type", first.value.short_name()),
            _ => format!("decide on its type and use that in `{function}::<…>`"),
        };
        report.add(Rule::InputType, &record.key, &locations, problem, &help);
    }
}

fn cycles(graph: &Graph, report: &mut Report) {
    let elsewhere = graph.readers_elsewhere();
    let by_key = ByKey::new(graph);
    let edges = edges(graph, &by_key);
    let mut state = vec![VisitState::New; graph.records.len()];
    let mut cycles = Vec::new();
    for &start in &by_key.indices {
        find_cycles(start, &edges, &mut state, &mut cycles);
    }
    for mut cycle in cycles {
        // A cycle is printed from its alphabetically first key on, whichever record was registered first.
        let key = |at: usize| graph.records[at].key.as_str();
        let first = (0..cycle.len()).min_by_key(|&at| key(cycle[at])).unwrap_or(0);
        cycle.rotate_left(first);
        let mut keys = String::new();
        for &at in &cycle {
            keys.push_str(key(at));
            keys.push_str(" → ");
        }
        let first = key(cycle[0]);
        let problem = format_args!("depends on itself: {keys}{first}");
        let help =
            "break the cycle: let one of these stages read a record that a source or a link writes";
        let locations = Locations::collect(|all| {
            for (&from, &to) in cycle.iter().zip(cycle.iter().cycle().skip(1)) {
                let reads = elsewhere.of(key(from)).filter(|(by, stage)| {
                    let writes = |output: &PortNode| output.key == key(to);
                    by.key == key(to) || stage.kind.outputs().iter().any(writes)
                });
                all.extend(reads.map(|(_, stage)| stage.location));
            }
        });
        report.add(Rule::Cycle, first, &locations, problem, help);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum VisitState {
    New,
    OnPath,
    Done,
}

/// `edges(…)[i]`: the indices of the records that are made from the record at index `i`.
fn edges(graph: &Graph, by_key: &ByKey<'_>) -> Vec<Vec<usize>> {
    let mut edges = vec![Vec::new(); graph.records.len()];
    for &index in &by_key.indices {
        let record = &graph.records[index];
        // The records of a key with two types are one node here; `two_types` reports them.
        let Some(to) = by_key.find(&record.key) else { continue };
        for stage in &record.stages {
            for input in stage.kind.inputs() {
                let Some(from) = by_key.find(&input.key) else { continue };
                edges[from].push(to);
                for output in stage.kind.outputs() {
                    edges[from].extend(by_key.find(&output.key));
                }
            }
        }
    }
    edges
}

/// Searches depth first from `start`. The stack is a `Vec`, because a deep graph would overflow the task's stack.
fn find_cycles(
    start: usize,
    edges: &[Vec<usize>],
    state: &mut [VisitState],
    cycles: &mut Vec<Vec<usize>>,
) {
    let mut path = Vec::new();
    if state[start] != VisitState::New {
        return;
    }
    state[start] = VisitState::OnPath;
    path.push((start, 0));
    while let Some((at, next)) = path.last_mut() {
        let Some(&to) = edges[*at].get(*next) else {
            state[*at] = VisitState::Done;
            path.pop();
            continue;
        };
        *next += 1;
        match state[to] {
            VisitState::New => {
                state[to] = VisitState::OnPath;
                path.push((to, 0));
            }
            VisitState::OnPath => {
                let from = path.iter().position(|(on_path, _)| *on_path == to).unwrap_or(0);
                cycles.push(path[from..].iter().map(|(on_path, _)| *on_path).collect());
            }
            VisitState::Done => {}
        }
    }
}

/// The records, each after those it is made from: Kahn's algorithm, on a graph without cycles.
fn upstream_first(graph: &Graph) -> Vec<usize> {
    let edges = edges(graph, &ByKey::new(graph));
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

fn stage_names(graph: &Graph, report: &mut Report) {
    for record in &graph.records {
        for misplaced in &record.misplaced_names {
            let problem = format_args!("its name `{}` is given to no stage", misplaced.name);
            let help = "call `.named(…)` once, directly after the stage";
            let location = misplaced.location.into();
            report.add(Rule::StageName, &record.key, &location, problem, help);
        }
        for stage in &record.stages {
            if stage.is_named && stage.name.is_empty() {
                let problem = format_args!("the name of its {} is empty", kind_name(stage));
                let help = "write a name, or leave `.named(…)` away";
                let location = stage.location.into();
                report.add(Rule::StageName, &record.key, &location, problem, help);
            }
        }
        shared_names(record, report);
    }
}

/// Two stages of a record that were given one name.
fn shared_names(record: &RecordNode, report: &mut Report) {
    let stages = &record.stages;
    let by_name = sorted_indices(stages.len(), &|a, b| stages[a].name.cmp(&stages[b].name));
    for same_name in by_name.chunk_by(|&a, &b| stages[a].name == stages[b].name) {
        let name = &stages[same_name[0]].name;
        if same_name.len() > 1 && !name.is_empty() {
            let kinds = join_sorted(same_name, " and a ", &|&at| kind_name(&stages[at]).into());
            let problem =
                format_args!("{} of its stages are named `{name}`: a {kinds}", same_name.len());
            let locations = Locations::collect(|all| {
                all.extend(same_name.iter().map(|&at| stages[at].location));
            });
            let help = "give each stage a name of its own";
            report.add(Rule::StageName, &record.key, &locations, problem, help);
        }
    }
}

fn initial_values(graph: &Graph, report: &mut Report) {
    let elsewhere = graph.readers_elsewhere();
    for record in &graph.records {
        let count = record.initial_values.len();
        if count > 1 {
            let problem = format_args!("has {count} initial values");
            let help = "keep one `.initial(…)` call";
            let locations = Locations::collect(|all| all.extend(&record.initial_values));
            report.add(Rule::TwoInitialValues, &record.key, &locations, problem, help);
        }
        let is_queue = |buffer: &BufferNode| matches!(buffer.cfg, BufferCfg::SpmcQueue { .. });
        if count > 0 && record.buffers.iter().any(is_queue) && !is_read(record, &elsewhere) {
            let problem = format_args!(
                "its initial value is lost: a queue keeps values for readers that it has"
            );
            let help = "read it by a stage, or make it a ring or a latest record";
            let locations = Locations::collect(|all| all.extend(&record.initial_values));
            report.add(Rule::LostInitialValue, &record.key, &locations, problem, help);
        }
    }
}

fn connector_names(graph: &Graph, report: &mut Report) {
    let connectors = &graph.connectors;
    let by_name =
        sorted_indices(connectors.len(), &|a, b| connectors[a].name.cmp(&connectors[b].name));
    for same_name in by_name.chunk_by(|&a, &b| connectors[a].name == connectors[b].name) {
        if same_name.len() > 1 {
            let name = &connectors[same_name[0]].name;
            let all = join_sorted(same_name, " and ", &|&at| connectors[at].description.clone());
            let problem = format_args!("{} connectors are named `{name}`: {all}", same_name.len());
            let help = format!(
                "name them apart, for instance `.named(\"{name}-2\")`, and use that as the links' scheme"
            );
            let locations = Locations::collect(|all| {
                all.extend(same_name.iter().map(|&at| connectors[at].location));
            });
            report.add(Rule::TwoConnectors, "", &locations, problem, &help);
        }
    }
    let by_identity = sorted_indices(connectors.len(), &|a, b| {
        connectors[a].identity.cmp(&connectors[b].identity)
    });
    for same in by_identity.chunk_by(|&a, &b| connectors[a].identity == connectors[b].identity) {
        if let [first, _, ..] = same
            && let Some(identity) = &connectors[*first].identity
        {
            let all = join_sorted(same, "` and `", &|&at| connectors[at].name.clone());
            let problem = format_args!(
                "the connectors `{all}` have {identity}: each ends the other's connections"
            );
            let help = "give each an identity of its own, or use one connector for all links";
            let locations = Locations::collect(|all| {
                all.extend(same.iter().map(|&at| connectors[at].location));
            });
            report.add(Rule::TwoConnectors, "", &locations, problem, help);
        }
    }
}

/// Queues that a link to a peer and another stage read.
fn linked_queues(graph: &Graph, report: &mut Report) {
    let elsewhere = graph.readers_elsewhere();
    for record in &graph.records {
        let is_queue = |buffer: &BufferNode| matches!(buffer.cfg, BufferCfg::SpmcQueue { .. });
        if !record.buffers.iter().any(is_queue) {
            continue;
        }
        let is_link = |stage: &StageNode| matches!(stage.kind, StageKind::LinkTo { .. });
        let is_tap = |stage: &StageNode| matches!(stage.kind, StageKind::Tap);
        let links = name_list(&record.stages, &is_link);
        let mut others = Vec::new();
        for stage in record.stages.iter().filter(|stage| is_tap(stage)) {
            others.push(describe(stage));
        }
        for (to, stage) in elsewhere.of(&record.key) {
            others.push(describe_elsewhere(to, stage));
        }
        if links.is_empty() || others.is_empty() {
            continue;
        }
        let others = join_sorted(&others, " and ", &|other| other.clone());
        let problem = format_args!(
            "its queue is read by its {links} and by the {others}: while the peer is away the queue fills up, and they wait"
        );
        let help =
            "make it a ring or latest, or link a second record that a transform fills from it";
        let locations = Locations::collect(|all| {
            all.extend(
                record.stages.iter().filter(|stage| is_link(stage)).map(|stage| stage.location),
            );
        });
        report.add(Rule::LinkedQueue, &record.key, &locations, problem, help);
    }
}

fn addresses(graph: &Graph, report: &mut Report) {
    for record in &graph.records {
        for stage in &record.stages {
            let Some(link) = stage.kind.link() else { continue };
            match &link.parsed {
                Err(_) if link.text == LinkNode::OWN_ADDRESS => {
                    let problem =
                        "a link uses `own_address()`, and the record's key has no address";
                    let help = "add `#[link_address = \"scheme://topic\"]` to the key, or write the address at the link";
                    let location = stage.location.into();
                    report.add(
                        Rule::BadAddress,
                        &record.key,
                        &location,
                        format_args!("{problem}"),
                        help,
                    );
                }
                Err(reason) => {
                    let problem =
                        format_args!("its link address `{}` cannot be read: {reason}", link.text);
                    let help = "write `scheme://topic?option=value`, for instance `mqtt://sensors/temp?qos=1`";
                    let location = stage.location.into();
                    report.add(Rule::BadAddress, &record.key, &location, problem, help);
                }
                Ok(address)
                    if !graph.connectors.iter().any(|known| known.name == address.scheme) =>
                {
                    unknown_scheme(graph, record, stage, &address.scheme, report);
                }
                Ok(_) => {}
            }
        }
    }
}

fn unknown_scheme(
    graph: &Graph,
    record: &RecordNode,
    stage: &StageNode,
    scheme: &str,
    report: &mut Report,
) {
    let known = if graph.connectors.is_empty() {
        "there are none".to_string()
    } else {
        let names = join_sorted(&graph.connectors, "`, `", &|connector| connector.name.clone());
        format!("there are: `{names}`")
    };
    let text = stage.kind.link().map_or("", |link| &link.text);
    let problem = format_args!(
        "its link `{text}` names the connector `{scheme}`, which does not exist ({known})"
    );
    let help = "add it with `builder.connector(…)`, or correct the scheme";
    report.add(Rule::UnknownScheme, &record.key, &stage.location.into(), problem, help);
}

fn connector_faults(graph: &Graph, report: &mut Report) {
    for connector in &graph.connectors {
        for fault in &connector.faults {
            report.push(fault.clone().at_all(&fault_locations(graph, connector, fault)));
        }
    }
}

/// The locations of a fault for which the connector named none: the links of the fault's record that use the connector,
/// or the connector itself.
fn fault_locations(graph: &Graph, connector: &ConnectorNode, fault: &Finding) -> Locations {
    if !fault.locations().is_empty() {
        return Locations::default();
    }
    let links = Locations::collect(|all| {
        for record in graph.records.iter().filter(|record| record.key == fault.record) {
            let uses = |stage: &&StageNode| {
                let address = stage.kind.link().and_then(|link| link.parsed.as_ref().ok());
                address.is_some_and(|address| address.scheme == connector.name)
            };
            all.extend(record.stages.iter().filter(uses).map(|stage| stage.location));
        }
    });
    if links.is_empty() { connector.location.into() } else { links }
}

/// Their names, and the faults that they report.
fn services(graph: &Graph, report: &mut Report) {
    let services = &graph.services;
    for (at, service) in services.iter().enumerate() {
        if let Some(first) = services[..at].iter().find(|other| other.name == service.name) {
            let problem = format_args!("two services are named `{}`", service.name);
            let locations =
                Locations::collect(|all| all.extend([first.location, service.location]));
            report.add(Rule::TwoServices, "", &locations, problem, "name them apart");
        }
        for fault in &service.faults {
            let located = !fault.locations().is_empty();
            let locations = if located { Locations::default() } else { service.location.into() };
            report.push(fault.clone().at_all(&locations));
        }
    }
}

fn exposures(graph: &Graph, report: &mut Report) {
    for record in &graph.records {
        let count = record.exposures.len();
        if count > 1 {
            let locations = Locations::collect(|all| {
                all.extend(record.exposures.iter().map(|exposure| exposure.location));
            });
            let problem = format_args!("it is exposed {count} times");
            let help = "keep one `.expose(…)` call";
            report.add(Rule::TwoExposures, &record.key, &locations, problem, help);
        }
    }
}

fn unused(graph: &Graph, report: &mut Report) {
    let (readers, writers) = (graph.readers_elsewhere(), graph.writers_elsewhere());
    for record in &graph.records {
        let is_written = record.is_written_from_outside
            || record.writers().next().is_some()
            || writers.any(&record.key);
        if !is_written {
            let problem = format_args!("no stage of the graph writes it");
            let help = "add a source, a transform or a link, or say that `db.producer(…)` writes it: `.written_from_outside()`";
            report.add(Rule::NoWriter, &record.key, &record.locations, problem, help);
        }
        let is_read_from_outside = record.is_read_from_outside || !record.exposures.is_empty();
        if !is_read(record, &readers) && !is_read_from_outside {
            let problem = format_args!("no stage of the graph reads it");
            let help = "add a tap, a transform or a link, or say that `db.consumer(…)` reads it: `.read_from_outside()`";
            report.add(Rule::NoReader, &record.key, &record.locations, problem, help);
        }
    }
}

/// A stage as a finding names it: its kind and its name, or a link's address.
fn describe(stage: &StageNode) -> String {
    let kind = kind_name(stage);
    match stage.kind.link() {
        None => format!("{kind} `{}`", stage.name),
        Some(link) => {
            let preposition = if stage.kind.writes() { "from" } else { "to" };
            if stage.is_named {
                format!("{kind} `{}` {preposition} `{}`", stage.name, link.text)
            } else {
                format!("{kind} {preposition} `{}`", link.text)
            }
        }
    }
}

fn kind_name(stage: &StageNode) -> &'static str {
    match &stage.kind {
        StageKind::Source => "source",
        StageKind::Tap => "tap",
        StageKind::Transform { join: true, .. } => "join",
        StageKind::Transform { .. } => "transform",
        StageKind::Processor { .. } => "processor",
        StageKind::LinkTo { .. } | StageKind::LinkFrom { .. } => "link",
    }
}

fn describe_elsewhere(to: &RecordNode, stage: &StageNode) -> String {
    format!("{} of `{}`", describe(stage), to.key)
}

fn name_list(stages: &[StageNode], wanted: &dyn Fn(&StageNode) -> bool) -> String {
    let mut named = Vec::new();
    for stage in stages {
        if wanted(stage) {
            named.push(stage);
        }
    }
    join_sorted(&named, " and ", &|stage| describe(stage))
}

/// A hint at the most similar key, if there is one that differs in at most a third of its bytes.
fn did_you_mean(graph: &Graph, key: &str) -> String {
    let near = graph.records.iter().map(|record| (distance(&record.key, key), &record.key)).min();
    match near {
        Some((far, near)) if far < key.len() && far <= key.len().div_ceil(3) => {
            format!("; did you mean `{near}`?")
        }
        _ => String::new(),
    }
}

/// The Levenshtein distance in bytes.
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
