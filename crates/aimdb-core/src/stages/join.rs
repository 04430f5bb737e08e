//! Joins: transforms with several inputs.

use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::input::{Input, Inputs};
use super::output::PendingOutput;
use crate::buffer::error::Closed;
use crate::engine::restart::Resumable;
use crate::error::DbResult;
use crate::graph::node::PortNode;
use crate::handle::reader::Reader;
use crate::key::Record;
use crate::record::RecordCell;
use crate::sync::Arc;

/// The inputs of a join: a tuple of up to eight inputs, an array, or a `Vec`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a set of inputs",
    note = "use a tuple `(input::<A>(key), input::<B>(key))`, an array, or a `Vec` of inputs of one type"
)]
pub trait JoinInputs: 'static {
    /// The readers of these inputs.
    type Readers: JoinReaders;

    /// The inputs as nodes of the graph.
    fn nodes(&self) -> Vec<PortNode>;

    /// Subscribes one reader for each input.
    ///
    /// # Errors
    ///
    /// [`DbError`](crate::DbError) if a record does not exist or holds another type, which a checked graph rules out.
    fn open(&self, inputs: &mut Inputs<'_>) -> DbResult<Self::Readers>;
}

/// The readers of a join, each with its latest value.
pub trait JoinReaders: Unpin + 'static {
    /// The latest value of each input, in the shape that the join's closure takes.
    type Latest;

    /// Completes when one input's next value is the latest.
    ///
    /// # Errors
    ///
    /// [`Closed`] when all inputs are drained.
    fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>>;

    /// Declares that the stage has processed the value of the last change: its output has been accepted.
    fn finish_change(&mut self);

    /// Returns the latest value of each input, or `None` if an input has had no value yet.
    fn latest(&self) -> Option<Self::Latest>;

    /// The latest value of each input that has had one, in the shape that an outer join's closure takes.
    type Optional;

    /// Returns the latest value of each input that has had one.
    fn optional(&self) -> Self::Optional;

    /// The index of the input of the last change.
    fn changed(&self) -> usize;

    /// Gives up the waits for values, and skips a value whose `Clone` panicked.
    fn suspend(&mut self);
}

/// The function of a join: an output value, or none, for each change.
pub trait JoinStep<L: JoinReaders, T>: 'static {
    /// Whether a change without an output value counts as [filtered](crate::metrics::RecordMetrics::filtered).
    const FILTERS: bool;

    /// Processes the last change and returns the output value, if there is one.
    fn step(&mut self, readers: &L) -> Option<T>;
}

/// A step that runs once every input has had a value ([`Registrar::join`](crate::Registrar::join)).
#[derive(Debug)]
pub struct Combined<F>(pub(crate) F);

/// A step that runs at every change ([`Registrar::outer_join`](crate::Registrar::outer_join)).
#[derive(Debug)]
pub struct OuterCombined<F>(pub(crate) F);

impl<L: JoinReaders, T, F: FnMut(L::Latest) -> T + 'static> JoinStep<L, T> for Combined<F> {
    /// It has no output only while an input has had no value yet.
    const FILTERS: bool = false;

    fn step(&mut self, readers: &L) -> Option<T> {
        readers.latest().map(&mut self.0)
    }
}

impl<L, T, F> JoinStep<L, T> for OuterCombined<F>
where
    L: JoinReaders,
    F: FnMut(L::Optional, usize) -> Option<T> + 'static,
{
    const FILTERS: bool = true;

    fn step(&mut self, readers: &L) -> Option<T> {
        (self.0)(readers.optional(), readers.changed())
    }
}

/// The future of a join.
///
/// Whenever an input has a value, the join calls its step with the latest value of each input. A drained input keeps its last value. The join ends when all inputs are drained or its own record is
/// closed.
pub struct JoinStage<L, T: Record, S> {
    readers: L,
    step: S,
    output: PendingOutput<T>,
}

impl<L, T: Record, S> JoinStage<L, T, S> {
    pub(crate) fn new(readers: L, step: S, output: Arc<RecordCell<T>>) -> Self {
        Self { readers, step, output: PendingOutput::new(output) }
    }
}

