//! Records by key, as bytes: for code that does not know their types.
//!
//! A page, a recorder, a command line or a second language knows a record's key and no `T`. A record that is
//! [exposed](crate::Registrar::expose) with a codec can be read as bytes, and one that is also
//! [settable](crate::Exposing::settable) can be written:
//!
//! ```text
//!   builder.configure::<Limits>(key, |reg| { reg.buffer(…).expose(Json).settable(); })
//!                                                     │
//!   db.record(key) → AnyRecord ── latest(out) ────────┤ newest value, nothing consumed
//!                              ── observe(name) ──────┤ AnyObserver: sees values, is no reader
//!                              ── subscribe(name) ────┤ AnyReader: a real reader of that name
//!                              ── write(bytes) ───────┘ as a producer would, if it is settable
//! ```
//!
//! | operation | on the record |
//! |---|---|
//! | [`AnyRecord::latest`] | changes nothing. As [`Consumer::latest`](crate::Consumer::latest); while the record is observed, also what was taken already |
//! | [`AnyRecord::subscribe`] | as [`Consumer::subscribe`](crate::Consumer::subscribe): a queue waits for the reader, a mailbox gives it commands |
//! | [`AnyRecord::observe`] | changes nothing, and takes nothing |
//! | [`AnyRecord::write`] | as [`Producer::try_produce`](crate::Producer::try_produce) |
//!
//! A record that is not exposed is found by key too, with its type's name, its buffer and its counters; its values are not
//! shown.
//!
//! # Codecs
//!
//! The codec is cloned for each use, so that no operation waits for another one's: what it notes in itself is lost. It runs
//! outside of all locks, on a clone of the value. If it panics, or a `Clone` does, the operation fails with
//! [`AccessError::Encode`] or [`AccessError::Decode`], and nothing else happens.

pub(crate) mod any;
pub(crate) mod erased;
pub(crate) mod error;
pub(crate) mod exposed;
#[cfg(feature = "schema")]
pub(crate) mod schema;

pub use any::{AnyObserver, AnyReader, AnyRecord, NextBytes, SeeBytes, Stamp};
pub use erased::Seen;
pub use error::AccessError;
