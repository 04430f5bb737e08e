//! Received values on their way to a record.

use alloc::boxed::Box;
use core::task::{Context, Poll};

use aimdb_core::link::InboundLink;
use aimdb_core::link::driver::Deliver;
use aimdb_core::{Arc, Closed, Incoming};

/// A value that waits for room in its record.
pub(crate) struct HeldValue {
    topic: Arc<str>,
    payload: Box<[u8]>,
}

impl Deliver for HeldValue {
    fn deliver(&self, link: &mut InboundLink, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        link.poll_accept(&Incoming::new(&self.topic, &self.payload), cx)
    }
}

/// A value in the receive buffer. A frame has no topic but its hash; it is the one of the link.
pub(crate) struct BorrowedValue<'v> {
    pub(crate) topic: &'v Arc<str>,
    pub(crate) payload: &'v [u8],
}

impl BorrowedValue<'_> {
    pub(crate) fn hold(&self) -> HeldValue {
        HeldValue { topic: Arc::clone(self.topic), payload: self.payload.into() }
    }
}

impl Deliver for BorrowedValue<'_> {
    fn deliver(&self, link: &mut InboundLink, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        link.poll_accept(&Incoming::new(self.topic, self.payload), cx)
    }
}
