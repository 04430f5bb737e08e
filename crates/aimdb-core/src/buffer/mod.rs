//! The four buffers: one implementation for every runtime, for tasks and for threads.
//!
//! | kind | keeps | a slow reader | a late reader | several readers | `produce().await` |
//! |---|---|---|---|---|---|
//! | [`SpmcRing`](crate::BufferCfg::SpmcRing) | the last `capacity` values, exactly | loses the oldest, learns how many | receives values produced after it subscribed | each sees all | never waits |
//! | [`SpmcQueue`](crate::BufferCfg::SpmcQueue) | every value until every reader has it | holds the producer back | receives values produced after it subscribed | each sees all | waits for room |
//! | [`SingleLatest`](crate::BufferCfg::SingleLatest) | the current value | skips to the newest | sees the current value at once | each sees the newest | never waits |
//! | [`Mailbox`](crate::BufferCfg::Mailbox) | one pending command, newest wins | misses replaced commands, learns how many | takes what is pending | one taker unless [`shared`](crate::Registrar::shared); each value is taken once | never waits |
//!
//! # Writing
//!
//! A writer reserves the next position, moves its value straight from the caller to its slot, and
//! publishes it with one `Release` store. It then wakes the readers that wait, and at last drops a
//! value that its own value pushed out. Several writers take turns for the length of one move. A
//! value is *accepted* once it is published: it counts as produced, and each reader receives it,
//! loses it and learns so, or leaves.
//!
//! # Reading
//!
//! A reader has a cursor, the position that it reads next. A read locks the cursor, in a queue
//! or if other threads may read through it, looks for a value behind a lag that was reported (the stash), and otherwise clones
//! or moves the value at that position and advances the cursor. A value is
//! *pending* until a read returns it. It is *in progress* from then until the same reader reads
//! again. A shutdown reports values in progress as interrupted, unless the reader or its connector
//! declares otherwise.
//!
//! # Lagging
//!
//! A reader of a ring or a latest record that falls behind continues with the oldest value that is
//! still held. [`Reader::recv`](crate::Reader::recv) skips the lost values silently and never ends
//! because of them. [`Reader::next_event`](crate::Reader::next_event) reports how many were lost,
//! in order. A taker of a mailbox learns in the same way how many commands were replaced before the
//! one that it takes. [`Reader::lagged`](crate::Reader::lagged) is the exact total at any time.
//!
//! # Closing
//!
//! A record closes at shutdown, after its writers have stopped. From then on producing returns the
//! value with [`Closed`](crate::Closed). Readers receive the remaining values and then
//! [`Closed`](crate::Closed): the record is *drained*. A value that a reader has not received stays
//! readable for as long as the reader exists.
//!
//! The close is a mark in the storage, followed by a wake-up of all waiters. The closer waits for
//! writers that have their permit already, so that every accepted value precedes the mark: a reader
//! that finds no value, then sees the mark, and again finds no value has received everything. The
//! closer never waits for a reader.
//!
//! One command may follow [`Closed`](crate::Closed): in a shared mailbox, a taker that was told a
//! lag has the command behind it. If that taker leaves without it, the command is pending again. A
//! taker that asks once more receives it; otherwise the shutdown reports it as undelivered.
//!
//! # Waiting
//!
//! Readers and writers wait in one FIFO for each direction, tasks and parked threads alike: both
//! are [`Waker`](core::task::Waker)s. One produce wakes each waiting reader once; a mailbox wakes
//! one taker. If a waiter is dropped before it uses its wake-up, the wake-up passes to the next
//! waiter.
//!
//! A reader without a value registers through one chain of calls: `SubscribedReader::poll`,
//! `Buffer::register_reader`, `Coordinator::register_reader` (which locks),
//! `Subscribers::register_reader`, `WaitList::register`.
//!
//! A reader that moves a value takes the lock of that FIFO only if a flag shows that a waiter is
//! registered, and if it reports a lag while other threads share it. A writer takes it also if the
//! queue looks full, and to note the time of a value: if there is no reader, for every value that
//! comes seldom, and for every 64th one. The race between a writer and a reader that is about to
//! sleep:
//!
//! ```text
//!   reader (poll)                                       writer (try_produce)
//!   1  try_read finds no value
//!   2  Coordinator::register_reader                     a  write, drop of the permit: changes the word (Release)
//!        waker into the FIFO, flag READERS_WAIT         b  Coordinator::has_flag(READERS_WAIT)
//!   3  Kind::may_sleep: a read-modify-write (AcqRel)       set: wake_readers; not set: no reader waits
//!      on the word that the writer changes in (a)
//!        unchanged: return Pending
//!        changed, or a writer active: retry from 1
//! ```
//!
//! If (a) precedes (3), the reader's read-modify-write sees the change, and the reader retries. If
//! (3) precedes (a), the writer's own read-modify-write on that word, its claim before (a),
//! acquires what (3) released, the flag included, and (b) sees it. No third order exists, because
//! all read-modify-writes of one word have one order. A writer that waits for room
//! (`Cursor::revalidate`) and a task that waits for the drain (`Kind::has_unread`) follow the same
//! protocol on the words that readers change. A reader that has its cursor to itself in a ring or a
//! latest record changes the word by a store: there only the task that reads waits for the drain, so
//! the two do not race.
//!
//! A wait costs a reader that keeps up one section of that lock, and so does its wake-up:
//!
//! - It is ready without the lock. The word of the flags counts how often the FIFO was emptied, and a
//!   reader compares that with the count at its registration (`Coordinator::may_wait`): if the two
//!   differ it was notified, is not in the FIFO, and keeps its place for the next wait.
//! - When it reads again, it loads the slot first (`Kind::is_dry`). An attempt to claim an empty slot
//!   would take the cache line away from the writer.
//! - One waiting reader is notified without a batch. A second flag, `SEVERAL_WAIT`, says which of the
//!   two ways the writer takes.
//!
//! # Locks
//!
//! | lock | guards | held for | user code under it |
//! |---|---|---|---|
//! | the head of a queue | its writers, the set of its readers | one write, or a batch | `make` |
//! | a cursor | the position of one reader | one read | `Clone`, `look` |
//! | the claim of a slot | one value | one write or one read | `make`, or `Clone` and `look` |
//! | the stash of a reader | one value | one move | none |
//! | the subscribers | readers, waiters, backlog | a few steps | the runtime's clock |
//!
//! A thread takes them in this order and may skip some, with one exception: the lock of the
//! subscribers is taken under the head of a queue or under no lock, never under a cursor, a claim
//! or a stash. A thread with the head of a queue does not wait for a cursor: it unlocks the head
//! and tries again. So no cycle exists, and a `Clone` delays only those threads that need the same
//! value or the same cursor.
//!
//! # Invariants
//!
//! - A position never decreases and is used for one value.
//! - Each reader of a ring, a queue or a latest record passes each position once: the value is
//!   delivered, or lost and counted, or discarded when the reader leaves.
//! - A writer of a queue uses a cell only after every reader is past the value in it.
//! - After `Buffer::close` has returned, no value is accepted.
//! - A reader or writer that sleeps is in its FIFO, and the flag for it is set.
//! - A wake-up that was given to a waiter is used by it, or passed on, or not needed any more.
//!
//! # User code
//!
//! `Clone` runs for readers of rings and latest records, for all but the last reader of a queue,
//! and for callers of [`latest`](crate::Consumer::latest). While it runs, the reader's cursor is
//! locked, and in a ring or a latest record that one slot is claimed: a writer that reaches the
//! slot, and other readers of the same value, wait for it. A record whose clones take long should
//! hold an `Arc`. A `Clone` that panics leaves the value in place and the record usable as before.
//! A `Clone` that uses its own record may wait for itself.
//!
//! `look`, the closure of a reader that reads by reference, runs where `Clone` would: also for takers
//! of a mailbox and the last reader of a queue. `make`, the closure of a writer that makes its value in
//! place, runs with the write permit: writers take turns for as long as it takes, a closer waits for
//! it, and in a queue everybody who needs the head. Both may panic, as `Clone` may.
//!
//! `Drop` and wakers run while no lock is held. A panic of theirs is resumed once the operation is
//! complete and all waiters are woken. It ends the call without a result: a value that the call
//! has received counts as delivered, and is dropped. Without std a value is read inside a critical
//! section, its `Clone` included.
//!
//! # How to read this module
//!
//! | layer | file | content |
//! |---|---|---|
//! | state | `slot` | one value and the word that guards it |
//! | | `cursor` | the position of one reader |
//! | | `gate` | whether writers may write: closing, and a reader that pauses them |
//! | | `stash` | the value that follows a reported lag |
//! | | `kind` | what the four kinds have in common |
//! | | `ring`, `queue`, `latest`, `mailbox` | the four kinds: how values enter and leave, without a lock |
//! | lock | `waiters` | a FIFO of wakers, plain data |
//! | | `subscribers` | readers, waiters and backlog: plain data under the only lock |
//! | | `coordinator` | that lock, and the wake-ups outside of it |
//! | handles | `buffer` | storage and coordinator together: the operations of a record |
//! | | `subscription` | the subscription of one reader; [`handle`](crate::handle) has the users' types |
//! | proof | `models` | the protocols under loom |

#[expect(clippy::module_inception, reason = "the type of the module, next to its parts")]
pub(crate) mod buffer;
pub(crate) mod cfg;
pub(crate) mod coordinator;
mod cursor;
#[cfg(all(test, feature = "std", not(aimdb_loom)))]
mod ends;
pub(crate) mod error;
pub(crate) mod event;
mod gate;
pub(crate) mod kind;
mod latest;
mod mailbox;
pub(crate) mod mirror;
#[cfg(all(test, aimdb_loom))]
mod models;
pub(crate) mod observe;
mod queue;
mod ring;
mod slot;
pub(crate) mod start;
mod stash;
pub(crate) mod subscribers;
pub(crate) mod subscription;
pub(crate) mod waiters;

pub use subscription::{SharedSubscription, Subscription};
pub use waiters::WaitTicket;
