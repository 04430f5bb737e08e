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

/// What has come in and was not read yet. What comes when it is full is lost, as in any UART.
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
    // SAFETY: a register of the UART; reading it disturbs nobody but the UART.
    unsafe { base().add(register).read_volatile() }
}

fn write(register: usize, value: u32) {
    // SAFETY: a register of the UART; no value of it reaches any memory.
    unsafe { base().add(register).write_volatile(value) };
}

fn base() -> *mut u32 {
    0x4000_4000 as *mut u32
}

#[derive(Clone, Copy)]
struct Received;

// SAFETY: the machine has an interrupt of this number: the UART's receiver.
unsafe impl InterruptNumber for Received {
    fn number(self) -> u16 {
        0
    }
}

/// Switches the line on and gives its two halves.
#[must_use]
pub fn open() -> (Receiver, Transmitter) {
    const TRANSMIT: u32 = 1;
    const RECEIVE: u32 = 2;
    const INTERRUPT_ON_RECEIVE: u32 = 8;
    // QEMU does not mind how fast it is; the hardware's smallest divider is 16.
    write(DIVIDER, 16);
    write(CONTROL, TRANSMIT | RECEIVE | INTERRUPT_ON_RECEIVE);
    // SAFETY: the handler below is all that runs in it, and shares nothing but the pipe.
    unsafe { NVIC::unmask(Received) };
    (Receiver(()), Transmitter(()))
}

/// Interrupts without a name of their own end here.
// SAFETY: touches the UART's registers and a pipe that is made for interrupts.
#[exception]
unsafe fn DefaultHandler(interrupt: i16) {
    if interrupt == 0 {
        write(INTERRUPT, RECEIVER_FULL);
        while read(STATE) & RECEIVER_FULL != 0 {
            // The low byte is what the register holds.
            let _ = RECEIVED.try_write(&[read(DATA) as u8]);
        }
    }
}

/// Where bytes come in.
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

/// Where bytes go out.
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