impl<L, T: Record, S> Unpin for JoinStage<L, T, S> {}

impl<L: JoinReaders, T: Record, S: JoinStep<L, T>> Future for JoinStage<L, T, S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { readers, step, output } = &mut *self;
        loop {
            match output.poll_flush(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(Closed)) => return Poll::Ready(()),
                // It reads nothing meanwhile: a wake-up for a command is another taker's.
                Poll::Pending => {
                    readers.suspend();
                    return Poll::Pending;
                }
            }
            readers.finish_change();
            if core::task::ready!(readers.poll_change(cx)).is_err() {
                return Poll::Ready(());
            }
            let value = step.step(readers);
            if S::FILTERS {
                output.set_or_count(value);
            } else {
                output.value = value;
            }
        }
    }
}

impl<L: JoinReaders, T: Record, S: JoinStep<L, T>> Resumable for JoinStage<L, T, S> {
    fn suspend(&mut self) {
        self.readers.suspend();
    }
}

impl<L, T: Record, S> fmt::Debug for JoinStage<L, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinStage")
    }
}

/// One input of a join: its reader and its latest value.
#[derive(Debug)]
pub struct JoinInput<T: Record> {
    reader: Option<Reader<T>>,
    latest: Option<T>,
    /// The value in `latest` is in progress: `finish_change` has yet to report it as processed.
    in_progress: bool,
}

impl<T: Record> JoinInput<T> {
    fn open(input: &Input<T>, inputs: &mut Inputs<'_>) -> DbResult<Self> {
        Ok(Self { reader: Some(input.open(inputs)?), latest: None, in_progress: false })
    }

    fn finish_change(&mut self) {
        if core::mem::take(&mut self.in_progress)
            && let Some(reader) = &self.reader
        {
            reader.finish();
        }
    }

    fn suspend(&mut self) {
        if let Some(reader) = &mut self.reader {
            reader.suspend();
        }
    }

    /// Completes with whether the input took a value. A drained input keeps its last value and is not polled again.
    fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let Some(reader) = &mut self.reader else { return Poll::Ready(false) };
        match core::task::ready!(reader.poll_recv(cx)) {
            Ok(value) => {
                self.latest = Some(value);
                self.in_progress = true;
                Poll::Ready(true)
            }
            Err(Closed) => {
                self.reader = None;
                Poll::Ready(false)
            }
        }
    }
}

