//! The MQTT connector over the wire.

use core::convert::Infallible;

use aimdb::{
    AimDbBuilder, BufferCfg, CodecError, EmbassyAdapter, EmbassyMqttConnector, Incoming, Network,
    decode_with, encode_with,
};
use embedded_io_async::{ErrorType, Read, Write};

use crate::listen::listen;
use crate::wire;

pub(crate) fn add(builder: &mut AimDbBuilder<EmbassyAdapter>) {
    builder.connector(EmbassyMqttConnector::new("wire", Wire).client_id("node"));
    let out = encode_with(|value: &u32, out: &mut alloc::vec::Vec<u8>| {
        out.extend_from_slice(&value.to_be_bytes());
        Ok::<_, CodecError>(())
    });
    builder.configure::<u32>("count", |reg| {
        reg.link_to("mqtt://count?qos=1", out);
    });
    let input = decode_with(|message: &Incoming<'_>| {
        let bytes = message.payload.try_into().map_err(|_| CodecError::new("not four bytes"))?;
        Ok::<_, CodecError>(u32::from_be_bytes(bytes))
    });
    builder.configure::<u32>("set", |reg| {
        reg.buffer(BufferCfg::SingleLatest).link_from("mqtt://set?qos=1", input).tap(listen);
    });
}

struct Wire;

impl Network for Wire {
    type Stream<'n> = Wire;
    type Error = Infallible;

    async fn connect(&mut self) -> Result<Wire, Infallible> {
        Ok(Wire)
    }
}

impl ErrorType for Wire {
    type Error = Infallible;
}

impl Read for Wire {
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Infallible> {
        loop {
            match wire::read(bytes) {
                0 => embassy_time::Timer::after_millis(1).await,
                count => return Ok(count),
            }
        }
    }
}

impl Write for Wire {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        Ok(wire::write(bytes))
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
