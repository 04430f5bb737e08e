//! Run with `QEMU_ARGS="-icount shift=0" tools/firmware run messages`.
//!
//! Counts the instructions of a message of 16 bytes, from the writer's call to the reader's value: within one task, and
//! from a source to a tap that sleeps for each. For comparison it counts those of `embassy-sync`'s channels.
#![no_std]
#![no_main]

use aimdb::embassy::sink;
use aimdb::prelude::*;
use board::{clock, console};
use embassy_executor::Spawner;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;
use embassy_sync::pubsub::PubSubChannel;
use embassy_sync::signal::Signal;
use embassy_sync::watch::Watch;

type Message = [u32; 4];

const MESSAGES: u32 = 10_000;
/// Instructions of one cycle, with `-icount shift=0`.
const INSTRUCTIONS_PER_CYCLE: u64 = 40;

const KINDS: [(&str, BufferCfg); 4] = [
    ("ring of 8", BufferCfg::SpmcRing { capacity: 8 }),
    ("queue of 8", BufferCfg::SpmcQueue { capacity: 8 }),
    ("latest", BufferCfg::SingleLatest),
    ("mailbox", BufferCfg::Mailbox),
];

static CHANNEL: Channel<CriticalSectionRawMutex, Message, 8> = Channel::new();
static PUBSUB: PubSubChannel<CriticalSectionRawMutex, Message, 8, 1, 1> = PubSubChannel::new();
static WATCH: Watch<CriticalSectionRawMutex, Message, 1> = Watch::new();
static SIGNAL: Signal<CriticalSectionRawMutex, Message> = Signal::new();

#[cortex_m_rt::entry]
fn main() -> ! {
    board::heap::init(256 * 1024);
    board::executor::run(|spawner| spawner.spawn(measure(spawner).expect("the first task")))
}

#[embassy_executor::task]
async fn measure(spawner: Spawner) {
    console::line(format_args!(
        "| instructions for a message of 16 bytes | produce, `try_recv` in one task | source → tap |"
    ));
    console::line(format_args!("|---|---|---|"));
    for (name, cfg) in KINDS {
        let alone = in_one_task(spawner, cfg);
        let between = between_stages(spawner, cfg).await;
        row(name, alone, Some(between));
    }
    let channel = count(|n| {
        CHANNEL.try_send([n; 4]).expect("there is room");
        CHANNEL.try_receive().expect("there is one")
    });
    row("`embassy-sync` `Channel`", channel, None);
    let (publisher, mut subscriber) =
        (PUBSUB.publisher().expect("one"), PUBSUB.subscriber().expect("one"));
    let pubsub = count(|n| {
        publisher.publish_immediate([n; 4]);
        subscriber.try_next_message_pure().expect("there is one")
    });
    row("`embassy-sync` `PubSubChannel`", pubsub, None);
    let (sender, mut receiver) = (WATCH.sender(), WATCH.receiver().expect("one"));
    let watch = count(|n| {
        sender.send([n; 4]);
        receiver.try_changed().expect("there is one")
    });
    row("`embassy-sync` `Watch`", watch, None);
    let signal = count(|n| {
        SIGNAL.signal([n; 4]);
        SIGNAL.try_take().expect("there is one")
    });
    row("`embassy-sync` `Signal`", signal, None);
    console::exit(0)
}

fn row(name: &str, alone: u64, between: Option<u64>) {
    match between {
        Some(between) => console::line(format_args!("| {name} | {alone} | {between} |")),
        None => console::line(format_args!("| {name} | {alone} | |")),
    }
}

/// Instructions of one call.
fn count(mut message: impl FnMut(u32) -> Message) -> u64 {
    let began = clock::cycles();
    for n in 0..MESSAGES {
        assert_eq!(message(n), [n; 4]);
    }
    (clock::cycles() - began) * INSTRUCTIONS_PER_CYCLE / u64::from(MESSAGES)
}

fn in_one_task(spawner: Spawner, cfg: BufferCfg) -> u64 {
    let mut builder =
        AimDbBuilder::new().runtime(Arc::new(EmbassyAdapter::new(spawner, sink::none)));
    builder.configure::<Message>("message", |reg| {
        reg.buffer(cfg);
    });
    let db = builder.build().expect("the graph is valid");
    db.start();
    let producer = db.producer::<Message>("message").expect("it is there");
    let mut reader =
        db.consumer::<Message>("message").expect("it is there").subscribe().expect("it is open");
    count(|n| {
        producer.try_produce([n; 4]).expect("there is room");
        reader.try_recv().expect("there is one")
    })
}

/// Instructions from a source that yields after each message to its tap, which sleeps for each.
async fn between_stages(spawner: Spawner, cfg: BufferCfg) -> u64 {
    let instructions = Arc::new(Signal::<CriticalSectionRawMutex, u64>::new());
    let result = Arc::clone(&instructions);
    let mut builder =
        AimDbBuilder::new().runtime(Arc::new(EmbassyAdapter::new(spawner, sink::none)));
    builder.configure::<Message>("message", |reg| {
        reg.buffer(cfg)
            .source(|_, messages| async move {
                for n in 0..MESSAGES {
                    messages.produce([n; 4]).await.ok();
                    yield_now().await;
                }
            })
            .tap(move |_, messages| async move {
                let mut reader = messages.subscribe().expect("it is open");
                let began = clock::cycles();
                let mut taken = 0;
                // A latest record and a mailbox may have replaced a message before the tap has taken it.
                while let Ok([n, ..]) = reader.recv().await {
                    taken += 1;
                    if n == MESSAGES - 1 {
                        break;
                    }
                }
                result.signal((clock::cycles() - began) * INSTRUCTIONS_PER_CYCLE / taken);
            });
    });
    let db = builder.build().expect("the graph is valid");
    db.start();
    instructions.wait().await
}

async fn yield_now() {
    let mut yielded = false;
    core::future::poll_fn(|cx| {
        if core::mem::replace(&mut yielded, true) {
            return core::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        core::task::Poll::Pending
    })
    .await;
}
