//! The declaration of one record, as a user writes it.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::marker::PhantomData;

use crate::access::exposed::{MakeAccess, readable, settable};
#[cfg(feature = "schema")]
use crate::access::schema::MakeSchema;
use crate::buffer::buffer::Buffer;
use crate::buffer::cfg::BufferCfg;
use crate::buffer::kind::NoMemory;
use crate::clock::Clock;
use crate::context::RuntimeContext;
use crate::engine::restart::{OneHandle, Restart, Restarting, Resuming, TwoHandles};
use crate::engine::result::StageResult;
use crate::graph::check::FurtherRules;
use crate::graph::finding::Finding;
use crate::graph::location::Location;
use crate::graph::node::{
    BufferNode, ExposureNode, LinkNode, NameNode, RecordNode, StageKind, StageNode, StageRole,
};
use crate::handle::consumer::Consumer;
use crate::handle::producer::Producer;
use crate::handle::reader::Reader;
use crate::key::Record;
use crate::link::codec::{Decode, Encode};
use crate::link::inbound::{InboundLink, InboundQueue};
use crate::link::outbound::{OutboundLink, OutboundQueue};
use crate::link::target::{InboundTarget, OutboundTarget};
use crate::record::{RecordCell, RecordEntry, SetInitial};
use crate::runtime::adapter::Runtime;
use crate::runtime::spawn::Spawn;
use crate::stages::for_each::ForEach;
use crate::stages::input::Input;
use crate::stages::join::{Combined, JoinInputs, JoinReaders, JoinStage, JoinStep, OuterCombined};
use crate::stages::map::{Filtered, MapStage, Mapped, Scanned, Step};
use crate::stages::processor::{OutputRecords, ProcessorInputs, ProcessorOutputs};
use crate::sync::{Arc, Lock};
use crate::wait::WaitGuard;
use crate::wiring::{StageSite, Wire, Wiring};

/// One record as declared.
pub(crate) struct Draft<R> {
    pub(crate) node: RecordNode,
    /// Makes the record, with its type.
    pub(crate) make: MakeRecord,
    /// One for each stage of the node, in the same order.
    pub(crate) wires: Vec<Wire<R>>,
    /// Produces the initial value, once every reader of the graph is subscribed.
    pub(crate) initial: Option<SetInitial>,
    /// The rules that the record's stages need besides those of every graph.
    pub(crate) rules: FurtherRules,
    /// Makes the access as bytes, if the record is exposed.
    pub(crate) access: Option<MakeAccess>,
    /// Makes the JSON Schema of the record's type, if it is shown.
    #[cfg(feature = "schema")]
    pub(crate) schema: Option<MakeSchema>,
}

type MakeRecord = fn(Arc<str>, BufferCfg, Arc<dyn Clock>, bool) -> Result<RecordEntry, NoMemory>;

pub(crate) fn make_record<T: Record>(
    key: Arc<str>,
    cfg: BufferCfg,
    clock: Arc<dyn Clock>,
    exclusive: bool,
) -> Result<RecordEntry, NoMemory> {
    let buffer = Buffer::<T>::new(cfg, clock)?;
    Ok(RecordEntry::new(Arc::new(RecordCell { key, buffer, exclusive, filtered: Lock::new(0) })))
}

/// Declares one record: its buffer, the stages that write it and the stages that read it.
///
/// [`configure`](crate::AimDbBuilder::configure) passes it to its closure. The calls only collect; the build checks
/// everything at once. Each call returns the registrar, so that calls can be chained, and is found again in the
/// findings by its place in the source code.
///
/// # Names
///
/// A stage is named after its function and a closure after its kind: `source`, `tap`, `transform`, `filter_map`,
/// `scan`, `join`, `processor`; a link is named after its address. Where two stages of a record would have one name, the later is
/// `tap#2`, then `tap#3`. [`named`](Self::named) sets a name. The graph, the health, the metrics and the shutdown report
/// use the same name for the same stage.
///
/// ```
/// # use aimdb_core::{AimDbBuilder, Instant, LogLevel, Runtime, Spawn, runtime::SpawnError, stages::Stage};
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
/// use aimdb_core::{BufferCfg, Consumer, Producer, RuntimeContext, input};
///
/// async fn sensor(ctx: RuntimeContext<Host>, celsius: Producer<f32, Host>) {
///     loop {
///         celsius.produce(21.5).await.ok();
///         ctx.time().sleep(ctx.time().secs(2)).await;
///     }
/// }
///
/// async fn logger(ctx: RuntimeContext<Host>, celsius: Consumer<f32, Host>) {
///     let mut reader = celsius.subscribe().unwrap();
///     while let Ok(celsius) = reader.recv().await {
///         ctx.log().info(format_args!("{celsius} °C"));
///     }
/// }
///
/// let mut builder = AimDbBuilder::on(Host);
/// builder.configure::<f32>("temp.celsius", |reg| {
///     reg.buffer(BufferCfg::ring(16)).source(sensor).tap(logger);
/// });
/// builder.configure::<f32>("temp.fahrenheit", |reg| {
///     reg.buffer(BufferCfg::latest())
///         .transform(input::<f32>("temp.celsius"), |celsius| celsius * 1.8 + 32.0)
///         .named("to_fahrenheit");
/// });
/// assert_eq!(
///     builder.graph().to_string(),
///     "temp.celsius  f32  ring of 16
///   ← source sensor
///   → tap logger
///   → transform to_fahrenheit of temp.fahrenheit
/// temp.fahrenheit  f32  latest
///   ← transform to_fahrenheit of temp.celsius
/// "
/// );
/// ```
pub struct Registrar<'b, T, R> {
    draft: &'b mut Draft<R>,
    /// Whether the calls' locations are recorded.
    locates: bool,
    /// The address of the record's key, for `own_address`.
    own_address: Option<String>,
    /// Whether `named` may name the last stage: it was registered through this registrar and is not named yet.
    is_nameable: bool,
    value: PhantomData<fn() -> T>,
}