/// Polls the inputs in a round: first the input after the one that had the last value, so that no input starves.
fn poll_inputs(
    inputs: usize,
    next: &mut usize,
    mut poll_input: impl FnMut(usize) -> Poll<bool>,
) -> Poll<Result<(), Closed>> {
    let mut open = false;
    for offset in 0..inputs {
        let input = (*next + offset) % inputs;
        match poll_input(input) {
            Poll::Ready(true) => {
                *next = input + 1;
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(false) => {}
            Poll::Pending => open = true,
        }
    }
    if open { Poll::Pending } else { Poll::Ready(Err(Closed)) }
}

/// The readers of a join's inputs.
#[derive(Debug)]
pub struct JoinState<L> {
    inputs: L,
    /// The input that is polled first.
    next: usize,
}

impl<L> JoinState<L> {
    /// The input of the last change: the one before the input that is polled first.
    fn last_changed(&self) -> usize {
        self.next.saturating_sub(1)
    }
}

macro_rules! join_tuples {
    ($(($($name:ident $at:tt),+) $count:literal;)*) => {$(
        impl<$($name: Record),+> JoinInputs for ($(Input<$name>,)+) {
            type Readers = JoinState<($(JoinInput<$name>,)+)>;

            fn nodes(&self) -> Vec<PortNode> {
                [$(self.$at.node()),+].into()
            }

            fn open(&self, inputs: &mut Inputs<'_>) -> DbResult<Self::Readers> {
                Ok(JoinState { inputs: ($(JoinInput::open(&self.$at, inputs)?,)+), next: 0 })
            }
        }

        impl<$($name: Record),+> JoinReaders for JoinState<($(JoinInput<$name>,)+)> {
            type Latest = ($($name,)+);

            fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
                let Self { inputs, next } = self;
                poll_inputs($count, next, |input| match input {
                    $($at => inputs.$at.poll_change(cx),)+
                    _ => Poll::Ready(false),
                })
            }

            fn finish_change(&mut self) {
                $(self.inputs.$at.finish_change();)+
            }

            fn latest(&self) -> Option<Self::Latest> {
                Some(($(self.inputs.$at.latest.clone()?,)+))
            }

            type Optional = ($(Option<$name>,)+);

            fn optional(&self) -> Self::Optional {
                ($(self.inputs.$at.latest.clone(),)+)
            }

            fn changed(&self) -> usize {
                self.last_changed()
            }

            fn suspend(&mut self) {
                $(self.inputs.$at.suspend();)+
            }
        }

        impl<$($name: Record),+> Unpin for JoinState<($(JoinInput<$name>,)+)> {}
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
    type Readers = JoinState<[JoinInput<T>; N]>;

    fn nodes(&self) -> Vec<PortNode> {
        self.iter().map(Input::node).collect()
    }

    fn open(&self, inputs: &mut Inputs<'_>) -> DbResult<Self::Readers> {
        let inputs = self
            .iter()
            .map(|input| JoinInput::open(input, inputs))
            .collect::<DbResult<Vec<_>>>()?;
        let inputs =
            inputs.try_into().unwrap_or_else(|_| unreachable!("one input for each of {N} inputs"));
        Ok(JoinState { inputs, next: 0 })
    }
}

impl<T: Record, const N: usize> Unpin for JoinState<[JoinInput<T>; N]> {}

impl<T: Record, const N: usize> JoinReaders for JoinState<[JoinInput<T>; N]> {
    type Latest = [T; N];

    fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let Self { inputs, next } = self;
        poll_inputs(N, next, |input| inputs[input].poll_change(cx))
    }

    fn finish_change(&mut self) {
        self.inputs.iter_mut().for_each(JoinInput::finish_change);
    }

    fn latest(&self) -> Option<[T; N]> {
        if self.inputs.iter().any(|input| input.latest.is_none()) {
            return None;
        }
        Some(core::array::from_fn(|input| {
            self.inputs[input].latest.clone().expect("every input has a value")
        }))
    }

    type Optional = [Option<T>; N];

    fn optional(&self) -> Self::Optional {
        core::array::from_fn(|input| self.inputs[input].latest.clone())
    }

    fn changed(&self) -> usize {
        self.last_changed()
    }

    fn suspend(&mut self) {
        self.inputs.iter_mut().for_each(JoinInput::suspend);
    }
}

/// A number of inputs that is known at run time only. The join allocates a `Vec` for each call of the closure.
impl<T: Record> JoinInputs for Vec<Input<T>> {
    type Readers = JoinState<Vec<JoinInput<T>>>;

    fn nodes(&self) -> Vec<PortNode> {
        self.iter().map(Input::node).collect()
    }

    fn open(&self, inputs: &mut Inputs<'_>) -> DbResult<Self::Readers> {
        let inputs =
            self.iter().map(|input| JoinInput::open(input, inputs)).collect::<DbResult<_>>()?;
        Ok(JoinState { inputs, next: 0 })
    }
}

impl<T: Record> Unpin for JoinState<Vec<JoinInput<T>>> {}

impl<T: Record> JoinReaders for JoinState<Vec<JoinInput<T>>> {
    type Latest = Vec<T>;

    fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let Self { inputs, next } = self;
        poll_inputs(inputs.len(), next, |input| inputs[input].poll_change(cx))
    }

    fn finish_change(&mut self) {
        self.inputs.iter_mut().for_each(JoinInput::finish_change);
    }

    fn latest(&self) -> Option<Vec<T>> {
        self.inputs.iter().map(|input| input.latest.clone()).collect()
    }

    type Optional = Vec<Option<T>>;

    fn optional(&self) -> Self::Optional {
        self.inputs.iter().map(|input| input.latest.clone()).collect()
    }

    fn changed(&self) -> usize {
        self.last_changed()
    }

    fn suspend(&mut self) {
        self.inputs.iter_mut().for_each(JoinInput::suspend);
    }
}
