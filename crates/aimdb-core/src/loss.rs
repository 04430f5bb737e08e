//! The causes of losses.
//!
//! Every place of the engine at which a value can be lost counts by a cause with a name, a [`Loss`]. The
//! [accounts](crate::account) add the counters up.

use core::fmt;

macro_rules! losses {
    ($($(#[doc = $doc:literal])+ $cause:ident = $name:literal: $text:literal;)*) => {
        /// Why a value was lost.
        ///
        /// `Display` prints the [name](Self::name).
        ///
        /// ```
        /// use aimdb_core::loss::Loss;
        ///
        /// assert_eq!(Loss::DecodeError.name(), "decode_error");
        /// assert_eq!(Loss::DecodeError.text(), "its payload did not decode");
        /// assert!(Loss::ALL.contains(&Loss::Lagged));
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Loss {
            $($(#[doc = $doc])+ $cause,)*
        }

        impl Loss {
            /// All causes, in the order of a value's way.
            pub const ALL: &[Self] = &[$(Self::$cause),*];

            /// The name of the cause in metrics: lower case, with underscores. It does not change between releases.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$cause => $name),* }
            }

            /// The cause as the end of a sentence about one value.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$cause => $text),* }
            }
        }
    };
}

losses! {
    /// The value left the buffer before any reader took it: nobody reads the record, or a mailbox got a newer command.
    Overwritten = "overwritten": "it left the buffer before anybody took it";
    /// The value left the buffer before this reader took it.
    Lagged = "lagged": "it left the buffer before this reader took it";
    /// A reader left, for instance because its stage failed or its handle was dropped, and had not taken the value.
    ReaderLeft = "reader_left": "its reader left without it";
    /// The record was closed, or a shutdown's deadline was over, before the value was taken.
    Shutdown = "shutdown": "the shutdown ended before it was taken";
    /// An inbound payload did not decode.
    DecodeError = "decode_error": "its payload did not decode";
    /// A value did not encode, or its computed topic was not valid.
    EncodeError = "encode_error": "it did not encode";
    /// An inbound message without acknowledgement came while the record had no room.
    FullRecord = "full_record": "its record had no room";
    /// A message is over a limit of its connector or of its peer.
    TooLarge = "too_large": "it is over a size limit";
    /// The peer refused a message.
    Refused = "refused": "the peer refused it";
    /// A message without acknowledgement was under way when the connection broke.
    Disconnected = "disconnected": "the connection broke while it was under way";
    /// A message was under way when an attempt of its connector ended.
    Abandoned = "abandoned": "its connector's attempt ended while it was under way";
}

/// The number of causes.
pub(crate) const CAUSES: usize = Loss::ALL.len();

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Numbers of lost values by cause.
///
/// `Display` lists the causes that have lost values, or prints `none`.
///
/// ```
/// use aimdb_core::loss::{Loss, Losses};
///
/// let mut lost = Losses::default();
/// assert_eq!(lost.to_string(), "none");
/// lost.add(Loss::Refused, 2);
/// lost.add(Loss::TooLarge, 1);
/// assert_eq!((lost.of(Loss::Refused), lost.total()), (2, 3));
/// assert_eq!(lost.to_string(), "1 too_large, 2 refused");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    counts: [u64; CAUSES],
}

impl Losses {
    pub(crate) fn from_counts(counts: [u64; CAUSES]) -> Self {
        Self { counts }
    }

    /// Adds `values` that were lost by `cause`.
    pub fn add(&mut self, cause: Loss, values: u64) {
        self.counts[cause as usize] += values;
    }

    /// The values that were lost by `cause`.
    #[must_use]
    pub fn of(&self, cause: Loss) -> u64 {
        self.counts[cause as usize]
    }

    /// The values that were lost by any cause.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The causes that have lost values, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (Loss, u64)> + '_ {
        let numbers = Loss::ALL.iter().zip(self.counts).map(|(cause, lost)| (*cause, lost));
        numbers.filter(|(_, lost)| *lost > 0)
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (cause, lost) in self.iter() {
            write!(f, "{separator}{lost} {cause}")?;
            separator = ", ";
        }
        if separator.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

impl fmt::Debug for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Losses {
    /// A map from the name of each cause that has lost values to their number.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(cause, lost)| (cause.name(), lost)))
    }
}
