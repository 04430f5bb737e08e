//! Processors: async stages that read some records and write others.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

use super::input::{Input, Inputs};
use crate::error::DbResult;
use crate::graph::node::{PortNode, TypeNode};
use crate::handle::consumer::Consumer;
use crate::handle::producer::Producer;
use crate::key::{Record, RecordKey};
use crate::runtime::adapter::Runtime;
use crate::sync::Arc;
use crate::wiring::Wiring;

/// The inputs of a processor: one input, a tuple of up to eight, an array, or a `Vec` of inputs of one type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what a processor can read",
    note = "use `input::<A>(key)`, a tuple `(input::<A>(key), input::<B>(key))`, an array, or a `Vec` of inputs of one type"
)]
pub trait ProcessorInputs<R>: 'static {
    /// One consumer for each input, in the same shape.
    type Consumers: Clone + 'static;

    /// The inputs as nodes of the graph.
    fn nodes(&self) -> Vec<PortNode>;

    /// Subscribes one reader for each input. With `restarts`, each keeps its position between the attempts.
    ///
    /// # Errors
    ///
    /// [`DbError`](crate::DbError) if a record does not exist or holds another type, which a checked graph rules out.
    fn open(&self, inputs: &mut Inputs<'_>, restarts: bool) -> DbResult<Self::Consumers>;
}

/// A record that a processor writes besides its own: its key and its value's type.
///
/// [`output`] returns it; [`Registrar::processor_to`](crate::Registrar::processor_to) takes it.
///
/// ```
/// use aimdb_core::{AimDbBuilder, BufferCfg, Output, SendRuntime, input, output};
///
/// /// Distributes jobs to workers in turn, and counts them.
/// fn distribute<R: SendRuntime>(builder: &mut AimDbBuilder<R>, workers: &[&str]) {
///     let outputs: Vec<Output<String>> = workers.iter().map(output).collect();
///     builder.configure::<u64>("jobs.count", |reg| {
///         reg.buffer(BufferCfg::latest()).processor_to(
///             input::<String>("jobs"),
///             outputs,
///             |_, jobs, (count, workers)| async move {
///                 let mut jobs = jobs.subscribe()?;
///                 for (number, worker) in (1..).zip(workers.iter().cycle()) {
///                     let Ok(job) = jobs.recv().await else { break };
///                     worker.produce(job).await?;
///                     count.produce(number).await?;
///                 }
///                 Ok::<_, aimdb_core::BoxError>(())
///             },
///         );
///     });
/// }
/// ```
pub struct Output<T> {
    key: String,
    value: PhantomData<fn() -> T>,
}

/// Names the record `key` with values of type `T` as a further output of a processor.
///
/// `build()` checks key and type with the rest of the graph.
///
/// ```
/// # use aimdb_core::output;
/// let rejected = output::<String>("sensor.temp.rejected");
/// # let _ = rejected;
/// ```
pub fn output<T: Record>(key: impl RecordKey) -> Output<T> {
    Output { key: key.as_str().into(), value: PhantomData }
}

/// The outputs of a processor besides its own record: one output, a tuple of up to eight, an array, or a `Vec` of outputs
/// of one type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what a processor can write",
    note = "use `output::<A>(key)`, a tuple `(output::<A>(key), output::<B>(key))`, an array, or a `Vec` of outputs of one \
            type"
)]
pub trait ProcessorOutputs<R>: 'static {
    /// One producer for each output, in the same shape.
    type Producers: Clone + 'static;

    /// The outputs as nodes of the graph.
    fn nodes(&self) -> Vec<PortNode>;

    /// Opens one producer for each output.
    fn open(&self, records: &mut OutputRecords<'_, '_, R>) -> Self::Producers;
}

/// The records of the graph, from which a processor opens its outputs when it is built.
pub struct OutputRecords<'w, 'b, R> {
    wiring: &'w Wiring<'b, R>,
    /// The indices of the records opened.
    opened: Vec<usize>,
}

impl<'w, 'b, R: Runtime> OutputRecords<'w, 'b, R> {
    /// Opens `outputs`. Returns the producers and the indices of their records.
    pub(crate) fn open<O: ProcessorOutputs<R>>(
        wiring: &'w Wiring<'b, R>,
        outputs: &O,
    ) -> (O::Producers, Vec<usize>) {
        let mut records = Self { wiring, opened: Vec::new() };
        let producers = outputs.open(&mut records);
        (producers, records.opened)
    }
}

impl<R> fmt::Debug for OutputRecords<'_, '_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutputRecords").field("opened", &self.opened).finish_non_exhaustive()
    }
}

impl<T> Clone for Output<T> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), value: PhantomData }
    }
}

