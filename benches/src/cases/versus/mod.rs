//! AimDB compared with its alternatives, in groups; the report has one section for each group.
//!
//! AimDB is the baseline of each comparison: a ratio is the contestant's time over AimDB's in the same round, so above
//! one the contestant is slower.

mod blocking;
pub(super) mod fan_out;
pub(super) mod latency;
pub(super) mod overload;
mod same_thread;
pub mod scale;
mod tasks;
mod writers;

use super::NamedCase;
use crate::payload::{Block, Shared, Value};

/// Comparisons that belong together.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// The part of the names before `::`, and the picture's file name.
    pub name: &'static str,
    /// A heading.
    pub title: &'static str,
    /// The work of the contestants and the measured time, for the report.
    pub about: &'static str,
    /// Who should choose what, for the report.
    pub choose: &'static str,
    /// The comparisons.
    pub cases: &'static [NamedCase],
}

/// All groups, in the order of the report.
pub const GROUPS: &[Group] = &[
    Group {
        name: "same_thread",
        title: "One thread: write, read back",
        about: "One thread writes a value and reads it back without waiting: the cost of the data structure alone. \
                Capacity 64. *In place*: `try_produce_with` and `try_recv_with`, which copy nothing; there the \
                closure makes the value; otherwise a KiB comes from memory.",
        choose: "Within one thread a plain variable or a `VecDeque` beats all of these. Small values and handles \
                (`Arc`): any of AimDB, embassy-sync and kanal. A KiB: in an `Arc`, of which each reader \
                clones a handle, or in place; by value it is copied twice, as with any of these.",
        cases: &[
            ("same_thread::ring", same_thread::ring::<Value>),
            ("same_thread::ring_1k", same_thread::ring::<Block>),
            ("same_thread::ring_arc", same_thread::ring::<Shared>),
            ("same_thread::latest", same_thread::latest::<Value>),
            ("same_thread::latest_1k", same_thread::latest::<Block>),
            ("same_thread::latest_arc", same_thread::latest::<Shared>),
            ("same_thread::queue", same_thread::queue::<Value>),
            ("same_thread::queue_1k", same_thread::queue::<Block>),
            ("same_thread::queue_arc", same_thread::queue::<Shared>),
            ("same_thread::mailbox", same_thread::mailbox::<Value>),
            ("same_thread::mailbox_1k", same_thread::mailbox::<Block>),
            ("same_thread::mailbox_arc", same_thread::mailbox::<Shared>),
        ],
    },
    Group {
        name: "tasks",
        title: "One writer, one reader: tasks on two threads",
        about: "Every value arrives, and the sum is checked. Each side is a future on a thread of its own that \
                parks when it must wait; no runtime. Time per value until the reader has the last one. Capacity 1024, \
                batches of 256.",
        choose: "Batches wherever both ends can take them: single values cost several times as much with every \
                contestant. For single values the waits decide, and most contestants are within each other's \
                spread. A core to spare for each end: the disruptor.",
        cases: &[
            ("tasks::single", tasks::single::<Value>),
            ("tasks::single_1k", tasks::single::<Block>),
            ("tasks::single_arc", tasks::single::<Shared>),
            ("tasks::batches", tasks::batches::<Value>),
        ],
    },
    Group {
        name: "blocking",
        title: "One writer, one reader: blocking threads",
        about: "The same through the sync API (`aimdb-sync`), next to channels for threads. Contestants without \
                batches send one by one in both.",
        choose: "Two threads that both have much to do: AimDB's sync API, or the disruptor with a core for each. \
                One value now and then: see the latency of parked threads.",
        cases: &[
            ("blocking::single", blocking::single::<Value>),
            ("blocking::single_1k", blocking::single::<Block>),
            ("blocking::single_arc", blocking::single::<Shared>),
            ("blocking::batches", blocking::batches::<Value>),
        ],
    },
    Group {
        name: "fan_out",
        title: "One writer, many readers",
        about: "Every reader receives every value. *Awake*: one thread polls all readers in turn, while the writer \
                stays less than a ring ahead; the time is for a send and all its receives. *Asleep*: every reader is \
                a parked task when the writer sends; the time is the writer's alone, with all wake-ups. *Idle*: 256 \
                readers that never read; the writer overwrites. Capacity 1024.",
        choose: "Readers that sleep, as in a sensor graph: AimDB and Tokio's broadcast cost the writer the same; \
                async-broadcast costs less, and more than either once many readers are awake. Many readers that \
                never sleep: the disruptor, with a core for each.",
        cases: &[
            ("fan_out::awake_1", fan_out::awake::<1>),
            ("fan_out::awake_4", fan_out::awake::<4>),
            ("fan_out::awake_16", fan_out::awake::<16>),
            ("fan_out::awake_256", fan_out::awake::<256>),
            ("fan_out::asleep_4", fan_out::asleep::<4>),
            ("fan_out::asleep_16", fan_out::asleep::<16>),
            ("fan_out::asleep_256", fan_out::asleep::<256>),
            ("fan_out::idle_256", fan_out::idle::<256>),
        ],
    },
    Group {
        name: "writers",
        title: "Four writers, one reader",
        about: "Five threads; every value arrives, and the sum is checked. Time per value until the reader has all. \
                Capacity 1024.",
        choose: "Any of the queues that hold writers back. AimDB's costs least here; the spread between rounds \
                is larger than most differences.",
        cases: &[("writers::tasks", writers::tasks), ("writers::blocking", writers::blocking)],
    },
    Group {
        name: "overload",
        title: "A writer that never waits, four readers that cannot keep up",
        about: "Five threads. The writer sends as fast as it can, and each send is timed for itself; *longest* is \
                the worst stall of all rounds. Times include the reading of the clock. *Delivered* is the share of \
                the values that the readers received; a faster writer leaves them less time. Capacity 1024.",
        choose: "A writer that must not be held up: look at p99.9 and the longest, not at the median. A ring of \
                AimDB and Tokio's broadcast wait for a reader that clones; embassy-sync's lock is held by \
                whoever has it when the system suspends it.",
        cases: &[("overload::ring", overload::ring)],
    },
    Group {
        name: "latency",
        title: "Latency, one way",
        about: "From before the send until the reader has the value, taken from a time stamp in it; *ns/op* is the \
                median. *Threads* are parked: both sides sleep a moment before they answer. *Tasks* answer at once, \
                on a Tokio runtime with two workers, which as a rule keeps both on one. *Busy*: two other tasks of the \
                runtime compute for 20 µs at a time, without end.",
        choose: "Parked threads: all that park cost a system call at each end, and stay near the limit; kanal is \
                ten times as fast because it spins first, at the price of a core. Tasks: nobody needs to choose \
                by this table.",
        cases: &[
            ("latency::threads", latency::threads),
            ("latency::tasks", latency::tasks),
            ("latency::tasks_loaded", latency::tasks_loaded),
        ],
    },
    Group {
        name: "scale",
        title: "Many records",
        about: "A ring of 16 values of 32 bytes and one tap for each record, on a Tokio runtime with two workers, in \
                a process of its own. *Memory* is the growth of the resident set from before the first `configure` \
                until all taps wait. *Value through each* is from the first send until all taps have counted. *Idle \
                CPU* is the processor time of the idle seconds after that, in steps of 10 ms: one step may be \
                rounding.",
        choose: "A record for each sensor is meant to be affordable, up to some hundred thousand in a process. \
                More: one record whose values carry the number of the sensor.",
        cases: &[("scale::records", scale::records)],
    },
];
