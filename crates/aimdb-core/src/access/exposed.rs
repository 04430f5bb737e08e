//! The access to one record as bytes, with its type and its codec.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::task::{Context, Poll, ready};

use super::erased::{ByteAccess, ByteObserver, ByteReader, Seen};
use super::error::AccessError;
use crate::buffer::Subscription;
use crate::buffer::error::{TryProduceError, TryRecvError};
use crate::buffer::event::Event;
use crate::buffer::observe::newest_observed;
use crate::handle::observer::{Observed, Observer};
use crate::key::Record;
use crate::link::codec::{CodecError, Decode, Encode, Incoming};
use crate::panic::catch;
use crate::record::{RecordCell, RecordEntry};
use crate::sync::Arc;

/// Makes the access to a record, once the record is made.
pub(crate) type MakeAccess = Box<dyn FnOnce(&RecordEntry) -> Option<Box<dyn ByteAccess>>>;

/// Decodes a value, by a codec that can.
type DecodeBytes<T, C> = fn(C, &Incoming<'_>) -> Result<T, CodecError>;

/// An exposed record. The codec is cloned for each use, inside of a `catch`: its `Clone` is user code,
/// too.
struct Exposed<T: Clone, C> {
    record: Arc<RecordCell<T>>,
    codec: Arc<C>,
    encoding: &'static str,
    /// Present if the record is settable.
    decode: Option<DecodeBytes<T, C>>,
}

/// The access that a codec gives to read a record of `T`.
pub(crate) fn readable<T, C>(codec: C) -> MakeAccess
where
    T: Record,
    C: Encode<T> + Clone + Sync,
{
    made(codec, None)
}

/// The access that a codec gives to read and write a record of `T`.
pub(crate) fn settable<T, C>(codec: C) -> MakeAccess
where
    T: Record,
    C: Encode<T> + Decode<T> + Clone + Sync,
{
    made(codec, Some(|mut codec, message| codec.decode(message)))
}

fn made<T, C>(codec: C, decode: Option<DecodeBytes<T, C>>) -> MakeAccess
where
    T: Record,
    C: Encode<T> + Clone + Sync,
{
    Box::new(move |entry| {
        // The type is that of the registrar that exposes the record.
        let record = entry.typed::<T>().ok()?;
        let encoding = codec.media_type();
        Some(Box::new(Exposed { record, codec: Arc::new(codec), encoding, decode }))
    })
}

/// Appends the encoding of the value that `read` returns to `out`, which is unchanged if there is
/// none, and returns what else `read` returned.
fn encode<T, V: Borrow<T>, C: Encode<T> + Clone, O>(
    codec: &C,
    key: &str,
    out: &mut Vec<u8>,
    read: impl FnOnce() -> Option<(O, V)>,
) -> Result<Option<O>, AccessError> {
    // A codec may expect an empty vector, and one that fails midway leaves its bytes.
    let mut bytes = if out.is_empty() { core::mem::take(out) } else { Vec::new() };
    let encoded = catch(|| {
        let Some((read, value)) = read() else { return Ok(None) };
        codec.clone().encode(value.borrow(), &mut bytes).map(|()| Some(read))
    });
    let encoded = encoded.map_err(CodecError::new).flatten();
    if encoded.is_err() {
        bytes.clear();
    }
    if out.is_empty() {
        *out = bytes;
    } else {
        out.extend_from_slice(&bytes);
    }
    encoded.map_err(|error| AccessError::Encode { key: key.into(), error })
}

impl<T, C> ByteAccess for Exposed<T, C>
where
    T: Record,
    C: Encode<T> + Clone + Sync,
{
    fn cloned(&self) -> Box<dyn ByteAccess> {
        let Self { record, codec, encoding, decode } = self;
        Box::new(Self {
            record: Arc::clone(record),
            codec: Arc::clone(codec),
            encoding,
            decode: *decode,
        })
    }

    fn encoding(&self) -> &'static str {
        self.encoding
    }

    fn is_settable(&self) -> bool {
        self.decode.is_some()
    }

    fn latest(&self, out: &mut Vec<u8>) -> Result<Option<u64>, AccessError> {
        let (record, codec) = (&self.record, &*self.codec);
        // A value that was taken already may still be in the mirror of the record's observers.
        let newest = newest_observed(&record.buffer);
        let held = encode(codec, &record.key, out, || {
            let held = record.buffer.latest_numbered();
            held.filter(|(number, _)| newest.as_ref().is_none_or(|newest| newest.seq <= *number))
        })?;
        match (held, newest) {
            (None, Some(newest)) => {
                encode(codec, &record.key, out, || Some((newest.seq, newest.value)))
            }
            (held, _) => Ok(held),
        }
    }

    fn subscribe(&self, name: Arc<str>) -> Result<Box<dyn ByteReader>, AccessError> {
        let subscription = self.record.subscribe(name, false, None)?;
        let (key, codec) = (Arc::clone(&self.record.key), Arc::clone(&self.codec));
        Ok(Box::new(ExposedReader { subscription, key, codec }))
    }

    fn observe(&self, name: &str) -> Result<Box<dyn ByteObserver>, AccessError> {
        let observer = Observer::new(&self.record, name.into())?;
        let (key, codec) = (Arc::clone(&self.record.key), Arc::clone(&self.codec));
        Ok(Box::new(ExposedObserver { observer, key, codec }))
    }

    fn write(&self, bytes: &[u8]) -> Result<(), AccessError> {
        let key = &*self.record.key;
        let Some(decode) = self.decode else {
            return Err(AccessError::NotSettable { key: key.into() });
        };
        let decoded = catch(|| decode(C::clone(&self.codec), &Incoming::new(key, bytes)));
        let value = decoded.map_err(CodecError::new).flatten();
        let value = value.map_err(|error| AccessError::Decode { key: key.into(), error })?;
        self.record.buffer.try_produce(value).map_err(|refusal| match refusal {
            TryProduceError::Full(_) => AccessError::Full { key: key.into() },
            TryProduceError::Closed(_) => AccessError::Closed { key: key.into() },
        })
    }
}

