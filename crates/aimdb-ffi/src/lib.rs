//! AimDB for C and C++: the engine behind the blocking door, in a C ABI.
//!
//! ```c
//! aimdb_builder *builder;
//! aimdb_builder_new(&builder);
//! aimdb_configure_bytes(builder, "sensor.temperature", sizeof(float), AIMDB_RING, 16);
//!
//! aimdb_db *db;
//! if (aimdb_attach(builder, NULL, &db) != AIMDB_OK) { puts(aimdb_last_error()); return 1; }
//!
//! aimdb_producer *producer;
//! aimdb_producer_new(db, "sensor.temperature", &producer);
//! float celsius = 21.5f;
//! aimdb_set(producer, &celsius, sizeof celsius);
//! ```
//!
//! | file | for |
//! |---|---|
//! | `include/aimdb.h` | C: generated from this crate, with the documentation of each function |
//! | `include/aimdb.hpp` | C++17: handles that free themselves, typed, `std::optional`, `std::chrono`, exceptions |
//! | [`export_record!`] | records of types that Rust and C share, by value |
//!
//! # Data flow
//!
//! ```text
//! C ─ aimdb_set(handle, &value, size)
//!      table: handle ─▶ Producer     NULL, made up, freed, of another kind: a status
//!      size == the record's?         else AIMDB_WRONG_SIZE
//!      ─▶ SyncProducer<Block<32>> ─▶ [buffer]        the same as for Rust, one copy in
//! C ─ aimdb_get(handle, &value, size) ◀─ SyncConsumer<Block<32>> ◀─ [buffer]      one copy out
//! ```
//!
//! A record that C defines has values of so many bytes, in blocks of 8 to 1,024 bytes that live in the buffer (larger ones
//! are shared allocations), or texts of JSON. Taps are C functions, each with a thread of its own, so that they may block.
//!
//! # Promises
//!
//! - No unwinding crosses the boundary: a panic is `AIMDB_PANIC`.
//! - Every pointer is checked for NULL; handles are numbers in the shape of pointers, so that one that was freed, or is of
//!   another kind, is told (`src/table.rs`). What cannot be told is a handle freed while another thread is in a call
//!   with it, and a pointer to memory that is not there.
//! - A call that succeeds or has nothing to tell (`AIMDB_EMPTY`, `AIMDB_FULL`, `AIMDB_TIMEOUT`, `AIMDB_CLOSED`) does not
//!   allocate, with values of up to 1,024 bytes.

mod arguments;
mod builder;
mod consumer;
mod database;
mod descriptor;
mod export;
mod kind;
mod log;
mod producer;
mod status;
mod table;
mod tap;
mod value;

pub use arguments::{AIMDB_FOREVER, aimdb_string_free};
pub use builder::{
    AIMDB_LATEST, AIMDB_MAILBOX, AIMDB_QUEUE, AIMDB_RING, aimdb_attach, aimdb_buffer,
    aimdb_builder, aimdb_builder_free, aimdb_builder_new, aimdb_configure_bytes,
    aimdb_configure_json, aimdb_link_from, aimdb_link_to, aimdb_mqtt, aimdb_options, aimdb_shared,
    aimdb_tap,
};
pub use consumer::{
    aimdb_consumer, aimdb_consumer_cancel, aimdb_consumer_fd, aimdb_consumer_free,
    aimdb_consumer_new, aimdb_consumer_resume, aimdb_consumer_size, aimdb_consumer_with_capacity,
    aimdb_get, aimdb_get_json, aimdb_get_json_timeout, aimdb_get_many, aimdb_get_timeout,
    aimdb_lagged, aimdb_latest, aimdb_latest_json, aimdb_try_get, aimdb_try_get_json,
    aimdb_wait_any,
};
pub use database::{
    aimdb_db, aimdb_db_free, aimdb_detach, aimdb_graph_json, aimdb_graph_text, aimdb_health_json,
    aimdb_is_healthy, aimdb_metrics_json, aimdb_report, aimdb_report_json, aimdb_request_shutdown,
};
pub use export::{Declaration, Field, header};
pub use log::{
    AIMDB_LOG_DEBUG, AIMDB_LOG_ERROR, AIMDB_LOG_INFO, AIMDB_LOG_TRACE, AIMDB_LOG_WARN,
    aimdb_log_fn, aimdb_log_level, aimdb_set_log,
};
pub use producer::{
    aimdb_producer, aimdb_producer_cancel, aimdb_producer_free, aimdb_producer_new,
    aimdb_producer_resume, aimdb_producer_size, aimdb_producer_with_capacity, aimdb_set,
    aimdb_set_json, aimdb_set_json_timeout, aimdb_set_many, aimdb_set_timeout, aimdb_try_set,
    aimdb_try_set_json,
};
pub use status::{aimdb_last_error, aimdb_status, aimdb_status_text, aimdb_version};
pub use tap::{aimdb_drop_fn, aimdb_tap_failed, aimdb_tap_fn};
pub use value::Exported;

pub use aimdb_core::CodecError;
// For what `export_record!` derives.
pub use serde;

/// What the functions of [`export_record!`] call, and the tests of this crate.
#[doc(hidden)]
pub mod calls {
    pub use crate::arguments::Wait;
    pub use crate::builder::{configure, shutdown_deadline};
    pub use crate::consumer::{get, get_many, latest};
    pub use crate::export::{from_json, no_payloads, to_json};
    pub use crate::kind::Asked;
    pub use crate::producer::{set, set_many};
}
