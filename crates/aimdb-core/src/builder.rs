//! The builder: it collects a graph, checks it and builds the database.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::address::Direction;
use crate::buffer::cfg::BufferCfg;
use crate::buffer::kind::NoMemory;
use crate::clock::Clock;
use crate::context::Time;
use crate::engine::db::{AimDb, WeakAimDb};
use crate::engine::events::{self, DbEvent, EventHub, Listeners};
use crate::engine::inner::DbInner;
use crate::engine::lifecycle::Engine;
use crate::engine::monitor::Monitor;
use crate::engine::restart::{Restart, Restarting};
use crate::engine::stage::StageCell;
use crate::error::{DbError, DbResult};
use crate::graph::check::{FurtherRules, Plan};
use crate::graph::finding::{Finding, Findings, Rule};
use crate::graph::location::Location;
use crate::graph::node::{
    BufferNode, ConnectorNode, Graph, RecordNode, ServiceNode, StageKind, StageNode, StageRole,
    TypeNode,
};
use crate::key::{Record, RecordKey};
use crate::link::connector::{Connector, LinkRequest, Links};
use crate::link::inbound::{DeadLetter, DeadLetterHook};
use crate::link::pool::ConnectorAttempts;
use crate::owner::Owner;
use crate::record::{RecordEntry, RecordIndex};
use crate::registrar::{Draft, Registrar, make_record};
use crate::runtime::adapter::{LogLevel, Runtime, RuntimeClock, log};
use crate::runtime::spawn::Spawn;
use crate::service::Service;
use crate::sync::{Arc, Lock};
use crate::wiring::{Wire, Wiring};

/// The state of a builder without a runtime.
///
/// [`AimDbBuilder::runtime`] replaces it. A builder in this state has no `configure`, `build` or `run`.
#[derive(Clone, Copy, Debug)]
pub struct NoRuntime(());

/// A runtime adapter by value or in an [`Arc`], as [`AimDbBuilder::on`] accepts it.
///
/// Every [`Runtime`] and every `Arc` of one implements it.
///
/// ```
/// use aimdb_core::{AimDbBuilder, BufferCfg, IntoRuntime, SendRuntime};
///
/// /// The same graph on every adapter: `thermostat(TokioAdapter::new()?)`.
/// fn thermostat<A: IntoRuntime<Runtime: SendRuntime>>(adapter: A) -> AimDbBuilder<A::Runtime> {
///     let mut builder = AimDbBuilder::on(adapter);
///     builder.configure::<f32>("setpoint", |reg| {
///         reg.buffer(BufferCfg::latest()).initial(20.0).written_from_outside();
///     });
///     builder
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a runtime that AimDB can run on",
    note = "pass an adapter or an `Arc` of one, for instance `AimDbBuilder::on(TokioAdapter::new()?)`"
)]
pub trait IntoRuntime {
    /// The runtime.
    type Runtime: Runtime;

    /// Returns the runtime in an [`Arc`].
    fn into_runtime(self) -> Arc<Self::Runtime>;
}

impl<R: Runtime> IntoRuntime for R {
    type Runtime = R;

    fn into_runtime(self) -> Arc<R> {
        Arc::new(self)
    }
}

impl<R: Runtime> IntoRuntime for Arc<R> {
    type Runtime = R;

    fn into_runtime(self) -> Self {
        self
    }
}

