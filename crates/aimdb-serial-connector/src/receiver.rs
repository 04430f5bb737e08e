//! What the numbers on frames say: delivered, lost, doubled, restarted. No I/O.

use crate::frame::{Body, Frame};

/// How far back a number may lie to be taken for a frame that came twice. Further back the peer has started over: its
/// session number was the same, and its [`Start`](Body::Start) lost.
pub const WINDOW: u32 = 64;

/// Follows one peer's frames.
///
/// For each session of the peer, `delivered + lost + unheard` is the number it has reached, as far as a heartbeat or a
/// frame has told. [`WINDOW`] says what is taken for a double.
#[derive(Clone, Debug, Default)]
pub struct Receiver {
    peer: Option<Peer>,
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    session: u16,
    reached: u32,
}

/// What one frame means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What to do with it.
    pub fate: Fate,
    /// The peer began a new session, or its numbers anew.
    pub restarted: bool,
    /// Data frames of this session that did not come, and will not.
    pub lost: u32,
    /// Data frames the peer had sent before the first that was ever heard of it: most likely nobody listened yet.
    pub unheard: u32,
}

/// What to do with a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// It has no value, and has done its work.
    #[default]
    Done,
    /// Its value is new.
    Deliver,
    /// Its value came before.
    Doubled,
}

impl Receiver {
    /// One that has heard nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Judges the next frame.
    pub fn judge(&mut self, frame: &Frame<'_>) -> Verdict {
        let is_data = matches!(frame.body, Body::Data { .. });
        let same = self.peer.filter(|peer| peer.goes_on_with(frame));
        let restarted = self.peer.is_some() && same.is_none();
        let before = same.map_or(0, |peer| peer.reached);
        if frame.sequence <= before && same.is_some() {
            let fate = if is_data { Fate::Doubled } else { Fate::Done };
            return Verdict { fate, ..Verdict::default() };
        }
        let first = self.peer.is_none();
        self.peer = Some(Peer { session: frame.session, reached: frame.sequence });
        let missing = frame.sequence - before - u32::from(is_data);
        let (lost, unheard) = if first { (0, missing) } else { (missing, 0) };
        let fate = if is_data { Fate::Deliver } else { Fate::Done };
        Verdict { fate, restarted, lost, unheard }
    }
}

impl Peer {
    /// Whether the frame belongs to what was heard so far.
    fn goes_on_with(&self, frame: &Frame<'_>) -> bool {
        let near = match frame.body {
            // Sent twice, in case the first is lost.
            Body::Start => self.reached == 0,
            _ => self.reached.saturating_sub(frame.sequence) < WINDOW,
        };
        near && self.session == frame.session
    }
}
