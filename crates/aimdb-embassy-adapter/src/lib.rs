//! The Embassy adapter of AimDB: each stage is an Embassy task, timers are `embassy-time`'s, log lines are written to a
//! [sink] of the user's choice.
//!
//! The adapter adds no semantics: buffers, supervision and shutdown are part of `aimdb-core`, with the same source as on Tokio.
//! It builds on the published `embassy-executor` and `embassy-time`, on microcontrollers and on the host (Embassy's std
//! executor).
//!
//! ```
//! use std::sync::Arc;
//! use aimdb_core::{AimDbBuilder, BufferCfg};
//! use aimdb_embassy_adapter::{EmbassyAdapter, sink};
//! use embassy_executor::Spawner;
//!
//! #[embassy_executor::task]
//! async fn database(spawner: Spawner) {
//!     let runtime = Arc::new(EmbassyAdapter::new(spawner, sink::none));
//!     let mut builder = AimDbBuilder::new().runtime(runtime);
//!     builder.configure::<f32>("sensor.temperature", |reg| {
//!         reg.buffer(BufferCfg::SingleLatest)
//!             .source(|ctx, sensor| async move {
//!                 for celsius in [20.5, 20.75, 21.0] {
//!                     sensor.produce(celsius).await.ok();
//!                     ctx.time().sleep(ctx.time().millis(10)).await;
//!                 }
//!             })
//!             .tap(|ctx, sensor| async move {
//!                 let mut reader = sensor.subscribe().unwrap();
//!                 while let Ok(celsius) = reader.recv().await {
//!                     ctx.log().info(format_args!("{celsius} °C"));
//!                 }
//!             });
//!     });
//!     builder.run().await.expect("the graph is valid");
//! #   std::process::exit(0);
//! }
//!
//! # // On a microcontroller `#[embassy_executor::main]` starts the executor.
//! let executor: &'static mut embassy_executor::Executor =
//!     Box::leak(Box::new(embassy_executor::Executor::new()));
//! executor.run(|spawner| spawner.spawn(database(spawner).unwrap()));
//! ```
//!
//! # What a stage may hold
//!
//! A stage runs on the executor that it was spawned on and never moves, so it need not be `Send`: it may hold peripherals, `Rc`,
//! and `RefCell` borrows across an `.await`. The adapter itself is `Send`, however, and safe code can move it to another thread,
//! core or interrupt and build a database there, which would move the stages to the executor. The adapter must prevent that for
//! stages that are not `Send`. The method of [`EmbassyAdapter::new`] depends on the features:
//!
//! | feature | stages | a database is built |
//! |---|---|---|
//! | `std` | any | on the thread of the executor; elsewhere the build fails with a finding |
//! | `cortex-m-single-core` | any | in the exception of the executor, or in thread mode like the executor; elsewhere the build fails with a finding |
//! | neither | `Send`, checked by the compiler | anywhere |
//!
//! `cortex-m-single-core` is for firmware. With it the firmware's author promises facts that the adapter cannot determine, as
//! with `critical-section-single-core` of the crate `cortex-m`: the program runs on one core of the chip, and no operating
//! system switches between threads. An STM32H7 runs two programs, each on its own core, and each of them may enable the feature;
//! a program for both cores of an RP2040 or RP2350 must not. A library must not enable it either.
//!
//! Two other constructors do not depend on the features:
//!
//! - [`EmbassyAdapter::for_send_stages`] accepts `Send` stages and builds databases anywhere.
//! - [`EmbassyAdapter::unchecked`] accepts any stage. It is `unsafe`: the caller promises where databases are built. It serves
//!   multi-core chips and processors other than Cortex-M whose stages hold peripherals that are not `Send`, such as the stack of
//!   `embassy-net` and most drivers behind a `RefCell`.
//!
//! # Memory
//!
//! The adapter allocates a task once, when the database is built, and never frees it: an Embassy task is `'static`. Without memory
//! for a task the build fails with a finding that names the record and the stage. After start the adapter allocates nothing.
//!
//! # Time
//!
//! The adapter converts the ticks of `embassy-time` (64 bits, independent of the hardware counter's width) to nanoseconds. The
//! tick rate bounds the resolution of a timer; a timer is never early. The default queue of `embassy-time`, integrated in the
//! executor, has room for every task. With one of its `generic-queue-*` features, choose a size of at least the number of
//! stages: with a full queue `embassy-time` wakes tasks early and often, which costs power but nothing else.
//!
//! # Panics
//!
//! With `std` the engine catches and supervises a stage's panic. On a microcontroller a panic ends the program.
#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]

extern crate alloc;

mod adapter;
pub mod sink;
pub mod spawner;
mod task;
#[cfg(feature = "testing")]
pub mod testing;
mod ticks;

pub use adapter::EmbassyAdapter;
pub use sink::Sink;

/// Compiles the README's example.
#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../README.md")]
struct ReadmeDoctest;
