//! A port over a serial device or a pty.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_serial::{SerialPortBuilderExt, SerialStream};

use super::stream::{StreamPort, require_tokio};

/// A port that opens the device `path`.
pub(super) fn device(path: String, baud: u32) -> StreamPort {
    let problem = (path.is_empty() || baud == 0).then(|| {
        (
            format!("the device `{path}` at {baud} baud cannot be opened"),
            "pass a path and a baud rate, for instance `/dev/ttyUSB0` at 115200",
        )
    });
    let target = format!("tty {path} at {baud} baud");
    let open = move || {
        let opened = require_tokio().and_then(|()| Device::open(&path, baud));
        std::future::ready(opened)
    };
    StreamPort::new(target, open).with_problem(problem)
}

/// A serial device whose `flush` does nothing.
///
/// The `flush` of `tokio-serial` blocks its thread until the bytes are transmitted; the operating system transmits them
/// without it.
struct Device(SerialStream);

impl Device {
    fn open(path: &str, baud: u32) -> io::Result<Self> {
        Ok(Self(tokio_serial::new(path, baud).open_native_async()?))
    }
}

impl AsyncRead for Device {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Device {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A serial line has no end of stream, so `StreamPort::close` must not wait for one.
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}
