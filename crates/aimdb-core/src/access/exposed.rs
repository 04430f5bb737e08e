//! The access to one record as bytes, with its type and its codec.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::task::{Context, Poll, ready};

use super::erased::{ByteAccess, ByteReader};
use super::error::AccessError;
use crate::buffer::Subscription;
use crate::buffer::error::{TryProduceError, TryRecvError};
use crate::buffer::event::Event;
use crate::key::Record;
use crate::link::codec::{CodecError, Decode, Encode, Incoming};
use crate::panic::catch;
use crate::record::{RecordCell, RecordEntry};
use crate::sync::Arc;

/// Makes the access to a record, once the record is made.
pub(crate) type MakeAccess = Box<dyn FnOnce(&RecordEntry) -> Option<Box<dyn ByteAccess>>>;

/// Decodes a value, by a codec that can.
type DecodeBytes<T, C> = fn(C, &Incoming<'_>) -> Result<T, CodecError>;

/// An exposed record. The codec is cloned for each use.
struct Exposed<T: Clone, C> {
    record: Arc<RecordCell<T>>,
    codec: C,
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
        Some(Box::new(Exposed { record, codec, decode }))
    })
}

/// Appends the encoding of `value` to `out`, which is unchanged if there is none.
fn encode<T, C: Encode<T> + Clone>(
    codec: &C,
    key: &str,
    value: &T,
    out: &mut Vec<u8>,
) -> Result<(), AccessError> {
    // A codec that fails midway leaves its bytes here, and may expect an empty vector.
    let mut bytes = Vec::new();
    let encoded = catch(|| codec.clone().encode(value, &mut bytes));
    encoded.map_err(CodecError::new).flatten().map_err(|error| refused(key, error))?;
    if out.is_empty() {
        *out = bytes;
    } else {
        out.extend_from_slice(&bytes);
    }
    Ok(())
}

fn refused(key: &str, error: CodecError) -> AccessError {
    AccessError::Codec { key: key.into(), error }
}

impl<T, C> ByteAccess for Exposed<T, C>
where
    T: Record,
    C: Encode<T> + Clone + Sync,
{
    fn cloned(&self) -> Box<dyn ByteAccess> {
        let Self { record, codec, decode } = self;
        Box::new(Self { record: Arc::clone(record), codec: codec.clone(), decode: *decode })
    }

    fn encoding(&self) -> &'static str {
        self.codec.media_type()
    }

    fn is_settable(&self) -> bool {
        self.decode.is_some()
    }

    fn latest(&self, out: &mut Vec<u8>) -> Result<Option<u64>, AccessError> {
        let Some((number, value)) = self.record.buffer.latest_numbered() else { return Ok(None) };
        encode(&self.codec, &self.record.key, &value, out)?;
        Ok(Some(number))
    }

    fn subscribe(&self, name: Arc<str>) -> Result<Box<dyn ByteReader>, AccessError> {
        let subscription = self.record.subscribe(name, false, None)?;
        let (key, codec) = (Arc::clone(&self.record.key), self.codec.clone());
        Ok(Box::new(ExposedReader { subscription, key, codec }))
    }

    fn write(&self, bytes: &[u8]) -> Result<(), AccessError> {
        let key = &*self.record.key;
        let Some(decode) = self.decode else {
            return Err(AccessError::NotSettable { key: key.into() });
        };
        let decoded = catch(|| decode(self.codec.clone(), &Incoming::new(key, bytes)));
        let value = decoded.map_err(CodecError::new).flatten();
        let value = value.map_err(|error| refused(key, error))?;
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
    codec: C,
}

impl<T: Record, C: Encode<T> + Clone> ExposedReader<T, C> {
    fn encoded(&self, event: Event<T>, out: &mut Vec<u8>) -> Result<Event<()>, AccessError> {
        match event {
            Event::Lagged(missed) => Ok(Event::Lagged(missed)),
            Event::Value(value) => {
                encode(&self.codec, &self.key, &value, out).map(|()| Event::Value(()))
            }
        }
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
        match self.subscription.try_event() {
            Ok(event) => self.encoded(event, out).map(Some),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Closed) => Err(self.closed()),
        }
    }

    fn poll_next(
        &mut self,
        out: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Event<()>, AccessError>> {
        let received = ready!(self.subscription.poll_event(cx));
        Poll::Ready(match received {
            Ok(event) => self.encoded(event, out),
            Err(_closed) => Err(self.closed()),
        })
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
