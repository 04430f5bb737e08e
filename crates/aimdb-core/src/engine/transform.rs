//! Stages that make one record from others. They are futures written by hand, so that a runtime's `Spawn` bound can
//! name them and nothing is boxed.

use crate::sync::Arc;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{Context, Poll};

use crate::buffer::{Closed, WaitTicket};
use crate::error::DbResult;
use crate::graph::{InputNode, TypeNode};
use crate::handle::{Consumer, Producer, Reader};
use crate::key::{Record, RecordKey};

/// A record that a transform reads: its key and the type it holds. Made by [`input`].
#[derive(Debug)]
pub struct Input<T> {
    key: String,
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for Input<T> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), value: PhantomData }
    }
}

/// Names a transform's input. Key and type are checked with the rest of the graph.
///
/// ```
/// # use aimdb_core::input;
/// let indoor = input::<f32>("sensor.temp.indoor");
/// # let _ = indoor;
/// ```
pub fn input<T: Record>(key: impl RecordKey) -> Input<T> {
    Input { key: key.as_str().into(), value: PhantomData }
}

impl<T: Record> Input<T> {
    pub(crate) fn node(&self) -> InputNode {
        InputNode { key: self.key.clone(), value: TypeNode::of::<T>() }
    }

    pub(crate) fn open(&self, inputs: &mut Inputs<'_>) -> DbResult<Reader<T>> {
        let record = inputs.lookup(&self.key)?.typed::<T>()?;
        let consumer = Consumer::<T, ()>::of_stage(record, Arc::clone(&inputs.stage), false);
        Ok(consumer.subscribe().expect("a stage's first reader is there from the start"))
    }
}

/// Where a transform finds its inputs when the graph is built.
pub struct Inputs<'b> {
    pub(crate) stage: Arc<str>,
    pub(crate) find: &'b dyn Fn(&str) -> Option<&'b super::AnyRecord>,
}

impl<'b> Inputs<'b> {
    fn lookup(&self, key: &str) -> DbResult<&'b super::AnyRecord> {
        (self.find)(key)
            .ok_or_else(|| crate::DbError::UnknownKey { key: key.into(), known: Vec::new() })
    }
}

impl fmt::Debug for Inputs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inputs").field("stage", &self.stage).finish_non_exhaustive()
    }
}

/// What a transform does with one input value: an output value, or none.
pub trait Step<A, T>: 'static {
    /// Takes one value in.
    fn step(&mut self, value: A) -> Option<T>;
}

/// One output for each input.
#[derive(Debug)]
pub struct Mapped<F>(pub(crate) F);

/// At most one output for each input.
#[derive(Debug)]
pub struct Filtered<F>(pub(crate) F);

/// At most one output for each input, with a state that lasts.
#[derive(Debug)]
pub struct Scanned<S, F> {
    pub(crate) state: S,
    pub(crate) step: F,
}

impl<A, T, F: FnMut(A) -> T + 'static> Step<A, T> for Mapped<F> {
    fn step(&mut self, value: A) -> Option<T> {
        Some((self.0)(value))
    }
}

impl<A, T, F: FnMut(A) -> Option<T> + 'static> Step<A, T> for Filtered<F> {
    fn step(&mut self, value: A) -> Option<T> {
        (self.0)(value)
    }
}

impl<A, T, S: 'static, F: FnMut(&mut S, A) -> Option<T> + 'static> Step<A, T> for Scanned<S, F> {
    fn step(&mut self, value: A) -> Option<T> {
        (self.step)(&mut self.state, value)
    }
}

/// A value on its way into the output record.
struct Outbox<T: Record> {
    producer: Producer<T, ()>,
    value: Option<T>,
    ticket: WaitTicket,
}

impl<T: Record> Outbox<T> {
    fn new(record: Arc<crate::handle::RecordCell<T>>) -> Self {
        Self { producer: Producer::new(record), value: None, ticket: WaitTicket::default() }
    }

    /// Ready when there is nothing left to send.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        match self.value {
            None => Poll::Ready(Ok(())),
            Some(_) => self.producer.poll_produce(&mut self.value, &mut self.ticket, cx),
        }
    }
}

impl<T: Record> Drop for Outbox<T> {
    fn drop(&mut self) {
        self.producer.cancel_wait(&mut self.ticket);
    }
}

/// The future of a transform with one input. It ends when the input is closed and read to its end.
pub struct MapStage<A: Record, T: Record, S> {
    input: Reader<A>,
    step: S,
    output: Outbox<T>,
}

