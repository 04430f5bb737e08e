//! Accounts of where every value went.
//!
//! The counters of the records, readers and links make [accounts](Account), one for each reader and each link: what entered was delivered, is held, or was lost by a
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
use crate::loss::{Loss, Losses};
use crate::metrics::{LinkMetrics, Metrics, RecordMetrics};

/// One who takes values, and whose account is kept.
///
/// ```
/// use aimdb_core::account::{Account, Party};
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
