//! The connector for microcontrollers.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::pin::Pin;

use aimdb_core::link::{LinkRequest, Links};
use aimdb_core::{Connector, Finding, Runtime, RuntimeContext};

use crate::driver;
use crate::port::Port;
use crate::settings::{Settings, check, settings};

/// A serial line of a microcontroller, over any [`Port`]. The [crate] says what it promises.
///
/// Its future need not be `Send`, so it runs where the runtime asks for no such thing: on Embassy. It is boxed once, when
/// the database is built.
pub struct EmbeddedSerialConnector<P> {
    port: P,
    settings: Settings,
}

impl<P: Port> EmbeddedSerialConnector<P> {
    /// A connector over `port`.
    #[must_use]
    pub fn new(port: P) -> Self {
        Self { port, settings: Settings::new(0) }
    }

    /// The session's number; 0 unless set. One that differs from boot to boot (a random number, a counter of boots) tells
    /// the peer of a restart even when the frame that says so is lost.
    #[must_use]
    pub fn session(mut self, number: u16) -> Self {
        self.settings.session = number;
        self
    }

    settings!();
}

impl<P> fmt::Debug for EmbeddedSerialConnector<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedSerialConnector")
            .field("name", &self.settings.name)
            .finish_non_exhaustive()
    }
}

impl<R: Runtime, P: Port + 'static> Connector<R> for EmbeddedSerialConnector<P> {
    type Run = Pin<Box<dyn Future<Output = ()>>>;

    fn name(&self) -> &str {
        &self.settings.name
    }

    fn describe(&self) -> String {
        "a serial line".into()
    }

    fn check(&self, links: &[LinkRequest<'_>]) -> Vec<Finding> {
        check(&self.settings, None, links)
    }

    fn run(self, links: Links, context: RuntimeContext<R>) -> Self::Run {
        Box::pin(driver::run(self.port, self.settings, links, context))
    }
}
