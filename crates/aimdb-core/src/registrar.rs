//! What a user declares of one record.

use crate::buffer::buffer::Buffer;
use crate::buffer::kind::NoMemory;
use crate::clock::Clock;
use crate::graph::node::RecordNode;
use crate::link::inbound::InboundQueue;
use crate::link::outbound::OutboundQueue;
use crate::record::{AnyRecord, RecordCell};
use crate::sync::Arc;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::marker::PhantomData;

use crate::buffer::cfg::BufferCfg;
use crate::context::RuntimeContext;
use crate::engine::restart::{Restart, Restarting};
use crate::graph::finding::Finding;
use crate::graph::node::{LinkNode, StageKind, StageNode, StageRole};
use crate::handle::consumer::Consumer;
use crate::handle::producer::Producer;
use crate::key::Record;
use crate::link::codec::{Decode, Encode};
use crate::link::inbound::InboundLink;
use crate::link::outbound::OutboundLink;
use crate::link::target::{InboundTarget, OutboundTarget};
use crate::runtime::adapter::Runtime;
use crate::runtime::spawn::Spawn;
use crate::stages::input::Input;
use crate::stages::join::{JoinInputs, JoinReaders, JoinStage};
use crate::stages::map::{Filtered, MapStage, Mapped, Scanned, Step};
use crate::wait::WaitGuard;
use crate::wiring::{StageSite, Wire, Wiring};

/// One record as declared.
pub(crate) struct Draft<R> {
    pub(crate) node: RecordNode,
    /// Makes the record, with its type.
    pub(crate) make: MakeRecord,
    /// One for each stage of the node, in the same order.
    pub(crate) wires: Vec<Wire<R>>,
}

type MakeRecord = fn(Arc<str>, BufferCfg, Arc<dyn Clock>, bool) -> Result<AnyRecord, NoMemory>;

pub(crate) fn make_record<T: Record>(
    key: Arc<str>,
    cfg: BufferCfg,
    clock: Arc<dyn Clock>,
    exclusive: bool,
) -> Result<AnyRecord, NoMemory> {
    let buffer = Buffer::<T>::new(cfg, clock)?;
    Ok(AnyRecord::new(Arc::new(RecordCell { key, buffer, exclusive })))
}

/// Declares one record: its buffer, who writes it, who reads it. Given to the closure of
/// [`configure`](crate::AimDbBuilder::configure).
///
/// A stage is named after its function; a closure is named after its kind.
pub struct Registrar<'b, T, R> {
    draft: &'b mut Draft<R>,
    value: PhantomData<fn() -> T>,
}

impl<'b, T: Record, R: Runtime> Registrar<'b, T, R> {
    pub(crate) fn new(draft: &'b mut Draft<R>) -> Self {
        Self { draft, value: PhantomData }
    }

    /// The buffer. Every record that is used needs exactly one.
    pub fn buffer(&mut self, cfg: BufferCfg) -> &mut Self {
        self.draft.node.buffers.push(cfg);
        self
    }

    /// Lets several takers divide a mailbox's commands among them. Without it, a second taker is a finding.
    pub fn shared(&mut self) -> &mut Self {
        self.draft.node.shared = true;
        self
    }

    /// What this record's type is called in the graph and its findings, instead of its Rust name: for front doors whose
    /// users do not see that type.
    pub fn type_name(&mut self, name: &'static str) -> &mut Self {
        self.draft.node.value.name = name;
        self
    }

    /// The stage that writes this record: an async function of a context and a [`Producer`].
    ///
    /// At a shutdown it is ended at its next await. It may return; it then has finished.
    pub fn source<F, Fut>(&mut self, source: F) -> &mut Self
    where
        F: FnOnce(RuntimeContext<R>, Producer<T, R>) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
        R: Spawn<Fut>,
    {
        self.stage(stage_name::<F>("source"), StageKind::Source, move |wiring, site| {
            let producer = Producer::new(wiring.record(&site));
            wiring.spawn(&site, StageRole::Source, |context| source(context, producer))
        })
    }

