//! MQTT over a WebSocket (MQTT 5, section 6): the stream is the content of the binary messages, wherever they begin.

use std::io::{Error, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};

use super::duplex::Duplex;

/// MQTT's largest packet, in bytes. A lower limit would end each connection on which a broker sends a message above it,
/// which the session reads past.
const LARGEST_PACKET: usize = 268_435_455 + 5;

/// Makes `socket` a WebSocket to `url`.
///
/// # Errors
///
/// Why the server refuses it.
pub(super) async fn open(
    url: &str,
    socket: Box<dyn Duplex>,
) -> std::result::Result<WebSocket, String> {
    let mut request = url.into_client_request().map_err(|error| error.to_string())?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("mqtt"));
    let config = WebSocketConfig::default()
        .max_message_size(Some(LARGEST_PACKET))
        .max_frame_size(Some(LARGEST_PACKET));
    let opened = tokio_tungstenite::client_async_with_config(request, socket, Some(config)).await;
    let (stream, _) = opened.map_err(|error| match error {
        tungstenite::Error::Http(_) => format!("the WebSocket was not opened: {error}"),
        _ => format!("the WebSocket was not opened ({error}); is it a port for WebSockets?"),
    })?;
    Ok(WebSocket { stream, read: Bytes::new() })
}

pub(super) struct WebSocket {
    stream: WebSocketStream<Box<dyn Duplex>>,
    /// The rest of the message that is being read.
    read: Bytes,
}

impl AsyncRead for WebSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        while self.read.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.read = bytes,
                Some(Ok(Message::Text(_))) => {
                    return Poll::Ready(Err(Error::other("the server sent a text message")));
                }
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(Error::other(error))),
            }
        }
        let count = self.read.len().min(buffer.remaining());
        buffer.put_slice(&self.read[..count]);
        self.read.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WebSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        ready!(Pin::new(&mut self.stream).poll_ready(cx)).map_err(Error::other)?;
        let message = Message::Binary(Bytes::copy_from_slice(bytes));
        Pin::new(&mut self.stream).start_send(message).map_err(Error::other)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx).map_err(Error::other)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx).map_err(Error::other)
    }
}
