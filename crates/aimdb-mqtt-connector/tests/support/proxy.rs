//! A proxy that breaks connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Forwards every connection to a broker, until [`cut`](Self::cut).
#[derive(Clone)]
pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    cut: Notify,
    /// Bytes from the broker are discarded.
    mute: AtomicBool,
    /// New connections are closed.
    closed: AtomicBool,
    connections: AtomicUsize,
}

impl Proxy {
    pub async fn to(broker: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if !shared.closed.load(SeqCst) {
                    tokio::spawn(forward(client, broker, Arc::clone(&shared)));
                }
            }
        });
        Self { port, state }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Breaks every open connection.
    pub fn cut(&self) {
        self.state.cut.notify_waiters();
    }

    /// Discards the bytes from the broker, acknowledgements for instance, until `mute(false)`.
    pub fn mute(&self, mute: bool) {
        self.state.mute.store(mute, SeqCst);
    }

    /// Breaks every connection and forwards no new one until `close(false)`.
    pub fn close(&self, closed: bool) {
        self.state.closed.store(closed, SeqCst);
        if closed {
            self.cut();
        }
    }

    pub fn connections(&self) -> usize {
        self.state.connections.load(SeqCst)
    }
}

async fn forward(client: TcpStream, broker: u16, state: Arc<State>) {
    let cut = state.cut.notified();
    let Ok(server) = TcpStream::connect(("127.0.0.1", broker)).await else { return };
    state.connections.fetch_add(1, SeqCst);
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        _ = tokio::io::copy(&mut from_client, &mut to_server).await;
    };
    let down = async {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
            if !state.mute.load(SeqCst) && to_client.write_all(&bytes[..count]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
        () = cut => {}
    }
}