    /// A source that is started again when it fails, as `policy` says.
    pub fn source_with<F, Fut>(&mut self, policy: Restart, source: F) -> &mut Self
    where
        F: Fn(RuntimeContext<R>, Producer<T, R>) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
        R: Spawn<Restarting<R, Producer<T, R>, F, Fut>>,
    {
        self.stage(stage_name::<F>("source"), StageKind::Source, move |wiring, site| {
            let producer = Producer::new(wiring.record(&site));
            wiring.spawn(&site, StageRole::Source, |context| {
                Restarting::new(policy, source, producer, context)
            })
        })
    }

    /// A stage that reads this record: an async function of a context and a [`Consumer`].
    ///
    /// Its reader is subscribed before anything runs; the first `subscribe()` hands it out. At a shutdown it gets what
    /// is left and then `Closed`, and should return.
    pub fn tap<F, Fut>(&mut self, tap: F) -> &mut Self
    where
        F: FnOnce(RuntimeContext<R>, Consumer<T, R>) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
        R: Spawn<Fut>,
    {
        self.stage(stage_name::<F>("tap"), StageKind::Tap, move |wiring, site| {
            let consumer = Consumer::of_stage(wiring.record(&site), site.name.clone(), false);
            wiring.spawn(&site, StageRole::Tap, |context| tap(context, consumer))
        })
    }

    /// A tap that is started again when it fails, as `policy` says. Its reader keeps its place meanwhile: only the
    /// value it had in hand is lost to it.
    pub fn tap_with<F, Fut>(&mut self, policy: Restart, tap: F) -> &mut Self
    where
        F: Fn(RuntimeContext<R>, Consumer<T, R>) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
        R: Spawn<Restarting<R, Consumer<T, R>, F, Fut>>,
    {
        self.stage(stage_name::<F>("tap"), StageKind::Tap, move |wiring, site| {
            let consumer = Consumer::of_stage(wiring.record(&site), site.name.clone(), true);
            wiring.spawn(&site, StageRole::Tap, |context| {
                Restarting::new(policy, tap, consumer, context)
            })
        })
    }

    /// Makes this record from another: one value out for each value in.
    ///
    /// The closure runs on the transform's task and should not block. If it panics the transform has failed.
    pub fn transform<A, F>(&mut self, from: Input<A>, map: F) -> &mut Self
    where
        A: Record,
        F: FnMut(A) -> T + 'static,
        R: Spawn<MapStage<A, T, Mapped<F>>>,
    {
        self.transform_step(stage_name::<F>("transform"), from, Mapped(map))
    }

    /// Makes this record from another: a value out for those inputs for which the closure gives one.
    pub fn filter_map<A, F>(&mut self, from: Input<A>, map: F) -> &mut Self
    where
        A: Record,
        F: FnMut(A) -> Option<T> + 'static,
        R: Spawn<MapStage<A, T, Filtered<F>>>,
    {
        self.transform_step(stage_name::<F>("filter_map"), from, Filtered(map))
    }

    /// Makes this record from another and a state that lasts from value to value.
    pub fn scan<A, S, F>(&mut self, from: Input<A>, state: S, step: F) -> &mut Self
    where
        A: Record,
        S: 'static,
        F: FnMut(&mut S, A) -> Option<T> + 'static,
        R: Spawn<MapStage<A, T, Scanned<S, F>>>,
    {
        self.transform_step(stage_name::<F>("scan"), from, Scanned { state, step })
    }

    fn transform_step<A, S>(&mut self, name: String, from: Input<A>, step: S) -> &mut Self
    where
        A: Record,
        S: Step<A, T>,
        R: Spawn<MapStage<A, T, S>>,
    {
        let kind = StageKind::Transform { inputs: [from.node()].into(), join: false };
        self.stage(name, kind, move |wiring, site| {
            let input = wiring.inputs(&site, |inputs| from.open(inputs));
            let output = wiring.record(&site);
            wiring.spawn(&site, StageRole::Transform, |_| MapStage::new(input, step, output))
        })
    }

