//! The inputs of transforms and processors.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

use crate::error::{DbError, DbResult};
use crate::graph::node::{PortNode, TypeNode};
use crate::handle::consumer::Consumer;
use crate::handle::reader::Reader;
use crate::key::{Record, RecordKey};
use crate::record::RecordEntry;
use crate::sync::Arc;

/// A record that a transform or a processor reads: its key and its value's type.
///
/// [`input`] returns it; [`Registrar::transform`](crate::Registrar::transform), the other transforms and the
/// [processors](crate::Registrar::processor) take it.
///
/// ```
/// use aimdb_core::{AimDbBuilder, BufferCfg, Input, SendRuntime, input};
///
/// /// The mean of all rooms.
/// fn mean<R: SendRuntime>(builder: &mut AimDbBuilder<R>, rooms: &[&str]) {
///     let inputs: Vec<Input<f32>> =
///         rooms.iter().map(|room| input(format!("{room}.celsius"))).collect();
///     builder.configure::<f32>("mean.celsius", |reg| {
///         reg.buffer(BufferCfg::latest()).join(inputs, |rooms: Vec<f32>| {
///             rooms.iter().sum::<f32>() / rooms.len() as f32
///         });
///     });
/// }
/// ```
#[derive(Debug)]
pub struct Input<T> {
    key: String,
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for Input<T> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), value: PhantomData }
    }
}

/// Names the record `key` with values of type `T` as an input of a transform or a processor.
///
/// `build()` checks key and type with the rest of the graph.
///
/// ```
/// # use aimdb_core::input;
/// let indoor = input::<f32>("sensor.temp.indoor");
/// # let _ = indoor;
/// ```
pub fn input<T: Record>(key: impl RecordKey) -> Input<T> {
    Input { key: key.as_str().into(), value: PhantomData }
}

impl<T: Record> Input<T> {
    pub(crate) fn node(&self) -> PortNode {
        PortNode::new(self.key.clone(), TypeNode::of::<T>())
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn open(&self, inputs: &mut Inputs<'_>) -> DbResult<Reader<T>> {
        let record = inputs.lookup(&self.key)?.typed::<T>()?;
        let consumer = Consumer::<T, ()>::of_stage(record, Arc::clone(&inputs.reader), false);
        Ok(consumer.subscribe().expect("a stage's first reader is there from the start"))
    }
}

/// The records of the graph, from which a transform or a processor opens its inputs when it is built.
pub struct Inputs<'b> {
    pub(crate) reader: Arc<str>,
    pub(crate) find: &'b dyn Fn(&str) -> Option<&'b RecordEntry>,
}

impl<'b> Inputs<'b> {
    pub(super) fn lookup(&self, key: &str) -> DbResult<&'b RecordEntry> {
        (self.find)(key).ok_or_else(|| DbError::UnknownKey { key: key.into(), known: Vec::new() })
    }
}

impl fmt::Debug for Inputs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inputs").field("reader", &self.reader).finish_non_exhaustive()
    }
}
