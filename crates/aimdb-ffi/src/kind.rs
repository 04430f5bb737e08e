//! What the library knows of a record besides its key: the functions for its type, behind one table of pointers.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use aimdb_core::{AimDbBuilder, BufferCfg, Incoming, Record, decode_with, encode_with};
use aimdb_sync::{OpenError, SyncConsumer, SyncHandle, SyncProducer};
use aimdb_tokio_adapter::TokioAdapter;

use crate::consumer::AnyConsumer;
use crate::producer::AnyProducer;
use crate::status::{Failure, aimdb_status::*};
use crate::tap::{self, Callback};
use crate::value::{Block, Content, Exported, Plain, Shared, Text};

pub(crate) type Builder = AimDbBuilder<TokioAdapter>;

/// The type of a record's values.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) form: Form,
    /// As C knows it.
    name: &'static str,
    is_exported: bool,
    id: TypeId,
    pub(crate) has_payloads: bool,
    pub(crate) configure: fn(&mut Builder, &str, BufferCfg, &'static str),
    pub(crate) share: fn(&mut Builder, &str),
    pub(crate) tap: fn(&mut Builder, &str, Callback, Form),
    pub(crate) link_to: AddLink,
    pub(crate) link_from: AddLink,
    pub(crate) producer: Open<AnyProducer>,
    pub(crate) consumer: Open<AnyConsumer>,
}

/// Adds a link of the record with this key to this address, for values of so many bytes.
pub(crate) type AddLink = fn(&mut Builder, &str, &str, usize);

/// A handle to the record with this key: directly on its buffer, or through a queue of so many values.
type Open<H> = fn(&SyncHandle, &str, Option<usize>) -> Result<H, OpenError>;

/// How a value is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As so many bytes.
    Bytes(usize),
    /// As a text of JSON.
    Json,
}

impl Form {
    pub(crate) fn size(self) -> usize {
        match self {
            Self::Bytes(size) => size,
            Self::Json => 0,
        }
    }
}

impl Kind {
    /// A record of so many bytes. Up to 1,024 of them live in the buffer itself.
    pub(crate) fn bytes(size: usize) -> Option<Self> {
        let form = Form::Bytes(size);
        match size {
            0 => None,
            1..=8 => Some(Self::plain::<Block<8>>(form)),
            9..=16 => Some(Self::plain::<Block<16>>(form)),
            17..=32 => Some(Self::plain::<Block<32>>(form)),
            33..=64 => Some(Self::plain::<Block<64>>(form)),
            65..=128 => Some(Self::plain::<Block<128>>(form)),
            129..=256 => Some(Self::plain::<Block<256>>(form)),
            257..=512 => Some(Self::plain::<Block<512>>(form)),
            513..=1024 => Some(Self::plain::<Block<1024>>(form)),
            1025.. if isize::try_from(size).is_ok() => Some(Self::plain::<Shared>(form)),
            _ => None,
        }
    }

    pub(crate) fn exported<T: Exported>() -> Self {
        Self { name: T::NAME, is_exported: true, ..Self::plain::<T>(Form::Bytes(size_of::<T>())) }
    }

    pub(crate) fn json() -> Self {
        Self::of::<Text>(
            Form::Json,
            |db, key, queue| Ok(AnyProducer::Text(open_producer(db, key, queue)?)),
            |db, key, queue| Ok(AnyConsumer::Text(open_consumer(db, key, queue)?)),
        )
    }

    fn plain<T: Plain>(form: Form) -> Self {
        Self::of::<T>(
            form,
            |db, key, queue| Ok(AnyProducer::Plain(Box::new(open_producer::<T>(db, key, queue)?))),
            |db, key, queue| Ok(AnyConsumer::Plain(Box::new(open_consumer::<T>(db, key, queue)?))),
        )
    }

