//! The connector for gateways and servers, on Tokio.

mod config;
mod connection;
mod connector;
mod driver;
mod inbound;
mod outbound;
mod permits;
mod protocol;
mod tls;

pub use config::{DEFAULT_MAX_PAYLOAD, MqttVersion};
pub use connector::MqttConnector;
