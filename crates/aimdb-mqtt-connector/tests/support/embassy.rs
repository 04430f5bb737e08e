//! `EmbassyMqttConnector` on the host, over streams of Tokio.

use std::io;
use std::time::Duration;

use aimdb_mqtt_connector::{EmbassyMqttConnector, Network};
use embedded_io_adapters::tokio_1::FromTokio;
use tokio::net::TcpStream;

/// A network of connections to one port of 127.0.0.1.
pub struct Tcp(pub u16);

impl Network for Tcp {
    type Stream<'n> = FromTokio<TcpStream>;
    type Error = io::Error;

    async fn connect(&mut self) -> io::Result<FromTokio<TcpStream>> {
        let stream = TcpStream::connect(("127.0.0.1", self.0)).await?;
        stream.set_nodelay(true)?;
        Ok(FromTokio::new(stream))
    }
}

/// A connector with a short backoff.
pub fn embassy_to(port: u16) -> EmbassyMqttConnector<Tcp> {
    EmbassyMqttConnector::new(format!("127.0.0.1:{port}"), Tcp(port))
        .backoff(Duration::from_millis(20), Duration::from_millis(100))
}
