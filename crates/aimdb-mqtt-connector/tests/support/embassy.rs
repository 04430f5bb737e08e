//! The connector for microcontrollers on the host: Embassy's std executor for tasks and time, Tokio for sockets and for
//! the probe.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;
use std::{io, panic, thread};

use aimdb_core::AimDbBuilder;
use aimdb_embassy_adapter::{EmbassyAdapter, sink};
use aimdb_mqtt_connector::{EmbassyMqttConnector, Network};
use embassy_executor::{Executor, Spawner};
use embedded_io_adapters::tokio_1::FromTokio;
use tokio::net::TcpStream;

use super::PATIENCE;

pub type EmbassyBuilder = AimDbBuilder<EmbassyAdapter>;

/// Loopback, at one port.
pub struct Tcp(pub u16);

impl Network for Tcp {
    type Stream<'n> = FromTokio<TcpStream>;
    type Error = io::Error;

    async fn connect(&mut self) -> io::Result<FromTokio<TcpStream>> {
        let stream = TcpStream::connect(("127.0.0.1", self.0)).await?;
        stream.set_nodelay(true)?;
        Ok(FromTokio::new(stream))
    }
}

/// A connector that comes back quickly.
pub fn embassy_to(port: u16) -> EmbassyMqttConnector<Tcp> {
    EmbassyMqttConnector::new(format!("127.0.0.1:{port}"), Tcp(port))
        .backoff(Duration::from_millis(20), Duration::from_millis(100))
}

/// Runs `body` as a task of an executor of its own, to its end, and passes its panic on. It is given builders.
pub fn on_embassy<F: Future<Output = ()> + 'static>(
    body: impl FnOnce(Box<dyn Fn() -> EmbassyBuilder>) -> F + Send,
) {
    let sockets =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let run = || {
        let _entered = sockets.enter();
        let executor: &'static mut Executor = Box::leak(Box::new(Executor::new()));
        let done = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&done);
        let begin = |spawner: Spawner| {
            let body = body(Box::new(move || {
                let runtime = Arc::new(EmbassyAdapter::new(spawner, sink::none));
                let mut builder = AimDbBuilder::new().runtime(runtime);
                builder.shutdown_deadline(PATIENCE);
                builder
            }));
            // The pool of a task function is one for all threads; a task of one's own is not.
            let storage = Box::leak(Box::new(embassy_executor::raw::TaskStorage::new()));
            spawner.spawn(storage.spawn(move || the_body(Box::pin(body), done)).unwrap());
        };
        executor.run_until(begin, || seen.load(SeqCst));
    };
    let ended = thread::scope(|scope| scope.spawn(run).join());
    ended.unwrap_or_else(|cause| panic::resume_unwind(cause));
}

async fn the_body(body: Pin<Box<dyn Future<Output = ()>>>, done: Arc<AtomicBool>) {
    body.await;
    done.store(true, SeqCst);
}
