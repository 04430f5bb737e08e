//! A service that shows a running database: to a page, a command line, Prometheus.
//!
//! ```
//! use aimdb_console::{Console, Grants};
//! use aimdb_core::{AimDbBuilder, BufferCfg, DbResult, Json};
//! use aimdb_tokio_adapter::TokioAdapter;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> DbResult<()> {
//! # let directory = std::env::temp_dir().join(format!("aimdb-console-doc-{}", std::process::id()));
//! let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
//! builder.configure::<f32>("boiler.temperature", |reg| {
//!     reg.buffer(BufferCfg::ring(16)).written_from_outside().expose(Json);
//! });
//! builder.service(
//!     Console::new()
//!         .name("boiler")
//!         .http("127.0.0.1:0")
//!         .on_listening(|at| println!("http://{}/", at.http.unwrap()))
//! #       .directory(&directory),
//! );
//! let db = builder.build()?;
//! db.start();
//! # let report = db.shutdown(std::time::Duration::from_secs(5)).await;
//! # assert!(report.is_clean(), "{report}");
//! # let _ = (std::fs::remove_dir_all(directory), Grants::all());
//! # Ok(())
//! # }
//! ```
//!
//! # What it shows, and to whom
//!
//! ```text
//!   Unix socket ───┐  who owns it, and root            ┌── api       graph, health, metrics, accounts, records
//!   $DIR/NAME.sock ├──▶ server ──▶ guard ──▶ Caller ──▶├── stream    values and changes, as server-sent events
//!   HTTP on        │    limits     Host,     grants    ├── why       where a record's values come to a halt
//!   127.0.0.1 ─────┘               Origin,             ├── metrics   OpenMetrics, for Prometheus
//!                                  token               └── page      at `/`
//! ```
//!
//! | caller | may, unless the program says otherwise |
//! |---|---|
//! | the owner of the process and root, by the Unix socket | everything |
//! | programs on this machine, by HTTP | look: everything but setting records |
//! | callers from other machines, by HTTPS | nothing |
//! | a caller with a token, or a certificate | what [`Console::token`] or `Tls::clients` grants it |
//!
//! A record's value is shown if the record is [exposed](aimdb_core::Registrar::expose), and set if it is
//! [settable](aimdb_core::Exposing::settable) and the caller's [`Grants`] cover its key. Names, counters and errors are shown to
//! every caller.
//!
//! HTTP is for the own machine. An address off loopback needs TLS (`Console::tls`, feature `tls`) and callers that prove
//! themselves by a token or a certificate: anything less is a finding at build. A tunnel (`ssh -L`) or a proxy that
//! authenticates does without.
//!
//! # What it costs
//!
//! Without callers: two sockets and a task that waits. A record is observed ([`aimdb_core::Observer`]) while a caller
//! streams it, and only then its writers pay for it. No caller holds a writer back, takes a command from a mailbox, or
//! keeps the database from ending: streams end with the drain.
//!
//! # The paths
//!
//! `GET /api/openapi.json` describes them all. A refusal and an error are JSON: `{"error": "…", "help": "…"}`.
#![forbid(unsafe_code)]

#[cfg(not(unix))]
compile_error!(
    "aimdb-console needs Unix sockets: build without the feature `console` on this system"
);

mod api;
mod app;
mod caller;
mod console;
mod exposition;
mod grants;
mod guard;
mod journal;
mod listen;
mod page;
mod reply;
mod routes;
mod server;
mod stream;
#[cfg_attr(not(feature = "tls"), path = "tls/absent.rs")]
mod tls;
mod value;
mod watch;
pub mod why;

pub use console::Console;
pub use grants::Grants;
pub use listen::{Addresses, socket_directory};
#[cfg(feature = "tls")]
pub use tls::Tls;
