//! Ports: byte streams that a connector can open, and open again after a failure.

use core::convert::Infallible;
use core::fmt;

use embedded_io_async::{ErrorType, Read, Write};

use crate::frame::DELIMITER;

/// A serial line, or any other bidirectional byte stream.
///
/// # Implementing
///
/// - [`open`](Self::open) MUST return halves that work, also after halves it returned earlier have failed, or an error;
///   the connector retries after a backoff. It MAY wait (for a peer to connect), and the connector MAY drop its future
///   while it waits.
/// - [`close`](Self::close) is called when the halves have failed, and at the end. It MAY wait until all written bytes
///   are transmitted; after a second the connector drops its future.
/// - The write half's `flush` MUST NOT block its thread. The connector calls it after every frame: if `flush` waits
///   until the bytes are transmitted, no value leaves its record before the line is free for it.
///
/// A port over two halves that exist from the start is a [`Uart`]. A port that has to be set up looks like this:
///
/// ```
/// use aimdb_serial_connector::Port;
/// use embedded_io_async::{Read, Write};
///
/// struct UsbPort<I, O> {
///     receiver: I,
///     transmitter: O,
///     is_plugged_in: fn() -> bool,
/// }
///
/// impl<I: Read, O: Write> Port for UsbPort<I, O> {
///     type Read = I;
///     type Write = O;
///     type Error = &'static str;
///
///     async fn open(&mut self) -> Result<(&mut I, &mut O), &'static str> {
///         match (self.is_plugged_in)() {
///             true => Ok((&mut self.receiver, &mut self.transmitter)),
///             false => Err("the USB cable is unplugged"),
///         }
///     }
/// }
/// ```
#[expect(async_fn_in_trait, reason = "the implementation decides whether its futures are `Send`")]
pub trait Port {
    /// The receiving half.
    type Read: Read;
    /// The transmitting half.
    type Write: Write;
    /// The reason why the port cannot be opened.
    type Error: fmt::Display;

    /// Opens the port and returns both halves, ready for use.
    ///
    /// # Errors
    ///
    /// If the port cannot be opened now. The connector logs the error and retries after a backoff.
    ///
    /// # Cancel safety
    ///
    /// The connector may drop the future before it completes, and calls `open` again later.
    async fn open(&mut self) -> Result<(&mut Self::Read, &mut Self::Write), Self::Error>;

    /// Closes the port. The connector no longer uses the halves.
    async fn close(&mut self) {}
}

/// A UART whose halves exist from the start and stay usable without limit.
///
/// A read error (an overrun, a framing error, noise) costs the frame it occurred in, which is counted as truncated; the
/// connection continues. After more than [`MAX_READ_ERRORS`] errors without a byte in between, the connector opens the
/// port again after a backoff.
///
/// ```
/// use aimdb_serial_connector::{EmbeddedSerialConnector, Uart};
/// use embedded_io_async::{Read, Write};
///
/// /// `receiver` and `transmitter` are the halves of a buffered UART from the chip's HAL.
/// fn connector<I: Read, O: Write>(receiver: I, transmitter: O) -> EmbeddedSerialConnector<Uart<I, O>> {
///     EmbeddedSerialConnector::new(Uart::new(receiver, transmitter))
/// }
/// ```
#[derive(Debug)]
pub struct Uart<I, O> {
    read: UartRead<I>,
    write: O,
}

/// The number of consecutive read errors that a [`Uart`] tolerates.
pub const MAX_READ_ERRORS: u8 = 16;

impl<I: Read, O: Write> Uart<I, O> {
    /// Returns a UART over its receiver and its transmitter.
    ///
    /// Both should be buffered: the hardware receives bytes also while the program is busy.
    pub fn new(receiver: I, transmitter: O) -> Self {
        Self { read: UartRead { receiver, errors: 0 }, write: transmitter }
    }
}

impl<I: Read, O: Write> Port for Uart<I, O> {
    type Read = UartRead<I>;
    type Write = O;
    type Error = Infallible;

    async fn open(&mut self) -> Result<(&mut UartRead<I>, &mut O), Infallible> {
        self.read.errors = 0;
        Ok((&mut self.read, &mut self.write))
    }
}

/// The receiving half of a [`Uart`].
#[derive(Debug)]
pub struct UartRead<I> {
    receiver: I,
    /// Consecutive read errors.
    errors: u8,
}

impl<I: ErrorType> ErrorType for UartRead<I> {
    type Error = I::Error;
}

impl<I: Read> Read for UartRead<I> {
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, I::Error> {
        match (self.receiver.read(bytes).await, bytes.first_mut()) {
            (Err(error), _) if self.errors >= MAX_READ_ERRORS => Err(error),
            // The error may have cost any number of bytes: a delimiter ends the frame they belong to.
            (Err(_), Some(first)) => {
                self.errors += 1;
                *first = DELIMITER;
                Ok(1)
            }
            (outcome, _) => {
                self.errors = 0;
                outcome
            }
        }
    }
}
