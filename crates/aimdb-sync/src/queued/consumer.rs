//! The queue from a record to a consumer, and the task that fills it.

use std::future::poll_fn;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::mpsc::{self, Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use aimdb_core::buffer::{SharedSubscription, Subscription, WaitTicket};
#[cfg(aimdb_loom)]
use aimdb_core::loom_atomic::{AtomicBool, AtomicIsize};
use aimdb_core::wait::{WaitGuard, WaitQueue};
use aimdb_core::{Event, Record, TryRecvError};
#[cfg(not(aimdb_loom))]
use std::sync::atomic::{AtomicBool, AtomicIsize};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};

/// The largest number of events that the task moves without a wait between them.
const LARGEST_BATCH: usize = 64;

/// The consumer's end of a queue from a record.
pub(crate) struct QueuedConsumer<T: Record> {
    subscription: Arc<SharedSubscription<T>>,
    queue: Arc<EventQueue<T>>,
}

/// A bounded channel of events, shared by the consumer and the task that fills it.
struct EventQueue<T> {
    channel: Mutex<Receiver<Event<T>>>,
    /// Events in the channel. It is one too low, hence signed, from the moment a reader takes an event until the task has
    /// counted that event.
    len: AtomicIsize,
    /// Threads that wait for an event.
    readers: WaitQueue,
    /// One permit for each free slot of the channel. The task acquires a permit before it takes an event from the record: it
    /// never holds an event without a slot, and can be dropped at any await point.
    slots: Semaphore,
    /// Notified when the consumer is dropped and no further event will be read.
    consumer_dropped: Notify,
    /// Set when the task has ended, with the runtime or with the record. Events that it has not moved are still in the
    /// subscription.
    task_ended: AtomicBool,
}

impl<T> EventQueue<T> {
    /// Represents one use of the channel in the loom models. Loom does not see inside the standard library's channel; with
    /// this step before each use, the models try both orders of two uses.
    fn model_channel_use(&self) {
        #[cfg(aimdb_loom)]
        self.len.fetch_add(0, AcqRel);
    }

    fn try_recv(&self) -> Result<Event<T>, mpsc::TryRecvError> {
        let channel = || self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        self.model_channel_use();
        let event = channel().try_recv()?;
        self.len.fetch_sub(1, AcqRel);
        // Wakes the task if it waits for a slot.
        self.slots.add_permits(1);
        Ok(event)
    }
}

/// Places in two wait lists: the queue's, and, once the task has ended, the record's own.
#[derive(Debug, Default)]
pub(crate) struct QueuedTicket {
    queue: WaitTicket,
    record: WaitTicket,
}

impl<T: Record> QueuedConsumer<T> {
    /// Makes the queue and starts its task.
    pub(crate) fn start(tokio: &Handle, subscription: Subscription<T>, capacity: usize) -> Self {
        let (consumer, task) = Self::new(subscription, capacity);
        tokio.spawn(task.run());
        consumer
    }

    fn new(subscription: Subscription<T>, capacity: usize) -> (Self, FillTask<T>) {
        let (sender, receiver) = sync_channel(capacity);
        let queue = Arc::new(EventQueue {
            channel: Mutex::new(receiver),
            len: AtomicIsize::new(0),
            readers: WaitQueue::new(),
            slots: Semaphore::new(capacity.min(Semaphore::MAX_PERMITS)),
            consumer_dropped: Notify::new(),
            task_ended: AtomicBool::new(false),
        });
        let subscription = Arc::new(subscription.into_shared());
        let task =
            FillTask { queue: Arc::clone(&queue), subscription: Arc::clone(&subscription), sender };
        (Self { subscription, queue }, task)
    }

    pub(crate) fn subscription(&self) -> &SharedSubscription<T> {
        &self.subscription
    }

