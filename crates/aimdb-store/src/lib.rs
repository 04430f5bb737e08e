//! The newest values and the history of records, in a SQLite file that outlives the process.
//!
//! ```
//! use aimdb_core::{AimDbBuilder, BufferCfg, DbResult, Json};
//! use aimdb_store::{Keep, Persist, Store};
//! use aimdb_tokio_adapter::TokioAdapter;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("plant.db");
//! for life in 1..=2 {
//!     let store = Store::open(&path)?;
//!     let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
//!     builder.service(store.clone());
//!     builder.configure::<u32>("lives", |reg| {
//!         reg.buffer(BufferCfg::latest()).written_from_outside();
//!         reg.restore(&store, Json).history(&store, Json, Keep::values(1000));
//!     });
//!     let db = builder.build()?;
//!     db.start();
//!     let before = db.consumer::<u32>("lives")?.latest(); // there before any stage runs
//!     assert_eq!(before, if life == 1 { None } else { Some(1) });
//!     db.producer::<u32>("lives")?.produce(life).await?;
//!     assert!(db.shutdown(std::time::Duration::from_secs(5)).await.is_clean());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # After the end
//!
//! | | a kill of the process | a power cut |
//! |---|---|---|
//! | [`Durability::Kill`], the default | everything until 50 ms before it, and nothing half | the same, less the last moments |
//! | [`Durability::PowerCut`] | the same | the same |
//!
//! A value is in the file at most 50 ms after its stage took it, if the disk is not behind. A program that must know asks
//! [`Store::newest`] or [`History::last`]; the end of a shutdown waits for every value.
//!
//! # Data flow
//!
//! ```text
//!   configure ── restore ──▶ ask the storage ──▶ `initial`: the record's first value
//!   record ──▶ tap `store newest`  ──┐
//!   record ──▶ tap `store history` ──┴─▶ queue ──▶ one thread ──▶ batches ──▶ SQLite
//! ```
//!
//! No stage waits for the disk: a slow or a full one fills the queue of 4,096 values first. Then a queue record holds its writers back,
//! and of other records the history has gaps, with their number. The storage is tried again until it works, and [`Store::status`]
//! and the log say so meanwhile.
#![forbid(unsafe_code)]

mod backend;
mod durability;
mod error;
mod history;
mod keep;
mod memory;
mod names;
mod persist;
mod sqlite;
mod store;
mod writer;

pub use backend::{Backend, Newest, RecordId, Row, Write};
pub use durability::Durability;
pub use error::{Form, Status, StoreError};
pub use history::{Entry, History};
pub use keep::Keep;
pub use memory::Memory;
pub use persist::Persist;
pub use store::{Restored, Store};
