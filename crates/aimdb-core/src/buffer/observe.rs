//! Observers come and go; the mirror that they read.

use alloc::boxed::Box;
use core::any::Any;

use super::buffer::{Buffer, Put};
use super::cfg::BufferCfg;
use super::error::TryProduceError;
use super::kind::NoMemory;
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

/// A copy in the mirror, whose observers are woken by the drop: after the permit of the record, and also if a reader's waker
/// panics.
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
    record.observation(|observation| {
        // Under the lock, which the close takes after its mark.
        if record.is_closed() {
            return Err(ObserveRefused::Closed);
        }
        let existing = observation.mirror.as_ref().and_then(|mirror| copies(mirror.as_any()));
        let copies = match existing {
            Some(copies) => copies,
            None => {
                let clock = record.coordinator().clock();
                let copies = Buffer::new(BufferCfg::SpmcRing { capacity }, clock)
                    .map_err(ObserveRefused::NoMemory)?;
                let mirror: Box<dyn Mirror<T, Buffer<T>>> =
                    Box::new(Copies { copies: Arc::clone(&copies) });
                observation.mirror = Some(mirror.into());
                copies
            }
        };
        // Before the flag: the values that follow it are for this observer.
        let subscription = Subscription::of_observer(&copies, name);
        let before = record.produced();
        observation.observers += 1;
        record.coordinator().set_observed(true);
        Ok((subscription, before))
    })
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
    fn produce(&self, record: &Buffer<T>, value: T) -> Result<(), TryProduceError<T>> {
        let at = record.coordinator().clock().now();
        let mut copied = Copied { copies: &self.copies, put: None };
        let copy = copy(&value);
        record.try_produce_numbered(value, |seq| {
            copied.put = copy.map(|value| self.copies.try_put(Seen { seq, at, value }));
        })
    }

    fn produce_with(
        &self,
        record: &Buffer<T>,
        make: &mut dyn FnMut() -> T,
    ) -> Result<(), TryProduceError<()>> {
        let at = record.coordinator().clock().now();
        let mut copied = Copied { copies: &self.copies, put: None };
        record.try_make_numbered(|seq| {
            let value = make();
            // User code under the permit, as `make` is.
            copied.put = copy(&value).map(|value| self.copies.try_put(Seen { seq, at, value }));
            value
        })
    }

    fn close(&self) {
        self.copies.close();
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
