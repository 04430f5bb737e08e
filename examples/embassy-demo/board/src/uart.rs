//! The machine's first serial line: a CMSDK UART, whose receiver holds one byte.

use core::convert::Infallible;
use core::future::poll_fn;
use core::task::Poll;

use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::NVIC;
use cortex_m_rt::exception;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::pipe::Pipe;
use embedded_io_async::{ErrorType, Read, Write};

/// Bytes received and not read yet. The UART drops bytes that arrive while it is full.
static RECEIVED: Pipe<CriticalSectionRawMutex, 1024> = Pipe::new();

/// The registers, as word offsets.
const DATA: usize = 0;
const STATE: usize = 1;
const CONTROL: usize = 2;
const INTERRUPT: usize = 3;
const DIVIDER: usize = 4;

const TRANSMITTER_FULL: u32 = 1;
const RECEIVER_FULL: u32 = 2;

fn read(register: usize) -> u32 {
    // SAFETY: `register` is a register of the UART; a read of it affects the UART alone.
    unsafe { base().add(register).read_volatile() }
}

fn write(register: usize, value: u32) {
    // SAFETY: `register` is a register of the UART; no value of it makes the UART access memory.
    unsafe { base().add(register).write_volatile(value) };
}

fn base() -> *mut u32 {
    0x4000_4000 as *mut u32
}

#[derive(Clone, Copy)]
struct Received;

// SAFETY: the machine has an interrupt of this number, the UART's receiver.
unsafe impl InterruptNumber for Received {
    fn number(self) -> u16 {
        0
    }
}

/// Enables the serial line and returns its two halves.
#[must_use]
pub fn open() -> (Receiver, Transmitter) {
    const TRANSMIT: u32 = 1;
    const RECEIVE: u32 = 2;
    const INTERRUPT_ON_RECEIVE: u32 = 8;
    // QEMU ignores the speed; the hardware's smallest divider is 16.
    write(DIVIDER, 16);
    write(CONTROL, TRANSMIT | RECEIVE | INTERRUPT_ON_RECEIVE);
    // SAFETY: the interrupt runs only the handler below, which shares only the pipe with other code.
    unsafe { NVIC::unmask(Received) };
    (Receiver(()), Transmitter(()))
}

/// Handles interrupts without a handler of their own: here, the UART's.
// SAFETY: the handler uses the UART's registers and a pipe that interrupts may use.
#[exception]
unsafe fn DefaultHandler(interrupt: i16) {
    if interrupt == 0 {
        write(INTERRUPT, RECEIVER_FULL);
        while read(STATE) & RECEIVER_FULL != 0 {
            // The register holds the byte in its low eight bits.
            let _ = RECEIVED.try_write(&[read(DATA) as u8]);
        }
    }
}

/// The receiving half.
#[derive(Debug)]
pub struct Receiver(());

impl ErrorType for Receiver {
    type Error = Infallible;
}

impl Read for Receiver {
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Infallible> {
        Ok(RECEIVED.read(bytes).await)
    }
}

/// The transmitting half.
#[derive(Debug)]
pub struct Transmitter(());

impl ErrorType for Transmitter {
    type Error = Infallible;
}

impl Write for Transmitter {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        let Some(&byte) = bytes.first() else { return Ok(0) };
        // Other tasks run while the transmitter is full.
        poll_fn(|cx| {
            if read(STATE) & TRANSMITTER_FULL == 0 {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        write(DATA, u32::from(byte));
        Ok(1)
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
