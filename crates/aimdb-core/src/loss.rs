//! Where values are lost, and accounts of where every value went.
//!
//! Every place of the engine at which a value can be lost has a cause with a name, a [`Loss`]. The counters of the places
//! make [accounts](Account), one for each reader and each link: what entered was delivered, is held, or was lost by a
//! cause. Pages, exporters and reports read the same table.
//!
//! ```text
//!   record ──▶ reader      entered = delivered + held + lost       lagged, reader_left, shutdown
//!   record ──▶ link ──▶    entered = delivered + held + filtered   encode_error, too_large, refused,
//!                                    + lost                        disconnected, abandoned, shutdown
//!   ──▶ link ──▶ record    entered = delivered + held + lost       decode_error, full_record, too_large,
//!                                                                  abandoned, shutdown
//!   mailbox ──▶ takers     entered = delivered + held + lost       overwritten
//! ```
//!
//! The counters of one account are separate, so the sum is exact while nothing moves. A snapshot that is taken between
//! two steps of a value may show it once too often, or not yet.
//!
//! A value that came while a record had no reader is in no reader's account: the record's own account has it until the first
//! reader comes, and [`overwritten`](crate::metrics::RecordMetrics::overwritten) counts it.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::address::Direction;
use crate::buffer::cfg::BufferCfg;
use crate::metrics::{LinkMetrics, Metrics, RecordMetrics};

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

/// One who takes values, and whose account is kept.
///
/// ```
/// use aimdb_core::loss::{Account, Party};
///
/// /// The name of the reader or the address of the link.
/// fn name(account: &Account) -> &str {
///     match &account.party {
///         Party::Reader { name } => name,
///         Party::Link { address, .. } => address,
///         _ => "",
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(tag = "kind", rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Party {
    /// A record that nobody has read yet, or the takers of a mailbox, of whom each command has one.
    Record,
    /// A present reader.
    Reader {
        /// The name of the reader.
        name: String,
    },
    /// All readers that have left.
    DepartedReaders,
    /// A link.
    Link {
        /// The name of the link, unique within its record.
        stage: String,
        /// The address of the link.
        address: String,
        /// Whether values enter from the record or from the peer.
        direction: Direction,
    },
}

/// Where the values went that one party of a record was to have.
///
/// [`Metrics::accounts`] makes them. `Display` prints one line.
///
/// ```
/// use aimdb_core::{AimDb, Runtime};
///
/// fn print_losses<R: Runtime>(db: &AimDb<R>) {
///     for account in db.metrics().accounts() {
///         if account.lost.total() > 0 {
///             println!("{account}");
///         }
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Account {
    /// The record's key.
    pub record: String,
    /// The one who takes the values.
    pub party: Party,
    /// Values that the party was to have.
    pub entered: u64,
    /// Values that a reader took; that a link's peer has, as far as its protocol says so; that an inbound link's record
    /// accepted.
    pub delivered: u64,
    /// Values that are on their way: in the buffer, under way to the peer, or with a peer that has no acknowledgement and
    /// keeps them.
    pub held: u64,
    /// Values that a link's [filter](crate::link::only_if) left out. They are no loss.
    pub filtered: u64,
    /// Values that were lost, by cause.
    pub lost: Losses,
}

impl Account {
    fn new(record: &str, party: Party) -> Self {
        let (record, lost) = (record.into(), Losses::default());
        Self { record, party, entered: 0, delivered: 0, held: 0, filtered: 0, lost }
    }

    /// Whether everything that entered is accounted for. See the [module](self) for snapshots in traffic.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.entered == self.delivered + self.held + self.filtered + self.lost.total()
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.record)?;
        match &self.party {
            Party::Record => {}
            Party::Reader { name } => write!(f, " → {name}")?,
            Party::DepartedReaders => f.write_str(" → readers that left")?,
            Party::Link { address, direction: Direction::Outbound, .. } => {
                write!(f, " → {address}")?
            }
            Party::Link { address, direction: Direction::Inbound, .. } => {
                write!(f, " ← {address}")?
            }
        }
        let Self { entered, delivered, held, filtered, lost, .. } = self;
        write!(f, ": {entered} entered, {delivered} delivered, {held} held")?;
        if *filtered > 0 {
            write!(f, ", {filtered} filtered")?;
        }
        write!(f, ", lost: {lost}")
    }
}

impl Metrics {
    /// The accounts of all readers and links: records in the order of registration, then links.
    #[must_use]
    pub fn accounts(&self) -> Vec<Account> {
        let mut accounts = Vec::new();
        self.records.iter().for_each(|record| add_record(record, &mut accounts));
        accounts.extend(self.links.iter().map(of_link));
        accounts
    }

    /// The values of all accounts that were lost, by cause. A value that two readers lost counts twice.
    #[must_use]
    pub fn losses(&self) -> Losses {
        let mut all = Losses::default();
        for account in self.accounts() {
            account.lost.iter().for_each(|(cause, lost)| all.add(cause, lost));
        }
        all
    }
}

fn add_record(record: &RecordMetrics, accounts: &mut Vec<Account>) {
    let (readers, departed) = (&record.readers, &record.departed);
    let is_mailbox = matches!(record.buffer, BufferCfg::Mailbox);
    if is_mailbox || readers.is_empty() && departed.readers == 0 {
        let mut account = Account::new(&record.key, Party::Record);
        account.entered = record.produced;
        account.delivered =
            readers.iter().map(|reader| reader.delivered).sum::<u64>() + departed.delivered;
        // A taker may have a command that it has yet to receive: the one behind a lag.
        let depth = record.depth as u64;
        let apart: u64 = readers.iter().map(|reader| reader.pending.saturating_sub(depth)).sum();
        account.held = depth + apart;
        account.lost.add(Loss::Overwritten, record.overwritten);
        // A taker that a shutdown has refused the command that it took.
        account.lost.add(Loss::Shutdown, departed.unread);
        accounts.push(account);
        return;
    }
    for reader in readers {
        let party = Party::Reader { name: reader.name.clone() };
        let mut account = Account::new(&record.key, party);
        account.entered = reader.entered;
        account.delivered = reader.delivered;
        account.held = reader.pending;
        account.lost.add(Loss::Lagged, reader.lagged);
        accounts.push(account);
    }
    if departed.readers > 0 {
        let mut account = Account::new(&record.key, Party::DepartedReaders);
        account.entered = departed.entered;
        account.delivered = departed.delivered;
        account.lost.add(Loss::Lagged, departed.lagged);
        account.lost.add(Loss::Shutdown, departed.unread_at_end);
        account.lost.add(Loss::ReaderLeft, departed.unread - departed.unread_at_end);
        accounts.push(account);
    }
}

fn of_link(link: &LinkMetrics) -> Account {
    let party = Party::Link {
        stage: link.stage.clone(),
        address: link.address.clone(),
        direction: link.direction,
    };
    let mut account = Account::new(&link.key, party);
    match link.direction {
        Direction::Outbound => (account.entered, account.delivered) = (link.taken, link.sent),
        Direction::Inbound => {
            (account.entered, account.delivered) = (link.received, link.delivered)
        }
    }
    account.held = link.held;
    account.filtered = link.filtered;
    account.lost = link.lost;
    account
}
