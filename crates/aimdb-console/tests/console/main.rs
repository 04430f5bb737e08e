//! The console as its callers meet it: over its Unix socket and over HTTP, with a client that is a socket and no library.

#![allow(unreachable_pub)] // The modules of one test program.

mod answers;
mod bad_input;
mod callers;
#[cfg(feature = "tls")]
mod encrypted;
mod hostile;
mod listening;
mod streams;
mod support;
mod why;
