//! Tokio's byte streams as ports.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use embedded_io_adapters::tokio_1::FromTokio;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::port::Port;
use crate::settings::Fault;

/// Bytes both ways.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type Opening = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// A port that opens one stream after the other.
pub(crate) struct StreamPort {
    open: Box<dyn FnMut() -> Opening + Send>,
    halves: Option<Halves>,
    /// For people.
    pub(crate) target: String,
    pub(crate) fault: Option<Fault>,
}

type Halves = (FromTokio<ReadHalf<Box<dyn Stream>>>, FromTokio<WriteHalf<Box<dyn Stream>>>);

impl StreamPort {
    pub(crate) fn new<S, F>(
        target: impl Into<String>,
        mut open: impl FnMut() -> F + Send + 'static,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        F: Future<Output = io::Result<S>> + Send + 'static,
    {
        let open = Box::new(move || {
            let opening = open();
            Box::pin(async move { Ok(Box::new(opening.await?) as Box<dyn Stream>) }) as Opening
        });
        Self { open, halves: None, target: target.into(), fault: None }
    }

    pub(crate) fn tcp(address: String) -> Self {
        let fault = tcp_fault(&address);
        let target = format!("tcp {address}");
        let open = move || {
            let address = address.clone();
            async move {
                on_tokio()?;
                let stream = TcpStream::connect(&address).await?;
                stream.set_nodelay(true)?;
                Ok(stream)
            }
        };
        Self { fault, ..Self::new(target, open) }
    }

    pub(crate) fn listener(listener: std::net::TcpListener) -> Self {
        let address = listener.local_addr();
        let target = match &address {
            Ok(address) => format!("tcp listener {address}"),
            Err(_) => "tcp listener".into(),
        };
        let fault = match address {
            Ok(address) if address.ip().is_loopback() => None,
            Ok(address) => Some((
                format!(
                    "it would listen on {address}, and whoever connects there could write the records"
                ),
                "listen on 127.0.0.1; for other machines put something in front that asks who they are",
            )),
            Err(error) => Some((format!("its listener is not usable: {error}"), "bind it anew")),
        };
        let waiting = Waiting { listener: Listener::New(Some(listener)), newer: None };
        let waiting = std::sync::Arc::new(std::sync::Mutex::new(waiting));
        let open = move || {
            let waiting = waiting.clone();
            async move {
                let accept = std::future::poll_fn(|cx| lock(&waiting).poll_accept(cx));
                let stream = accept.await?;
                stream.set_nodelay(true)?;
                Ok(Accepted { stream, waiting: waiting.clone() })
            }
        };
        Self { fault, ..Self::new(target, open) }
    }

    #[cfg(feature = "tty")]
    pub(crate) fn tty(path: String, baud: u32) -> Self {
        let fault = (path.is_empty() || baud == 0).then(|| {
            (
                format!("there is no device `{path}` at {baud} baud"),
                "name one, for instance `/dev/ttyUSB0` at 115200",
            )
        });
        let target = format!("tty {path} at {baud} baud");
        let open = move || {
            let opened = on_tokio().and_then(|()| tty::Device::open(&path, baud));
            std::future::ready(opened)
        };
        Self { fault, ..Self::new(target, open) }
    }
}

impl Port for StreamPort {
    type Read = FromTokio<ReadHalf<Box<dyn Stream>>>;
    type Write = FromTokio<WriteHalf<Box<dyn Stream>>>;
    type Error = Failed;

    async fn open(&mut self) -> Result<(&mut Self::Read, &mut Self::Write), Failed> {
        let opening = (self.open)();
        let stream = opening.await.map_err(|error| Failed(format!("{}: {error}", self.target)))?;
        let (read, write) = tokio::io::split(stream);
        let (read, write) = self.halves.insert((FromTokio::new(read), FromTokio::new(write)));
        Ok((read, write))
    }

    /// Says that nothing more comes, and reads until the other end has hung up: a TCP socket that is dropped with bytes
    /// unread takes back what it sent last.
    async fn close(&mut self) {
        let Some((read, write)) = self.halves.take() else { return };
        let (mut read, mut write) = (read.into_inner(), write.into_inner());
        let mut rest = [0; 256];
        if write.shutdown().await.is_ok() {
            while matches!(read.read(&mut rest).await, Ok(1..)) {}
        }
    }
}

/// Why there is no stream.
#[derive(Debug)]
pub(crate) struct Failed(String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn tcp_fault(address: &str) -> Option<Fault> {
    let parts = address.rsplit_once(':');
    let port = parts.filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse().ok());
    let valid = port.is_some_and(|port: u16| port > 0);
    (!valid).then(|| {
        (
            format!("the address `{address}` cannot be read"),
            "write `host:port`, for instance `127.0.0.1:5555`",
        )
    })
}

fn on_tokio() -> io::Result<()> {
    tokio::runtime::Handle::try_current().map(drop).map_err(io::Error::other)
}

/// A listener, and a connection that came while another one was served.
struct Waiting {
    listener: Listener,
    newer: Option<TcpStream>,
}

enum Listener {
    /// Not Tokio's yet: it was made where there may be no runtime.
    New(Option<std::net::TcpListener>),
    Ready(TcpListener),
}

impl Waiting {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        if let Some(stream) = self.newer.take() {
            return Poll::Ready(Ok(stream));
        }
        let (stream, _) = std::task::ready!(self.listener()?.poll_accept(cx))?;
        Poll::Ready(Ok(stream))
    }

    fn listener(&mut self) -> io::Result<&TcpListener> {
        if let Listener::New(listener) = &mut self.listener {
            on_tokio()?;
            let listener =
                listener.take().ok_or_else(|| io::Error::other("the listener is unusable"))?;
            listener.set_nonblocking(true)?;
            self.listener = Listener::Ready(TcpListener::from_std(listener)?);
        }
        match &self.listener {
            Listener::Ready(listener) => Ok(listener),
            Listener::New(_) => Err(io::Error::other("the listener is unusable")),
        }
    }
}

fn lock(waiting: &std::sync::Mutex<Waiting>) -> std::sync::MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A connection that ends when a newer one comes: a peer that was restarted may have left it without a word.
struct Accepted {
    stream: TcpStream,
    waiting: std::sync::Arc<std::sync::Mutex<Waiting>>,
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf)?;
        if read.is_pending() {
            let mut waiting = lock(&self.waiting);
            if let Poll::Ready(newer) = waiting.poll_accept(cx) {
                waiting.newer = Some(newer?);
                return Poll::Ready(Err(io::Error::other("a newer connection took its place")));
            }
        }
        read.map(Ok)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(feature = "tty")]
mod tty {
    use super::*;
    use tokio_serial::{SerialPortBuilderExt, SerialStream};

    /// A device whose flush does nothing: the library's keeps its thread until the bytes are out, and the system sends
    /// them without it.
    pub(super) struct Device(SerialStream);

    impl Device {
        pub(super) fn open(path: &str, baud: u32) -> io::Result<Self> {
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
            // Nobody on a serial line hangs up: there is nothing to wait for.
            Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
        }
    }
}
