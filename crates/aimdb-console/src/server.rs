//! Connections: who calls, how many, how long, and the end.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::Service as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};

use crate::app::App;
use crate::caller::Peer;
use crate::grants::Grants;
use crate::listen::Listeners;

/// The time that a connection has for its last answer once the console ends.
const LAST_ANSWER: Duration = Duration::from_millis(200);

/// The longest handshake: until it is done the caller has proved nothing, and has the place of one who could.
const HANDSHAKE: Duration = Duration::from_secs(3);

/// The pause after an error of `accept`: usually there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The server, before it runs.
pub(crate) struct Server<'a> {
    listeners: Listeners,
    owner: Arc<Grants>,
    http: Arc<Grants>,
    app: &'a Arc<App>,
    router: Router,
    end: watch::Sender<bool>,
}

pub(crate) fn serve<'a>(
    listeners: Listeners,
    (owner, http): (Grants, Grants),
    app: &'a Arc<App>,
    router: Router,
    end: watch::Sender<bool>,
) -> Server<'a> {
    Server { listeners, owner: Arc::new(owner), http: Arc::new(http), app, router, end }
}

impl Server<'_> {
    /// Serves connections until `end` completes, and lets those that are open end.
    pub(crate) async fn until(self, end: impl Future<Output = ()>) {
        // Callers by HTTP cannot take the owner's places.
        let limit = self.app.limits.connections.min(Semaphore::MAX_PERMITS);
        let places = [(); 2].map(|()| Arc::new(Semaphore::new(limit)));
        let mut connections = JoinSet::new();
        let mut end = pin!(end);
        loop {
            tokio::select! {
                () = &mut end => break,
                accepted = self.accept() => match accepted {
                    Ok(Some((stream, peer))) => {
                        // Without a place the connection is closed.
                        let places = &places[usize::from(peer.is_owner)];
                        let Ok(place) = Arc::clone(places).try_acquire_owned() else { continue };
                        let connection =
                            connection(stream, peer, self.router.clone(), Arc::clone(self.app));
                        connections.spawn(async move {
                            connection.await;
                            drop(place);
                        });
                    }
                    Ok(None) => {}
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
            }
        }
        let Self { listeners, end, .. } = self;
        // No new connections, and no file of a socket, while the last answers go out.
        drop(listeners);
        _ = end.send(true);
        let all = async { while connections.join_next().await.is_some() {} };
        _ = tokio::time::timeout(LAST_ANSWER, all).await;
    }

    /// The next connection; `None` for one that is refused.
    async fn accept(&self) -> io::Result<Option<(Stream, Peer)>> {
        let Listeners { socket, http, .. } = &self.listeners;
        let local = async {
            match socket {
                Some(socket) => (socket.listener.accept().await, socket.owner),
                None => std::future::pending().await,
            }
        };
        let remote = async {
            match http {
                Some(http) => http.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            (accepted, owner) = local => {
                let (stream, _) = accepted?;
                let user = stream.peer_cred()?.uid();
                if user != owner && user != 0 {
                    return Ok(None);
                }
                let peer = Peer { grants: Arc::clone(&self.owner), is_owner: true };
                Ok(Some((Stream::Unix(stream), peer)))
            }
            accepted = remote => {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                let peer = Peer { grants: Arc::clone(&self.http), is_owner: false };
                Ok(Some((Stream::Tcp(stream), peer)))
            }
        }
    }
}

enum Stream {
    Unix(tokio::net::UnixStream),
    Tcp(tokio::net::TcpStream),
}

/// Serves one connection until it or the console ends. One that has no encryption and needs it is closed.
async fn connection(stream: Stream, mut peer: Peer, router: Router, app: Arc<App>) {
    match (stream, &app.acceptor) {
        (Stream::Unix(stream), _) => serve_on(stream, peer, router, &app).await,
        (Stream::Tcp(stream), None) => serve_on(stream, peer, router, &app).await,
        (Stream::Tcp(stream), Some(acceptor)) => {
            let accept = acceptor.accept(stream, |text| app.log.warn(text));
            let accepted = tokio::time::timeout(app.limits.head.min(HANDSHAKE), accept).await;
            let Ok(Ok((stream, of_certificate))) = accepted else {
                app.refused.fetch_add(1, Relaxed);
                return;
            };
            peer.grants = of_certificate.unwrap_or(peer.grants);
            serve_on(stream, peer, router, &app).await;
        }
    }
}

async fn serve_on<S>(stream: S, peer: Peer, router: Router, app: &App)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = app.limits;
    let ends = app.ends.clone();
    let router = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        router.call(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(64 * 1024);
    let io = Impatient::new(TokioIo::new(stream), limits.stalled);
    until_end(http.serve_connection(io, service), ends).await;
}

/// Drives a connection, which has one more answer once the console ends.
async fn until_end<I, S>(connection: http1::Connection<I, S>, mut ends: watch::Receiver<bool>)
where
    http1::Connection<I, S>: Future<Output = hyper::Result<()>>,
    I: Read + Write + Unpin,
    S: hyper::service::HttpService<Incoming>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::ResBody: hyper::body::Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static,
{
    let mut connection = pin!(connection);
    tokio::select! {
        _ = &mut connection => return,
        () = ended(&mut ends) => connection.as_mut().graceful_shutdown(),
    }
    _ = connection.await;
}

/// A stream whose writes fail if the other end takes no bytes for a time.
struct Impatient<I> {
    io: I,
    limit: Duration,
    /// Runs while a write waits.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<I> Impatient<I> {
    fn new(io: I, limit: Duration) -> Self {
        Self { io, limit, timer: None }
    }

    /// Ends the wait of a write that went on, and fails one that has waited too long.
    fn watch<T>(
        &mut self,
        outcome: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.timer = None;
            return outcome;
        }
        let until = Instant::now() + self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<I: Read + Unpin> Read for Impatient<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<I: Write + Unpin> Write for Impatient<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.watch(outcome, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_flush(cx);
        self.watch(outcome, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // With TLS it writes.
        let outcome = Pin::new(&mut self.io).poll_shutdown(cx);
        self.watch(outcome, cx)
    }
}

/// Waits until the console ends.
pub(crate) async fn ended(ends: &mut watch::Receiver<bool>) {
    // Without a sender the console has ended, too.
    _ = ends.wait_for(|end| *end).await;
}
