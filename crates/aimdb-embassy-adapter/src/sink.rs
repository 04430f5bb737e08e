//! Where log lines go.

use core::fmt;

use aimdb_core::LogLevel;

/// Takes one log line: how much it matters, a record key, stage or connector, and the text.
///
/// It must not block for long and must not call into the engine. A closure that captures nothing will do.
pub type Sink = fn(LogLevel, &str, fmt::Arguments<'_>);

/// Nowhere. What failed stands in `health()` and in the reports all the same.
pub fn none(_: LogLevel, _: &str, _: fmt::Arguments<'_>) {}

/// To `defmt`, as text: the engine's lines are formatted on the chip.
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

/// To the `log` crate, with the target `aimdb`.
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
