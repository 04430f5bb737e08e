//! Ports over TCP: a client, and a server for one client at a time.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::stream::{StreamPort, require_tokio};
use crate::settings::ConfigProblem;

/// A port that connects to `address`.
pub(super) fn client(address: String) -> StreamPort {
    let problem = address_problem(&address);
    let target = format!("tcp {address}");
    let open = move || {
        let address = address.clone();
        async move {
            require_tokio()?;
            let stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        }
    };
    StreamPort::new(target, open).with_problem(problem)
}

fn address_problem(address: &str) -> Option<ConfigProblem> {
    let parts = address.rsplit_once(':');
    let port = parts.filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse().ok());
    let valid = port.is_some_and(|port: u16| port > 0);
    (!valid).then(|| {
        (
            format!("the address `{address}` is invalid"),
            "write `host:port`, for instance `127.0.0.1:5555`",
        )
    })
}

/// A port that accepts a client of `listener` for each connection.
pub(super) fn server(listener: std::net::TcpListener) -> StreamPort {
    let address = listener.local_addr();
    let target = match &address {
        Ok(address) => format!("tcp listener {address}"),
        Err(_) => "tcp listener".into(),
    };
    let problem = listener_problem(address);
    let acceptor = Acceptor { socket: ListenerSocket::Std(Some(listener)), next_client: None };
    let acceptor = Arc::new(Mutex::new(acceptor));
    let open = move || {
        let acceptor = acceptor.clone();
        async move {
            let stream = std::future::poll_fn(|cx| lock(&acceptor).poll_accept(cx)).await?;
            stream.set_nodelay(true)?;
            Ok(AcceptedStream { stream, acceptor: acceptor.clone() })
        }
    };
    StreamPort::new(target, open).with_problem(problem)
}

fn listener_problem(address: io::Result<std::net::SocketAddr>) -> Option<ConfigProblem> {
    match address {
        Ok(address) if address.ip().is_loopback() => None,
        Ok(address) => Some((
            format!("its listener is bound to {address}, where any client could write the records"),
            "bind it to 127.0.0.1; for clients on other machines use a proxy that authenticates them",
        )),
        Err(error) => Some((format!("its listener is unusable: {error}"), "bind a new listener")),
    }
}

/// A listener, and the client that connected while another one was served.
struct Acceptor {
    socket: ListenerSocket,
    next_client: Option<TcpStream>,
}

enum ListenerSocket {
    /// Not registered with Tokio yet: the user may create the connector outside a runtime. `None` after the registration
    /// has failed.
    Std(Option<std::net::TcpListener>),
    Tokio(TcpListener),
}

impl Acceptor {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        if let Some(client) = self.next_client.take() {
            return Poll::Ready(Ok(client));
        }
        let (client, _) = ready!(self.listener()?.poll_accept(cx))?;
        Poll::Ready(Ok(client))
    }

    fn listener(&mut self) -> io::Result<&TcpListener> {
        if let ListenerSocket::Std(listener) = &mut self.socket {
            require_tokio()?;
            let listener =
                listener.take().ok_or_else(|| io::Error::other("the listener is unusable"))?;
            listener.set_nonblocking(true)?;
            self.socket = ListenerSocket::Tokio(TcpListener::from_std(listener)?);
        }
        match &self.socket {
            ListenerSocket::Tokio(listener) => Ok(listener),
            ListenerSocket::Std(_) => Err(io::Error::other("the listener is unusable")),
        }
    }
}

fn lock(acceptor: &Mutex<Acceptor>) -> MutexGuard<'_, Acceptor> {
    acceptor.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client's stream that fails when another client connects.
///
/// A peer that restarted may never have closed its previous connection, so a new client takes precedence.
struct AcceptedStream {
    stream: TcpStream,
    acceptor: Arc<Mutex<Acceptor>>,
}

impl AsyncRead for AcceptedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf)?;
        if read.is_pending() {
            let mut acceptor = lock(&self.acceptor);
            if let Poll::Ready(client) = acceptor.poll_accept(cx) {
                acceptor.next_client = Some(client?);
                return Poll::Ready(Err(io::Error::other("a newer connection replaced this one")));
            }
        }
        read.map(Ok)
    }
}

impl AsyncWrite for AcceptedStream {
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
