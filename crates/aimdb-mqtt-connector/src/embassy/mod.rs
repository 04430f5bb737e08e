//! The connector for microcontrollers.

mod config;
mod connector;
mod network;
mod stream;
#[cfg(feature = "embassy-net")]
mod tcp;

pub use config::DEFAULT_BUFFER;
pub use connector::EmbassyMqttConnector;
pub use network::Network;
#[cfg(feature = "embassy-net")]
pub use tcp::{NoConnection, TcpNetwork, TcpStream};
