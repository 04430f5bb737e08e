//! Log sinks: functions that write the engine's log lines.
//!
//! Any function with the signature of [`Sink`] can serve as one:
//!
//! ```
//! use aimdb_core::LogLevel;
//! use aimdb_embassy_adapter::Sink;
//!
//! let errors_only: Sink = |level, origin, message| {
//!     if level == LogLevel::Error {
//!         println!("{origin}: {message}");
//!     }
//! };
//! errors_only(LogLevel::Error, "sensor.temperature", format_args!("the stage failed"));
//! ```

use core::fmt;

use aimdb_core::LogLevel;

/// A function that writes one log line: its level, its origin (a record key, a stage or a connector) and its message.
///
/// A sink must not block for long and must not call into the engine. A closure that captures nothing coerces to a `Sink`.
pub type Sink = fn(LogLevel, &str, fmt::Arguments<'_>);

/// Discards every log line. `health()` and the reports still have the failures.
pub fn none(_: LogLevel, _: &str, _: fmt::Arguments<'_>) {}

/// Writes log lines to `defmt`, as text: the chip formats the message.
#[cfg(feature = "defmt")]
pub fn defmt(level: LogLevel, origin: &str, message: fmt::Arguments<'_>) {
    let message = ::defmt::Display2Format(&message);
    match level {
        LogLevel::Trace => ::defmt::trace!("{=str}: {}", origin, message),
        LogLevel::Debug => ::defmt::debug!("{=str}: {}", origin, message),
        LogLevel::Info => ::defmt::info!("{=str}: {}", origin, message),
        LogLevel::Warn => ::defmt::warn!("{=str}: {}", origin, message),
        // `Error`, and levels that core may add.
        _ => ::defmt::error!("{=str}: {}", origin, message),
    }
}

/// Writes log lines to the `log` crate, with the target `aimdb`.
#[cfg(feature = "log")]
pub fn log(level: LogLevel, origin: &str, message: fmt::Arguments<'_>) {
    let level = match level {
        LogLevel::Trace => ::log::Level::Trace,
        LogLevel::Debug => ::log::Level::Debug,
        LogLevel::Info => ::log::Level::Info,
        LogLevel::Warn => ::log::Level::Warn,
        // `Error`, and levels that core may add.
        _ => ::log::Level::Error,
    };
    ::log::log!(target: "aimdb", level, "{origin}: {message}");
}
