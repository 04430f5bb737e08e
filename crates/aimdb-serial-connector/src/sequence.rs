//! Classification of frames by session and sequence number: new, duplicate, lost, restarted.
//!
//! This module performs no I/O.

use crate::frame::{Body, Frame};

/// The number of latest sequence numbers within which a repeated number means a duplicate frame.
///
/// A number further back means that the peer restarted with the same session number and its [`Start`](Body::Start)
/// frame was lost.
pub const DUPLICATE_WINDOW: u32 = 64;

/// Follows the sequence numbers of one peer.
///
/// For each session of the peer, the number of delivered frames plus [`lost`](FrameInfo::lost) plus
/// [`before_first_frame`](FrameInfo::before_first_frame) equals the highest sequence number that a data frame or a
/// heartbeat has reported. [`DUPLICATE_WINDOW`] defines which frames count as duplicates.
///
/// ```
/// use aimdb_serial_connector::frame::{Body, Frame, TopicId};
/// use aimdb_serial_connector::sequence::{Action, SequenceTracker};
///
/// let body = Body::Data { topic: TopicId::of("sensors/temp"), payload: b"21.5" };
/// let mut tracker = SequenceTracker::new();
/// tracker.classify(&Frame::new(7, 0, Body::Start));
/// assert_eq!(tracker.classify(&Frame::new(7, 1, body)).action, Action::Deliver);
/// assert_eq!(tracker.classify(&Frame::new(7, 1, body)).action, Action::DropDuplicate);
///
/// let after_a_gap = tracker.classify(&Frame::new(7, 4, body));
/// assert_eq!((after_a_gap.action, after_a_gap.lost), (Action::Deliver, 2));
/// ```
#[derive(Clone, Debug, Default)]
pub struct SequenceTracker {
    peer: Option<PeerSession>,
}

/// The peer's current session and its highest sequence number so far.
#[derive(Clone, Copy, Debug)]
struct PeerSession {
    session: u16,
    reached: u32,
}

/// The classification of one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameInfo {
    /// The action the frame requires.
    pub action: Action,
    /// The peer began a new session, or restarted its numbers within the same one.
    pub restarted: bool,
    /// Data frames of this session that did not arrive. The protocol never retries, so the loss is final.
    pub lost: u32,
    /// Data frames that the peer sent before the first frame ever received from it.
    pub before_first_frame: u32,
}

/// The action a frame requires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// The frame carries no value; nothing is left to do.
    #[default]
    Ignore,
    /// The frame carries a new value, to be delivered to the records.
    Deliver,
    /// The frame carries a value that arrived before.
    DropDuplicate,
}

impl SequenceTracker {
    /// Returns a tracker that has seen no frame.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Classifies the next received frame and advances to its sequence number.
    pub fn classify(&mut self, frame: &Frame<'_>) -> FrameInfo {
        let is_data = matches!(frame.body, Body::Data { .. });
        let same = self.peer.filter(|peer| peer.is_continued_by(frame));
        let restarted = self.peer.is_some() && same.is_none();
        let before = same.map_or(0, |peer| peer.reached);
        if frame.sequence <= before && same.is_some() {
            let action = if is_data { Action::DropDuplicate } else { Action::Ignore };
            return FrameInfo { action, ..FrameInfo::default() };
        }
        let first = self.peer.is_none();
        self.peer = Some(PeerSession { session: frame.session, reached: frame.sequence });
        let missing = frame.sequence - before - u32::from(is_data);
        let (lost, before_first_frame) = if first { (0, missing) } else { (missing, 0) };
        let action = if is_data { Action::Deliver } else { Action::Ignore };
        FrameInfo { action, restarted, lost, before_first_frame }
    }
}

impl PeerSession {
    /// Whether `frame` belongs to this session rather than to a restarted peer.
    fn is_continued_by(&self, frame: &Frame<'_>) -> bool {
        let near = match frame.body {
            // A sender sends the start frame twice, in case the first is lost.
            Body::Start => self.reached == 0,
            _ => self.reached.saturating_sub(frame.sequence) < DUPLICATE_WINDOW,
        };
        near && self.session == frame.session
    }
}