// The methods with `#[track_caller]` pass their location on and do nothing else. A panic in the body of such a method,
// for instance of `Vec::push` without memory, would refer to the caller's location and so keep the caller's path in the
// flash of a microcontroller.
impl<'b, T: Record, R: Runtime> Registrar<'b, T, R> {
    pub(crate) fn new(draft: &'b mut Draft<R>, locates: bool, own_address: Option<String>) -> Self {
        Self { draft, locates, own_address, is_nameable: false, value: PhantomData }
    }

    /// Sets the record's buffer. Every record needs exactly one.
    #[track_caller]
    pub fn buffer(&mut self, cfg: BufferCfg) -> &mut Self {
        let location = self.caller();
        self.add_buffer(BufferNode { cfg, location })
    }

    /// The record's key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.draft.node.key
    }

    /// Lets several takers divide a mailbox's commands among them.
    ///
    /// Without this call, a second taker of a mailbox is a finding.
    ///
    /// A command wakes one idle taker, which takes it at its next poll. A task that polls several readers as streams and is busy
    /// with the value of another one holds the command meanwhile: read a shared mailbox in a stage of its own, or by
    /// [`recv`](Reader::recv), whose dropped future passes its wake-up on.
    pub fn shared(&mut self) -> &mut Self {
        self.draft.node.shared = true;
        self
    }

    /// Sets the name of the record's type in the graph and in findings, instead of the Rust name.
    ///
    /// This is for crates whose users do not see the Rust type, for instance the C API.
    pub fn type_name(&mut self, name: &'static str) -> &mut Self {
        self.draft.node.value.name = name;
        self
    }

    /// Produces `value` when the database is built: after every reader of the graph is subscribed, and before any stage
    /// runs.
    ///
    /// It is the record's first value, on every kind of buffer and whatever writes the record: each reader of the graph
    /// receives it, a link sends it, and a join has it from the start. A second initial value of one record is a finding, and
    /// so is one of a queue that no stage reads: a queue keeps values for the readers that it has.
    #[track_caller]
    pub fn initial(&mut self, value: T) -> &mut Self {
        let location = self.caller();
        self.set_initial(location, value)
    }

    /// Says that handles outside of the graph write this record, for instance `db.producer(…)` or a thread.
    ///
    /// The graph shows it, and a record without a writer in the graph is then no finding.
    pub fn written_from_outside(&mut self) -> &mut Self {
        self.draft.node.is_written_from_outside = true;
        self
    }

    /// Says that handles outside of the graph read this record, for instance `db.consumer(…)` or a thread.
    ///
    /// The graph shows it, and a record without a reader in the graph is then no finding.
    pub fn read_from_outside(&mut self) -> &mut Self {
        self.draft.node.is_read_from_outside = true;
        self
    }

    /// Shows the record's values as bytes to code that knows its key alone: pages, command lines, recorders, other
    /// languages. [`AimDb::record`](crate::AimDb::record) reads them.
    ///
    /// Followed by [`settable`](Exposing::settable), it can be written in the same way. Without this call the record is
    /// found by its key all the same, with its counters, but its values are not shown. A second call for one record is a
    /// finding. A record that is exposed needs no reader in the graph.
    ///
    /// The codec is cloned for each use, so it should keep nothing between two values. Two closures are one codec as a pair:
    /// `(encode_with(…), decode_with(…))`.
    ///
    /// ```
    /// use aimdb_core::{AimDbBuilder, BufferCfg, Json, Runtime};
    ///
    /// fn declare<R: Runtime>(builder: &mut AimDbBuilder<R>) {
    ///     builder.configure::<f32>("pump.pressure", |reg| {
    ///         reg.buffer(BufferCfg::latest()).written_from_outside().expose(Json);
    ///     });
    ///     builder.configure::<u32>("pump.limit", |reg| {
    ///         reg.buffer(BufferCfg::latest()).expose(Json).settable();
    ///     });
    /// }
    /// ```
    #[track_caller]
    pub fn expose<C>(&mut self, codec: C) -> Exposing<'_, 'b, T, R, C>
    where
        C: Encode<T> + Clone + Sync,
    {
        let location = self.caller();
        self.add_exposure(location, codec)
    }

    /// Adds a source: an async function of a context and a [`Producer`] that writes this record.
    ///
    /// A shutdown ends a source at its next await. A source may return; it has then finished. It may return a
    /// [`Result`](StageResult): an error is a failure of the source.
    #[track_caller]
    pub fn source<F, Fut>(&mut self, source: F) -> &mut Self
    where
        F: FnOnce(RuntimeContext<R>, Producer<T, R>) -> Fut + 'static,
        Fut: Future<Output: StageResult> + 'static,
        R: Spawn<Fut>,
    {
        let location = self.caller();
        self.stage(location, stage_name::<F>("source"), StageKind::Source, move |wiring, site| {
            let producer = Producer::new(wiring.record(&site));
            wiring.spawn(&site, StageRole::Source, |context| source(context, producer))
        })
    }

    /// Adds a source that is restarted when it fails, as `policy` says.
    #[track_caller]
    pub fn source_with<F, Fut>(&mut self, policy: Restart, source: F) -> &mut Self
    where
        F: Fn(RuntimeContext<R>, Producer<T, R>) -> Fut + 'static,
        Fut: Future<Output: StageResult> + 'static,
        R: Spawn<Restarting<R, OneHandle<F, Producer<T, R>>>>,
    {
        let location = self.caller();
        self.stage(location, stage_name::<F>("source"), StageKind::Source, move |wiring, site| {
            let producer = Producer::new(wiring.record(&site));
            wiring.spawn(&site, StageRole::Source, |context| {
                Restarting::new(policy, OneHandle(source, producer), context)
            })
        })
    }

    /// Adds a tap: an async function of a context and a [`Consumer`] that reads this record.
    ///
    /// The build subscribes the tap's reader before any stage runs; the first `subscribe()` returns that reader. After a
    /// shutdown has begun, the reader returns the values that are still pending, then `Closed`, and the tap should
    /// return.
    ///
    /// A tap may return a [`Result`](StageResult): an error is a failure of the tap.
    #[track_caller]
    pub fn tap<F, Fut>(&mut self, tap: F) -> &mut Self
    where
        F: FnOnce(RuntimeContext<R>, Consumer<T, R>) -> Fut + 'static,
        Fut: Future<Output: StageResult> + 'static,
        R: Spawn<Fut>,
    {
        let location = self.caller();
        self.stage(location, stage_name::<F>("tap"), StageKind::Tap, move |wiring, site| {
            let consumer = Consumer::of_stage(wiring.record(&site), site.name.clone(), false);
            wiring.spawn(&site, StageRole::Tap, |context| tap(context, consumer))
        })
    }

    /// Adds a tap that is restarted when it fails, as `policy` says.
    ///
    /// The tap's reader keeps its position between two attempts: only the value in progress is lost to it.
    #[track_caller]
    pub fn tap_with<F, Fut>(&mut self, policy: Restart, tap: F) -> &mut Self
    where
        F: Fn(RuntimeContext<R>, Consumer<T, R>) -> Fut + 'static,
        Fut: Future<Output: StageResult> + 'static,
        R: Spawn<Restarting<R, OneHandle<F, Consumer<T, R>>>>,
    {
        let location = self.caller();
        self.stage(location, stage_name::<F>("tap"), StageKind::Tap, move |wiring, site| {
            let consumer = Consumer::of_stage(wiring.record(&site), site.name.clone(), true);
            wiring.spawn(&site, StageRole::Tap, |context| {
                Restarting::new(policy, OneHandle(tap, consumer), context)
            })
        })
    }

    /// Adds a tap that calls `each` for every value, in order.
    ///
    /// The closure runs on the tap's task and should not block. It receives the stage's context, for a line in the log or
    /// the time. It may return a [`Result`](StageResult): the first error ends the tap as its failure, and so does a panic.
    ///
    /// ```
    /// use aimdb_core::{AimDbBuilder, BufferCfg, SendRuntime};
    ///
    /// fn graph<R: SendRuntime>(builder: &mut AimDbBuilder<R>) {
    ///     builder.configure::<f32>("temp.celsius", |reg| {
    ///         reg.buffer(BufferCfg::ring(16))
    ///             .written_from_outside()
    ///             .for_each(|ctx, celsius| ctx.log().info(format_args!("{celsius:.1} °C")));
    ///     });
    /// }
    /// ```
    #[track_caller]
    pub fn for_each<F, O>(&mut self, each: F) -> &mut Self
    where
        F: FnMut(&RuntimeContext<R>, T) -> O + 'static,
        O: StageResult,
        R: Spawn<ForEach<R, T, F>>,
    {
        let location = self.caller();
        let name = stage_name::<F>("for_each");
        self.stage(location, name, StageKind::Tap, move |wiring, site| {
            let reader = tap_reader(wiring, &site);
            wiring.spawn(&site, StageRole::Tap, |context| ForEach::new(reader, each, context))
        })
    }

    /// Adds a [`for_each`](Self::for_each) that goes on after an error or a panic, as `policy` says.
    ///
    /// The failure costs the value that the closure was called with.
    #[track_caller]
    pub fn for_each_with<F, O>(&mut self, policy: Restart, each: F) -> &mut Self
    where
        F: FnMut(&RuntimeContext<R>, T) -> O + 'static,
        O: StageResult,
        R: Spawn<Resuming<R, ForEach<R, T, F>>>,
    {
        let location = self.caller();
        let name = stage_name::<F>("for_each");
        self.stage(location, name, StageKind::Tap, move |wiring, site| {
            let reader = tap_reader(wiring, &site);
            wiring.spawn(&site, StageRole::Tap, |context| {
                let stage = ForEach::new(reader, each, context.clone());
                Resuming::new(policy, stage, context)
            })
        })
    }

    /// Adds a transform: makes this record from another, one value for each value.
    ///
    /// The closure runs on the transform's task and should not block. If the closure panics, the transform has failed.
    #[track_caller]
    pub fn transform<A, F>(&mut self, from: Input<A>, map: F) -> &mut Self
    where
        A: Record,
        F: FnMut(A) -> T + 'static,
        R: Spawn<MapStage<A, T, Mapped<F>>>,
    {
        let location = self.caller();
        self.transform_step(location, stage_name::<F>("transform"), from, Mapped(map))
    }

    /// Adds a transform that goes on after a panic of its closure, as `policy` says.
    ///
    /// The panic costs the value that the closure was called with. The transform then pauses and goes on with the next
    /// value, with the same closure, whose captured state is as the panic left it. Health counts the values lost as
    /// restarts, and shows the last cause. [`Restart::skip_failures`] loses a value without a pause.
    ///
    /// Without `std` a panic ends the program, whatever the policy.
    #[track_caller]
    pub fn transform_with<A, F>(&mut self, policy: Restart, from: Input<A>, map: F) -> &mut Self
    where
        A: Record,
        F: FnMut(A) -> T + 'static,
        R: Spawn<Resuming<R, MapStage<A, T, Mapped<F>>>>,
    {
        let location = self.caller();
        let name = stage_name::<F>("transform");
        self.resuming_step(location, name, policy, from, Mapped(map))
    }

    /// Adds a transform that makes a value only where the closure returns one.
    #[track_caller]
    pub fn filter_map<A, F>(&mut self, from: Input<A>, map: F) -> &mut Self
    where
        A: Record,
        F: FnMut(A) -> Option<T> + 'static,
        R: Spawn<MapStage<A, T, Filtered<F>>>,
    {
        let location = self.caller();
        self.transform_step(location, stage_name::<F>("filter_map"), from, Filtered(map))
    }

    /// Adds a [`filter_map`](Self::filter_map) that goes on after a panic, as
    /// [`transform_with`](Self::transform_with) does.
    #[track_caller]
    pub fn filter_map_with<A, F>(&mut self, policy: Restart, from: Input<A>, map: F) -> &mut Self
    where
        A: Record,
        F: FnMut(A) -> Option<T> + 'static,
        R: Spawn<Resuming<R, MapStage<A, T, Filtered<F>>>>,
    {
        let location = self.caller();
        let name = stage_name::<F>("filter_map");
        self.resuming_step(location, name, policy, from, Filtered(map))
    }

    /// Adds a transform with a state that lasts from value to value.
    #[track_caller]
    pub fn scan<A, S, F>(&mut self, from: Input<A>, state: S, step: F) -> &mut Self
    where
        A: Record,
        S: 'static,
        F: FnMut(&mut S, A) -> Option<T> + 'static,
        R: Spawn<MapStage<A, T, Scanned<S, F>>>,
    {
        let location = self.caller();
        self.transform_step(location, stage_name::<F>("scan"), from, Scanned { state, step })
    }

    /// Adds a [`scan`](Self::scan) that goes on after a panic, as [`transform_with`](Self::transform_with) does. The state
    /// stays as the panic left it.
    #[track_caller]
    pub fn scan_with<A, S, F>(
        &mut self,
        policy: Restart,
        from: Input<A>,
        state: S,
        step: F,
    ) -> &mut Self
    where
        A: Record,
        S: 'static,
        F: FnMut(&mut S, A) -> Option<T> + 'static,
        R: Spawn<Resuming<R, MapStage<A, T, Scanned<S, F>>>>,
    {
        let location = self.caller();
        self.resuming_step(location, stage_name::<F>("scan"), policy, from, Scanned { state, step })
    }

    fn transform_step<A, S>(
        &mut self,
        location: Location,
        name: String,
        from: Input<A>,
        step: S,
    ) -> &mut Self
    where
        A: Record,
        S: Step<A, T>,
        R: Spawn<MapStage<A, T, S>>,
    {
        self.draft.rules.add_edges();
        self.stage(location, name, transform_of(&from), move |wiring, site| {
            let stage = map_stage(wiring, &site, &from, step);
            wiring.spawn(&site, StageRole::Transform, |_| stage)
        })
    }

    fn resuming_step<A, S>(
        &mut self,
        location: Location,
        name: String,
        policy: Restart,
        from: Input<A>,
        step: S,
    ) -> &mut Self
    where
        A: Record,
        S: Step<A, T>,
        R: Spawn<Resuming<R, MapStage<A, T, S>>>,
    {
        self.draft.rules.add_edges();
        self.stage(location, name, transform_of(&from), move |wiring, site| {
            let stage = map_stage(wiring, &site, &from, step);
            wiring
                .spawn(&site, StageRole::Transform, |context| Resuming::new(policy, stage, context))
        })
    }

    /// Adds a join: makes this record from several others.
    ///
    /// Whenever one input has a new value, the closure receives the latest value of each, once every input has had one.
    ///
    /// `inputs` is a tuple of up to eight inputs of any types, an array, or a `Vec` of inputs of one type. The closure
    /// receives the values in the same shape.
    #[track_caller]
    pub fn join<I, F>(&mut self, inputs: I, map: F) -> &mut Self
    where
        I: JoinInputs,
        F: FnMut(<I::Readers as JoinReaders>::Latest) -> T + 'static,
        R: Spawn<JoinStage<I::Readers, T, Combined<F>>>,
    {
        let location = self.caller();
        self.join_step(location, stage_name::<F>("join"), inputs, Combined(map))
    }

    /// Adds a [`join`](Self::join) that goes on after a panic, as [`transform_with`](Self::transform_with) does. The panic
    /// costs the combination of values that the closure was called with; each input keeps its latest value.
    #[track_caller]
    pub fn join_with<I, F>(&mut self, policy: Restart, inputs: I, map: F) -> &mut Self
    where
        I: JoinInputs,
        F: FnMut(<I::Readers as JoinReaders>::Latest) -> T + 'static,
        R: Spawn<Resuming<R, JoinStage<I::Readers, T, Combined<F>>>>,
    {
        let location = self.caller();
        self.resuming_join(location, stage_name::<F>("join"), policy, inputs, Combined(map))
    }

    /// Adds an outer join: makes this record from several others, some of which may have had no value yet.
    ///
    /// Whenever one input has a new value, the closure receives the latest value of each input, `None` for one without a
    /// value so far, and the index of the input that changed. It makes a value only where it returns one.
    ///
    /// ```
    /// use aimdb_core::{AimDbBuilder, BufferCfg, SendRuntime, input};
    ///
    /// fn graph<R: SendRuntime>(builder: &mut AimDbBuilder<R>) {
    ///     for key in ["door.front", "door.back"] {
    ///         builder.configure::<bool>(key, |reg| {
    ///             reg.buffer(BufferCfg::queue(8)).written_from_outside();
    ///         });
    ///     }
    ///     builder.configure::<String>("opened", |reg| {
    ///         let doors = (input::<bool>("door.front"), input::<bool>("door.back"));
    ///         reg.buffer(BufferCfg::ring(8)).outer_join(doors, |(front, back), changed| {
    ///             let (name, is_open) = if changed == 0 { ("front", front) } else { ("back", back) };
    ///             is_open?.then(|| name.to_string())
    ///         });
    ///     });
    /// }
    /// ```
    #[track_caller]
    pub fn outer_join<I, F>(&mut self, inputs: I, map: F) -> &mut Self
    where
        I: JoinInputs,
        F: FnMut(<I::Readers as JoinReaders>::Optional, usize) -> Option<T> + 'static,
        R: Spawn<JoinStage<I::Readers, T, OuterCombined<F>>>,
    {
        let location = self.caller();
        self.join_step(location, stage_name::<F>("outer_join"), inputs, OuterCombined(map))
    }

    /// Adds an [`outer_join`](Self::outer_join) that goes on after a panic, as [`join_with`](Self::join_with) does.
    #[track_caller]
    pub fn outer_join_with<I, F>(&mut self, policy: Restart, inputs: I, map: F) -> &mut Self
    where
        I: JoinInputs,
        F: FnMut(<I::Readers as JoinReaders>::Optional, usize) -> Option<T> + 'static,
        R: Spawn<Resuming<R, JoinStage<I::Readers, T, OuterCombined<F>>>>,
    {
        let location = self.caller();
        let name = stage_name::<F>("outer_join");
        self.resuming_join(location, name, policy, inputs, OuterCombined(map))
    }

    fn join_step<I, S>(&mut self, location: Location, name: String, inputs: I, step: S) -> &mut Self
    where
        I: JoinInputs,
        S: JoinStep<I::Readers, T>,
        R: Spawn<JoinStage<I::Readers, T, S>>,
    {
        let kind = StageKind::Transform { inputs: inputs.nodes(), join: true };
        self.draft.rules.add_edges();
        self.stage(location, name, kind, move |wiring, site| {
            let stage = join_stage(wiring, &site, &inputs, step);
            wiring.spawn(&site, StageRole::Transform, |_| stage)
        })
    }

    fn resuming_join<I, S>(
        &mut self,
        location: Location,
        name: String,
        policy: Restart,
        inputs: I,
        step: S,
    ) -> &mut Self
    where
        I: JoinInputs,
        S: JoinStep<I::Readers, T>,
        R: Spawn<Resuming<R, JoinStage<I::Readers, T, S>>>,
    {
        let kind = StageKind::Transform { inputs: inputs.nodes(), join: true };
        self.draft.rules.add_edges();
        self.stage(location, name, kind, move |wiring, site| {
            let stage = join_stage(wiring, &site, &inputs, step);
            wiring
                .spawn(&site, StageRole::Transform, |context| Resuming::new(policy, stage, context))
        })
    }

    /// Adds a processor: an async function that reads other records and writes this one.
    ///
    /// The function receives a [`Consumer`] for each input, in the shape of `inputs`, and the [`Producer`] of this record.
    /// It may await anything between a value and its answer. Both ends are edges of the graph: the build checks them, and a
    /// shutdown closes the inputs, waits until the processor has returned, and only then closes this record. So an answer
    /// to a value that was accepted before the shutdown is delivered. The processor should return when its readers report
    /// `Closed`; it may return a [`Result`](StageResult).
    ///
    /// `inputs` is one input, a tuple of up to eight, an array, or a `Vec` of inputs of one type. Several processors may
    /// write one record; no other stage may write it beside them.
    ///
    /// ```
    /// use aimdb_core::{
    ///     AimDbBuilder, BoxError, BufferCfg, Consumer, Producer, RuntimeContext, SendRuntime, input,
    /// };
    ///
    /// async fn calibrate<R: SendRuntime>(
    ///     ctx: RuntimeContext<R>,
    ///     raw: Consumer<u32, R>,
    ///     celsius: Producer<f32, R>,
    /// ) -> Result<(), BoxError> {
    ///     let mut raw = raw.subscribe()?;
    ///     while let Ok(reading) = raw.recv().await {
    ///         ctx.time().sleep(ctx.time().millis(5)).await; // ask a device, a file, a service
    ///         celsius.produce(reading as f32 / 16.0).await?;
    ///     }
    ///     Ok(())
    /// }
    ///
    /// fn graph<R: SendRuntime>(builder: &mut AimDbBuilder<R>) {
    ///     builder.configure::<u32>("temp.raw", |reg| {
    ///         reg.buffer(BufferCfg::queue(8)).written_from_outside();
    ///     });
    ///     builder.configure::<f32>("temp.celsius", |reg| {
    ///         reg.buffer(BufferCfg::ring(16)).processor(input::<u32>("temp.raw"), calibrate);
    ///     });
    /// }
    /// ```
    #[track_caller]
    pub fn processor<I, F, Fut>(&mut self, inputs: I, processor: F) -> &mut Self
    where
        I: ProcessorInputs<R>,
        F: FnOnce(RuntimeContext<R>, I::Consumers, Producer<T, R>) -> Fut + 'static,
        Fut: Future<Output: StageResult> + 'static,
        R: Spawn<Fut>,
    {
        let location = self.caller();
        let name = stage_name::<F>("processor");
        self.processor_stage(
            location,
            name,
            false,
            inputs,
            (),
            move |wiring, site, consumers, (own, ())| {
                wiring
                    .spawn(site, StageRole::Processor, |context| processor(context, consumers, own))
            },
        )
    }

    /// Adds a processor that writes `outputs` besides this record.
    ///
    /// The function's third argument is a tuple: the [`Producer`] of this record, and those of `outputs`, in the shape of
    /// `outputs`. Each output is an edge of the graph, as this record is.
    ///
    /// ```
    /// use aimdb_core::{AimDbBuilder, BufferCfg, SendRuntime, input, output};
    ///
    /// fn graph<R: SendRuntime>(builder: &mut AimDbBuilder<R>) {
    ///     builder.configure::<f32>("temp.raw", |reg| {
    ///         reg.buffer(BufferCfg::ring(16)).written_from_outside();
    ///     });
    ///     builder.configure::<f32>("temp.rejected", |reg| {
    ///         reg.buffer(BufferCfg::ring(16));
    ///     });
    ///     builder.configure::<f32>("temp.valid", |reg| {
    ///         let (inputs, outputs) = (input::<f32>("temp.raw"), output::<f32>("temp.rejected"));
    ///         reg.buffer(BufferCfg::ring(16)).processor_to(
    ///             inputs,
    ///             outputs,
    ///             |_, raw, (valid, rejected)| async move {
    ///                 let Ok(mut raw) = raw.subscribe() else { return };
    ///                 while let Ok(celsius) = raw.recv().await {
    ///                     let is_valid = (-40.0..=85.0).contains(&celsius);
    ///                     let to = if is_valid { &valid } else { &rejected };
    ///                     if to.produce(celsius).await.is_err() {
    ///                         return;
    ///                     }
    ///                 }
    ///             },
    ///         ).named("check_range");
    ///     });
    /// }
    /// ```
    #[track_caller]
    pub fn processor_to<I, O, F, Fut>(&mut self, inputs: I, outputs: O, processor: F) -> &mut Self
    where
        I: ProcessorInputs<R>,
        O: ProcessorOutputs<R>,
        F: FnOnce(RuntimeContext<R>, I::Consumers, (Producer<T, R>, O::Producers)) -> Fut + 'static,
        Fut: Future<Output: StageResult> + 'static,
        R: Spawn<Fut>,
    {
        let location = self.caller();
        let name = stage_name::<F>("processor");
        self.processor_stage(
            location,
            name,
            false,
            inputs,
            outputs,
            move |wiring, site, consumers, all| {
                wiring
                    .spawn(site, StageRole::Processor, |context| processor(context, consumers, all))
            },
        )
    }

    /// Adds a [`processor`](Self::processor) that is restarted when it fails, as `policy` says.
    ///
    /// The first reader of each input keeps its position between two attempts: only the values in progress are lost.
    #[track_caller]
    pub fn processor_with<I, F, Fut>(
        &mut self,
        policy: Restart,
        inputs: I,
        processor: F,
    ) -> &mut Self
    where
        I: ProcessorInputs<R>,
        F: Fn(RuntimeContext<R>, I::Consumers, Producer<T, R>) -> Fut + 'static,
        Fut: Future<Output: StageResult> + 'static,
        R: Spawn<Restarting<R, TwoHandles<F, I::Consumers, Producer<T, R>>>>,
    {
        let location = self.caller();
        let name = stage_name::<F>("processor");
        self.processor_stage(
            location,
            name,
            true,
            inputs,
            (),
            move |wiring, site, consumers, (own, ())| {
                wiring.spawn(site, StageRole::Processor, |context| {
                    Restarting::new(policy, TwoHandles(processor, consumers, own), context)
                })
            },
        )
    }

    /// Adds a [`processor_to`](Self::processor_to) that is restarted when it fails, as `policy` says.
    #[track_caller]
    pub fn processor_to_with<I, O, F, Fut>(
        &mut self,
        policy: Restart,
        inputs: I,
        outputs: O,
        processor: F,
    ) -> &mut Self
    where
        I: ProcessorInputs<R>,
        O: ProcessorOutputs<R>,
        F: Fn(RuntimeContext<R>, I::Consumers, (Producer<T, R>, O::Producers)) -> Fut + 'static,
        Fut: Future<Output: StageResult> + 'static,
        R: Spawn<Restarting<R, TwoHandles<F, I::Consumers, (Producer<T, R>, O::Producers)>>>,
    {
        let location = self.caller();
        let name = stage_name::<F>("processor");
        self.processor_stage(
            location,
            name,
            true,
            inputs,
            outputs,
            move |wiring, site, consumers, all| {
                wiring.spawn(site, StageRole::Processor, |context| {
                    Restarting::new(policy, TwoHandles(processor, consumers, all), context)
                })
            },
        )
    }

    /// Adds a processor, which `spawn` spawns with its handles. With `restarts`, its readers keep their positions between
    /// its attempts.
    fn processor_stage<I: ProcessorInputs<R>, O: ProcessorOutputs<R>>(
        &mut self,
        location: Location,
        name: String,
        restarts: bool,
        inputs: I,
        outputs: O,
        spawn: impl FnOnce(
            &mut Wiring<'_, R>,
            &StageSite,
            I::Consumers,
            (Producer<T, R>, O::Producers),
        ) -> Result<(), Finding>
        + 'static,
    ) -> &mut Self {
        let kind = StageKind::Processor { inputs: inputs.nodes(), outputs: outputs.nodes() };
        self.draft.rules.add_edges();
        self.stage(location, name, kind, move |wiring, site| {
            let consumers = wiring.inputs(&site, |open| inputs.open(open, restarts));
            let own = Producer::new(wiring.record(&site));
            let (producers, also) = OutputRecords::open(wiring, &outputs);
            spawn(wiring, &site, consumers, (own, producers))?;
            wiring.writes_also(also);
            Ok(())
        })
    }

    /// Adds an outbound link: sends this record's values to `target`, encoded by `codec`.
    ///
    /// The scheme of the target's address names the connector that serves the link.
    #[track_caller]
    pub fn link_to<C>(&mut self, target: impl OutboundTarget<T>, codec: C) -> &mut Self
    where
        C: Encode<T>,
    {
        let link = target.node_of(self.own_address.as_deref());
        let (topic, filter, properties) = (target.topic(), target.filter(), target.properties());
        // Whatever the target's node says: they must not be dropped in silence.
        let link = if properties.is_some() { link.with_computed_properties() } else { link };
        let kind = StageKind::LinkTo { address: link.clone() };
        self.draft.rules.add_links();
        let location = self.caller();
        self.stage(location, link.text.clone(), kind, move |wiring, site| {
            let reader = tap_reader(wiring, &site);
            // A connector has several values in progress at a time, so the link counts them instead of the reader.
            reader.delegate_accounting();
            let runtime = Arc::clone(wiring.runtime);
            let messages = OutboundQueue { reader, codec, topic, filter, properties, runtime };
            wiring.link_out(&site, &link, |info| OutboundLink::new(info, Box::new(messages)));
            Ok(())
        })
    }

    /// Adds an inbound link: writes this record with the messages from `target`, decoded by `codec`.
    ///
    /// The scheme of the target's address names the connector that serves the link.
    #[track_caller]
    pub fn link_from<C>(&mut self, target: impl InboundTarget, codec: C) -> &mut Self
    where
        C: Decode<T>,
    {
        let link: LinkNode = target.node_of(self.own_address.as_deref());
        let kind = StageKind::LinkFrom { address: link.clone() };
        self.draft.rules.add_links();
        let location = self.caller();
        self.stage(location, link.text.clone(), kind, move |wiring, site| {
            let queue = InboundQueue {
                wait: WaitGuard::new(Producer::<T, R>::new(wiring.record(&site))),
                codec,
                decoded: None,
                dead_letters: wiring.dead_letters.clone(),
                runtime: Arc::clone(wiring.runtime),
            };
            wiring
                .link_in(&site, &link, |info, cell| InboundLink::new(info, Box::new(queue), cell));
            Ok(())
        })
    }

    /// Names the stage that was registered just before.
    ///
    /// The graph, the health, the metrics and the shutdown report use this name. A name may be set once for a stage, is
    /// not empty, and is unique within the record; anything else is a finding. A stage without a set name makes room:
    /// its name is followed by `#2` where it would be the same.
    #[track_caller]
    pub fn named(&mut self, name: impl Into<String>) -> &mut Self {
        let location = self.caller();
        self.set_name(NameNode { name: name.into(), location })
    }

    /// The location of the call of the method that calls this.
    #[track_caller]
    fn caller(&self) -> Location {
        if self.locates { Location::caller() } else { Location::UNKNOWN }
    }

    fn add_buffer(&mut self, buffer: BufferNode) -> &mut Self {
        self.draft.node.buffers.push(buffer);
        self
    }

    fn stage(
        &mut self,
        location: Location,
        name: String,
        kind: StageKind,
        wire: impl FnOnce(&mut Wiring<'_, R>, StageSite) -> Result<(), Finding> + 'static,
    ) -> &mut Self {
        self.draft.node.stages.push(StageNode { name, kind, is_named: false, location });
        self.draft.wires.push(Box::new(wire));
        self.is_nameable = true;
        self
    }

    fn add_exposure<C>(&mut self, location: Location, codec: C) -> Exposing<'_, 'b, T, R, C>
    where
        C: Encode<T> + Clone + Sync,
    {
        let encoding = codec.media_type();
        let exposure = ExposureNode { encoding, settable: false, location };
        self.draft.node.exposures.push(exposure);
        self.draft.rules.add_exposures();
        self.draft.access = Some(readable::<T, C>(codec.clone()));
        Exposing { registrar: self, codec }
    }

    fn set_initial(&mut self, location: Location, value: T) -> &mut Self {
        self.draft.node.initial_values.push(location);
        self.draft.rules.add_initial_values();
        self.draft.initial = Some(Box::new(move |record| {
            let record: Arc<RecordCell<T>> =
                record.typed().expect("a draft makes its record with its own type");
            // The record is new and open, and a buffer has room for one value.
            let accepted = record.buffer.try_produce(value);
            debug_assert!(accepted.is_ok(), "a new record accepts a value");
        }));
        self
    }

    fn set_name(&mut self, name: NameNode) -> &mut Self {
        let node = &mut self.draft.node;
        match node.stages.last_mut() {
            Some(stage) if self.is_nameable => {
                stage.name = name.name;
                stage.is_named = true;
            }
            _ => node.misplaced_names.push(name),
        }
        self.is_nameable = false;
        self
    }
}

