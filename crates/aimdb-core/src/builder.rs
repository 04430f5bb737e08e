//! Registration: what the user declares, kept as data until `build()`.

use crate::address::Direction;
use crate::owner::Owner;
use crate::record::RecordIndex;
use crate::registrar::{Draft, Registrar, make_record};
use crate::sync::Arc;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::buffer::cfg::BufferCfg;
use crate::buffer::kind::NoMemory;
use crate::clock::Clock;
use crate::engine::db::AimDb;
use crate::engine::inner::DbInner;
use crate::engine::lifecycle::Engine;
use crate::engine::stage::StageCell;
use crate::error::{DbError, DbResult};
use crate::graph::check::Plan;
use crate::graph::finding::{Finding, Findings, Rule};
use crate::graph::node::{ConnectorNode, Graph, RecordNode, StageKind, StageRole, TypeNode};
use crate::key::{Record, RecordKey};
use crate::link::connector::{Connector, LinkRequest, Links};
use crate::link::inbound::{DeadLetter, DeadLetterHook};
use crate::record::AnyRecord;
use crate::runtime::adapter::{LogLevel, Runtime, RuntimeClock};
use crate::runtime::spawn::Spawn;
use crate::sync::Lock;
use crate::wiring::Wiring;

/// No runtime yet. [`AimDbBuilder::runtime`] replaces it; until then there is nothing to configure.
#[derive(Clone, Copy, Debug)]
pub struct NoRuntime(());

/// Declares a graph. Nothing is checked before [`build`](Self::build), and then everything at once.
///
/// ```compile_fail
/// // Without a runtime there is no `configure`, no `build`, no `run`.
/// use aimdb_core::{AimDbBuilder, BufferCfg};
/// let mut builder = AimDbBuilder::new();
/// builder.configure::<u32>("a", |reg| {
///     reg.buffer(BufferCfg::SingleLatest);
/// });
/// ```
pub struct AimDbBuilder<R = NoRuntime> {
    runtime: Arc<R>,
    drafts: Vec<Draft<R>>,
    /// The drafts of each key.
    index: RecordIndex,
    connectors: Vec<Box<dyn ConnectorDraft<R>>>,
    dead_letters: Option<DeadLetterHook>,
    stop_on_failure: bool,
    deadline: Duration,
}

impl AimDbBuilder {
    /// An empty graph. The first thing it needs is a [`runtime`](Self::runtime).
    #[must_use]
    pub fn new() -> Self {
        Self::empty(Arc::new(NoRuntime(())))
    }

    /// Chooses what the graph runs on.
    #[must_use]
    pub fn runtime<R: Runtime>(self, runtime: Arc<R>) -> AimDbBuilder<R> {
        AimDbBuilder::empty(runtime)
    }
}

impl Default for AimDbBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> AimDbBuilder<R> {
    fn empty(runtime: Arc<R>) -> Self {
        Self {
            runtime,
            drafts: Vec::new(),
            index: RecordIndex::new(),
            connectors: Vec::new(),
            dead_letters: None,
            stop_on_failure: false,
            deadline: Duration::from_secs(10),
        }
    }
}

