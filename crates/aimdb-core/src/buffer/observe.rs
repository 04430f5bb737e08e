//! Observers come and go; the mirror that they read.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::any::Any;
use core::mem;

use super::buffer::Buffer;
use super::cfg::BufferCfg;
use super::error::TryProduceError;
use super::kind::{Kind, NoMemory, ReserveError, WritePermit, Written};
use super::mirror::{Mirror, Seen};
use super::subscription::Subscription;
use crate::clock::Instant;
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
fn copy<T: Clone>(value: &T) -> Option<T> {
    catch(|| value.clone()).ok()
}

/// A copy on its way into the mirror. The drop, which is after the permit of the record, wakes the observers and drops
/// what is no longer needed.
struct Copied<'c, T: Clone> {
    copies: &'c Buffer<Seen<T>>,
    at: Instant,
    /// The copy; after [`put`](Self::put) the one that it replaced, or that was left out.
    copy: Option<T>,
    /// A copy that an observer still has.
    replaced: Option<Arc<T>>,
    /// The number of copies so far, if this one is among them.
    produced: Option<u64>,
}

impl<'c, T: Clone> Copied<'c, T> {
    fn new(copies: &'c Buffer<Seen<T>>, at: Instant) -> Self {
        Self { copies, at, copy: None, replaced: None, produced: None }
    }

    /// Stores the copy if its slot is free at this moment. The caller has the permit of the record, so it is the only
    /// writer.
    fn put(&mut self, seq: u64) {
        let Some(mut permit) = self.copies.ring().and_then(|ring| ring.try_reserve()) else {
            return;
        };
        let Some(copy) = self.copy.take() else { return };
        let at = self.at;
        let Some(seen) = permit.replaced() else {
            let first = || Seen { seq, at, value: Arc::new(copy) };
            self.produced = Some(permit.write(first).produced);
            return;
        };
        (seen.seq, seen.at) = (seq, at);
        // The memory of the replaced copy is used again, unless an observer still has it.
        match Arc::get_mut(&mut seen.value) {
            Some(place) => self.copy = Some(mem::replace(place, copy)),
            None => self.replaced = Some(mem::replace(&mut seen.value, Arc::new(copy))),
        }
        self.produced = Some(permit.renewed());
    }
}

impl<T: Clone> Drop for Copied<'_, T> {
    fn drop(&mut self) {
        if let Some(produced) = self.produced {
            self.copies.notify_observers(produced);
        }
        // A panic of a copy's `Drop` is not the writer's concern.
        let (copy, replaced) = (self.copy.take(), self.replaced.take());
        if const { mem::needs_drop::<T>() } {
            let _panicked = catch(|| drop(copy));
        }
        let _panicked = replaced.map(|replaced| catch(|| drop(replaced)));
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
        let mut copied = Copied::new(&self.copies, record.coordinator().now());
        copied.copy = copy(&value);
        let mut offered = Some(value);
        let written = record.put_numbered(|seq| {
            copied.put(seq);
            offered.take().expect("it is made once")
        });
        written.map_err(|refused| refused.refuse(offered.take().expect("it was not made")))
    }

    fn put_with(
        &self,
        record: &Buffer<T>,
        make: &mut dyn FnMut() -> T,
    ) -> Result<Written<T>, ReserveError> {
        let mut copied = Copied::new(&self.copies, record.coordinator().now());
        record.put_numbered(|seq| {
            let value = make();
            // User code under the permit, as `make` is.
            copied.copy = copy(&value);
            copied.put(seq);
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
