//! A database with a console, and a client.

use std::path::PathBuf;
use std::time::Duration;

use aimdb_console::{Addresses, Console, Grants};
use aimdb_core::{AimDb, AimDbBuilder, BufferCfg, Json};
use aimdb_tokio_adapter::TokioAdapter;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

pub type Db = AimDb<TokioAdapter>;
pub type Builder = AimDbBuilder<TokioAdapter>;

/// Long enough for a loaded machine.
pub const LIMIT: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Limits {
    pub low: f32,
    pub high: f32,
}

/// A running database with a console on both kinds of address.
pub struct Fixture {
    pub db: Db,
    pub at: Addresses,
    /// The directory of the socket, which is removed with it.
    pub _directory: tempfile::TempDir,
}

/// A directory that others cannot enter.
pub fn directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let sockets = directory.path().join("aimdb");
    (directory, sockets)
}

/// Starts a database with the records that `configure` adds, and a console that `adjust` has changed.
pub async fn start(
    configure: impl FnOnce(&mut Builder),
    adjust: impl FnOnce(Console) -> Console,
) -> Fixture {
    let (directory, sockets) = directory();
    let (sender, listening) = tokio::sync::oneshot::channel();
    let mut builder = AimDbBuilder::on(TokioAdapter);
    configure(&mut builder);
    let console = Console::new().name("test").directory(&sockets).http("127.0.0.1:0");
    builder.service(adjust(console).on_listening(|at| sender.send(at.clone()).unwrap()));
    let db = builder.build().unwrap();
    db.start();
    let at = within(listening).await.unwrap();
    Fixture { db, at, _directory: directory }
}

/// Three records: a ring that is exposed, settable limits, and one that is not exposed.
pub fn three(builder: &mut Builder) {
    builder.configure::<u64>("count", |reg| {
        reg.buffer(BufferCfg::ring(64)).written_from_outside().read_from_outside().expose(Json);
    });
    builder.configure::<Limits>("config/limits", |reg| {
        reg.buffer(BufferCfg::latest()).expose(Json).with_schema().settable();
    });
    builder.configure::<u64>("hidden", |reg| {
        reg.buffer(BufferCfg::latest()).written_from_outside().read_from_outside();
    });
}

pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LIMIT, future).await.expect("it takes too long")
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let holds = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, holds).await.unwrap_or_else(|_| panic!("{what}"));
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head: {}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut body = bytes[end + 4..].to_vec();
        if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            body = dechunked(&body);
        }
        Self { status, head, body }
    }
}

fn dechunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(line) = bytes.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..line]).unwrap(), 16).unwrap();
        if size == 0 {
            break;
        }
        body.extend(&bytes[line + 2..line + 2 + size]);
        bytes = &bytes[line + 2 + size + 2..];
    }
    body
}

impl Fixture {
    pub async fn tcp(&self) -> TcpStream {
        within(TcpStream::connect(self.at.http.unwrap())).await.unwrap()
    }

    pub async fn unix(&self) -> UnixStream {
        within(UnixStream::connect(self.at.socket.as_ref().unwrap())).await.unwrap()
    }

    /// Sends a request by HTTP as it is written, and reads the answer to its end.
    pub async fn raw(&self, request: impl AsRef<[u8]>) -> Answer {
        exchange(self.tcp().await, request.as_ref()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, "", b"").await
    }

    /// A request by HTTP with further lines of the head, each with its end.
    pub async fn request(&self, method: &str, path: &str, lines: &str, body: &[u8]) -> Answer {
        self.raw(head(method, path, lines, body)).await
    }

    /// The same by the Unix socket.
    pub async fn owner(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        exchange(self.unix().await, &head(method, path, "", body)).await
    }

    /// Opens a stream by HTTP, and returns it once its head is there.
    pub async fn stream(&self, path: &str, lines: &str) -> Events<TcpStream> {
        let mut stream = self.tcp().await;
        stream.write_all(&head("GET", path, lines, b"")).await.unwrap();
        let mut events = Events { stream, bytes: Vec::new() };
        let top = events.until("\r\n\r\n").await;
        assert!(top.starts_with("HTTP/1.1 200"), "{top}");
        assert!(top.contains("text/event-stream"), "{top}");
        events
    }

    pub fn produce(&self, values: std::ops::Range<u64>) {
        let producer = self.db.producer::<u64>("count").unwrap();
        values.for_each(|value| producer.try_produce(value).unwrap());
    }

    pub fn observers(&self, key: &str) -> usize {
        self.db.metrics().record(key).unwrap().observers.len()
    }

    pub async fn shut_down(self) {
        let report = self.db.shutdown(LIMIT).await;
        assert!(report.is_clean() && report.failures.is_empty(), "{report}");
        // Far from the deadline: no stream and no page holds it up.
        assert!(report.elapsed < LIMIT / 2, "{report}");
    }
}

pub fn head(method: &str, path: &str, lines: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{lines}\r\n"
    );
    [head.as_bytes(), body].concat()
}

pub async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &[u8]) -> Answer {
    let mut bytes = Vec::new();
    within(async {
        // The server may refuse before it has read the whole of a request.
        _ = stream.write_all(request).await;
        _ = stream.read_to_end(&mut bytes).await;
    })
    .await;
    Answer::parse(&bytes)
}

/// A stream of events.
pub struct Events<S> {
    pub stream: S,
    bytes: Vec<u8>,
}

impl<S: AsyncRead + Unpin> Events<S> {
    async fn until(&mut self, end: &str) -> String {
        loop {
            let found = self.bytes.windows(end.len()).position(|part| part == end.as_bytes());
            if let Some(at) = found {
                let rest = self.bytes.split_off(at + end.len());
                let text = std::mem::replace(&mut self.bytes, rest);
                return String::from_utf8_lossy(&text).into_owned();
            }
            let read = within(self.stream.read_buf(&mut self.bytes)).await.unwrap();
            assert!(read > 0, "the stream has ended: {}", String::from_utf8_lossy(&self.bytes));
        }
    }

    /// The name and the data of the next event.
    pub async fn next(&mut self) -> (String, serde_json::Value) {
        let text = self.until("\n\n").await;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
        };
        (field("event: "), serde_json::from_str(&field("data: ")).unwrap())
    }

    /// The next event of this name.
    pub async fn next_of(&mut self, name: &str) -> serde_json::Value {
        loop {
            let (event, data) = self.next().await;
            if event == name {
                return data;
            }
        }
    }
}

/// Everything may be set by HTTP, too.
pub fn open(console: Console) -> Console {
    console.http_grants(Grants::all())
}