    /// The next event if there is one: from the queue, and once the task has ended, from the record.
    pub(crate) fn try_event(&self) -> Result<Event<T>, TryRecvError> {
        let queue = &*self.queue;
        match queue.try_recv() {
            Ok(event) => Ok(event),
            // This `Acquire` load pairs with the `Release` store in `FillTask::drop`.
            Err(mpsc::TryRecvError::Empty) if !queue.task_ended.load(Acquire) => {
                Err(TryRecvError::Empty)
            }
            // The task may have sent its last event after the first `try_recv`, so the channel is read again before the
            // record. The record clones its value, which is user code; no lock of the channel is held then.
            Err(_) => queue.try_recv().or_else(|_| self.subscription.try_event()),
        }
    }

    /// [`try_event`](Self::try_event), waiting while there is no event.
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

    /// Ready when there is an event to take, or when queue and record are drained.
    pub(crate) fn poll_ready(&self, ticket: &mut QueuedTicket, cx: &mut Context<'_>) -> Poll<()> {
        self.poll(ticket, cx, || self.is_ready().then_some(()))
    }

    fn is_ready(&self) -> bool {
        let record_is_ready = || self.subscription.pending() > 0 || self.subscription.is_closed();
        // Both `Acquire` loads pair with `FillTask`: its `AcqRel` increment in `send`, its `Release` store in `drop`.
        self.queue.len.load(Acquire) > 0
            || (self.queue.task_ended.load(Acquire) && record_is_ready())
    }

    fn poll<O>(
        &self,
        ticket: &mut QueuedTicket,
        cx: &mut Context<'_>,
        attempt: impl Fn() -> Option<O>,
    ) -> Poll<O> {
        loop {
            let found = attempt().or_else(|| {
                self.queue.readers.register(&mut ticket.queue, cx.waker());
                // An event sent before the registration has not woken this reader, so the queue is checked again.
                attempt()
            });
            if let Some(found) = found {
                self.cancel_wait(ticket);
                return Poll::Ready(found);
            }
            // After the end of the task, only the record can wake this reader.
            if !self.queue.task_ended.load(Acquire)
                || self.subscription.poll_ready(&mut ticket.record, cx).is_pending()
            {
                return Poll::Pending;
            }
        }
    }

    /// Gives the ticket's places up. A wake-up that the ticket has received and not used is passed to the next reader.
    pub(crate) fn cancel_wait(&self, ticket: &mut QueuedTicket) {
        if self.queue.readers.cancel_wait(&mut ticket.queue) && self.is_ready() {
            self.queue.readers.notify_one();
        }
        self.subscription.cancel_wait(&mut ticket.record);
    }
}

impl<T: Record> Drop for QueuedConsumer<T> {
    fn drop(&mut self) {
        // The task waits for a slot or for an event; one of the two ends its wait.
        self.queue.slots.close();
        self.queue.consumer_dropped.notify_one();
    }
}

/// The task that moves events from the record into the queue.
struct FillTask<T: Record> {
    queue: Arc<EventQueue<T>>,
    subscription: Arc<SharedSubscription<T>>,
    sender: SyncSender<Event<T>>,
}

impl<T: Record> FillTask<T> {
    async fn run(self) {
        while let Ok(slot) = self.queue.slots.acquire().await {
            let Some(event) = self.next_event().await else { return };
            // The reader that takes the event adds the permit again, in `EventQueue::try_recv`.
            slot.forget();
            if !self.send(event) || !self.move_more() {
                return;
            }
        }
    }

    /// Moves the events for which there is a slot already, without a wait for either. Returns `false` if the consumer has
    /// been dropped.
    fn move_more(&self) -> bool {
        // A limit: the wait for the next slot lets other tasks run.
        for _ in 0..LARGEST_BATCH {
            let Ok(slot) = self.queue.slots.try_acquire() else { break };
            let Ok(event) = self.subscription.try_event() else { break };
            slot.forget();
            if !self.send(event) {
                return false;
            }
        }
        true
    }

