//! A link into a record, as a connector that serves several of them in one task uses it.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use aimdb_core::Closed;
use aimdb_core::link::{InboundLink, LinkRequest, Links};
use aimdb_core::{
    AimDb, AimDbBuilder, BufferCfg, Connector, Finding, Incoming, RuntimeContext, decode_with,
};
use aimdb_tokio_adapter::TokioAdapter;

/// Hands its links out and goes.
struct GivesAway(Arc<Mutex<Option<Links>>>);

impl Connector<TokioAdapter> for GivesAway {
    type Run = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn name(&self) -> &str {
        "test"
    }

    fn describe(&self) -> String {
        "a connector of the test".into()
    }

    fn check(&self, _links: &[LinkRequest<'_>]) -> Vec<Finding> {
        Vec::new()
    }

    fn run(self, links: Links, _context: RuntimeContext<TokioAdapter>) -> Self::Run {
        *self.0.lock().unwrap() = Some(links);
        Box::pin(async {})
    }
}

/// A record of one place, and the link into it. Its messages are numbers of one byte.
fn one_place() -> (AimDb<TokioAdapter>, InboundLink) {
    let links = Arc::new(Mutex::new(None));
    let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter::new().unwrap()));
    builder.connector(GivesAway(Arc::clone(&links)));
    builder.configure::<u8>("in", |reg| {
        let codec = decode_with(|message: &Incoming<'_>| match message.payload {
            [number] => Ok(*number),
            _ => Err("not one byte"),
        });
        reg.buffer(BufferCfg::SpmcQueue { capacity: 1 }).link_from("test://in", codec);
    });
    let db = builder.build().unwrap();
    db.start();
    let mut links = links.lock().unwrap().take().unwrap();
    (db, links.inbound.remove(0))
}

async fn accept(link: &mut InboundLink, payload: &[u8]) -> Poll<Result<(), Closed>> {
    let message = Incoming::new("in", payload);
    poll_fn(|cx| Poll::Ready(link.poll_accept(&message, cx))).await
}

#[tokio::test]
async fn a_link_holds_one_value_that_its_record_has_no_room_for_and_takes_no_message_meanwhile() {
    let (db, mut link) = one_place();
    let mut reader = db.consumer::<u8>("in").unwrap().subscribe().unwrap();
    assert_eq!(accept(&mut link, &[1]).await, Poll::Ready(Ok(())));
    assert!(!link.has_pending());
    assert_eq!(accept(&mut link, &[2]).await, Poll::Ready(Ok(())));
    assert!(link.has_pending());
    assert_eq!(accept(&mut link, &[3]).await, Poll::Pending);
    assert_eq!(db.metrics().links[0].received, 2);

    assert_eq!(reader.recv().await, Ok(1));
    assert_eq!(poll_fn(|cx| link.poll_flush(cx)).await, Ok(()));
    assert!(!link.has_pending());
    assert_eq!(reader.recv().await, Ok(2));
}

#[tokio::test]
async fn a_message_that_does_not_decode_is_taken_and_leaves_nothing_to_wait_for() {
    let (db, mut link) = one_place();
    assert_eq!(accept(&mut link, b"no number").await, Poll::Ready(Ok(())));
    assert!(!link.has_pending());
    assert_eq!(db.metrics().links[0].decode_errors, 1);
}

#[tokio::test]
async fn a_value_that_waits_when_its_record_is_closed_is_told_to_be_lost_once() {
    let (db, mut link) = one_place();
    let _reader = db.consumer::<u8>("in").unwrap().subscribe().unwrap();
    for number in [1, 2] {
        assert_eq!(accept(&mut link, &[number]).await, Poll::Ready(Ok(())));
    }
    // Its deadline is over before the link is gone.
    let _report = db.shutdown(Duration::from_millis(1)).await;
    assert_eq!(poll_fn(|cx| link.poll_flush(cx)).await, Err(Closed));
    assert!(!link.has_pending());
    assert_eq!(poll_fn(|cx| link.poll_flush(cx)).await, Ok(()));
    assert_eq!(accept(&mut link, &[3]).await, Poll::Ready(Err(Closed)));
}