impl<A: Record, T: Record, S> MapStage<A, T, S> {
    pub(crate) fn new(
        input: Reader<A>,
        step: S,
        output: Arc<crate::handle::RecordCell<T>>,
    ) -> Self {
        Self { input, step, output: Outbox::new(output) }
    }
}

impl<A: Record, T: Record, S> Unpin for MapStage<A, T, S> {}

impl<A: Record, T: Record, S: Step<A, T>> Future for MapStage<A, T, S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { input, step, output } = &mut *self;
        loop {
            if core::task::ready!(output.poll_flush(cx)).is_err() {
                return Poll::Ready(());
            }
            match core::task::ready!(input.poll_recv(cx)) {
                Ok(value) => output.value = step.step(value),
                Err(Closed) => return Poll::Ready(()),
            }
        }
    }
}

impl<A: Record, T: Record, S> fmt::Debug for MapStage<A, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapStage").field("input", &self.input).finish_non_exhaustive()
    }
}

/// Several inputs of a join: a tuple of up to eight, an array, or a `Vec`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a set of inputs",
    note = "use a tuple `(input::<A>(key), input::<B>(key))`, an array, or a `Vec` of inputs of one type"
)]
pub trait JoinInputs: 'static {
    /// The readers it opens.
    type Readers: JoinReaders;

    /// Its inputs as data.
    fn nodes(&self) -> Vec<InputNode>;

    /// Opens the readers.
    ///
    /// # Errors
    ///
    /// When an input is not there, which a checked graph rules out.
    fn open(&self, inputs: &mut Inputs<'_>) -> DbResult<Self::Readers>;
}

/// The readers of a join, each with its latest value.
pub trait JoinReaders: Unpin + 'static {
    /// The latest of each, as the closure gets it.
    type Latest;

    /// Ready with one input's next value taken in, or with [`Closed`] when all are closed and read to their ends.
    fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>>;

    /// The stage has done with the value that was taken in: its output has been accepted.
    fn finish_change(&mut self);

    /// The latest of each, once every input has had a value.
    fn latest(&self) -> Option<Self::Latest>;
}

/// One input of a join.
#[derive(Debug)]
pub struct Leg<T: Record> {
    reader: Option<Reader<T>>,
    latest: Option<T>,
    /// The value in `latest` counts as in the stage's hand.
    in_hand: bool,
}

impl<T: Record> Leg<T> {
    fn open(input: &Input<T>, inputs: &mut Inputs<'_>) -> DbResult<Self> {
        Ok(Self { reader: Some(input.open(inputs)?), latest: None, in_hand: false })
    }

    fn finish_change(&mut self) {
        if core::mem::take(&mut self.in_hand)
            && let Some(reader) = &self.reader
        {
            reader.finish();
        }
    }

    /// Whether it took a value. A closed input keeps its last value and is not asked again.
    fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let Some(reader) = &mut self.reader else { return Poll::Ready(false) };
        match core::task::ready!(reader.poll_recv(cx)) {
            Ok(value) => {
                self.latest = Some(value);
                self.in_hand = true;
                Poll::Ready(true)
            }
            Err(Closed) => {
                self.reader = None;
                Poll::Ready(false)
            }
        }
    }
}

/// Asks the legs one after the other, the one after the last that had something first, so that none starves.
fn poll_legs(
    legs: usize,
    next: &mut usize,
    mut poll_leg: impl FnMut(usize) -> Poll<bool>,
) -> Poll<Result<(), Closed>> {
    let mut open = false;
    for turn in 0..legs {
        let leg = (*next + turn) % legs;
        match poll_leg(leg) {
            Poll::Ready(true) => {
                *next = leg + 1;
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(false) => {}
            Poll::Pending => open = true,
        }
    }
    if open { Poll::Pending } else { Poll::Ready(Err(Closed)) }
}

/// Opened readers, and whose turn it is.
#[derive(Debug)]
pub struct Legs<L> {
    legs: L,
    next: usize,
}

macro_rules! join_tuples {
    ($(($($name:ident $at:tt),+) $count:literal;)*) => {$(
        impl<$($name: Record),+> JoinInputs for ($(Input<$name>,)+) {
            type Readers = Legs<($(Leg<$name>,)+)>;

            fn nodes(&self) -> Vec<InputNode> {
                [$(self.$at.node()),+].into()
            }

            fn open(&self, inputs: &mut Inputs<'_>) -> DbResult<Self::Readers> {
                Ok(Legs { legs: ($(Leg::open(&self.$at, inputs)?,)+), next: 0 })
            }
        }

        impl<$($name: Record),+> JoinReaders for Legs<($(Leg<$name>,)+)> {
            type Latest = ($($name,)+);

            fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
                let Self { legs, next } = self;
                poll_legs($count, next, |leg| match leg {
                    $($at => legs.$at.poll_change(cx),)+
                    _ => Poll::Ready(false),
                })
            }

            fn finish_change(&mut self) {
                $(self.legs.$at.finish_change();)+
            }

            fn latest(&self) -> Option<Self::Latest> {
                Some(($(self.legs.$at.latest.clone()?,)+))
            }
        }

        impl<$($name: Record),+> Unpin for Legs<($(Leg<$name>,)+)> {}
    )*};
}