    fn of<T: Content>(
        form: Form,
        producer: Open<AnyProducer>,
        consumer: Open<AnyConsumer>,
    ) -> Self {
        Self {
            form,
            name: match form {
                Form::Bytes(size) => name_of_bytes(size),
                Form::Json => "JSON",
            },
            is_exported: false,
            id: TypeId::of::<T>(),
            has_payloads: T::HAS_PAYLOADS,
            configure: |builder, key, cfg, name| {
                builder.configure::<T>(key, |reg| {
                    reg.buffer(cfg).type_name(name);
                });
            },
            share: |builder, key| {
                builder.configure::<T>(key, |reg| {
                    reg.shared();
                });
            },
            tap: |builder, key, callback, form| {
                builder.configure::<T>(key, |reg| {
                    reg.tap(move |context, consumer| tap::run(context, consumer, callback, form));
                });
            },
            link_to: |builder, key, address, size| {
                builder.configure::<T>(key, |reg| {
                    let codec =
                        encode_with(move |value: &T, out: &mut Vec<u8>| value.encode(size, out));
                    reg.link_to(String::from(address), codec);
                });
            },
            link_from: |builder, key, address, size| {
                builder.configure::<T>(key, |reg| {
                    let codec = decode_with(move |it: &Incoming<'_>| T::decode(it.payload, size));
                    reg.link_from(String::from(address), codec);
                });
            },
            producer,
            consumer,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Whether values of another kind are values of this one: the same type and size.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.id == other.id && self.form == other.form
    }

    /// The refusal of a call for bytes, at a record of JSON.
    #[cold]
    pub(crate) fn is_json(&self, key: &str) -> Failure {
        let problem = format!("record `{key}` holds {self}; use the functions that end in `_json`");
        Failure::new(AIMDB_WRONG_TYPE, problem)
    }

    /// The refusal of a call for JSON, at a record of bytes.
    #[cold]
    pub(crate) fn is_not_json(&self, key: &str) -> Failure {
        let problem =
            format!("record `{key}` holds {self}, not JSON; use `aimdb_set` and `aimdb_get`");
        Failure::new(AIMDB_WRONG_TYPE, problem)
    }
}

/// What a caller takes a record's values for.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub enum Asked {
    /// So many bytes.
    Size(usize),
    /// A type, and its name in C.
    Type(TypeId, &'static str),
}

impl Asked {
    /// An exported type.
    #[must_use]
    pub fn of<T: Exported>() -> Self {
        Self::Type(TypeId::of::<T>(), T::NAME)
    }

    #[inline(always)]
    pub(crate) fn fits(self, kind: &Kind) -> bool {
        match self {
            Self::Size(size) => kind.form == Form::Bytes(size),
            Self::Type(id, _) => kind.id == id,
        }
    }

    /// Refuses what is not the record's.
    pub(crate) fn check(self, kind: &Kind, key: &str) -> Result<(), Failure> {
        match (self, kind.form) {
            _ if self.fits(kind) => Ok(()),
            (Self::Size(_), Form::Json) => Err(kind.is_json(key)),
            (Self::Size(size), Form::Bytes(_)) => Err(Failure::new(
                AIMDB_WRONG_SIZE,
                format_args!(
                    "record `{key}` holds {kind}, but {size} bytes were given; pass the size of its type"
                ),
            )),
            (Self::Type(_, name), _) => Err(Failure::new(
                AIMDB_WRONG_TYPE,
                format_args!(
                    "record `{key}` holds {kind}, but `{name}` was asked for; use the functions for its type"
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

/// `32 bytes`, once for each size that a program declares.
fn name_of_bytes(size: usize) -> &'static str {
    static NAMES: Mutex<BTreeMap<usize, &'static str>> = Mutex::new(BTreeMap::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    names.entry(size).or_insert_with(|| format!("{size} bytes").leak())
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.form {
            Form::Bytes(size) if self.is_exported => write!(f, "`{}` of {size} bytes", self.name),
            _ => f.write_str(self.name),
        }
    }
}
