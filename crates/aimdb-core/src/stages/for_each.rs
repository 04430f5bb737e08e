//! A tap that calls a closure for each value.

use alloc::string::String;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use crate::buffer::error::Closed;
use crate::context::RuntimeContext;
use crate::engine::restart::Resumable;
use crate::engine::result::StageResult;
use crate::handle::reader::Reader;
use crate::key::Record;
use crate::runtime::adapter::Runtime;

/// The future of [`Registrar::for_each`](crate::Registrar::for_each).
///
/// It ends when the record is drained, or with the first error of its closure.
pub struct ForEach<R: Runtime, T: Record, F> {
    reader: Reader<T>,
    each: F,
    context: RuntimeContext<R>,
}

impl<R: Runtime, T: Record, F> ForEach<R, T, F> {
    pub(crate) fn new(reader: Reader<T>, each: F, context: RuntimeContext<R>) -> Self {
        Self { reader, each, context }
    }
}

// Values move through the closure, and nothing is ever pinned.
impl<R: Runtime, T: Record, F> Unpin for ForEach<R, T, F> {}

impl<R, T, F, O> Future for ForEach<R, T, F>
where
    R: Runtime,
    T: Record,
    F: FnMut(&RuntimeContext<R>, T) -> O,
    O: StageResult,
{
    type Output = Result<(), String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { reader, each, context } = &mut *self;
        loop {
            match ready!(reader.poll_recv(cx)) {
                Ok(value) => each(context, value).into_outcome()?,
                Err(Closed) => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<R, T, F, O> Resumable for ForEach<R, T, F>
where
    R: Runtime,
    T: Record,
    F: FnMut(&RuntimeContext<R>, T) -> O,
    O: StageResult,
{
    fn suspend(&mut self) {
        self.reader.suspend();
    }
}

impl<R: Runtime, T: Record, F> fmt::Debug for ForEach<R, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForEach").field("reader", &self.reader).finish_non_exhaustive()
    }
}
