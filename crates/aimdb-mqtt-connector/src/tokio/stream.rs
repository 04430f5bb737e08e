//! Streams of Tokio: TCP, TLS over it, WebSocket over either.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::duplex::Duplex;
use super::url::{BrokerUrl, Transport};
use crate::driver::ByteStream;

/// The delay between two attempts to connect to the addresses of one host.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Bytes that the system takes and has not sent, at most. More of them would only delay a PINGREQ behind them: on a slow
/// line a connection that works would count as silent.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT: u32 = 64 * 1024;

/// A stream to a broker.
pub(crate) struct TokioStream(Box<dyn Duplex>);

impl ByteStream for TokioStream {
    fn poll_read(
        &mut self,
        bytes: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<std::result::Result<usize, String>> {
        let mut buffer = ReadBuf::new(bytes);
        let read = ready!(Pin::new(&mut self.0).poll_read(cx, &mut buffer));
        Poll::Ready(match read {
            Ok(()) => Ok(buffer.filled().len()),
            // A broker that drops a connection of TLS without a farewell.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
            Err(error) => Err(explain(&error)),
        })
    }

    fn poll_write(
        &mut self,
        bytes: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<std::result::Result<usize, String>> {
        Pin::new(&mut self.0).poll_write(cx, bytes).map_err(|error| explain(&error))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<std::result::Result<(), String>> {
        Pin::new(&mut self.0).poll_flush(cx).map_err(|error| explain(&error))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<std::result::Result<(), String>> {
        Pin::new(&mut self.0).poll_shutdown(cx).map_err(|error| explain(&error))
    }
}

/// The error and its sources, in words that help.
pub(crate) fn explain(error: &Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            return "nothing listens at this address (connection refused)".into();
        }
        ErrorKind::ConnectionReset => return "the broker reset the connection".into(),
        ErrorKind::BrokenPipe => return "the broker has closed the connection".into(),
        _ => {}
    }
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let text = inner.to_string();
        if !reason.contains(&text) {
            reason = format!("{reason}: {text}");
        }
        source = inner.source();
    }
    reason
}

/// Whether the answer was not TLS at all.
fn is_no_tls(error: &Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidMessage(_)))
}

/// Opens a stream to the broker of `url`.
///
/// # Errors
///
/// Why it cannot be opened, with the step that failed.
pub(crate) async fn open(
    url: &BrokerUrl,
    tls: Option<Arc<ClientConfig>>,
) -> std::result::Result<TokioStream, String> {
    let host = &url.host;
    let addresses = tokio::net::lookup_host((host.as_str(), url.port))
        .await
        .map_err(|error| format!("the name `{host}` was not resolved: {}", explain(&error)))?;
    let socket = connect_first(addresses).await.map_err(|error| explain(&error))?;
    let socket: Box<dyn Duplex> = match tls {
        None => Box::new(PlainSocket(socket)),
        Some(config) => {
            let name = ServerName::try_from(host.clone())
                .map_err(|error| format!("`{host}` cannot be in a certificate: {error}"))?;
            let secured = TlsConnector::from(config).connect(name, PlainSocket(socket)).await;
            let secured = secured.map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => {
                    "the broker closed the connection before TLS was set up; is it a port without TLS?"
                        .into()
                }
                ErrorKind::InvalidData if is_no_tls(&error) => {
                    format!("TLS failed: {}; is it a port without TLS?", explain(&error))
                }
                _ => format!("TLS failed: {}", explain(&error)),
            })?;
            Box::new(secured)
        }
    };
    match url.transport {
        Transport::Tcp => Ok(TokioStream(socket)),
        #[cfg(feature = "ws")]
        Transport::WebSocket => {
            Ok(TokioStream(Box::new(super::websocket::open(&url.plain(), socket).await?)))
        }
        #[cfg(not(feature = "ws"))]
        Transport::WebSocket => Err("this build has no WebSockets".into()),
    }
}

/// Connects to the first address of a host that answers.
///
/// The addresses are tried in order. An address that does not answer delays the next one by [`ATTEMPT_DELAY`] instead
/// of blocking it: in many networks the IPv6 address of a host is unreachable.
async fn connect_first(addresses: impl Iterator<Item = SocketAddr>) -> Result<TcpStream> {
    let mut addresses = addresses.fuse().peekable();
    let mut attempts = JoinSet::new();
    let mut last_error = Error::new(ErrorKind::NotFound, "the host has no address");
    loop {
        if let Some(address) = addresses.next() {
            attempts.spawn(connect(address));
        }
        let more = addresses.peek().is_some();
        tokio::select! {
            attempt = attempts.join_next() => match attempt {
                Some(Ok(Ok(socket))) => return Ok(socket),
                Some(Ok(Err(error))) => last_error = error,
                Some(Err(error)) => last_error = Error::other(error),
                None => return Err(last_error),
            },
            () = tokio::time::sleep(ATTEMPT_DELAY), if more => {}
        }
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream> {
    let socket = TcpStream::connect(address).await?;
    // Measured: a round trip at QoS 1 takes 44 ms without, 0.15 ms with.
    socket.set_nodelay(true)?;
    // A kernel without this option has a longer queue.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _without = socket2::SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT);
    Ok(socket)
}

/// A socket that never writes vectored: the system call for that raises SIGPIPE when the broker is gone, and ends a
/// program that leaves the signal at its default, as C programs do. The other one does not.
struct PlainSocket(TcpStream);

impl AsyncRead for PlainSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for PlainSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_does_not_answer_does_not_block_the_next_ones() {
        let silent = tokio::net::TcpSocket::new_v4().unwrap();
        silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let silent = silent.listen(1).unwrap();
        let unreachable = silent.local_addr().unwrap();
        // Once the backlog is full, the system answers no further connection.
        let mut waiting = Vec::new();
        let fill_backlog = async {
            while let Ok(Ok(socket)) =
                tokio::time::timeout(ATTEMPT_DELAY, TcpStream::connect(unreachable)).await
            {
                waiting.push(socket);
            }
        };
        tokio::time::timeout(20 * ATTEMPT_DELAY, fill_backlog).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let reachable = listener.local_addr().unwrap();
        let connected = connect_first([unreachable, reachable].into_iter());
        let connected = tokio::time::timeout(20 * ATTEMPT_DELAY, connected).await.unwrap().unwrap();
        assert_eq!(connected.peer_addr().unwrap(), reachable);

        let refused = {
            let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            gone.local_addr().unwrap()
        };
        assert!(connect_first([refused, reachable].into_iter()).await.is_ok());
        let error = connect_first([refused].into_iter()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let error = connect_first(std::iter::empty()).await.unwrap_err();
        assert_eq!(error.to_string(), "the host has no address");
    }

    #[test]
    fn no_write_is_vectored() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _entered = runtime.enter();
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        let stream = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| std::net::TcpStream::connect(listener.local_addr()?));
        let stream = stream.unwrap();
        stream.set_nonblocking(true).unwrap();
        drop(socket);
        assert!(!PlainSocket(TcpStream::from_std(stream).unwrap()).is_write_vectored());
    }
}