impl<T, R> fmt::Debug for Registrar<'_, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registrar").field(&self.draft.node.key).finish()
    }
}

/// The reader of a tap or a link, which reads its own record.
fn tap_reader<T: Record, R: Runtime>(wiring: &Wiring<'_, R>, site: &StageSite) -> Reader<T> {
    let consumer = Consumer::<T, R>::of_stage(wiring.record(site), site.name.clone(), false);
    consumer.subscribe().expect("a stage's first reader is there from the start")
}

/// The kind of a transform with one input.
fn transform_of<A: Record>(from: &Input<A>) -> StageKind {
    StageKind::Transform { inputs: [from.node()].into(), join: false }
}

/// The future of a transform with one input.
fn map_stage<A: Record, T: Record, S, R: Runtime>(
    wiring: &Wiring<'_, R>,
    site: &StageSite,
    from: &Input<A>,
    step: S,
) -> MapStage<A, T, S> {
    let input = wiring.inputs(site, |inputs| from.open(inputs));
    MapStage::new(input, step, wiring.record(site))
}

/// The future of a join.
fn join_stage<I: JoinInputs, T: Record, S, R: Runtime>(
    wiring: &Wiring<'_, R>,
    site: &StageSite,
    inputs: &I,
    step: S,
) -> JoinStage<I::Readers, T, S> {
    let readers = wiring.inputs(site, |open| inputs.open(open));
    JoinStage::new(readers, step, wiring.record(site))
}

