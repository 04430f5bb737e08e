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
use crate::settings::{SerialSettings, check, setters};

/// A connector over any [`Port`], for microcontrollers.
///
/// The [crate] documentation has its guarantees. The connector's future need not be `Send`, so it runs on runtimes that
/// do not require `Send`, such as Embassy. The future is boxed once, when the database is built.
///
/// ```
/// use std::time::Duration;
/// use aimdb_serial_connector::{EmbeddedSerialConnector, Uart};
/// use embedded_io_async::{Read, Write};
///
/// fn connector<I: Read, O: Write>(rx: I, tx: O, boots: u16) -> EmbeddedSerialConnector<Uart<I, O>> {
///     EmbeddedSerialConnector::new(Uart::new(rx, tx))
///         .session(boots)
///         .max_payload(128)
///         .full_record_timeout(Duration::from_millis(5))
/// }
/// ```
pub struct EmbeddedSerialConnector<P> {
    port: P,
    settings: SerialSettings,
}

impl<P: Port> EmbeddedSerialConnector<P> {
    /// Returns a connector over `port`.
    #[must_use]
    pub fn new(port: P) -> Self {
        Self { port, settings: SerialSettings::new(0) }
    }

    /// Sets the session number. Default: 0.
    ///
    /// With a number that differs from boot to boot (a random number, a boot counter) the peer detects a restart even
    /// when the start frames are lost.
    #[must_use]
    pub fn session(mut self, number: u16) -> Self {
        self.settings.session = number;
        self
    }

    setters!();
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
