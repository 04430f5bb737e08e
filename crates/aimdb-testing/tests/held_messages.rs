//! Messages that wait in a connector's kit.

use aimdb_core::link::driver::{
    self, Deliver, Failure, Limits, LinkIo, Reading, Reconnect, Transport,
};
use aimdb_core::link::{InboundLink, LinkRequest, Links};
use aimdb_core::{
    AimDbBuilder, BufferCfg, Closed, Connector, Finding, Incoming, RuntimeContext, decode_with,
};
use aimdb_testing::TestRuntime;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

static STATE: AtomicUsize = AtomicUsize::new(0);
struct C;
struct M;
impl Deliver for M {
    fn deliver(&self, link: &mut InboundLink, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        link.poll_accept(&Incoming::new("t", b"1"), cx)
    }
}
impl Transport<TestRuntime> for C {
    type Message = M;
    type Receipt = u32;
    async fn serve(&mut self, io: &mut LinkIo<TestRuntime, M, u32>) -> Result<(), Failure> {
        io.set_connected();
        let now = io.context().time().now();
        poll_fn(|cx| {
            for n in 0..3 {
                io.inbound.offer(&[0], &M, Some(n), |_| M, now, cx);
            }
            // A message for no link.
            io.inbound.offer(&[], &M, Some(3), |_| M, now, cx);
            Poll::Ready(())
        })
        .await;
        io.inbound.forget_receipts();
        poll_fn::<(), _>(|cx| {
            io.poll_inbound(false, cx);
            STATE.store(1 + usize::from(io.inbound.reading(now) == Reading::Now), Relaxed);
            Poll::Pending
        })
        .await;
        Ok(())
    }
}
impl Connector<TestRuntime> for C {
    type Run = Pin<Box<dyn Future<Output = ()> + Send>>;
    fn name(&self) -> &str {
        "c"
    }
    fn describe(&self) -> String {
        "c".into()
    }
    fn check(&self, _: &[LinkRequest<'_>]) -> Vec<Finding> {
        Vec::new()
    }
    fn run(self, links: Links, context: RuntimeContext<TestRuntime>) -> Self::Run {
        let reconnect = Reconnect::new(Duration::from_millis(250), Duration::from_secs(10));
        let limits = Limits { acknowledged: 1, ..Limits::default() };
        Box::pin(driver::run(self, "x".into(), links, limits, reconnect, context))
    }
}
#[test]
fn a_connector_reads_again_when_all_messages_of_a_lost_session_are_delivered() {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.connector(C);
    builder.configure::<u32>("r", |reg| {
        reg.buffer(BufferCfg::queue(1))
            .read_from_outside()
            .link_from("c://t", decode_with(|_: &Incoming<'_>| Ok::<u32, String>(1)));
    });
    let db = builder.build().unwrap();
    let mut reader = db.consumer::<u32>("r").unwrap().subscribe().unwrap();
    db.start();
    runtime.advance(Duration::from_secs(1));
    assert_eq!(STATE.load(Relaxed), 1, "held");
    runtime.block_on(async {
        for _ in 0..3 {
            reader.recv().await.unwrap();
        }
    });
    runtime.advance(Duration::from_secs(1));
    assert_eq!(STATE.load(Relaxed), 2, "all are delivered, it reads again");
}
