//! A million values at 10 kHz reach the taps unchanged while ten observers look, of which one has stopped.

use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use aimdb_core::access::AccessError;
use aimdb_core::service::Service;
use aimdb_core::{AimDbBuilder, BoxError, BufferCfg, RuntimeContext, WeakAimDb, encode_with};
use aimdb_testing::TestRuntime;

/// For each of the four kinds of buffers: together a million.
const VALUES: u64 = 250_000;
const PERIOD: Duration = Duration::from_micros(100);

type Run = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

/// Observes the record as bytes, as a console does for its callers.
struct Watcher {
    name: String,
    /// The pause after each eighth value; `None` for a watcher that never looks.
    pause: Option<Duration>,
    /// The values that it has seen and missed, together.
    counted: Arc<AtomicU64>,
}

impl Service<TestRuntime> for Watcher {
    type Run = Run;

    fn name(&self) -> &str {
        &self.name
    }

    fn run(self, db: WeakAimDb<TestRuntime>, ctx: RuntimeContext<TestRuntime>) -> Run {
        Box::pin(async move {
            let mut observer =
                db.upgrade().ok_or("it has ended")?.record("count")?.observe(&self.name)?;
            let Some(pause) = self.pause else {
                ctx.stopping().await;
                return Ok(());
            };
            let (mut value, mut seen, mut last) = (Vec::new(), 0, 0);
            loop {
                value.clear();
                match observer.see(&mut value).await {
                    Ok(next) => {
                        assert_eq!(next.seq, last + 1 + next.missed);
                        assert_eq!(value, next.seq.to_string().as_bytes());
                        (last, seen) = (next.seq, seen + 1);
                    }
                    Err(AccessError::Closed { .. }) => break,
                    Err(error) => return Err(error.into()),
                }
                if seen % 8 == 0 {
                    ctx.time().sleep(pause).await;
                }
            }
            self.counted.store(seen + observer.missed(), Relaxed);
            Ok(())
        })
    }
}

/// Whether a tap of the record received each value, in order, and what each watcher that looked has counted.
fn watched(buffer: BufferCfg) -> (u64, Vec<u64>) {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    let received = Arc::new(AtomicU64::new(0));
    let received_by_tap = Arc::clone(&received);
    builder.configure::<u64>("count", |reg| {
        reg.buffer(buffer)
            .expose(encode_with(|n: &u64, out: &mut Vec<u8>| write!(out, "{n}")))
            .source(|ctx, count| async move {
                for n in 1..=VALUES {
                    count.produce(n).await.ok();
                    ctx.time().sleep(PERIOD).await;
                }
            })
            .for_each(move |_ctx, n| {
                assert_eq!(
                    n,
                    received_by_tap.fetch_add(1, Relaxed) + 1,
                    "none is lost or out of turn"
                );
            });
    });
    let watchers: Vec<_> = (0..10)
        .map(|at| {
            let counted = Arc::new(AtomicU64::new(0));
            // From one that sees nearly all to one that sees a few of a thousand, and one that has stopped.
            let pause = (at < 9).then(|| Duration::from_micros(500 << at));
            let name = format!("watcher {at}");
            builder.service(Watcher { name, pause, counted: Arc::clone(&counted) });
            counted
        })
        .collect();
    let db = builder.build().unwrap();
    db.start();
    runtime.advance(PERIOD * VALUES as u32);
    let report = runtime.block_on(db.shutdown(Duration::from_secs(10)));
    assert!(report.is_clean(), "{report}");
    let counted = watchers[..9].iter().map(|counted| counted.load(Relaxed)).collect();
    (received.load(Relaxed), counted)
}

fn delivers_all(buffer: BufferCfg) {
    let (received, counted) = watched(buffer);
    assert_eq!(received, VALUES);
    assert_eq!(counted, [VALUES; 9], "each watcher accounts for each value");
}

#[test]
fn watchers_change_no_delivery_of_a_ring() {
    delivers_all(BufferCfg::ring(64));
}

#[test]
fn watchers_change_no_delivery_of_a_queue() {
    delivers_all(BufferCfg::queue(64));
}

#[test]
fn watchers_change_no_delivery_of_a_latest_record() {
    delivers_all(BufferCfg::latest());
}

#[test]
fn watchers_change_no_delivery_of_a_mailbox() {
    delivers_all(BufferCfg::mailbox());
}
