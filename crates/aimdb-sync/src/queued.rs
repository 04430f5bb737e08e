//! The queued bridge: one channel and one task between a caller and a record.
//!
//! ```text
//! set ─▶ tokio mpsc(n) ─▶ task ─▶ [buffer]        the send wakes the runtime
//! [buffer] ─▶ task ─▶ std mpsc(n) ─▶ get          the read parks until it is told
//! ```

use std::future::poll_fn;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError as ChannelEmpty, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use aimdb_core::buffer::{Subscription, WaitTicket};
#[cfg(aimdb_loom)]
use aimdb_core::loom_atomic::{AtomicBool, AtomicIsize};
use aimdb_core::wait::WaitQueue;
use aimdb_core::{Event, Producer, Record, TryRecvError};
use aimdb_tokio_adapter::TokioAdapter;
#[cfg(not(aimdb_loom))]
use std::sync::atomic::{AtomicBool, AtomicIsize};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, mpsc};

use crate::limit::WaitLimit;
use crate::park;

/// The queues into the engine that a shutdown has to drain before records close.
#[derive(Clone, Default)]
pub(crate) struct Gates {
    ledger: Arc<Mutex<Ledger>>,
    /// Tells a waiting shutdown that one is drained.
    changed: Arc<Notify>,
}

#[derive(Default)]
struct Ledger {
    gates: Vec<Weak<Gate>>,
    /// A shutdown has begun: a queue made from now on accepts nothing.
    closed: bool,
    /// A caller waits for the queues, until this moment (`None`: for ever). Of several, the last one's holds.
    taken_over: Option<Option<Instant>>,
    /// What queues that have ended had accepted and could not move, with their records.
    left: Vec<(String, u64)>,
}

/// One queue into the engine.
struct Gate {
    key: String,
    closing: Notify,
    /// How many values it holds; asked through a sender, whose type is not known here.
    len: Box<dyn Fn() -> usize + Send + Sync>,
    /// Values taken out of the queue that the record has not accepted.
    in_hand: AtomicU64,
}

impl Gate {
    fn held(&self) -> u64 {
        (self.len)() as u64 + self.in_hand.load(Acquire)
    }
}

impl Gates {
    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Vec<Arc<Gate>> {
        self.lock().gates.iter().filter_map(Weak::upgrade).collect()
    }

    /// Notes a queue that a shutdown must wait for, or says that it came too late to accept anything.
    fn admit(&self, gate: &Arc<Gate>) -> bool {
        let mut ledger = self.lock();
        if !ledger.closed {
            ledger.gates.push(Arc::downgrade(gate));
        }
        !ledger.closed
    }

    /// A queue has ended, with this many values that found no place.
    fn ended(&self, gate: &Arc<Gate>, left: u64) {
        let mut ledger = self.lock();
        ledger.gates.retain(|known| !std::ptr::eq(known.as_ptr(), Arc::as_ptr(gate)));
        if left > 0 {
            ledger.left.push((gate.key.clone(), left));
        }
        drop(ledger);
        self.changed.notify_waiters();
    }

    /// No queue accepts anything from here on.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.all().iter().for_each(|gate| gate.closing.notify_one());
    }

    /// A caller waits for the queues from now on, until `deadline` (`None`: for ever), and so do all others.
    pub(crate) fn take_over(&self, deadline: Option<Instant>) {
        self.lock().taken_over = Some(deadline);
        self.changed.notify_waiters();
    }

    /// Waits until a caller has taken over.
    pub(crate) async fn taken_over(&self) {
        self.until(|ledger| ledger.taken_over.is_some()).await;
    }

    /// Blocks until every queue has been moved into its record, or the deadline of the last caller has come. Gives what
    /// is left of that.
    pub(crate) fn drain_in_time(&self) -> Duration {
        loop {
            let deadline = self.lock().taken_over.flatten();
            let limit = deadline.map_or(WaitLimit::none(), WaitLimit::until);
            let settled = self
                .until(|ledger| ledger.gates.is_empty() || ledger.taken_over.flatten() != deadline);
            let in_time = park::block_on(limit, settled).is_ok();
            let ledger = self.lock();
            if ledger.taken_over.flatten() == deadline && (ledger.gates.is_empty() || !in_time) {
                let left = |by: Instant| by.saturating_duration_since(Instant::now());
                return deadline.map_or(Duration::MAX, left);
            }
        }
    }

    /// Waits until every queue has been moved into its record.
    pub(crate) async fn drained(&self) {
        self.until(|ledger| ledger.gates.is_empty()).await;
    }

    async fn until(&self, condition: impl Fn(&Ledger) -> bool) {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if condition(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    /// What queues had accepted and could not move, with their records.
    pub(crate) fn left(&self) -> Vec<(String, u64)> {
        let mut left = self.lock().left.clone();
        let held = self.all().into_iter().map(|gate| (gate.key.clone(), gate.held()));
        left.extend(held.filter(|(_, held)| *held > 0));
        left
    }
}

/// The queue into the engine.
pub(crate) struct QueuedIn<T: Record> {
    pub(crate) queue: mpsc::Sender<T>,
    handles: Arc<Handles>,
}

impl<T: Record> Clone for QueuedIn<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), handles: Arc::clone(&self.handles) }
    }
}