    /// Sends an event for which there is a free slot. Returns `false` if the consumer has been dropped.
    fn send(&self, event: Event<T>) -> bool {
        self.queue.model_channel_use();
        if self.sender.try_send(event).is_err() {
            return false;
        }
        // Counted before the wake-up: pairs with the `Acquire` load in `QueuedConsumer::is_ready`.
        self.queue.len.fetch_add(1, AcqRel);
        self.queue.readers.notify_one();
        true
    }

    /// The record's next event. `None` when the record is drained or the consumer is dropped.
    async fn next_event(&self) -> Option<Event<T>> {
        let mut wait = WaitGuard::new(&*self.subscription);
        tokio::select! {
            event = poll_fn(|cx| wait.on.poll_event(&mut wait.ticket, cx)) => event.ok(),
            () = self.queue.consumer_dropped.notified() => None,
        }
    }
}

impl<T: Record> Drop for FillTask<T> {
    fn drop(&mut self) {
        // Stored before the wake-up: pairs with the `Acquire` loads of `task_ended` in `QueuedConsumer`.
        self.queue.task_ended.store(true, Release);
        self.queue.readers.notify_all();
    }
}

/// The handshake between the queue's task and its readers, explored by loom. Loom does not see inside the channel itself,
/// which is the standard library's.
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

    /// A queue whose task is not spawned, on a record that holds `values`.
    fn queue(values: &[u64]) -> (Arc<QueuedConsumer<u64>>, FillTask<u64>) {
        let mut builder = AimDbBuilder::new().runtime(Arc::new(TestRuntime::new()));
        builder.configure::<u64>("r", |reg| {
            reg.buffer(BufferCfg::SpmcRing { capacity: 2 });
        });
        let db = builder.build().expect("one record");
        let subscription = db.consumer::<u64>("r").unwrap().subscription().unwrap();
        let producer = db.producer::<u64>("r").unwrap();
        values.iter().for_each(|value| producer.try_produce(*value).unwrap());
        // Dropping the database would close its records.
        std::mem::forget(db);
        let (consumer, task) = QueuedConsumer::new(subscription, 2);
        (Arc::new(consumer), task)
    }

    fn wait(consumer: &QueuedConsumer<u64>) -> Result<Event<u64>, TryRecvError> {
        let mut ticket = QueuedTicket::default();
        let event = block_on(poll_fn(|cx| consumer.poll_event(&mut ticket, cx)));
        consumer.cancel_wait(&mut ticket);
        event
    }

    #[test]
    fn a_reader_that_falls_asleep_receives_an_event_sent_meanwhile() {
        model(|| {
            let (consumer, task) = queue(&[]);
            let sender = thread::spawn(move || {
                assert!(task.send(Event::Value(1)));
                task
            });
            assert_eq!(wait(&consumer), Ok(Event::Value(1)));
            drop(sender.join().unwrap());
        });
    }

    #[test]
    fn a_reader_that_falls_asleep_notices_that_the_task_ends_meanwhile() {
        model(|| {
            let (consumer, task) = queue(&[7]);
            let ending = thread::spawn(move || drop(task));
            assert_eq!(wait(&consumer), Ok(Event::Value(7)));
            ending.join().unwrap();
        });
    }

    #[test]
    fn a_reader_that_cancels_its_wait_passes_its_wake_up_to_another() {
        model(|| {
            let (consumer, task) = queue(&[]);
            let mut cancelled = QueuedTicket::default();
            let mut noop = Context::from_waker(Waker::noop());
            assert!(consumer.poll_event(&mut cancelled, &mut noop).is_pending());
            let sleeper = thread::spawn({
                let consumer = Arc::clone(&consumer);
                move || wait(&consumer)
            });
            assert!(task.send(Event::Value(1)));
            consumer.cancel_wait(&mut cancelled);
            assert_eq!(sleeper.join().unwrap(), Ok(Event::Value(1)));
            drop(task);
        });
    }
}
