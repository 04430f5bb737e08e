//! An inbound link, as a connector uses it that serves several links in one task.
#![cfg(not(aimdb_loom))]

mod common;

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use aimdb_core::Closed;
use aimdb_core::link::{InboundLink, LinkRequest, Links};
use aimdb_core::{AimDb, BufferCfg, Connector, Finding, Incoming, RuntimeContext, decode_with};
use aimdb_testing::TestRuntime;
use common::{builder, ms};

/// A connector that hands its links to the test and returns.
struct HandsOver(Arc<Mutex<Option<Links>>>);

impl Connector<TestRuntime> for HandsOver {
    type Run = std::future::Ready<()>;

    fn name(&self) -> &str {
        "test"
    }

    fn describe(&self) -> String {
        "a connector of the test".into()
    }

    fn check(&self, _links: &[LinkRequest<'_>]) -> Vec<Finding> {
        Vec::new()
    }

    fn run(self, links: Links, _context: RuntimeContext<TestRuntime>) -> Self::Run {
        *self.0.lock().unwrap() = Some(links);
        std::future::ready(())
    }
}

/// A queue of one, and an inbound link to it. A message is a number of one byte.
fn queue_of_one() -> (Arc<TestRuntime>, AimDb<TestRuntime>, InboundLink) {
    let links = Arc::new(Mutex::new(None));
    let (runtime, mut builder) = builder();
    builder.connector(HandsOver(Arc::clone(&links)));
    builder.configure::<u8>("in", |reg| {
        let codec = decode_with(|message: &Incoming<'_>| match message.payload {
            [number] => Ok(*number),
            _ => Err("not one byte"),
        });
        reg.buffer(BufferCfg::SpmcQueue { capacity: 1 }).link_from("test://in", codec);
    });
    let db = builder.build().unwrap();
    db.start();
    runtime.run_until_idle();
    let mut links = links.lock().unwrap().take().unwrap();
    (runtime, db, links.inbound.remove(0))
}

fn accept(link: &mut InboundLink, payload: &[u8]) -> Poll<Result<(), Closed>> {
    let message = Incoming::new("in", payload);
    link.poll_accept(&message, &mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_link_holds_one_value_for_a_full_record_and_accepts_no_further_message() {
    let (runtime, db, mut link) = queue_of_one();
    let mut reader = db.consumer::<u8>("in").unwrap().subscribe().unwrap();
    assert_eq!(accept(&mut link, &[1]), Poll::Ready(Ok(())));
    assert!(!link.has_pending());
    assert_eq!(accept(&mut link, &[2]), Poll::Ready(Ok(())));
    assert!(link.has_pending());
    assert_eq!(accept(&mut link, &[3]), Poll::Pending);
    assert_eq!(db.metrics().links[0].received, 2);

    runtime.block_on(async {
        assert_eq!(reader.recv().await, Ok(1));
        assert_eq!(poll_fn(|cx| link.poll_flush(cx)).await, Ok(()));
        assert!(!link.has_pending());
        assert_eq!(reader.recv().await, Ok(2));
    });
}

#[test]
fn a_message_that_does_not_decode_is_accepted_and_holds_no_value() {
    let (_runtime, db, mut link) = queue_of_one();
    assert_eq!(accept(&mut link, b"no number"), Poll::Ready(Ok(())));
    assert!(!link.has_pending());
    assert_eq!(db.metrics().links[0].decode_errors(), 1);
}

#[test]
fn a_held_value_of_a_closed_record_is_reported_as_lost_once() {
    let (runtime, db, mut link) = queue_of_one();
    let _reader = db.consumer::<u8>("in").unwrap().subscribe().unwrap();
    for number in [1, 2] {
        assert_eq!(accept(&mut link, &[number]), Poll::Ready(Ok(())));
    }
    runtime.block_on(async {
        // The deadline passes before the link is dropped.
        let _report = db.shutdown(ms(1)).await;
        assert_eq!(poll_fn(|cx| link.poll_flush(cx)).await, Err(Closed));
        assert!(!link.has_pending());
        assert_eq!(poll_fn(|cx| link.poll_flush(cx)).await, Ok(()));
    });
    assert_eq!(accept(&mut link, &[3]), Poll::Ready(Err(Closed)));
}