/// The function's own name, or `kind` for a closure.
fn stage_name<F>(kind: &str) -> String {
    function_name(core::any::type_name::<F>()).unwrap_or(kind).into()
}

/// The last segment of a function's path. Closures, function pointers and boxes have none.
///
/// It works on bytes and accepts every character beyond ASCII as part of a name, because the Unicode tables behind the
/// methods of `str` are 4 KB of flash.
fn function_name(path: &str) -> Option<&str> {
    let path = without_arguments(path);
    let begin = path.bytes().rposition(|c| c == b':').map_or(0, |colon| colon + 1);
    let name = path.get(begin..)?;
    let is_letter = |c: u8| c == b'_' || c.is_ascii_alphanumeric() || !c.is_ascii();
    let first = name.bytes().next()?;
    let is_a_name =
        !first.is_ascii_digit() && !first.is_ascii_uppercase() && name.bytes().all(is_letter);
    is_a_name.then_some(name)
}

/// `a::b` for `a::b<C<D>>`.
fn without_arguments(path: &str) -> &str {
    let mut depth = 0;
    for (at, c) in path.bytes().enumerate().rev() {
        match c {
            b'>' if at == 0 || path.as_bytes()[at - 1] != b'-' => depth += 1,
            b'<' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return if c == b'<' { path.get(..at).unwrap_or(path) } else { path };
        }
    }
    path
}

