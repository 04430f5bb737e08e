//! The type of a record's values, behind a table of function pointers: the rest of the library is not generic over it.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use aimdb_core::{AimDbBuilder, BufferCfg, Record};
use aimdb_sync::{OpenError, SyncConsumer, SyncHandle, SyncProducer};
use aimdb_tokio_adapter::TokioAdapter;

use crate::erased::{AnyConsumer, AnyObserver, AnyProducer};
use crate::layout::Layout;
use crate::status::{Failure, aimdb_status::*};
use crate::tap::{self, Callback};
use crate::value::{
    Exported, FixedBytes, InlineBytes, JsonString, Payloads, RecordValue, SharedBytes,
};

pub(crate) type Builder = AimDbBuilder<TokioAdapter>;

/// The type of a record's values.
#[derive(Clone, Copy)]
pub(crate) struct RecordType {
    pub(crate) layout: Layout,
    /// The name in C.
    name: &'static str,
    is_exported: bool,
    id: TypeId,
    /// That of its values' payloads, if they have any.
    pub(crate) media_type: Option<&'static str>,
    pub(crate) configure: fn(&mut Builder, &str, BufferCfg, &Self),
    pub(crate) share: fn(&mut Builder, &str),
    pub(crate) tap: fn(&mut Builder, &str, Callback, Layout),
    pub(crate) link_to: AddLink,
    pub(crate) link_from: AddLink,
    pub(crate) open_producer: OpenHandle<AnyProducer>,
    pub(crate) open_consumer: OpenHandle<AnyConsumer>,
    pub(crate) observe: Observe,
}

/// Adds a link between the record of this key and this address; the last argument is the size of a value in bytes.
pub(crate) type AddLink = fn(&mut Builder, &str, &str, usize);

/// Opens a handle to the record of this key: directly on its buffer, or through a queue of this capacity.
type OpenHandle<H> = fn(&SyncHandle, &str, Option<usize>) -> Result<H, OpenError>;

/// Observes the record of this key under this name.
type Observe = fn(&SyncHandle, &str, &str) -> Result<Box<dyn AnyObserver>, OpenError>;

impl RecordType {
    /// A record of `size` bytes per value; `None` if a value cannot have this size. Up to 1,024 bytes are stored in the
    /// buffer itself.
    pub(crate) fn bytes(size: usize) -> Option<Self> {
        let layout = Layout::Bytes(size);
        match size {
            0 => None,
            1..=8 => Some(Self::fixed_bytes::<InlineBytes<8>>(layout)),
            9..=16 => Some(Self::fixed_bytes::<InlineBytes<16>>(layout)),
            17..=32 => Some(Self::fixed_bytes::<InlineBytes<32>>(layout)),
            33..=64 => Some(Self::fixed_bytes::<InlineBytes<64>>(layout)),
            65..=128 => Some(Self::fixed_bytes::<InlineBytes<128>>(layout)),
            129..=256 => Some(Self::fixed_bytes::<InlineBytes<256>>(layout)),
            257..=512 => Some(Self::fixed_bytes::<InlineBytes<512>>(layout)),
            513..=1024 => Some(Self::fixed_bytes::<InlineBytes<1024>>(layout)),
            1025.. if isize::try_from(size).is_ok() => {
                Some(Self::fixed_bytes::<SharedBytes>(layout))
            }
            _ => None,
        }
    }

    pub(crate) fn exported<T: Exported>() -> Self {
        let layout = Layout::Bytes(size_of::<T>());
        Self { name: T::NAME, is_exported: true, ..Self::fixed_bytes::<T>(layout) }
    }

    pub(crate) fn json() -> Self {
        Self::new::<JsonString>(
            Layout::Json,
            |db, key, queue| Ok(AnyProducer::Json(open_producer(db, key, queue)?)),
            |db, key, queue| Ok(AnyConsumer::Json(open_consumer(db, key, queue)?)),
        )
    }

    fn fixed_bytes<T: FixedBytes>(layout: Layout) -> Self {
        Self::new::<T>(
            layout,
            |db, key, queue| Ok(AnyProducer::Bytes(Box::new(open_producer::<T>(db, key, queue)?))),
            |db, key, queue| Ok(AnyConsumer::Bytes(Box::new(open_consumer::<T>(db, key, queue)?))),
        )
    }

