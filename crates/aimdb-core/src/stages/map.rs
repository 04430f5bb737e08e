//! Transforms with one input.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::output::PendingOutput;
use crate::buffer::error::Closed;
use crate::engine::restart::Resumable;
use crate::handle::reader::Reader;
use crate::key::Record;
use crate::record::RecordCell;
use crate::sync::Arc;

/// The function of a transform with one input: an output value, or none, for each input value.
pub trait Step<A, T>: 'static {
    /// Processes one input value and returns the output value, if there is one.
    fn step(&mut self, value: A) -> Option<T>;
}

/// A step with one output for each input ([`Registrar::transform`](crate::Registrar::transform)).
#[derive(Debug)]
pub struct Mapped<F>(pub(crate) F);

/// A step with at most one output for each input ([`Registrar::filter_map`](crate::Registrar::filter_map)).
#[derive(Debug)]
pub struct Filtered<F>(pub(crate) F);

/// A step with at most one output for each input, and a state ([`Registrar::scan`](crate::Registrar::scan)).
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

/// The future of a transform with one input.
///
/// It waits until its record has accepted the output before it reads the next input. It ends when the input is drained
/// or its own record is closed.
pub struct MapStage<A: Record, T: Record, S> {
    input: Reader<A>,
    step: S,
    output: PendingOutput<T>,
}

impl<A: Record, T: Record, S> MapStage<A, T, S> {
    pub(crate) fn new(input: Reader<A>, step: S, output: Arc<RecordCell<T>>) -> Self {
        Self { input, step, output: PendingOutput::new(output) }
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
                Ok(value) => output.set_or_count(step.step(value)),
                Err(Closed) => return Poll::Ready(()),
            }
        }
    }
}

impl<A: Record, T: Record, S: Step<A, T>> Resumable for MapStage<A, T, S> {
    fn suspend(&mut self) {
        self.input.suspend();
    }
}

impl<A: Record, T: Record, S> fmt::Debug for MapStage<A, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapStage").field("input", &self.input).finish_non_exhaustive()
    }
}