/// All handles of one queue. The gate keeps a sender too, to count what the queue holds, so the last handle says that
/// nothing will come any more.
struct Handles(Arc<Gate>);

impl Drop for Handles {
    fn drop(&mut self) {
        self.0.closing.notify_one();
    }
}

impl<T: Record> QueuedIn<T> {
    pub(crate) fn start(
        tokio: &Handle,
        producer: Producer<T, TokioAdapter>,
        capacity: usize,
        gates: &Gates,
    ) -> Self {
        let (queue, mut values) = mpsc::channel(capacity.min(Semaphore::MAX_PERMITS));
        let sender = queue.clone();
        let gate = Arc::new(Gate {
            key: producer.key().into(),
            closing: Notify::new(),
            len: Box::new(move || sender.max_capacity() - sender.capacity()),
            in_hand: AtomicU64::new(0),
        });
        let handles = Arc::new(Handles(Arc::clone(&gate)));
        if gates.admit(&gate) {
            tokio.spawn(Mover { values, producer, gate, gates: gates.clone() }.run());
        } else {
            values.close();
        }
        Self { queue, handles }
    }
}

/// The task that empties the queue.
struct Mover<T: Record> {
    values: mpsc::Receiver<T>,
    producer: Producer<T, TokioAdapter>,
    gate: Arc<Gate>,
    gates: Gates,
}

impl<T: Record> Mover<T> {
    /// Moves values into the record until every handle is gone, or the queue is closed and empty. Values for which
    /// the record has closed are counted.
    async fn run(mut self) {
        let mut open = true;
        loop {
            let value = tokio::select! {
                biased;
                () = self.gate.closing.notified(), if open => {
                    open = false;
                    self.values.close();
                    continue;
                }
                value = self.values.recv() => value,
            };
            let Some(value) = value else { return };
            self.gate.in_hand.fetch_add(1, AcqRel);
            match self.producer.produce(value).await {
                Ok(()) => _ = self.gate.in_hand.fetch_sub(1, AcqRel),
                Err(_closed) => self.values.close(),
            }
        }
    }
}

impl<T: Record> Drop for Mover<T> {
    /// At the end, or wherever the runtime's own end has met it.
    fn drop(&mut self) {
        self.values.close();
        let in_hand = self.gate.in_hand.load(Acquire);
        self.gates.ended(&self.gate, in_hand + self.values.len() as u64);
    }
}

/// The queue out of the engine, shared by the handle and the task that fills it.
pub(crate) struct QueuedOut<T: Record> {
    subscription: Arc<Subscription<T>>,
    outlet: Arc<Outlet<T>>,
}

struct Outlet<T> {
    events: Mutex<Receiver<Event<T>>>,
    /// So many events are in the queue; one less while somebody takes one before the task has counted it.
    filled: AtomicIsize,
    /// Who waits for one.
    waiting: WaitQueue,
    /// One permit for each free place. The task takes one before it takes a value, so that it never holds a value for
    /// which there is no place, and can be dropped at any time.
    room: Semaphore,
    /// The handle has gone: nobody will read.
    gone: Notify,
    /// The task has gone, with the runtime or with the record: what is left is in the subscription.
    over: AtomicBool,
}

impl<T> Outlet<T> {
    /// Loom does not see inside of the channel. A step of its own before each use stands for it, so that the models try
    /// both orders of two uses.
    fn before_the_channel(&self) {
        #[cfg(aimdb_loom)]
        self.filled.fetch_add(0, AcqRel);
    }

    fn take(&self) -> Result<Event<T>, ChannelEmpty> {
        let events = || self.events.lock().unwrap_or_else(PoisonError::into_inner);
        self.before_the_channel();
        let event = events().try_recv()?;
        self.filled.fetch_sub(1, AcqRel);
        // Its waker is woken here.
        self.room.add_permits(1);
        Ok(event)
    }
}

