//! The access to one record as bytes, without the record's type.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::task::{Context, Poll};

use super::error::AccessError;
use crate::buffer::event::Event;
use crate::clock::Instant;
use crate::sync::Arc;

/// The access to an exposed record as bytes.
pub(crate) trait ByteAccess: Send + Sync {
    fn cloned(&self) -> Box<dyn ByteAccess>;
    /// The media type of the encoding.
    fn encoding(&self) -> &'static str;
    fn is_settable(&self) -> bool;
    /// Appends the newest value held, and returns its number. `None` if none is held.
    fn latest(&self, out: &mut Vec<u8>) -> Result<Option<u64>, AccessError>;
    fn subscribe(&self, name: Arc<str>) -> Result<Box<dyn ByteReader>, AccessError>;
    fn observe(&self, name: &str) -> Result<Box<dyn ByteObserver>, AccessError>;
    fn write(&self, bytes: &[u8]) -> Result<(), AccessError>;
}

/// A reader of an exposed record. An event's value is appended to `out`.
pub(crate) trait ByteReader: Send + Sync {
    /// `None` if there is no event yet.
    fn try_next(&mut self, out: &mut Vec<u8>) -> Result<Option<Event<()>>, AccessError>;
    fn poll_next(
        &mut self,
        out: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Event<()>, AccessError>>;
    fn cancel_wait(&mut self);
    fn lagged(&self) -> u64;
    fn pending(&self) -> u64;
}

/// An observer of an exposed record. A value is appended to `out`.
pub(crate) trait ByteObserver: Send + Sync {
    /// `None` if there is no value yet.
    fn try_see(&mut self, out: &mut Vec<u8>) -> Result<Option<Seen>, AccessError>;
    fn poll_see(
        &mut self,
        out: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Seen, AccessError>>;
    fn cancel_wait(&mut self);
    fn missed(&self) -> u64;
}

/// Which value an observer saw, and what it missed before.
///
/// ```
/// use aimdb_core::access::Seen;
///
/// fn print(seen: Seen, value: &[u8]) {
///     println!("#{} (after {} missed): {}", seen.seq, seen.missed, String::from_utf8_lossy(value));
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// The number of the value among those that the record accepted, from one.
    pub seq: u64,
    /// The time at which its writer made the copy, by the runtime's clock: just before the record accepted the value.
    pub at: Instant,
    /// Values between this one and the one before that the observer did not see, or since it came.
    pub missed: u64,
}
