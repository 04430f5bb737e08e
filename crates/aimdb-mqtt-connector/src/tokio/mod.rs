//! The connector for gateways and servers, on Tokio.

mod connector;
mod duplex;
mod settings;
mod stream;
mod tls;
mod url;
#[cfg(feature = "ws")]
mod websocket;

pub use connector::MqttConnector;
pub use settings::DEFAULT_MAX_PAYLOAD;
