//! Observers come and go; the mirror that they read.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::any::Any;

use super::buffer::{Buffer, Put};
use super::cfg::BufferCfg;
use super::error::TryProduceError;
use super::kind::{NoMemory, ReserveError, Written};
use super::mirror::{Mirror, Seen};
use super::subscription::Subscription;
use crate::panic::catch;
use crate::sync::Arc;

/// Why a record accepts no observer.
pub(crate) enum ObserveRefused {
    /// The record is closed.
    Closed,
    /// There is no memory for the mirror.
    NoMemory(NoMemory),
}

/// A mirror. See [`mirror`](super::mirror).
struct Copies<T: Clone> {
    copies: Arc<Buffer<Seen<T>>>,
}

/// A copy for the observers; none if the value's `Clone` panics, which must not be the writer's concern.
fn copy<T: Clone>(value: &T) -> Option<Arc<T>> {
    catch(|| value.clone()).ok().map(Arc::new)
}

/// A copy in the mirror, whose observers are woken by the drop: after the permit of the record.
struct Copied<'c, T: Clone> {
    copies: &'c Buffer<Seen<T>>,
    put: Option<Put<Seen<T>>>,
}

impl<T: Clone> Drop for Copied<'_, T> {
    fn drop(&mut self) {
        self.copies.finish_put(self.put.take());
    }
}

/// Adds an observer to a record, and makes the mirror, of this many values, for the first one. Returns the observer's
/// subscription, and the number of values that the record had accepted before.
///
/// # Errors
///
/// [`ObserveRefused`]. The record is then as before.
pub(crate) fn observe<T: Clone + Send + Sync + 'static>(
    record: &Buffer<T>,
    name: Arc<str>,
    capacity: usize,
) -> Result<(Subscription<Seen<T>>, u64), ObserveRefused> {
    let mut made = None;
    loop {
        let entered = record.observation(|observation| {
            // Under the lock, which the close takes after its mark.
            if record.is_closed() {
                return Some(Err(ObserveRefused::Closed));
            }
            if observation.mirror.is_none() {
                observation.mirror = made.take();
            }
            // None: it is made without the lock, which writers take.
            let mirror = observation.mirror.as_ref()?;
            let copies = copies(mirror.as_any())?;
            // Before the flag: the values that follow it are for this observer.
            let subscription = Subscription::of_observer(&copies, Arc::clone(&name));
            let before = record.produced();
            observation.observers += 1;
            record.coordinator().set_observed(true);
            Some(Ok((subscription, before)))
        });
        if let Some(entered) = entered {
            return entered;
        }
        let clock = record.coordinator().clock();
        let copies = Buffer::new(BufferCfg::SpmcRing { capacity }, clock)
            .map_err(ObserveRefused::NoMemory)?;
        let mirror: Box<dyn Mirror<T, Buffer<T>>> = Box::new(Copies { copies });
        made = Some(mirror.into());
    }
}

/// An observer has left, whose subscription has been dropped. The last one takes the mirror along.
pub(crate) fn unobserve<T: Clone>(record: &Buffer<T>) {
    let _last = record.observation(|observation| {
        observation.observers -= 1;
        if observation.observers > 0 {
            return None;
        }
        record.coordinator().set_observed(false);
        observation.mirror.take()
    });
}

/// The newest value of a record's mirror, if there is one.
pub(crate) fn newest_observed<T: Clone + Send + Sync + 'static>(
    record: &Buffer<T>,
) -> Option<Seen<T>> {
    let mirror = record.observation(|observation| observation.mirror.clone())?;
    copies::<T>(mirror.as_any())?.latest()
}

fn copies<T: Clone + 'static>(mirror: &dyn Any) -> Option<Arc<Buffer<Seen<T>>>> {
    mirror.downcast_ref::<Copies<T>>().map(|mirror| Arc::clone(&mirror.copies))
}

impl<T: Clone + Send + Sync + 'static> Mirror<T, Buffer<T>> for Copies<T> {
    fn put(&self, record: &Buffer<T>, value: T) -> Result<Written<T>, TryProduceError<T>> {
        // First: a writer that polls a full queue makes no copy for each attempt.
        if let Some(refused) = record.refusal() {
            return Err(refused.refuse(value));
        }
        let at = record.coordinator().clock().now();
        let mut copied = Copied { copies: &self.copies, put: None };
        let copy = copy(&value);
        let mut offered = Some(value);
        let written = record.put_numbered(|seq| {
            copied.put = copy.map(|value| self.copies.try_put(Seen { seq, at, value }));
            offered.take().expect("it is made once")
        });
        written.map_err(|refused| refused.refuse(offered.take().expect("it was not made")))
    }

    fn put_with(
        &self,
        record: &Buffer<T>,
        make: &mut dyn FnMut() -> T,
    ) -> Result<Written<T>, ReserveError> {
        let at = record.coordinator().clock().now();
        let mut copied = Copied { copies: &self.copies, put: None };
        record.put_numbered(|seq| {
            let value = make();
            // User code under the permit, as `make` is.
            copied.put = copy(&value).map(|value| self.copies.try_put(Seen { seq, at, value }));
            value
        })
    }

    fn observers(&self) -> Vec<Arc<str>> {
        self.copies.coordinator().reader_names()
    }

    fn close(&self) {
        self.copies.close();
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