/// A reader of an exposed record.
struct ExposedReader<T: Clone, C> {
    subscription: Subscription<T>,
    key: Arc<str>,
    codec: Arc<C>,
}

impl<T: Record, C: Encode<T> + Clone> ExposedReader<T, C> {
    /// The event that `read` returns, with its value's encoding in `out`; `None` if there is none. A
    /// value whose `Clone` panics counts as received.
    fn read(
        &mut self,
        out: &mut Vec<u8>,
        read: impl FnOnce(&mut Subscription<T>) -> Option<Event<T>>,
    ) -> Result<Option<Event<()>>, AccessError> {
        let Self { subscription, key, codec } = self;
        let (mut lag, before) = (None, subscription.progress());
        let received = encode(&**codec, key, out, || match read(subscription)? {
            Event::Value(value) => Some(((), value)),
            Event::Lagged(missed) => {
                lag = Some(missed);
                None
            }
        });
        if received.is_err() && self.subscription.progress() == before {
            self.subscription.skip();
        }
        let value = received?.map(Event::Value);
        Ok(value.or(lag.map(Event::Lagged)))
    }

    fn closed(&self) -> AccessError {
        AccessError::Closed { key: self.key.as_ref().into() }
    }
}

impl<T, C> ByteReader for ExposedReader<T, C>
where
    T: Record,
    C: Encode<T> + Clone + Sync,
{
    fn try_next(&mut self, out: &mut Vec<u8>) -> Result<Option<Event<()>>, AccessError> {
        let mut closed = false;
        let event = self.read(out, |subscription| {
            let event = subscription.try_event();
            closed = matches!(event, Err(TryRecvError::Closed));
            event.ok()
        })?;
        if closed { Err(self.closed()) } else { Ok(event) }
    }

    fn poll_next(
        &mut self,
        out: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Event<()>, AccessError>> {
        let mut ended = false;
        let event = self.read(out, |subscription| match subscription.poll_event(cx) {
            Poll::Ready(event) => {
                ended = event.is_err();
                event.ok()
            }
            Poll::Pending => None,
        })?;
        match event {
            Some(event) => Poll::Ready(Ok(event)),
            None if ended => Poll::Ready(Err(self.closed())),
            None => Poll::Pending,
        }
    }

    fn cancel_wait(&mut self) {
        self.subscription.cancel_wait();
    }

    fn lagged(&self) -> u64 {
        self.subscription.lagged()
    }

    fn pending(&self) -> u64 {
        self.subscription.pending()
    }
}

/// An observer of an exposed record.
struct ExposedObserver<T: Record, C> {
    observer: Observer<T>,
    key: Arc<str>,
    codec: Arc<C>,
}

impl<T, C> ExposedObserver<T, C>
where
    T: Record,
    C: Encode<T> + Clone + Sync,
{
    fn encoded(&self, observed: Observed<T>, out: &mut Vec<u8>) -> Result<Seen, AccessError> {
        let Observed { seq, at, missed, value } = observed;
        encode(&*self.codec, &self.key, out, || Some(((), value)))?;
        Ok(Seen { seq, at, missed })
    }

    fn closed(&self) -> AccessError {
        AccessError::Closed { key: self.key.as_ref().into() }
    }
}

impl<T, C> ByteObserver for ExposedObserver<T, C>
where
    T: Record,
    C: Encode<T> + Clone + Sync,
{
    fn try_see(&mut self, out: &mut Vec<u8>) -> Result<Option<Seen>, AccessError> {
        match self.observer.try_see() {
            Ok(observed) => self.encoded(observed, out).map(Some),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Closed) => Err(self.closed()),
        }
    }

    fn poll_see(
        &mut self,
        out: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Seen, AccessError>> {
        Poll::Ready(match ready!(self.observer.poll_see(cx)) {
            Ok(observed) => self.encoded(observed, out),
            Err(_closed) => Err(self.closed()),
        })
    }

    fn cancel_wait(&mut self) {
        self.observer.cancel_wait();
    }

    fn missed(&self) -> u64 {
        self.observer.missed()
    }
}
