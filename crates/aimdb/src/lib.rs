//! AimDB: an async, in-memory, typed data plane.
//!
//! A program declares *records* (a key, a Rust type, a buffer) and the *stages* around them (sources, taps, transforms,
//! links to brokers). The engine checks the whole graph before the first message, then moves values from writers to
//! readers with exact, documented buffer semantics.
//!
//! This crate re-exports the engine ([`aimdb_core`]) and, by feature, the runtime adapters and the connectors. Programs
//! depend on it alone; [`prelude`] has the usual names.
//!
//! ```
//! use aimdb::prelude::*;
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> DbResult<()> {
//!     let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter::new()?));
//!     builder.configure::<f32>("sensor.temperature", |reg| {
//!         reg.buffer(BufferCfg::SpmcRing { capacity: 16 })
//!             .source(|_ctx, sensor| async move {
//!                 for n in 0..3 {
//!                     sensor.produce(20.0 + n as f32).await.ok();
//!                 }
//!             })
//!             .tap(|_ctx, sensor| async move {
//!                 let mut reader = sensor.subscribe().unwrap();
//!                 while let Ok(celsius) = reader.recv().await {
//!                     println!("{celsius:.1} °C");
//!                 }
//!             });
//!     });
//!     builder.run().await
//! }
//! ```
//!
//! # Start here
//!
//! | topic | page |
//! |---|---|
//! | a guide with programs that run | `docs/guide` of the repository |
//! | the kinds of buffer | [`BufferCfg`], [`buffer`] |
//! | what a record's closure can declare | [`Registrar`] |
//! | links to brokers and devices | [`link`] |
//! | failures, health, counters, events | [`Restart`], [`health`], [`metrics`], [`events`] |
//! | records by key, programs alongside the graph | [`access`], [`service`] |
//! | looking inside from another process (feature `console`) | `Console`, and the command `aimdb` of the crate `aimdb-cli` |
//! | tests in virtual time | the crate `aimdb-testing` |
//! | blocking programs (feature `sync`) | `Attach`, `SyncHandle`, `BlockingHandles` |
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `tokio` (default) | [`TokioAdapter`], [`run_until_signalled`] |
//! | `embassy` | `EmbassyAdapter`; on a microcontroller disable the default features |
//! | `cortex-m-single-core` | Embassy stages that are not `Send`, on a single-core Cortex-M without threads |
//! | `derive` (default) | `#[derive(RecordKey)]` |
//! | `json`, `postcard` (default) | the codecs `Json` and `Postcard` |
//! | `mqtt` | `MqttConnector` and the typed links of `mqtt` |
//! | `mqtt-ws` | brokers behind `ws://` and `wss://`, for `MqttConnector` |
//! | `mqtt-embassy` | `EmbassyMqttConnector` over any `Network`, and the typed links of `mqtt`, for microcontrollers |
//! | `mqtt-embassy-net` | `TcpNetwork`: `EmbassyMqttConnector` over embassy-net |
//! | `serial` | `EmbeddedSerialConnector` with `Uart` and `Port`; together with `tokio` also `SerialConnector` |
//! | `serial-tty` | `SerialConnector::tty`: serial devices and ptys |
//! | `sync` | the sync API: `Attach`, `SyncHandle`, `SyncProducer`, `SyncConsumer`, `SyncObserver`, `BlockingHandles`, `blocking_source`, `WaitLimit`, `CancelToken`, `wait_any` |
//! | `schema` | the JSON Schemas of exposed records: `Exposing::with_schema` |
//! | `console` | `Console`: a service that shows the database to `aimdb top`, Prometheus and others |
//! | `console-tls` | `Console::tls`: HTTPS, and addresses off loopback |
//! | `store` | `Store`, `Persist`: the newest values and the history of records in a SQLite file |
//! | `serde` | `serde::Serialize` for the graph, metrics, health and reports |
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

#[cfg(feature = "console-tls")]
pub use aimdb_console::Tls;
#[cfg(feature = "console")]
pub use aimdb_console::{self as console, Console, Grants};
pub use aimdb_core::*;
#[cfg(feature = "embassy")]
pub use aimdb_embassy_adapter::{self as embassy, EmbassyAdapter};
#[cfg(feature = "mqtt-embassy")]
pub use aimdb_mqtt_connector::{EmbassyMqttConnector, Network};
#[cfg(any(feature = "mqtt", feature = "mqtt-embassy"))]
pub use aimdb_mqtt_connector::{LastWill, MqttStatus, QoS, RetainHandling, mqtt};
#[cfg(feature = "mqtt")]
pub use aimdb_mqtt_connector::{MqttConnector, MqttVersion};
#[cfg(feature = "mqtt-embassy-net")]
pub use aimdb_mqtt_connector::{NoConnection, TcpNetwork, TcpStream};
#[cfg(all(feature = "serial", feature = "tokio"))]
pub use aimdb_serial_connector::SerialConnector;
#[cfg(feature = "serial")]
pub use aimdb_serial_connector::{
    self as serial, EmbeddedSerialConnector, Port, SerialCounters, SerialStatus, Uart,
};
#[cfg(feature = "store")]
pub use aimdb_store::{self as store, Keep, Persist, Store};
#[cfg(feature = "sync")]
pub use aimdb_sync::{
    Attach, AttachOptions, BlockingHandles, CancelToken, DetachError, GetError, OpenError,
    SetError, SetManyError, SyncConsumer, SyncHandle, SyncObserver, SyncProducer, WaitLimit,
    WaitTicket, Waitable, blocking_source, wait_any,
};
#[cfg(feature = "tokio")]
pub use aimdb_tokio_adapter::{TokioAdapter, run_until_signalled};

/// The names that most programs use.
///
/// ```
/// use aimdb::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> DbResult<()> {
/// let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter::new()?));
/// builder.configure::<u32>("counter", |reg| {
///     reg.buffer(BufferCfg::SingleLatest);
/// });
/// # Ok(())
/// # }
/// ```
pub mod prelude {
    #[cfg(feature = "console")]
    pub use crate::Console;
    #[cfg(feature = "embassy")]
    pub use crate::EmbassyAdapter;
    #[cfg(feature = "mqtt-embassy")]
    pub use crate::EmbassyMqttConnector;
    #[cfg(feature = "serial")]
    pub use crate::EmbeddedSerialConnector;
    #[cfg(feature = "json")]
    pub use crate::Json;
    #[cfg(feature = "mqtt")]
    pub use crate::MqttConnector;
    #[cfg(all(feature = "serial", feature = "tokio"))]
    pub use crate::SerialConnector;
    pub use crate::{
        AimDb, AimDbBuilder, Arc, BoxError, BufferCfg, Consumer, DbError, DbResult, Event,
        Producer, Reader, RecordKey, Restart, RuntimeContext, SendRuntime, input, output,
    };
    #[cfg(feature = "sync")]
    pub use crate::{
        Attach, BlockingHandles, SyncConsumer, SyncHandle, SyncProducer, blocking_source,
    };
    #[cfg(any(feature = "mqtt", feature = "mqtt-embassy"))]
    pub use crate::{QoS, mqtt};
    #[cfg(feature = "tokio")]
    pub use crate::{TokioAdapter, run_until_signalled};

    pub use core::time::Duration;
}

/// Compiles and runs the README's example.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../README.md")]
struct ReadmeDoctest;