    fn new<T: RecordValue>(
        layout: Layout,
        open_producer: OpenHandle<AnyProducer>,
        open_consumer: OpenHandle<AnyConsumer>,
    ) -> Self {
        Self {
            layout,
            name: match layout {
                Layout::Bytes(size) => name_of_bytes(size),
                Layout::Json => "JSON",
            },
            is_exported: false,
            id: TypeId::of::<T>(),
            media_type: T::MEDIA_TYPE,
            configure: |builder, key, cfg, record_type| {
                builder.configure::<T>(key, |reg| {
                    // A C program writes and reads by handles: that is no reason for a warning.
                    reg.buffer(cfg).type_name(record_type.name);
                    reg.written_from_outside().read_from_outside();
                    if T::MEDIA_TYPE.is_some() {
                        reg.expose(Payloads { size: record_type.layout.size() });
                    }
                });
            },
            share: |builder, key| {
                builder.configure::<T>(key, |reg| {
                    reg.shared();
                });
            },
            tap: |builder, key, callback, layout| {
                builder.configure::<T>(key, |reg| {
                    reg.tap(move |context, consumer| tap::run(context, consumer, callback, layout));
                });
            },
            link_to: |builder, key, address, size| {
                builder.configure::<T>(key, |reg| {
                    reg.link_to(String::from(address), Payloads { size });
                });
            },
            link_from: |builder, key, address, size| {
                builder.configure::<T>(key, |reg| {
                    reg.link_from(String::from(address), Payloads { size });
                });
            },
            open_producer,
            open_consumer,
            observe: |db, key, name| Ok(Box::new(db.observe::<T>(key, name)?)),
        }
    }

    /// Whether both are the same type with the same size.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        self.id == other.id && self.layout == other.layout
    }

    /// The refusal of a call for bytes on a JSON record.
    #[cold]
    pub(crate) fn refuse_bytes_call(&self, key: &str) -> Failure {
        let problem = format!("record `{key}` holds {self}; use the functions that end in `_json`");
        Failure::new(AIMDB_WRONG_TYPE, problem)
    }

    /// The refusal of a call for JSON on a record of bytes.
    #[cold]
    pub(crate) fn refuse_json_call(&self, key: &str) -> Failure {
        let problem =
            format!("record `{key}` holds {self}, not JSON; use the functions without `_json`");
        Failure::new(AIMDB_WRONG_TYPE, problem)
    }
}

/// The type that a caller expects a record to hold.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub enum ExpectedType {
    /// Any type of this size in bytes.
    Size(usize),
    /// One exported type, with its name in C.
    Exported(TypeId, &'static str),
}

impl ExpectedType {
    /// Expects the exported type `T`.
    #[must_use]
    pub fn of<T: Exported>() -> Self {
        Self::Exported(TypeId::of::<T>(), T::NAME)
    }

    #[inline(always)]
    pub(crate) fn matches(self, actual: &RecordType) -> bool {
        match self {
            Self::Size(size) => actual.layout == Layout::Bytes(size),
            Self::Exported(id, _) => actual.id == id,
        }
    }

    /// Refuses a record of another type.
    pub(crate) fn check(self, actual: &RecordType, key: &str) -> Result<(), Failure> {
        match (self, actual.layout) {
            _ if self.matches(actual) => Ok(()),
            (Self::Size(_), Layout::Json) => Err(actual.refuse_bytes_call(key)),
            (Self::Size(size), Layout::Bytes(_)) => Err(Failure::new(
                AIMDB_WRONG_SIZE,
                format_args!(
                    "record `{key}` holds {actual}, but {size} bytes were given; pass the size of its type"
                ),
            )),
            (Self::Exported(_, name), _) => Err(Failure::new(
                AIMDB_WRONG_TYPE,
                format_args!(
                    "record `{key}` holds {actual}, but `{name}` was asked for; use the functions for its type"
                ),
            )),
        }
    }
}

fn open_producer<T: Record>(
    db: &SyncHandle,
    key: &str,
    queue: Option<usize>,
) -> Result<SyncProducer<T>, OpenError> {
    match queue {
        None => db.producer(key),
        Some(capacity) => db.producer_with_capacity(key, capacity),
    }
}

fn open_consumer<T: Record>(
    db: &SyncHandle,
    key: &str,
    queue: Option<usize>,
) -> Result<SyncConsumer<T>, OpenError> {
    match queue {
        None => db.consumer(key),
        Some(capacity) => db.consumer_with_capacity(key, capacity),
    }
}

/// Returns for instance `32 bytes`. Leaks one string per distinct size, because the engine wants `&'static str`.
fn name_of_bytes(size: usize) -> &'static str {
    static NAMES: Mutex<BTreeMap<usize, &'static str>> = Mutex::new(BTreeMap::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    names.entry(size).or_insert_with(|| format!("{size} bytes").leak())
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.layout {
            Layout::Bytes(size) if self.is_exported => write!(f, "`{}` of {size} bytes", self.name),
            _ => f.write_str(self.name),
        }
    }
}