join_tuples! {
    (A 0) 1;
    (A 0, B 1) 2;
    (A 0, B 1, C 2) 3;
    (A 0, B 1, C 2, D 3) 4;
    (A 0, B 1, C 2, D 3, E 4) 5;
    (A 0, B 1, C 2, D 3, E 4, F 5) 6;
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6) 7;
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7) 8;
}

impl<T: Record, const N: usize> JoinInputs for [Input<T>; N] {
    type Readers = Legs<[Leg<T>; N]>;

    fn nodes(&self) -> Vec<InputNode> {
        self.iter().map(Input::node).collect()
    }

    fn open(&self, inputs: &mut Inputs<'_>) -> DbResult<Self::Readers> {
        let legs =
            self.iter().map(|input| Leg::open(input, inputs)).collect::<DbResult<Vec<_>>>()?;
        let legs =
            legs.try_into().unwrap_or_else(|_| unreachable!("one leg for each of {N} inputs"));
        Ok(Legs { legs, next: 0 })
    }
}

impl<T: Record, const N: usize> Unpin for Legs<[Leg<T>; N]> {}

impl<T: Record, const N: usize> JoinReaders for Legs<[Leg<T>; N]> {
    type Latest = [T; N];

    fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let Self { legs, next } = self;
        poll_legs(N, next, |leg| legs[leg].poll_change(cx))
    }

    fn finish_change(&mut self) {
        self.legs.iter_mut().for_each(Leg::finish_change);
    }

    fn latest(&self) -> Option<[T; N]> {
        if self.legs.iter().any(|leg| leg.latest.is_none()) {
            return None;
        }
        Some(core::array::from_fn(|leg| self.legs[leg].latest.clone().expect("looked at above")))
    }
}

/// As many inputs as there are at run time. The closure gets a `Vec`, which is allocated for each output.
impl<T: Record> JoinInputs for Vec<Input<T>> {
    type Readers = Legs<Vec<Leg<T>>>;

    fn nodes(&self) -> Vec<InputNode> {
        self.iter().map(Input::node).collect()
    }

    fn open(&self, inputs: &mut Inputs<'_>) -> DbResult<Self::Readers> {
        let legs = self.iter().map(|input| Leg::open(input, inputs)).collect::<DbResult<_>>()?;
        Ok(Legs { legs, next: 0 })
    }
}

impl<T: Record> Unpin for Legs<Vec<Leg<T>>> {}

impl<T: Record> JoinReaders for Legs<Vec<Leg<T>>> {
    type Latest = Vec<T>;

    fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let Self { legs, next } = self;
        poll_legs(legs.len(), next, |leg| legs[leg].poll_change(cx))
    }

    fn finish_change(&mut self) {
        self.legs.iter_mut().for_each(Leg::finish_change);
    }

    fn latest(&self) -> Option<Vec<T>> {
        self.legs.iter().map(|leg| leg.latest.clone()).collect()
    }
}

/// The future of a join: whenever any input has a value, the closure gets the latest of each, once there is one of
/// each. An input that is closed keeps its last value; the join ends when all are closed and read to their ends.
pub struct JoinStage<L, T: Record, F> {
    readers: L,
    step: F,
    output: Outbox<T>,
}

impl<L, T: Record, F> JoinStage<L, T, F> {
    pub(crate) fn new(readers: L, step: F, output: Arc<crate::handle::RecordCell<T>>) -> Self {
        Self { readers, step, output: Outbox::new(output) }
    }
}

impl<L, T: Record, F> Unpin for JoinStage<L, T, F> {}

impl<L: JoinReaders, T: Record, F: FnMut(L::Latest) -> T> Future for JoinStage<L, T, F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { readers, step, output } = &mut *self;
        loop {
            if core::task::ready!(output.poll_flush(cx)).is_err() {
                return Poll::Ready(());
            }
            readers.finish_change();
            if core::task::ready!(readers.poll_change(cx)).is_err() {
                return Poll::Ready(());
            }
            output.value = readers.latest().map(&mut *step);
        }
    }
}

impl<L, T: Record, F> fmt::Debug for JoinStage<L, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinStage")
    }
}