    /// Makes this record from several others: whenever one of them has a value, the closure gets the latest of each,
    /// once there is one of each.
    ///
    /// `inputs` is a tuple of up to eight inputs of any types, an array, or a `Vec` of inputs of one type; the closure
    /// gets the values in the same shape.
    pub fn join<I, F>(&mut self, inputs: I, map: F) -> &mut Self
    where
        I: JoinInputs,
        F: FnMut(<I::Readers as JoinReaders>::Latest) -> T + 'static,
        R: Spawn<JoinStage<I::Readers, T, F>>,
    {
        let kind = StageKind::Transform { inputs: inputs.nodes(), join: true };
        self.stage(stage_name::<F>("join"), kind, move |wiring, site| {
            let readers = wiring.inputs(&site, |open| inputs.open(open));
            let output = wiring.record(&site);
            wiring.spawn(&site, StageRole::Transform, |_| JoinStage::new(readers, map, output))
        })
    }

    /// Sends this record's values to where `target` says, encoded by `codec`.
    pub fn link_to<C>(&mut self, target: impl OutboundTarget<T>, codec: C) -> &mut Self
    where
        C: Encode<T>,
    {
        let (link, topic) = (target.node(), target.topic());
        let kind = StageKind::LinkTo { address: link.clone() };
        self.stage(link.text.clone(), kind, move |wiring, site| {
            let consumer =
                Consumer::<T, R>::of_stage(wiring.record(&site), site.name.clone(), false);
            let reader =
                consumer.subscribe().expect("a stage's first reader is there from the start");
            // A connector takes several values before it is done with the first; the link counts them.
            reader.delegate_accounting();
            let messages =
                OutboundQueue { reader, codec, topic, runtime: Arc::clone(wiring.runtime) };
            wiring.link_out(&site, &link, |info| {
                OutboundLink::new(info, alloc::boxed::Box::new(messages))
            });
            Ok(())
        })
    }

    /// Fills this record with what comes from `target`, decoded by `codec`.
    pub fn link_from<C>(&mut self, target: impl InboundTarget, codec: C) -> &mut Self
    where
        C: Decode<T>,
    {
        let link: LinkNode = target.node();
        let kind = StageKind::LinkFrom { address: link.clone() };
        self.stage(link.text.clone(), kind, move |wiring, site| {
            let queue = InboundQueue {
                wait: WaitGuard::new(Producer::<T, R>::new(wiring.record(&site))),
                codec,
                decoded: None,
                dead_letters: wiring.dead_letters.clone(),
                runtime: Arc::clone(wiring.runtime),
            };
            wiring.link_in(&site, &link, |info, cell| {
                InboundLink::new(info, alloc::boxed::Box::new(queue), cell)
            });
            Ok(())
        })
    }

    fn stage(
        &mut self,
        name: String,
        kind: StageKind,
        wire: impl FnOnce(&mut Wiring<'_, R>, StageSite) -> Result<(), Finding> + 'static,
    ) -> &mut Self {
        let name = self.unique(name);
        self.draft.node.stages.push(StageNode { name, kind });
        self.draft.wires.push(alloc::boxed::Box::new(wire));
        self
    }

    /// `tap`, `tap#2`, `tap#3`, …
    fn unique(&self, name: String) -> String {
        let taken =
            |candidate: &str| self.draft.node.stages.iter().any(|stage| stage.name == candidate);
        if !taken(&name) {
            return name;
        }
        (2..)
            .map(|number| format!("{name}#{number}"))
            .find(|numbered| !taken(numbered))
            .unwrap_or(name)
    }
}

impl<T, R> fmt::Debug for Registrar<'_, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registrar").field(&self.draft.node.key).finish()
    }
}

/// The function's own name, or `kind` for a closure.
fn stage_name<F>(kind: &str) -> String {
    function_name(core::any::type_name::<F>()).unwrap_or(kind).into()
}

/// The last segment of a function's path. Closures, function pointers and boxes have none.
///
/// Byte by byte, and every letter beyond ASCII may be anything: what `str` brings for more is 4 KB of flash.
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
    fn what_is_not_a_function_has_no_name() {
        let closures = ["a::b::{{closure}}", "a::b<R>::{{closure}}", "<S as T>::b::{{closure}}"];
        let pointers = ["fn(a::B) -> u64", "fn()", "alloc::boxed::Box<dyn core::ops::Fn(a::B)>"];
        for path in closures.into_iter().chain(pointers) {
            assert_eq!(function_name(path), None, "{path}");
        }
    }
}