/// Declares a graph of records, stages and connectors, and builds a database from it.
///
/// Nothing is checked before [`build`](Self::build), and then everything at once.
///
/// ```
/// # use aimdb_core::{Instant, LogLevel, Runtime, Spawn, runtime::SpawnError, stages::Stage};
/// # use core::{fmt, future::{Future, Pending, pending}};
/// # struct Host;
/// # impl Runtime for Host {
/// #     type Sleep = Pending<()>;
/// #     fn now(&self) -> Instant { Instant::from_nanos(0) }
/// #     fn sleep_until(&self, _: Instant) -> Self::Sleep { pending() }
/// #     fn log(&self, _: LogLevel, _: &str, _: fmt::Arguments<'_>) {}
/// # }
/// # impl<F: Future<Output = ()> + Send + 'static> Spawn<F> for Host {
/// #     fn spawn(&self, _: Stage<Self, F>) -> Result<(), SpawnError> { Ok(()) }
/// # }
/// use aimdb_core::{AimDbBuilder, BufferCfg};
///
/// # let adapter = Host;
/// let mut builder = AimDbBuilder::on(adapter); // for instance `TokioAdapter::new()?`
/// builder.configure::<f32>("temp.celsius", |reg| {
///     reg.buffer(BufferCfg::ring(16))
///         .source(|_ctx, celsius| async move {
///             celsius.produce(21.5).await.ok();
///         })
///         .tap(|_ctx, celsius| async move {
///             let mut reader = celsius.subscribe().unwrap();
///             while let Ok(celsius) = reader.recv().await {
///                 println!("{celsius} °C");
///             }
///         });
/// });
/// let db = builder.build()?; // then `db.run().await`, or at once `builder.run().await`
/// # drop(db);
/// # Ok::<(), aimdb_core::DbError>(())
/// ```
///
/// Without a runtime there is no `configure`, no `build` and no `run`:
///
/// ```compile_fail
/// use aimdb_core::{AimDbBuilder, BufferCfg};
/// let mut builder = AimDbBuilder::new();
/// builder.configure::<u32>("a", |reg| {
///     reg.buffer(BufferCfg::SingleLatest);
/// });
/// ```
pub struct AimDbBuilder<R = NoRuntime> {
    runtime: Arc<R>,
    /// One for each key and type.
    drafts: Vec<Draft<R>>,
    /// The drafts of each key.
    index: RecordIndex,
    connectors: Vec<RegisteredConnector<R>>,
    services: Vec<(Box<dyn ServiceDraft<R>>, Location)>,
    /// Whether the locations of calls are recorded.
    locates: bool,
    dead_letters: Option<DeadLetterHook>,
    stop_on_failure: bool,
    deadline: Duration,
    listeners: Option<Arc<dyn Listeners>>,
    /// The setting of [`blocked_after`](Self::blocked_after); the inner `None` turns the watch off.
    monitor: Option<Option<Monitor>>,
    /// The rules that the connectors need.
    rules: FurtherRules,
}

impl AimDbBuilder {
    /// An empty graph without a runtime; [`runtime`](Self::runtime) sets one.
    #[must_use]
    pub fn new() -> Self {
        Self::empty(Arc::new(NoRuntime(())))
    }

    /// An empty graph that runs on `adapter`, which is a runtime adapter or an [`Arc`] of one.
    #[must_use]
    pub fn on<A: IntoRuntime>(adapter: A) -> AimDbBuilder<A::Runtime> {
        AimDbBuilder::empty(adapter.into_runtime())
    }

    /// Sets the runtime that the graph runs on.
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
            services: Vec::new(),
            locates: true,
            dead_letters: None,
            stop_on_failure: false,
            deadline: Duration::from_secs(10),
            listeners: None,
            monitor: None,
            rules: FurtherRules::default(),
        }
    }
}

