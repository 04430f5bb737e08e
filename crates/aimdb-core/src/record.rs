//! Records: a key and a buffer, with the value's type and without it.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::any::Any;

use crate::access::erased::ByteAccess;
#[cfg(feature = "schema")]
use crate::access::schema::MakeSchema;
use crate::buffer::Subscription;
use crate::buffer::buffer::Buffer;
use crate::buffer::coordinator::Coordinator;
use crate::buffer::kind::BufferState;
use crate::buffer::start::Start;
use crate::buffer::subscribers::Backlog;
use crate::buffer::subscription::SubscribeRefused;
use crate::engine::stage::StageCell;
use crate::error::{DbError, DbResult, SubscribeError};
use crate::graph::node::TypeNode;
use crate::key::Record;
use crate::link::status::LinkInfo;
use crate::metrics::RecordMetrics;
use crate::sync::{Arc, Lock};

/// The indices of the records that were declared under each key. A checked graph has one record for each key.
///
/// The builder and the database use one type of map, because each type of map takes 5 KB of a microcontroller's flash.
pub(crate) type RecordIndex = BTreeMap<String, Vec<usize>>;

/// A record with its type, as its handles and stages share it.
pub(crate) struct RecordCell<T: Clone> {
    pub(crate) key: Arc<str>,
    pub(crate) buffer: Arc<Buffer<T>>,
    /// The record is a mailbox that accepts one taker, because it was not declared shared.
    pub(crate) exclusive: bool,
    /// Values of which the record's transforms made none.
    pub(crate) filtered: Lock<u64>,
}

impl<T: Record> RecordCell<T> {
    pub(crate) fn subscribe(
        &self,
        name: Arc<str>,
        of_stage: bool,
        start: Option<Start>,
    ) -> Result<Subscription<T>, SubscribeError> {
        let key = || self.key.as_ref().into();
        Subscription::try_new(&self.buffer, name, of_stage, self.exclusive, start).map_err(
            |refusal| match refusal {
                SubscribeRefused::Closed => SubscribeError::Closed { key: key() },
                SubscribeRefused::Taken(taker) => {
                    SubscribeError::Taken { key: key(), taker: taker.as_ref().into() }
                }
            },
        )
    }
}

/// A record without its type.
pub(crate) trait ErasedRecord: Send + Sync {
    fn close(&self);
    fn state(&self) -> &dyn BufferState;
    fn coordinator(&self) -> &Coordinator;
    fn filtered(&self) -> u64;
    /// The names of the observers.
    fn observers(&self) -> Vec<String>;
    fn cloned(&self) -> Box<dyn ErasedRecord>;
    /// The `Arc<RecordCell<T>>` itself, for a downcast.
    fn typed(&self) -> &dyn Any;
}

impl<T: Record> ErasedRecord for Arc<RecordCell<T>> {
    fn close(&self) {
        self.buffer.close();
    }

    fn state(&self) -> &dyn BufferState {
        self.buffer.state()
    }

    fn coordinator(&self) -> &Coordinator {
        self.buffer.coordinator()
    }

    fn filtered(&self) -> u64 {
        self.filtered.with(|filtered| *filtered)
    }

    fn observers(&self) -> Vec<String> {
        self.buffer.observers().iter().map(|name| name.as_ref().into()).collect()
    }

    fn cloned(&self) -> Box<dyn ErasedRecord> {
        Box::new(Self::clone(self))
    }

    fn typed(&self) -> &dyn Any {
        self
    }
}

impl dyn ErasedRecord {
    pub(crate) fn metrics(&self, key: &str) -> RecordMetrics {
        let counted = self.coordinator().metrics(self.state(), key);
        RecordMetrics { filtered: self.filtered(), observers: self.observers(), ..counted }
    }
}

/// A record as the engine keeps it: the type-erased record, and the stages and links that write it.
pub(crate) struct RecordEntry {
    pub(crate) key: Arc<str>,
    pub(crate) value: TypeNode,
    inner: Box<dyn ErasedRecord>,
    /// The stages that write the record. A shutdown closes the record after all of them have ended.
    pub(crate) writers: Vec<Arc<StageCell>>,
    /// The inbound links that write the record. A shutdown closes the record after all of them have ended.
    pub(crate) inbound: Vec<LinkInfo>,
    /// Reads and writes the record as bytes, if it is exposed.
    pub(crate) access: Option<Box<dyn ByteAccess>>,
    /// Makes the JSON Schema of the record's type, if it is shown.
    #[cfg(feature = "schema")]
    pub(crate) schema: Option<MakeSchema>,
}

impl RecordEntry {
    pub(crate) fn new<T: Record>(record: Arc<RecordCell<T>>) -> Self {
        Self {
            key: Arc::clone(&record.key),
            value: TypeNode::of::<T>(),
            inner: Box::new(record),
            writers: Vec::new(),
            inbound: Vec::new(),
            access: None,
            #[cfg(feature = "schema")]
            schema: None,
        }
    }

    pub(crate) fn typed<T: Record>(&self) -> DbResult<Arc<RecordCell<T>>> {
        self.inner.typed().downcast_ref().cloned().ok_or_else(|| DbError::WrongType {
            key: self.key.as_ref().into(),
            registered: self.value.name,
            requested: core::any::type_name::<T>(),
        })
    }

    pub(crate) fn close(&self) {
        self.inner.close();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.inner.state().is_closed()
    }

    /// Lets the readers of stages receive nothing more.
    pub(crate) fn end_stages(&self) {
        self.inner.coordinator().end_stages();
    }

    pub(crate) fn metrics(&self) -> RecordMetrics {
        self.inner.metrics(&self.key)
    }

    pub(crate) fn erased(&self) -> Box<dyn ErasedRecord> {
        self.inner.cloned()
    }

    pub(crate) fn backlog(&self) -> Vec<Backlog> {
        self.inner.coordinator().backlog(self.inner.state())
    }

    pub(crate) fn delivered_to_stages(&self) -> u64 {
        self.inner.coordinator().delivered_to_stages()
    }
}

/// Produces the initial value of a record.
pub(crate) type SetInitial = Box<dyn FnOnce(&RecordEntry)>;
