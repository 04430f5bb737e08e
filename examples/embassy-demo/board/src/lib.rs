//! The machine that the firmware here runs on: QEMU's mps2-an386, a Cortex-M4F at 25 MHz with 4 MB of code memory and
//! 4 MB of data memory.
//!
//! | module | contents |
//! |---|---|
//! | [`executor`] | Embassy's raw executor in a loop that sleeps until an interrupt (`WFI`) |
//! | [`clock`] | `embassy-time`'s driver: SysTick at 1 kHz, a 64-bit count of milliseconds |
//! | [`heap`] | the allocator, which also counts allocations |
//! | [`uart`] | the machine's first serial line, with the traits of `embedded-io-async` |
//! | `console` | text and exit status for the process that started QEMU |
//!
//! On a chip of your own, the chip's Embassy HAL replaces this crate (`embassy-stm32`, `embassy-rp`, `embassy-nrf`, …).
//!
//! ```ignore
//! #[cortex_m_rt::entry]
//! fn main() -> ! {
//!     board::heap::init(64 * 1024);
//!     board::executor::run(|spawner| spawner.spawn(database(spawner).unwrap()))
//! }
//! ```
#![no_std]

pub mod clock;
#[cfg(feature = "console")]
pub mod console;
pub mod executor;
pub mod heap;
pub mod uart;