/// What comes first asks for the runtime itself, not through the impl: only so does the compiler say what to do when
/// there is none.
impl<R> AimDbBuilder<R> {
    /// Declares a record, or adds to one declared before under the same key with the same type.
    pub fn configure<T: Record>(
        &mut self,
        key: impl RecordKey,
        declare: impl FnOnce(&mut Registrar<'_, T, R>),
    ) -> &mut Self
    where
        R: Runtime,
    {
        let at = self.draft::<T>(key.as_str());
        declare(&mut Registrar::new(&mut self.drafts[at]));
        self
    }

    fn draft<T: Record>(&mut self, key: &str) -> usize {
        let value = TypeNode::of::<T>();
        let indices = self.index.entry(key.into()).or_default();
        if let Some(&at) = indices.iter().find(|&&at| self.drafts[at].node.value == value) {
            return at;
        }
        indices.push(self.drafts.len());
        let node = RecordNode {
            key: key.into(),
            value,
            buffers: Vec::new(),
            shared: false,
            stages: Vec::new(),
        };
        self.drafts.push(Draft { node, make: make_record::<T>, wires: Vec::new() });
        self.drafts.len() - 1
    }

    /// Adds a connector. Its name is the scheme of the links that use it.
    pub fn connector<C: Connector<R>>(&mut self, connector: C) -> &mut Self
    where
        R: Runtime + Spawn<C::Run>,
    {
        self.connectors.push(Box::new(connector));
        self
    }

    /// Calls `hook` with every payload that did not decode, on the connector's task. It should be quick.
    pub fn on_dead_letter(
        &mut self,
        hook: impl Fn(&DeadLetter<'_>) + Send + Sync + 'static,
    ) -> &mut Self {
        let hook: Box<dyn Fn(&DeadLetter<'_>) + Send + Sync> = Box::new(hook);
        self.dead_letters = Some(hook.into());
        self
    }

    /// A stage that fails for good stops the whole database: `run()` shuts down in order and gives the failures as its
    /// error. Without this the other stages go on, and `health()` shows the failure.
    pub fn stop_on_failure(&mut self) -> &mut Self {
        self.stop_on_failure = true;
        self
    }

    /// How long `run()` gives a shutdown. 10 seconds unless set.
    pub fn shutdown_deadline(&mut self, deadline: Duration) -> &mut Self {
        self.deadline = deadline;
        self
    }

    /// The graph as declared so far, unchecked.
    #[must_use]
    pub fn graph(&self) -> Graph {
        let records: Vec<_> = self.drafts.iter().map(|draft| draft.node.clone()).collect();
        let connectors = self.connectors.iter().map(|connector| connector.node(&records)).collect();
        Graph { records, connectors }
    }

    /// The graph, which the plan keeps.
    fn take_graph(&mut self) -> Graph {
        let mut graph = Graph::default();
        for draft in &mut self.drafts {
            graph.records.push(draft.node.take());
        }
        for connector in &self.connectors {
            graph.connectors.push(connector.node(&graph.records));
        }
        graph
    }

    /// Checks the whole graph and builds it: records with their buffers, every reader of the graph subscribed, one
    /// task for each stage. The tasks wait for [`AimDb::start`] or [`AimDb::run`].
    ///
    /// A stage's function is called here, once; its future is polled first when the database starts.
    ///
    /// # Errors
    ///
    /// [`DbError::Build`] with all findings. Nothing has been started then.
    pub fn build(self) -> DbResult<AimDb<R>>
    where
        R: Runtime,
    {
        let mut builder = self;
        let plan = builder.take_graph().check().map_err(DbError::Build)?;
        for warning in plan.warnings() {
            builder.runtime.log(LogLevel::Warn, &warning.record, format_args!("{warning}"));
        }
        builder.wire(plan).map_err(|findings| DbError::Build(Findings::new(findings)))
    }

    /// Builds and drives the database until a stage asks for its [`shutdown`](crate::RuntimeContext::shutdown), or
    /// until all its sources have returned and no link brings anything in. Then it shuts down in order, so that
    /// everything the sources produced is processed.
    ///
    /// # Errors
    ///
    /// [`DbError::Build`] with all findings; [`DbError::StagesFailed`] if [`stop_on_failure`](Self::stop_on_failure)
    /// was set and a stage failed, or if it ended because every source had failed.
    pub async fn run(self) -> DbResult<()>
    where
        R: Runtime,
    {
        let db = self.build()?;
        db.run_until_exhausted().await
    }

    /// What only building can find out: whether there is memory, and whether the runtime takes the stages.
    fn wire(self, plan: Plan) -> Result<AimDb<R>, Vec<Finding>>
    where
        R: Runtime,
    {
        let clock: Box<dyn Clock> = Box::new(RuntimeClock(Arc::clone(&self.runtime)));
        let clock: Arc<dyn Clock> = clock.into();
        let engine = Arc::new(Engine::new(self.stop_on_failure));
        let records = make_records(&self.drafts, &plan, &clock)?;
        let connector_cells =
            self.connectors.iter().map(|connector| connector.cell(&engine)).collect();
        let mut wiring = Wiring::new(
            &self.runtime,
            &engine,
            &records,
            &self.index,
            connector_cells,
            self.dead_letters,
        );
        let wired = wire_stages(self.drafts, plan.graph(), &mut wiring)
            .and_then(|()| start_connectors(self.connectors, &mut wiring));
        let finished = wiring.finish();
        if let Err(refusal) = wired {
            finished.cells.iter().for_each(|cell| cell.stop());
            return Err([refusal].into());
        }
        let records = finished.attach_to(records);
        Ok(AimDb::new(DbInner {
            runtime: self.runtime,
            engine,
            order: plan.order().to_vec(),
            graph: plan.into_graph(),
            records,
            index: self.index,
            cells: finished.cells,
            links: finished.links,
            stop_on_failure: self.stop_on_failure,
            deadline: self.deadline,
            shutdown: Lock::new(Default::default()),
        }))
    }
}

/// Readers first: taps, transforms and links are subscribed and spawned before any source.
fn wire_stages<R: Runtime>(
    drafts: Vec<Draft<R>>,
    graph: &Graph,
    wiring: &mut Wiring<'_, R>,
) -> Result<(), Finding> {
    let mut sources = Vec::new();
    for (at, draft) in drafts.into_iter().enumerate() {
        for (stage, wire) in graph.records[at].stages.iter().zip(draft.wires) {
            if stage.kind == StageKind::Source {
                sources.push((at, stage, wire));
            } else {
                wiring.stage(at, stage, wire)?;
            }
        }
    }
    for (at, stage, wire) in sources {
        wiring.stage(at, stage, wire)?;
    }
    Ok(())
}

fn start_connectors<R: Runtime>(
    connectors: Vec<Box<dyn ConnectorDraft<R>>>,
    wiring: &mut Wiring<'_, R>,
) -> Result<(), Finding> {
    connectors.into_iter().enumerate().try_for_each(|(at, connector)| connector.start(at, wiring))
}

/// All records, or a finding for each that there is no memory for.
fn make_records<R>(
    drafts: &[Draft<R>],
    plan: &Plan,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<AnyRecord>, Vec<Finding>> {
    let (mut records, mut findings) = (Vec::new(), Vec::new());
    for (at, draft) in drafts.iter().enumerate() {
        let (node, cfg) = (&plan.graph().records[at], plan.buffer(at));
        let exclusive = cfg == BufferCfg::Mailbox && !node.shared;
        match (draft.make)(node.key.as_str().into(), cfg, Arc::clone(clock), exclusive) {
            Ok(record) => records.push(record),
            Err(NoMemory { bytes }) => {
                let problem =
                    alloc::format!("there is no memory for its buffer, {cfg}: {bytes} bytes");
                let help = "give it a smaller capacity, or the allocator more memory";
                findings.push(Finding::new(Rule::NoMemory, &*node.key, problem, help));
            }
        }
    }
    if findings.is_empty() { Ok(records) } else { Err(findings) }
}

impl<R> fmt::Debug for AimDbBuilder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AimDbBuilder").field("records", &self.index.keys()).finish_non_exhaustive()
    }
}

/// A connector without its type.
trait ConnectorDraft<R> {
    fn node(&self, records: &[RecordNode]) -> ConnectorNode;
    fn cell(&self, engine: &Arc<Engine>) -> Arc<StageCell>;
    fn start(self: Box<Self>, at: usize, wiring: &mut Wiring<'_, R>) -> Result<(), Finding>;
}

impl<R: Runtime + Spawn<C::Run>, C: Connector<R>> ConnectorDraft<R> for C {
    fn node(&self, records: &[RecordNode]) -> ConnectorNode {
        let requests: Vec<LinkRequest<'_>> =
            records.iter().flat_map(|record| requests(record, self.name())).collect();
        ConnectorNode {
            name: self.name().into(),
            description: self.describe(),
            faults: self.check(&requests),
        }
    }

    fn cell(&self, engine: &Arc<Engine>) -> Arc<StageCell> {
        StageCell::new(
            "connector".into(),
            Owner::Connector(self.name().into()),
            StageRole::Connector,
            Arc::clone(engine),
        )
    }

    fn start(self: Box<Self>, at: usize, wiring: &mut Wiring<'_, R>) -> Result<(), Finding> {
        wiring.connector(at, |links: Links, context| (*self).run(links, context))
    }
}

/// The links of `record` that name the connector `scheme`.
fn requests<'g>(record: &'g RecordNode, scheme: &str) -> Vec<LinkRequest<'g>> {
    let links =
        record.stages.iter().filter_map(|stage| Some((stage.kind.link()?, stage.kind.writes())));
    links
        .filter_map(|(link, writes)| {
            let address = link.parsed.as_ref().ok().filter(|address| address.scheme == scheme)?;
            Some(LinkRequest {
                record: &record.key,
                address,
                direction: if writes { Direction::Inbound } else { Direction::Outbound },
                computed_topic: link.computed_topic,
            })
        })
        .collect()
}
