//! A record: its key and its buffer, with its type and without.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::any::Any;

use crate::buffer::Subscription;
use crate::buffer::buffer::Buffer;
use crate::buffer::coordinator::Coordinator;
use crate::buffer::kind::BufferState;
use crate::buffer::subscribers::Backlog;
use crate::buffer::subscription::SubscribeRefused;
use crate::engine::stage::StageCell;
use crate::error::{DbError, DbResult, SubscribeError};
use crate::graph::node::TypeNode;
use crate::key::Record;
use crate::link::status::LinkInfo;
use crate::metrics::RecordMetrics;
use crate::sync::Arc;

/// Records by key: for each key the indices of the records declared under it. A checked graph has one for each key.
///
/// The builder and the database use one type of map, because each type of map is 5 KB of a microcontroller's flash.
pub(crate) type RecordIndex = BTreeMap<String, Vec<usize>>;

/// A record as its handles see it.
pub(crate) struct RecordCell<T: Clone> {
    pub(crate) key: Arc<str>,
    pub(crate) buffer: Arc<Buffer<T>>,
    /// A mailbox with one taker only, until somebody says otherwise.
    pub(crate) exclusive: bool,
}

impl<T: Record> RecordCell<T> {
    pub(crate) fn subscribe(
        &self,
        name: Arc<str>,
        of_stage: bool,
    ) -> Result<Subscription<T>, SubscribeError> {
        let key = || self.key.as_ref().into();
        Subscription::try_new(&self.buffer, name, of_stage, self.exclusive).map_err(|refusal| {
            match refusal {
                SubscribeRefused::Closed => SubscribeError::Closed { key: key() },
                SubscribeRefused::Taken(taker) => {
                    SubscribeError::Taken { key: key(), taker: taker.as_ref().into() }
                }
            }
        })
    }
}

/// A record without its type.
pub(crate) trait ErasedRecord: Send + Sync {
    fn close(&self);
    fn state(&self) -> &dyn BufferState;
    fn coordinator(&self) -> &Coordinator;
    /// An `Arc<RecordCell<T>>`.
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

    fn typed(&self) -> &dyn Any {
        self
    }
}

/// One record as the engine keeps it.
pub(crate) struct AnyRecord {
    pub(crate) key: Arc<str>,
    pub(crate) value: TypeNode,
    pub(crate) erased: Box<dyn ErasedRecord>,
    /// The tasks that write it and must have ended before it is closed.
    pub(crate) writers: Vec<Arc<StageCell>>,
    /// The links that fill it and must have ended before it is closed.
    pub(crate) inbound: Vec<LinkInfo>,
}

impl AnyRecord {
    pub(crate) fn metrics(&self) -> RecordMetrics {
        self.erased.coordinator().metrics(self.erased.state(), &self.key)
    }

    pub(crate) fn backlog(&self) -> Vec<Backlog> {
        self.erased.coordinator().backlog(self.erased.state())
    }

    pub(crate) fn delivered_to_stages(&self) -> u64 {
        self.erased.coordinator().delivered_to_stages()
    }

    pub(crate) fn new<T: Record>(record: Arc<RecordCell<T>>) -> Self {
        Self {
            key: Arc::clone(&record.key),
            value: TypeNode::of::<T>(),
            erased: Box::new(record),
            writers: Vec::new(),
            inbound: Vec::new(),
        }
    }

    pub(crate) fn typed<T: Record>(&self) -> DbResult<Arc<RecordCell<T>>> {
        self.erased.typed().downcast_ref().cloned().ok_or_else(|| DbError::WrongType {
            key: self.key.as_ref().into(),
            registered: self.value.name,
            requested: core::any::type_name::<T>(),
        })
    }
}