/// A place in the line for the queue, and in the record's own for when the task has gone.
#[derive(Debug, Default)]
pub(crate) struct QueuedTicket {
    queue: WaitTicket,
    record: WaitTicket,
}

impl<T: Record> QueuedOut<T> {
    pub(crate) fn start(tokio: &Handle, subscription: Subscription<T>, capacity: usize) -> Self {
        let (queue, filler) = Self::new(subscription, capacity);
        tokio.spawn(filler.run());
        queue
    }

    fn new(subscription: Subscription<T>, capacity: usize) -> (Self, Filler<T>) {
        let (sender, events) = sync_channel(capacity);
        let outlet = Arc::new(Outlet {
            events: Mutex::new(events),
            filled: AtomicIsize::new(0),
            waiting: WaitQueue::new(),
            room: Semaphore::new(capacity.min(Semaphore::MAX_PERMITS)),
            gone: Notify::new(),
            over: AtomicBool::new(false),
        });
        subscription.share();
        let subscription = Arc::new(subscription);
        let filler =
            Filler { outlet: Arc::clone(&outlet), subscription: Arc::clone(&subscription), sender };
        (Self { subscription, outlet }, filler)
    }

    pub(crate) fn subscription(&self) -> &Subscription<T> {
        &self.subscription
    }

    /// The next event if there is one.
    pub(crate) fn try_event(&self) -> Result<Event<T>, TryRecvError> {
        let outlet = &*self.outlet;
        match outlet.take() {
            Ok(event) => Ok(event),
            Err(ChannelEmpty::Empty) if !outlet.over.load(Acquire) => Err(TryRecvError::Empty),
            // The channel may have been filled between the two looks. Values of the record are cloned, which is user
            // code, so no lock of the channel is held then.
            Err(_) => outlet.take().or_else(|_| self.subscription.try_event()),
        }
    }

    /// [`try_event`](Self::try_event), waiting while there is nothing.
    pub(crate) fn poll_event(
        &self,
        ticket: &mut QueuedTicket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Event<T>, TryRecvError>> {
        self.poll(ticket, cx, || match self.try_event() {
            Err(TryRecvError::Empty) => None,
            event => Some(event),
        })
    }

    /// Ready when there is something to take, or nothing will come any more.
    pub(crate) fn poll_ready(&self, ticket: &mut QueuedTicket, cx: &mut Context<'_>) -> Poll<()> {
        self.poll(ticket, cx, || self.has_something().then_some(()))
    }

    fn has_something(&self) -> bool {
        let in_record = || self.subscription.pending() > 0 || self.subscription.is_closed();
        self.outlet.filled.load(Acquire) > 0 || (self.outlet.over.load(Acquire) && in_record())
    }

    fn poll<O>(
        &self,
        ticket: &mut QueuedTicket,
        cx: &mut Context<'_>,
        attempt: impl Fn() -> Option<O>,
    ) -> Poll<O> {
        loop {
            let found = attempt().or_else(|| {
                self.outlet.waiting.register(&mut ticket.queue, cx.waker());
                // The second look.
                attempt()
            });
            if let Some(found) = found {
                self.cancel_wait(ticket);
                return Poll::Ready(found);
            }
            // The task has gone and the record has not: nobody but the record would tell.
            if !self.outlet.over.load(Acquire)
                || self.subscription.poll_ready(&mut ticket.record, cx).is_pending()
            {
                return Poll::Pending;
            }
        }
    }

    /// Gives a ticket back. A wake-up it had received goes to the next in line.
    pub(crate) fn cancel_wait(&self, ticket: &mut QueuedTicket) {
        if self.outlet.waiting.cancel_wait(&mut ticket.queue) && self.has_something() {
            self.outlet.waiting.notify_one();
        }
        self.subscription.cancel_wait(&mut ticket.record);
    }
}

impl<T: Record> Drop for QueuedOut<T> {
    fn drop(&mut self) {
        // The task waits for room, or for a value: either way it learns.
        self.outlet.room.close();
        self.outlet.gone.notify_one();
    }
}

/// The task that fills the queue.
struct Filler<T: Record> {
    outlet: Arc<Outlet<T>>,
    subscription: Arc<Subscription<T>>,
    sender: SyncSender<Event<T>>,
}

impl<T: Record> Filler<T> {
    async fn run(self) {
        while let Ok(room) = self.outlet.room.acquire().await {
            let Some(event) = self.next().await else { return };
            // The place is given back by whoever takes the event.
            room.forget();
            if !self.put(event) {
                return;
            }
        }
    }

