//! The HTTP client of one database.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::outcome::Failure;
use crate::place::Place;
use crate::tls::Connector;

/// The time for an answer. A stream has it for its head.
const LIMIT: Duration = Duration::from_secs(10);

/// The longest pause in a stream: the console sends a comment every 15 s.
const SILENCE: Duration = Duration::from_secs(40);

/// The characters of a key that stay as they are.
const IN_KEY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_').remove(b'*');

/// Talks to the console of one database, with a connection for each request.
pub(crate) struct Client {
    place: Place,
    token: Option<String>,
    /// Encrypts the connections to an address.
    connector: Option<Connector>,
}

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Whether the body is JSON.
    pub(crate) is_json: bool,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The console's reason, as it is printed.
    pub(crate) fn reason(&self) -> String {
        #[derive(serde::Deserialize)]
        struct Reason {
            error: String,
            help: String,
        }
        match serde_json::from_slice::<Reason>(&self.body) {
            Ok(Reason { error, help }) => format!("{error}\n{help}"),
            Err(_) => format!("it answered with status {}: is this an AimDB console?", self.status),
        }
    }

    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Failure::Failed(format!("the console's answer is not as expected: {error}; are program and command of one version?"))
        })
    }
}

/// A key as a part of a path.
pub(crate) fn key_in_path(key: &str) -> String {
    utf8_percent_encode(key, IN_KEY).to_string()
}

impl Client {
    pub(crate) fn new(place: Place, token: Option<String>, connector: Option<Connector>) -> Self {
        Self { place, token, connector }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The answer to a GET, which has to be a success.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, Failure> {
        let answer = self.request(Method::GET, path, Bytes::new()).await?;
        if answer.status >= 300 {
            return Err(Failure::Failed(answer.reason()));
        }
        Ok(answer)
    }

    pub(crate) async fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.get(path).await?.parse()
    }

    /// The answer to any request, whatever its status.
    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let whole = async {
            let response = self.send(method, path, body).await?;
            let status = response.status().as_u16();
            let media_type = response.headers().get(header::CONTENT_TYPE);
            let is_json =
                media_type.is_some_and(|it| it.to_str().is_ok_and(|it| it.contains("json")));
            let body = response.into_body().collect().await.map_err(broken)?.to_bytes();
            Ok(Answer { status, is_json, body })
        };
        tokio::time::timeout(LIMIT, whole).await.map_err(|_| self.silent())?
    }

    /// Opens a stream of events.
    pub(crate) async fn stream(&self, path: &str) -> Result<Events, Failure> {
        let head = self.send(Method::GET, path, Bytes::new());
        let response = tokio::time::timeout(LIMIT, head).await.map_err(|_| self.silent())??;
        let status = response.status().as_u16();
        if status != 200 {
            let body = response.into_body().collect().await.map_err(broken)?.to_bytes();
            return Err(Failure::Failed(Answer { status, is_json: true, body }.reason()));
        }
        Ok(Events { body: response.into_body(), text: Vec::new() })
    }

    fn silent(&self) -> Failure {
        Failure::Failed(format!(
            "{} has not answered within {LIMIT:?}: is its process stopped, or does a stage block its thread?",
            self.place
        ))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, Failure> {
        let unreachable =
            |error: std::io::Error| Failure::Failed(format!("{}: {error}", self.place));
        let host = match &self.place {
            Place::Http(address) | Place::Https(address) => address.as_str(),
            Place::Socket { .. } => "localhost",
        };
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, host);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| Failure::Failed(format!("`{path}`: {error}")))?;
        match &self.place {
            Place::Socket { path, .. } => {
                exchange(UnixStream::connect(path).await.map_err(unreachable)?, request).await
            }
            Place::Http(address) => {
                exchange(TcpStream::connect(address).await.map_err(unreachable)?, request).await
            }
            Place::Https(address) => {
                let stream = TcpStream::connect(address).await.map_err(unreachable)?;
                let Some(connector) = &self.connector else {
                    return Err(Failure::Failed(format!("{}: without TLS", self.place)));
                };
                exchange(connector.connect(address, stream).await?, request).await
            }
        }
    }
}

/// Sends a request on a connection of its own.
async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(broken)
}

/// With the reasons behind it: a console that refuses a certificate says so with its first bytes.
fn broken(error: hyper::Error) -> Failure {
    let mut text = format!("the connection to the console broke: {error}");
    let mut source = std::error::Error::source(&error);
    while let Some(reason) = source {
        text += &format!(": {reason}");
        source = reason.source();
    }
    Failure::Failed(text)
}

/// The events of a stream.
pub(crate) struct Events {
    body: Incoming,
    /// Bytes of events that are not complete.
    text: Vec<u8>,
}

/// One event.
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) data: String,
}

impl Events {
    /// The next event. `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            let end = self.text.windows(2).position(|two| two == b"\n\n");
            if let Some(end) = end {
                let rest = self.text.split_off(end + 2);
                let text = std::mem::replace(&mut self.text, rest);
                let text = String::from_utf8_lossy(&text);
                let field = |name| text.lines().find_map(|line| line.strip_prefix(name));
                // Without a name it is a comment.
                let Some(name) = field("event: ") else { continue };
                let data = field("data: ").unwrap_or_default().to_owned();
                return Ok(Some(Event { name: name.to_owned(), data }));
            }
            let frame = tokio::time::timeout(SILENCE, self.body.frame()).await;
            let silent = |_| {
                Failure::Failed(format!(
                    "the stream has been silent for {SILENCE:?}: is its process stopped?"
                ))
            };
            match frame.map_err(silent)? {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.text.extend_from_slice(&data);
                    }
                }
                Some(Err(_)) | None => return Ok(None),
            }
        }
    }
}