impl<T> fmt::Debug for Output<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Output").field(&self.key).finish()
    }
}

impl<A: Record, R: 'static> ProcessorInputs<R> for Input<A> {
    type Consumers = Consumer<A, R>;

    fn nodes(&self) -> Vec<PortNode> {
        [self.node()].into()
    }

    fn open(&self, inputs: &mut Inputs<'_>, restarts: bool) -> DbResult<Self::Consumers> {
        let record = inputs.lookup(self.key())?.typed::<A>()?;
        Ok(Consumer::of_stage(record, Arc::clone(&inputs.reader), restarts))
    }
}

impl<T: Record, R: Runtime> ProcessorOutputs<R> for Output<T> {
    type Producers = Producer<T, R>;

    fn nodes(&self) -> Vec<PortNode> {
        [PortNode::new(self.key.clone(), TypeNode::of::<T>())].into()
    }

    fn open(&self, records: &mut OutputRecords<'_, '_, R>) -> Self::Producers {
        let (at, record) = records.wiring.output::<T>(&self.key);
        records.opened.push(at);
        Producer::new(record)
    }
}

macro_rules! processor_tuples {
    ($(($($name:ident $at:tt),+);)*) => {$(
        impl<R, $($name: ProcessorInputs<R>),+> ProcessorInputs<R> for ($($name,)+) {
            type Consumers = ($($name::Consumers,)+);

            fn nodes(&self) -> Vec<PortNode> {
                [$(self.$at.nodes()),+].concat()
            }

            fn open(&self, inputs: &mut Inputs<'_>, restarts: bool) -> DbResult<Self::Consumers> {
                Ok(($(self.$at.open(inputs, restarts)?,)+))
            }
        }

        impl<R, $($name: ProcessorOutputs<R>),+> ProcessorOutputs<R> for ($($name,)+) {
            type Producers = ($($name::Producers,)+);

            fn nodes(&self) -> Vec<PortNode> {
                [$(self.$at.nodes()),+].concat()
            }

            fn open(&self, records: &mut OutputRecords<'_, '_, R>) -> Self::Producers {
                ($(self.$at.open(records),)+)
            }
        }
    )*};
}

processor_tuples! {
    (A 0);
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
    (A 0, B 1, C 2, D 3, E 4);
    (A 0, B 1, C 2, D 3, E 4, F 5);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
}

impl<R, I: ProcessorInputs<R>, const N: usize> ProcessorInputs<R> for [I; N] {
    type Consumers = [I::Consumers; N];

    fn nodes(&self) -> Vec<PortNode> {
        self.iter().flat_map(I::nodes).collect()
    }

    fn open(&self, inputs: &mut Inputs<'_>, restarts: bool) -> DbResult<Self::Consumers> {
        let mut consumers = Vec::with_capacity(N);
        for input in self {
            consumers.push(input.open(inputs, restarts)?);
        }
        let Ok(consumers) = consumers.try_into() else {
            unreachable!("one consumer for each input")
        };
        Ok(consumers)
    }
}

impl<R, I: ProcessorInputs<R>> ProcessorInputs<R> for Vec<I> {
    type Consumers = Vec<I::Consumers>;

    fn nodes(&self) -> Vec<PortNode> {
        self.iter().flat_map(I::nodes).collect()
    }

    fn open(&self, inputs: &mut Inputs<'_>, restarts: bool) -> DbResult<Self::Consumers> {
        self.iter().map(|input| input.open(inputs, restarts)).collect()
    }
}

impl<R, O: ProcessorOutputs<R>, const N: usize> ProcessorOutputs<R> for [O; N] {
    type Producers = [O::Producers; N];

    fn nodes(&self) -> Vec<PortNode> {
        self.iter().flat_map(O::nodes).collect()
    }

    fn open(&self, records: &mut OutputRecords<'_, '_, R>) -> Self::Producers {
        self.each_ref().map(|output| output.open(records))
    }
}

impl<R, O: ProcessorOutputs<R>> ProcessorOutputs<R> for Vec<O> {
    type Producers = Vec<O::Producers>;

    fn nodes(&self) -> Vec<PortNode> {
        self.iter().flat_map(O::nodes).collect()
    }

    fn open(&self, records: &mut OutputRecords<'_, '_, R>) -> Self::Producers {
        self.iter().map(|output| output.open(records)).collect()
    }
}

/// No output besides the processor's own record.
impl<R> ProcessorOutputs<R> for () {
    type Producers = ();

    fn nodes(&self) -> Vec<PortNode> {
        Vec::new()
    }

    fn open(&self, _: &mut OutputRecords<'_, '_, R>) {}
}