    /// Puts an event for which there is a place into the queue; `false` if nobody will read it.
    fn put(&self, event: Event<T>) -> bool {
        self.outlet.before_the_channel();
        if self.sender.try_send(event).is_err() {
            return false;
        }
        self.outlet.filled.fetch_add(1, AcqRel);
        self.outlet.waiting.notify_one();
        true
    }

    /// The record's next event, or `None` when the record has ended or the handle is gone.
    async fn next(&self) -> Option<Event<T>> {
        let mut waiting =
            Waiting { subscription: &self.subscription, ticket: WaitTicket::default() };
        tokio::select! {
            event = poll_fn(|cx| waiting.subscription.poll_event(&mut waiting.ticket, cx)) => event.ok(),
            () = self.outlet.gone.notified() => None,
        }
    }
}

impl<T: Record> Drop for Filler<T> {
    fn drop(&mut self) {
        self.outlet.over.store(true, Release);
        self.outlet.waiting.notify_all();
    }
}

/// A place in the record's line, given back when the wait is dropped.
struct Waiting<'s, T: Record> {
    subscription: &'s Subscription<T>,
    ticket: WaitTicket,
}

impl<T: Record> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        self.subscription.cancel_wait(&mut self.ticket);
    }
}

/// The handshake between the queue's task and its readers, explored by loom. The channel itself is the standard
/// library's, which loom does not see inside of.
#[cfg(all(test, aimdb_loom))]
mod models {
    use super::*;
    use aimdb_core::{AimDbBuilder, BufferCfg};
    use aimdb_testing::TestRuntime;
    use loom::future::block_on;
    use loom::thread;
    use std::task::Waker;

    fn model(run: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = builder.preemption_bound.or(Some(2));
        builder.check(run);
    }

    /// A queue without its task, on a record that holds `held`.
    fn queue(held: &[u64]) -> (Arc<QueuedOut<u64>>, Filler<u64>) {
        let mut builder = AimDbBuilder::new().runtime(Arc::new(TestRuntime::new()));
        builder.configure::<u64>("r", |reg| {
            reg.buffer(BufferCfg::SpmcRing { capacity: 2 });
        });
        let db = builder.build().expect("one record");
        let subscription = db.consumer::<u64>("r").unwrap().subscription().unwrap();
        let producer = db.producer::<u64>("r").unwrap();
        held.iter().for_each(|value| producer.try_produce(*value).unwrap());
        // Its records close with it.
        std::mem::forget(db);
        let (queue, filler) = QueuedOut::new(subscription, 2);
        (Arc::new(queue), filler)
    }

    fn wait(queue: &QueuedOut<u64>) -> Result<Event<u64>, TryRecvError> {
        let mut ticket = QueuedTicket::default();
        let event = block_on(poll_fn(|cx| queue.poll_event(&mut ticket, cx)));
        queue.cancel_wait(&mut ticket);
        event
    }

    #[test]
    fn an_event_comes_while_a_reader_of_the_queue_falls_asleep() {
        model(|| {
            let (queue, filler) = queue(&[]);
            let task = thread::spawn(move || {
                assert!(filler.put(Event::Value(1)));
                filler
            });
            assert_eq!(wait(&queue), Ok(Event::Value(1)));
            drop(task.join().unwrap());
        });
    }

    #[test]
    fn the_task_goes_while_a_reader_of_the_queue_falls_asleep() {
        model(|| {
            let (queue, filler) = queue(&[7]);
            let task = thread::spawn(move || drop(filler));
            assert_eq!(wait(&queue), Ok(Event::Value(7)));
            task.join().unwrap();
        });
    }

    #[test]
    fn a_reader_of_the_queue_leaves_while_it_is_told_and_another_sleeps() {
        model(|| {
            let (queue, filler) = queue(&[]);
            let mut quitter = QueuedTicket::default();
            let mut deaf = Context::from_waker(Waker::noop());
            assert!(queue.poll_event(&mut quitter, &mut deaf).is_pending());
            let sleeper = thread::spawn({
                let queue = Arc::clone(&queue);
                move || wait(&queue)
            });
            assert!(filler.put(Event::Value(1)));
            queue.cancel_wait(&mut quitter);
            assert_eq!(sleeper.join().unwrap(), Ok(Event::Value(1)));
            drop(filler);
        });
    }
}
