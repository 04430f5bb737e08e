//! Where the bytes go: a line that can be opened, again if need be.

use core::convert::Infallible;
use core::fmt;

use embedded_io_async::{ErrorType, Read, Write};

/// A serial line, or anything else that carries bytes both ways.
///
/// # Implementing
///
/// - [`open`](Self::open) MUST give halves that work after it gave some that failed, or an error; the connector tries
///   again after a pause. It MAY wait (for somebody to connect), and MAY be dropped while it does.
/// - [`close`](Self::close) comes when halves have failed, and at the end. It MAY wait until what was written is out;
///   after a second it is dropped.
/// - The write half's `flush` MUST NOT keep its thread busy. It is called after every frame: when it waits until the
///   bytes are out, no value leaves its record before the line is free for it.
#[expect(
    async_fn_in_trait,
    reason = "whether its futures are `Send` is for the implementation to say"
)]
pub trait Port {
    /// The half that bytes come in by.
    type Read: Read;
    /// The half that bytes go out by.
    type Write: Write;
    /// Why there is no line.
    type Error: fmt::Display;

    /// Both halves, ready for use.
    ///
    /// # Errors
    ///
    /// When there is no line now.
    async fn open(&mut self) -> Result<(&mut Self::Read, &mut Self::Write), Self::Error>;

    /// The halves are not used any more.
    async fn close(&mut self) {}
}

/// A UART whose halves are there from the start and work for ever.
///
/// What its receiver reports (an overrun, a framing error, noise) costs the frame it fell into, which is counted as cut,
/// and the line goes on. Only a receiver that fails [`LINE_ERRORS`] times without a byte in between is opened again, after
/// a pause.
#[derive(Debug)]
pub struct Uart<I, O> {
    read: UartRead<I>,
    write: O,
}

/// Read errors in a row that a [`Uart`] makes up for.
pub const LINE_ERRORS: u8 = 16;

impl<I: Read, O: Write> Uart<I, O> {
    /// A UART from its receiver and its transmitter. Use buffered ones: the line does not wait for the program.
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
    errors: u8,
}

impl<I: ErrorType> ErrorType for UartRead<I> {
    type Error = I::Error;
}

impl<I: Read> Read for UartRead<I> {
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, I::Error> {
        match (self.receiver.read(bytes).await, bytes.first_mut()) {
            (Err(error), _) if self.errors >= LINE_ERRORS => Err(error),
            // Whatever is missing, the frame it belongs to ends here.
            (Err(_), Some(first)) => {
                self.errors += 1;
                *first = crate::frame::DELIMITER;
                Ok(1)
            }
            (outcome, _) => {
                self.errors = 0;
                outcome
            }
        }
    }
}