/// The methods that a program calls first have the bound `R: Runtime` on themselves and not on the impl: with the bound on
/// the impl, the compiler would report a missing method instead of the missing runtime.
impl<R> AimDbBuilder<R> {
    /// Declares a record, or adds to the record that was declared before under the same key with the same type.
    #[track_caller]
    pub fn configure<T: Record>(
        &mut self,
        key: impl RecordKey,
        declare: impl FnOnce(&mut Registrar<'_, T, R>),
    ) -> &mut Self
    where
        R: Runtime,
    {
        let location = self.caller();
        let locates = self.locates;
        let own_address = key.link_address().map(Into::into);
        let draft = self.draft::<T>(key.as_str(), location);
        declare(&mut Registrar::new(draft, locates, own_address));
        draft.node.shrink_to_fit();
        self
    }

    /// The location of the call of the method that calls this.
    #[track_caller]
    fn caller(&self) -> Location {
        if self.locates { Location::caller() } else { Location::UNKNOWN }
    }

    /// The draft of the record `key` of type `T`, which is made where there is none.
    fn draft<T: Record>(&mut self, key: &str, location: Location) -> &mut Draft<R> {
        let value = TypeNode::of::<T>();
        let indices = self.index.entry(key.into()).or_default();
        let known = indices.iter().copied().find(|&at| self.drafts[at].node.value == value);
        let at = known.unwrap_or(self.drafts.len());
        if known.is_none() {
            indices.push(at);
            let node = RecordNode::new(key, value);
            self.drafts.push(Draft {
                node,
                make: make_record::<T>,
                wires: Vec::new(),
                initial: None,
                rules: FurtherRules::default(),
                access: None,
                #[cfg(feature = "schema")]
                schema: None,
            });
        }
        let draft = &mut self.drafts[at];
        draft.node.locations.insert(location);
        draft
    }

    /// Adds a connector, whose name is the scheme of the links that use it.
    #[track_caller]
    pub fn connector<C: Connector<R>>(&mut self, connector: C) -> &mut Self
    where
        R: Runtime + Spawn<C::Run>,
    {
        let location = self.caller();
        self.add_connector(Box::new(PlainConnector(connector)), location)
    }

    /// Adds a connector that is restarted when it fails, as `policy` says.
    ///
    /// `connector` makes it anew for each attempt, and once more for the check of the graph. The links keep their places
    /// between the attempts: an outbound link loses only what the connector had taken and not finished, which counts as
    /// [dropped](crate::metrics::LinkMetrics::dropped), and an inbound link delivers first the value that waited for room.
    ///
    /// A connector reconnects by itself; this is for the failures that it does not expect.
    ///
    /// ```
    /// # use aimdb_core::link::Links;
    /// # use aimdb_core::{Finding, RuntimeContext};
    /// use aimdb_core::link::LinkRequest;
    /// use aimdb_core::{AimDbBuilder, Connector, Restart, SendRuntime};
    /// # struct Radio;
    /// # impl<R: SendRuntime> Connector<R> for Radio {
    /// #     type Run = std::future::Ready<()>;
    /// #     fn name(&self) -> &str { "radio" }
    /// #     fn describe(&self) -> String { "a radio".into() }
    /// #     fn check(&self, _: &[LinkRequest<'_>]) -> Vec<Finding> { Vec::new() }
    /// #     fn run(self, _: Links, _: RuntimeContext<R>) -> Self::Run { std::future::ready(()) }
    /// # }
    ///
    /// fn graph<R: SendRuntime>(builder: &mut AimDbBuilder<R>) {
    ///     builder.connector_with(Restart::on_failure().limit(5), || Radio);
    /// }
    /// ```
    #[track_caller]
    pub fn connector_with<C, F>(&mut self, policy: Restart, connector: F) -> &mut Self
    where
        C: Connector<R>,
        F: Fn() -> C + 'static,
        R: Runtime + Spawn<Restarting<R, ConnectorAttempts<F>>>,
    {
        let location = self.caller();
        let described = connector();
        self.add_connector(
            Box::new(RestartingConnector { policy, described, make: connector }),
            location,
        )
    }

    fn add_connector(
        &mut self,
        connector: Box<dyn ConnectorDraft<R>>,
        location: Location,
    ) -> &mut Self {
        self.connectors.push((connector, location));
        self.rules.add_connectors();
        self
    }

    /// Adds a service, which runs alongside the graph: a console, an exporter, a recorder. The page of
    /// [`Service`](crate::service::Service) says how it starts and ends.
    #[track_caller]
    pub fn service<S: Service<R>>(&mut self, service: S) -> &mut Self
    where
        R: Runtime + Spawn<S::Run>,
    {
        let location = self.caller();
        self.add_service(Box::new(service), location)
    }

    fn add_service(&mut self, service: Box<dyn ServiceDraft<R>>, location: Location) -> &mut Self {
        self.services.push((service, location));
        self.rules.add_services();
        self
    }

    /// Records no locations of the calls from here on, so that findings refer to none.
    ///
    /// This is for crates that declare graphs for users of another language: the findings would otherwise refer to the
    /// source code of that crate.
    #[doc(hidden)]
    pub fn without_locations(&mut self) -> &mut Self {
        self.locates = false;
        self
    }

    /// The runtime's clock, for closures and codecs, which receive no context: they capture it.
    ///
    /// ```
    /// use aimdb_core::{AimDbBuilder, BufferCfg, SendRuntime, input};
    ///
    /// /// Meters per second, from a counter of meters.
    /// fn speed<R: SendRuntime>(builder: &mut AimDbBuilder<R>) {
    ///     let time = builder.time();
    ///     builder.configure::<f64>("speed", |reg| {
    ///         let since = (time.now(), 0);
    ///         reg.buffer(BufferCfg::latest()).scan(
    ///             input::<u32>("odometer"),
    ///             since,
    ///             move |(at, meters), now_meters| {
    ///                 let seconds = (time.now() - *at).as_secs_f64();
    ///                 let speed = f64::from(now_meters - *meters) / seconds;
    ///                 (*at, *meters) = (time.now(), now_meters);
    ///                 speed.is_finite().then_some(speed)
    ///             },
    ///         );
    ///     });
    /// }
    /// ```
    #[must_use]
    pub fn time(&self) -> Time<R>
    where
        R: Runtime,
    {
        Time::new(Arc::clone(&self.runtime))
    }

    /// Sets the hook for dead letters: payloads that do not decode.
    ///
    /// The hook runs on the connector's task and should be quick.
    pub fn on_dead_letter(
        &mut self,
        hook: impl Fn(&DeadLetter<'_>) + Send + Sync + 'static,
    ) -> &mut Self {
        let hook: Box<dyn Fn(&DeadLetter<'_>) + Send + Sync> = Box::new(hook);
        self.dead_letters = Some(hook.into());
        self
    }

    /// Sets the function that is called with each event: failures, restarts, links, blocked writers, shutdowns.
    ///
    /// It runs in the task in which the event happened, or in the task of an event just before, and sees one event at a time,
    /// in their order. It should be quick, and must not wait for the database. If it panics, the panic is logged. [`AimDb::events`] is a stream of the same events.
    ///
    /// ```
    /// # use aimdb_core::{AimDbBuilder, Runtime};
    /// # fn alarm(_: &str) {}
    /// use aimdb_core::events::DbEventKind;
    ///
    /// fn with_alarm<R: Runtime>(builder: &mut AimDbBuilder<R>) {
    ///     builder.on_event(|event| match &event.kind {
    ///         DbEventKind::StageFailed { .. } | DbEventKind::LinkDown { .. } => alarm(&event.to_string()),
    ///         _ => {}
    ///     });
    /// }
    /// ```
    pub fn on_event(&mut self, hook: impl Fn(&DbEvent) + Send + Sync + 'static) -> &mut Self {
        self.listeners = Some(events::hooked(Box::new(hook)));
        self
    }

    /// Sets how long writers of a queue may wait for room before the log and an event name the reader that holds them
    /// back; `None` turns that off.
    ///
    /// Unless set, it is [`Runtime::BLOCKED_AFTER`]: 10 s on Tokio, off elsewhere. The writers are watched while the
    /// database is in [`run`](AimDb::run) or [`shutdown_requested`](AimDb::shutdown_requested), as behind
    /// `attach()`. A wait is noticed at most half of `after` late.
    pub fn blocked_after(&mut self, after: impl Into<Option<Duration>>) -> &mut Self {
        self.monitor = Some(after.into().map(Monitor::new));
        self
    }

    /// Makes a stage that fails for good stop the whole database.
    ///
    /// `run()` then shuts down in order and returns the failures as its error. Without this call the other stages keep
    /// running, and `health()` shows the failure.
    pub fn stop_on_failure(&mut self) -> &mut Self {
        self.stop_on_failure = true;
        self
    }

    /// Sets the deadline of the shutdown that `run()` does; 10 seconds by default.
    pub fn shutdown_deadline(&mut self, deadline: Duration) -> &mut Self {
        self.deadline = deadline;
        self
    }

    /// The graph as declared so far, unchecked.
    #[must_use]
    pub fn graph(&self) -> Graph {
        self.graph_of(self.drafts.iter().map(|draft| draft.node.clone()).collect())
    }

    /// Moves the graph out of the drafts; the plan keeps it.
    fn take_graph(&mut self) -> Graph {
        let records = self.drafts.iter_mut().map(|draft| draft.node.take()).collect();
        self.graph_of(records)
    }

    fn graph_of(&self, mut records: Vec<RecordNode>) -> Graph {
        for record in &mut records {
            record.number_stages();
        }
        let mut connectors = Vec::new();
        for (connector, location) in &self.connectors {
            let mut node = connector.node(&records);
            node.location = *location;
            connectors.push(node);
        }
        let mut graph = Graph { records, connectors, services: Vec::new() };
        let mut services = Vec::new();
        for (service, location) in &self.services {
            let mut node = service.node(&graph);
            node.location = *location;
            services.push(node);
        }
        graph.services = services;
        graph
    }

    /// Checks the whole graph and builds the database.
    ///
    /// The build makes the records with their buffers, subscribes every reader of the graph, and spawns one task for each
    /// stage. The tasks wait for [`AimDb::start`] or [`AimDb::run`]. The build calls each stage's function once; the
    /// stage's future is first polled when the database starts.
    ///
    /// # Errors
    ///
    /// [`DbError::Build`] with all findings; no stage has been started.
    pub fn build(self) -> DbResult<AimDb<R>>
    where
        R: Runtime,
    {
        let mut builder = self;
        let rules =
            builder.drafts.iter().fold(builder.rules, |rules, draft| rules.and(draft.rules));
        let plan = builder.take_graph().check_with(rules).map_err(DbError::Build)?;
        for warning in plan.warnings() {
            log(&*builder.runtime, LogLevel::Warn, &warning.record, format_args!("{warning:#}"));
        }
        builder.wire(plan).map_err(|findings| DbError::Build(Findings::new(findings)))
    }

    /// Builds the database and runs it until its work is done or a stage requests a shutdown.
    ///
    /// The work is done when all sources have ended, if there are any, and the graph has no inbound link. A stage requests
    /// a shutdown with [`shutdown`](crate::RuntimeContext::shutdown). The database then shuts down in order, so that
    /// everything the sources produced is processed.
    ///
    /// # Errors
    ///
    /// [`DbError::Build`] with all findings; [`DbError::StagesFailed`] if [`stop_on_failure`](Self::stop_on_failure)
    /// was called and a stage failed, or if the database ended because every source had failed.
    pub async fn run(self) -> DbResult<()>
    where
        R: Runtime,
    {
        let db = self.build()?;
        db.run_until_exhausted().await
    }

    /// Makes the records and the stages. Its findings are those that a check cannot have: no memory for a buffer, and a
    /// runtime that refuses a stage.
    fn wire(mut self, plan: Plan) -> Result<AimDb<R>, Vec<Finding>>
    where
        R: Runtime,
    {
        let clock: Box<dyn Clock> = Box::new(RuntimeClock(Arc::clone(&self.runtime)));
        let clock: Arc<dyn Clock> = clock.into();
        let events = EventHub::new(Some(Box::new(Arc::clone(&self.runtime))), self.listeners);
        let engine = Arc::new(Engine::new(self.stop_on_failure, events));
        let records = make_records(&mut self.drafts, &plan, &clock)?;
        let connector_cells =
            self.connectors.iter().map(|(connector, _)| connector.cell(&engine)).collect();
        let mut wiring = Wiring::new(
            &self.runtime,
            &engine,
            &records,
            &self.index,
            connector_cells,
            self.dead_letters,
        );
        let weak = WeakAimDb::unset();
        let wired = start_services(self.services, &weak, &mut wiring)
            .and_then(|()| wire_stages(self.drafts, plan.graph(), &mut wiring))
            .and_then(|()| start_connectors(self.connectors, &mut wiring));
        let finished = wiring.finish();
        if let Err(finding) = wired {
            finished.cells.iter().for_each(|cell| cell.stop());
            return Err([finding].into());
        }
        let records = finished.attach_to(records);
        let db = AimDb::new(DbInner {
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
            monitor: self.monitor.unwrap_or_else(|| R::BLOCKED_AFTER.map(Monitor::new)),
        });
        weak.set(&db);
        Ok(db)
    }
}

/// Subscribes and spawns taps, transforms and links first, then the sources.
fn wire_stages<R: Runtime>(
    drafts: Vec<Draft<R>>,
    graph: &Graph,
    wiring: &mut Wiring<'_, R>,
) -> Result<(), Finding> {
    let (mut sources, mut initials) = (Vec::new(), Vec::new());
    for (at, draft) in drafts.into_iter().enumerate() {
        initials.extend(draft.initial.map(|initial| (at, initial)));
        for (stage, wire) in graph.records[at].stages.iter().zip(draft.wires) {
            if stage.kind == StageKind::Source {
                sources.push((at, stage, wire));
            } else {
                wire_stage(at, stage, wire, wiring)?;
            }
        }
    }
    for (at, stage, wire) in sources {
        wire_stage(at, stage, wire, wiring)?;
    }
    // Every reader of the graph is subscribed, and no stage has run.
    initials.into_iter().for_each(|(at, initial)| wiring.set_initial(at, initial));
    Ok(())
}

fn wire_stage<R: Runtime>(
    record: usize,
    stage: &StageNode,
    wire: Wire<R>,
    wiring: &mut Wiring<'_, R>,
) -> Result<(), Finding> {
    wiring.stage(record, stage, wire).map_err(|finding| finding.at(stage.location))
}

fn start_connectors<R: Runtime>(
    connectors: Vec<RegisteredConnector<R>>,
    wiring: &mut Wiring<'_, R>,
) -> Result<(), Finding> {
    connectors.into_iter().enumerate().try_for_each(|(at, (connector, location))| {
        connector.start(at, wiring).map_err(|finding| finding.at(location))
    })
}

/// Before the stages: where tasks run in the order in which they were spawned, a service sees their first values.
fn start_services<R: Runtime>(
    services: Vec<(Box<dyn ServiceDraft<R>>, Location)>,
    db: &WeakAimDb<R>,
    wiring: &mut Wiring<'_, R>,
) -> Result<(), Finding> {
    services.into_iter().try_for_each(|(service, location)| {
        service.start(db.clone(), wiring).map_err(|finding| finding.at(location))
    })
}

/// All records, or a finding for each record whose buffer does not fit into memory.
fn make_records<R>(
    drafts: &mut [Draft<R>],
    plan: &Plan,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<RecordEntry>, Vec<Finding>> {
    let (mut records, mut findings) = (Vec::with_capacity(drafts.len()), Vec::new());
    for (at, draft) in drafts.iter_mut().enumerate() {
        let (node, BufferNode { cfg, location }) = (&plan.graph().records[at], plan.buffer(at));
        let exclusive = cfg == BufferCfg::Mailbox && !node.shared;
        match (draft.make)(node.key.as_str().into(), cfg, Arc::clone(clock), exclusive) {
            Ok(mut record) => {
                record.access = draft.access.take().and_then(|make| make(&record));
                #[cfg(feature = "schema")]
                {
                    record.schema = draft.schema.take();
                }
                records.push(record);
            }
            Err(NoMemory { bytes }) => {
                let problem =
                    alloc::format!("there is no memory for its buffer, {cfg}: {bytes} bytes");
                let help = "give it a smaller capacity, or the allocator more memory";
                findings.push(Finding::new(Rule::NoMemory, &*node.key, problem, help).at(location));
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

/// A service without its type.
trait ServiceDraft<R> {
    fn node(&self, graph: &Graph) -> ServiceNode;
    fn start(self: Box<Self>, db: WeakAimDb<R>, wiring: &mut Wiring<'_, R>) -> Result<(), Finding>
    where
        R: Runtime;
}

impl<R: Runtime + Spawn<S::Run>, S: Service<R>> ServiceDraft<R> for S {
    fn node(&self, graph: &Graph) -> ServiceNode {
        let mut node = ServiceNode::new(self.name(), self.describe());
        node.faults = self.check(graph);
        node
    }

    fn start(self: Box<Self>, db: WeakAimDb<R>, wiring: &mut Wiring<'_, R>) -> Result<(), Finding> {
        let owner = Owner::Service(self.name().into());
        wiring.service(owner, |context| self.run(db, context))
    }
}

/// A connector, and the call that added it.
type RegisteredConnector<R> = (Box<dyn ConnectorDraft<R>>, Location);

/// A connector without its type.
trait ConnectorDraft<R> {
    fn node(&self, records: &[RecordNode]) -> ConnectorNode;
    fn cell(&self, engine: &Arc<Engine>) -> Arc<StageCell>;
    fn start(self: Box<Self>, at: usize, wiring: &mut Wiring<'_, R>) -> Result<(), Finding>;
}

/// A connector that is made anew for each attempt.
struct RestartingConnector<C, F> {
    policy: Restart,
    /// Answers for the others while the graph is checked.
    described: C,
    make: F,
}

impl<R, C, F> ConnectorDraft<R> for RestartingConnector<C, F>
where
    C: Connector<R>,
    F: Fn() -> C + 'static,
    R: Runtime + Spawn<Restarting<R, ConnectorAttempts<F>>>,
{
    fn node(&self, records: &[RecordNode]) -> ConnectorNode {
        connector_node(&self.described, records)
    }

    fn cell(&self, engine: &Arc<Engine>) -> Arc<StageCell> {
        connector_cell(&self.described, engine)
    }

    fn start(self: Box<Self>, at: usize, wiring: &mut Wiring<'_, R>) -> Result<(), Finding> {
        let Self { policy, make, .. } = *self;
        wiring.connector(at, |links, context| {
            let cell = Arc::clone(context.cell());
            Restarting::new(policy, ConnectorAttempts::new(make, links, cell), context)
        })
    }
}

fn connector_node<R: Runtime>(
    connector: &impl Connector<R>,
    records: &[RecordNode],
) -> ConnectorNode {
    let name = connector.name();
    let requests: Vec<LinkRequest<'_>> =
        records.iter().flat_map(|record| requests(record, name)).collect();
    let mut node = ConnectorNode::new(name, connector.describe());
    node.identity = connector.identity();
    node.faults = connector.check(&requests);
    if !connector.carries_properties() {
        node.faults.extend(requests.iter().filter_map(LinkRequest::properties_finding));
    }
    node
}

fn connector_cell<R: Runtime>(
    connector: &impl Connector<R>,
    engine: &Arc<Engine>,
) -> Arc<StageCell> {
    let owner = Owner::Connector(connector.name().into());
    StageCell::new("connector".into(), owner, StageRole::Connector, Arc::clone(engine))
}

/// A connector that runs once.
struct PlainConnector<C>(C);

impl<R: Runtime + Spawn<C::Run>, C: Connector<R>> ConnectorDraft<R> for PlainConnector<C> {
    fn node(&self, records: &[RecordNode]) -> ConnectorNode {
        connector_node(&self.0, records)
    }

    fn cell(&self, engine: &Arc<Engine>) -> Arc<StageCell> {
        connector_cell(&self.0, engine)
    }

    fn start(self: Box<Self>, at: usize, wiring: &mut Wiring<'_, R>) -> Result<(), Finding> {
        wiring.connector(at, |links: Links, context| self.0.run(links, context))
    }
}

/// The links of `record` that the connector named `scheme` serves.
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
                computed_properties: link.computed_properties,
            })
        })
        .collect()
}
