//! Whether the peer lives, judged by what is read.

use super::output::Output;
use crate::error::Error;

/// Times in milliseconds.
#[derive(Default)]
pub(crate) struct Life {
    /// The keep-alive interval; 0 if there is none.
    interval: u64,
    last_read: u64,
    last_written: u64,
    /// Since when output waits without progress.
    blocked_since: Option<u64>,
    ping: Ping,
    /// PINGREQs on this connection without a PINGRESP, those of [`note_ping`](Self::note_ping) included.
    unanswered: u32,
    /// The program does not read now.
    paused: bool,
}

/// A PINGREQ without a PINGRESP.
#[derive(Clone, Copy, Default)]
enum Ping {
    #[default]
    None,
    /// It ends at this position of the output.
    Unwritten(u64),
    WrittenAt(u64),
}

impl Life {
    pub(crate) fn begin(&mut self, now: u64) {
        *self = Self { last_read: now, last_written: now, ..Self::default() };
    }

    /// Sets the interval, in seconds.
    pub(crate) fn accept(&mut self, keep_alive: u16) {
        self.interval = u64::from(keep_alive) * 1000;
    }

    pub(crate) fn pause(&mut self, paused: bool, now: u64) {
        if self.paused && !paused {
            // The bytes that have arrived meanwhile are read from now on.
            self.last_read = now;
        }
        self.paused = paused;
    }

    pub(crate) fn note_read(&mut self, now: u64) {
        self.last_read = now;
    }

    pub(crate) fn note_written(&mut self, now: u64, output: &Output) {
        self.last_written = now;
        self.blocked_since = (!output.is_empty()).then_some(now);
        if matches!(self.ping, Ping::Unwritten(end) if output.written() >= end) {
            self.ping = Ping::WrittenAt(now);
        }
    }

    /// Counts a PINGREQ that does not test the connection, and returns which PINGRESP from now on answers it.
    pub(crate) fn note_ping(&mut self) -> u32 {
        self.unanswered += 1;
        self.unanswered
    }

    pub(crate) fn note_pong(&mut self) {
        self.ping = Ping::None;
        self.unanswered = self.unanswered.saturating_sub(1);
    }

    /// When the connection counts as dead, if nothing happens before.
    fn death(&self) -> Option<u64> {
        if self.paused {
            return None;
        }
        let since = match self.ping {
            Ping::WrittenAt(at) => Some(at),
            _ => self.blocked_since,
        };
        since.map(|since| since.max(self.last_read).saturating_add(self.interval))
    }

    /// When the next PINGREQ is due, if nothing happens before.
    fn test(&self) -> Option<u64> {
        let since = match self.ping {
            Ping::None => self.last_read.min(self.last_written),
            // The answer may wait behind a long message; meanwhile the broker still expects packets.
            Ping::WrittenAt(_) => self.last_written,
            Ping::Unwritten(_) => return None,
        };
        Some(since.saturating_add(self.interval))
    }

    pub(crate) fn deadline(&self) -> Option<u64> {
        if self.interval == 0 {
            return None;
        }
        match (self.test(), self.death()) {
            (Some(test), Some(death)) => Some(test.min(death)),
            (test, death) => test.or(death),
        }
    }

    pub(crate) fn handle_time(&mut self, now: u64, output: &mut Output) -> Result<(), Error> {
        if self.interval == 0 {
            return Ok(());
        }
        if output.is_empty() {
            self.blocked_since = None;
        } else if self.blocked_since.is_none() {
            self.blocked_since = Some(now);
        }
        if self.death().is_some_and(|death| now >= death) {
            let silent = matches!(self.ping, Ping::WrittenAt(_));
            return Err(if silent { Error::Silent } else { Error::Blocked });
        }
        if self.test().is_some_and(|test| now >= test) {
            if output.is_empty() {
                // The next packet is written now at the earliest.
                self.last_written = now;
            }
            output.buffer().extend_from_slice(&[0xc0, 0]);
            self.ping = Ping::Unwritten(output.end());
            self.unanswered += 1;
            // From now on, so that the next deadline is known even if the stream takes nothing.
            self.blocked_since.get_or_insert(now);
        }
        Ok(())
    }
}
