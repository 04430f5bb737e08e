//! The state of the connection that the driver shares with the link tasks.

use aimdb_core::RuntimeContext;
use aimdb_tokio_adapter::TokioAdapter;

pub(crate) type Context = RuntimeContext<TokioAdapter>;

/// The state of the connection, as the link tasks watch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionState {
    pub(crate) connected: bool,
    /// The largest packet that the broker accepts, in bytes. It keeps its value while there is no connection.
    pub(crate) max_packet: usize,
}