/// A record that was just [exposed](Registrar::expose). Every other call goes on with the [`Registrar`].
pub struct Exposing<'r, 'b, T, R, C> {
    registrar: &'r mut Registrar<'b, T, R>,
    codec: C,
}

impl<'r, 'b, T: Record, R: Runtime, C> Exposing<'r, 'b, T, R, C> {
    /// Shows the JSON Schema of the record's type, too: [`AnyRecord::schema`](crate::access::AnyRecord::schema). Pages
    /// print it, and `aimdb set` compares a value with it; the record's own codec decides which values it accepts.
    ///
    /// ```
    /// use aimdb_core::{AimDbBuilder, BufferCfg, Json, Runtime};
    ///
    /// fn declare<R: Runtime>(builder: &mut AimDbBuilder<R>) {
    ///     builder.configure::<u32>("pump.limit", |reg| {
    ///         reg.buffer(BufferCfg::latest()).expose(Json).with_schema().settable();
    ///     });
    /// }
    /// ```
    #[cfg(feature = "schema")]
    pub fn with_schema(self) -> Self
    where
        T: schemars::JsonSchema,
    {
        self.registrar.draft.schema = Some(crate::access::schema::of::<T>);
        self
    }

    /// Lets code that knows the record's key alone write it, too, through the same codec:
    /// [`AnyRecord::write`](crate::access::AnyRecord::write). The graph shows the record as written from outside.
    ///
    /// `settable` follows `expose` directly. Who may write is decided where the bytes come from, for instance by a console's grants: this call says that the
    /// record is made for it.
    pub fn settable(self) -> &'r mut Registrar<'b, T, R>
    where
        C: Encode<T> + Decode<T> + Clone + Sync,
    {
        let Self { registrar, codec } = self;
        registrar.draft.access = Some(settable::<T, C>(codec));
        registrar.draft.node.is_written_from_outside = true;
        if let Some(exposure) = registrar.draft.node.exposures.last_mut() {
            exposure.settable = true;
        }
        registrar
    }
}

