//! AimDB for C and C++: the engine's sync API, in a C ABI.
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
//! | file | purpose |
//! |---|---|
//! | `README.md` | how to install and link the library; ownership, threads and limits |
//! | `include/aimdb.h` | C: generated from this crate, with the documentation of each function |
//! | `include/aimdb.hpp` | C++17: typed handles that free themselves, `std::optional`, `std::chrono`, exceptions |
//! | [`export_record!`] | records of structs that Rust and C share by value |
//!
//! # Data flow
//!
//! ```text
//! C ─ aimdb_set(handle, &value, size)
//!      table: handle ─▶ Producer     NULL, made up, freed or of another type: an error status
//!      size == the record's?         otherwise AIMDB_WRONG_SIZE
//!      ─▶ SyncProducer<InlineBytes<32>> ─▶ [buffer]   the same buffer as for Rust; one copy in
//! C ─ aimdb_get(handle, &value, size) ◀─ SyncConsumer<InlineBytes<32>> ◀─ [buffer]      one copy out
//! ```
//!
//! The values of a record that C defines are bytes or JSON strings. Bytes are stored in the buffer in blocks of 8 to 1,024
//! bytes; a larger value is a shared allocation. A tap is a C function on a thread of its own, so that it may block.
//!
//! # Promises
//!
//! - No panic unwinds into C: a panic is `AIMDB_PANIC`.
//! - Every pointer is checked for NULL. A handle is a number in the shape of a pointer, so the library recognises one that was
//!   freed or is of another type (`src/table.rs`). The library cannot detect a handle that is freed while another thread is in
//!   a call with it, nor a pointer to invalid memory.
//! - A call that succeeds, or that returns `AIMDB_EMPTY`, `AIMDB_FULL`, `AIMDB_TIMEOUT` or `AIMDB_CLOSED`, does not allocate,
//!   with values of up to 1,024 bytes.

mod arguments;
mod builder;
mod consumer;
mod database;
mod descriptor;
mod erased;
mod export;
mod layout;
mod log;
mod observer;
mod producer;
mod record_type;
mod status;
mod table;
mod tap;
mod user_data;
mod value;

pub use arguments::{AIMDB_FOREVER, aimdb_string_free};
pub use builder::{
    AIMDB_LATEST, AIMDB_MAILBOX, AIMDB_QUEUE, AIMDB_RING, aimdb_attach, aimdb_buffer_kind,
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
pub use export::{CodecError, Declaration, Field, header};
pub use log::{
    AIMDB_LOG_DEBUG, AIMDB_LOG_ERROR, AIMDB_LOG_INFO, AIMDB_LOG_TRACE, AIMDB_LOG_WARN,
    aimdb_log_fn, aimdb_log_level, aimdb_set_log,
};
pub use observer::{
    aimdb_observe, aimdb_observer, aimdb_observer_cancel, aimdb_observer_free,
    aimdb_observer_resume, aimdb_record_json, aimdb_see, aimdb_see_json, aimdb_seen,
};
pub use producer::{
    aimdb_producer, aimdb_producer_cancel, aimdb_producer_free, aimdb_producer_new,
    aimdb_producer_resume, aimdb_producer_size, aimdb_producer_with_capacity, aimdb_set,
    aimdb_set_json, aimdb_set_json_timeout, aimdb_set_many, aimdb_set_timeout, aimdb_try_set,
    aimdb_try_set_json,
};
pub use status::{aimdb_last_error, aimdb_status, aimdb_status_text, aimdb_version};
pub use tap::{aimdb_tap_fn, aimdb_tap_set_error};
pub use user_data::aimdb_free_fn;
pub use value::Exported;

// The derives of `export_record!` name it.
pub use serde;

/// Implementation of the functions of [`export_record!`], and hooks for the tests of this crate.
#[doc(hidden)]
pub mod calls {
    pub use crate::arguments::Wait;
    pub use crate::builder::{configure, shutdown_deadline};
    pub use crate::consumer::{get, get_many, latest};
    pub use crate::export::{from_json, no_payloads, to_json};
    pub use crate::producer::{set, set_many};
    pub use crate::record_type::ExpectedType;
}