impl<'b, T, R, C> core::ops::Deref for Exposing<'_, 'b, T, R, C> {
    type Target = Registrar<'b, T, R>;

    fn deref(&self) -> &Self::Target {
        self.registrar
    }
}

impl<T, R, C> core::ops::DerefMut for Exposing<'_, '_, T, R, C> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.registrar
    }
}

impl<T, R, C> fmt::Debug for Exposing<'_, '_, T, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exposing").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::function_name;

    #[test]
    fn a_function_is_named_by_the_last_segment_of_its_path() {
        let paths = ["a::watch", "a::watch<b::Tokio>", "a::watch<C<fn() -> d::E>>"];
        for path in paths.into_iter().chain(["<a::S as a::T>::watch", "a::S<u8>::watch", "watch"]) {
            assert_eq!(function_name(path), Some("watch"), "{path}");
        }
    }

    #[test]
    fn a_closure_a_pointer_and_a_box_have_no_name() {
        let closures = ["a::b::{{closure}}", "a::b<R>::{{closure}}", "<S as T>::b::{{closure}}"];
        let pointers = ["fn(a::B) -> u64", "fn()", "alloc::boxed::Box<dyn core::ops::Fn(a::B)>"];
        for path in closures.into_iter().chain(pointers) {
            assert_eq!(function_name(path), None, "{path}");
        }
    }
}
