//! The measuring kit: contestants run in turn (ABC ABC …), and are compared round by round with a baseline.
//!
//! The runs of one round follow each other immediately, so other load on the machine affects all of them; the median of
//! the rounds' ratios is therefore more stable than the ratio of two medians.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::table::{Bar, Table};

/// How much work a case does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// For published numbers: about a minute for all cases.
    Full,
    /// For CI: a few seconds.
    Quick,
    /// For tests, which only check that a case runs.
    Smoke,
}

impl Scale {
    /// Reads the scale from the environment and the command line. `cargo bench` passes `--bench`;
    /// `cargo test --all-targets` runs the same program without it.
    #[must_use]
    pub fn from_command_line() -> Self {
        if !std::env::args().any(|arg| arg == "--bench") {
            Self::Smoke
        } else if std::env::var_os("AIMDB_BENCH_QUICK").is_some_and(|value| value != "0") {
            Self::Quick
        } else {
            Self::Full
        }
    }

    /// The number of measured rounds. One more round precedes them as a warm-up.
    #[must_use]
    pub const fn rounds(self) -> usize {
        match self {
            Self::Full => 15,
            Self::Quick => 5,
            Self::Smoke => 1,
        }
    }

    /// The number of operations in one run, of which a full run does `full`.
    #[must_use]
    pub const fn operations(self, full: u64) -> u64 {
        match self {
            Self::Full => full,
            Self::Quick => full / 10,
            Self::Smoke => 200,
        }
    }
}

/// Keeps every core busy with a thread of the lowest priority, until it is dropped.
///
/// A comparison whose work is mostly another process's needs it: the faster a contestant is, the longer its core sleeps,
/// and the other process pays for waking it. That price is several microseconds a message on a virtual machine, more
/// than any contestant's own time.
#[derive(Debug)]
pub struct BusyCores(Arc<AtomicBool>);

impl BusyCores {
    /// Starts one thread for each core.
    #[must_use]
    pub fn start() -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            let ended = Arc::clone(&ended);
            thread::spawn(move || {
                // On Linux the niceness belongs to the calling thread.
                let _lowest = rustix::process::nice(19);
                while !ended.load(Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Self(ended)
    }
}

impl Drop for BusyCores {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// How many values the readers received and lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Received values, summed over all readers.
    pub delivered: u64,
    /// Values that were reported to readers as lost.
    pub lagged: u64,
    /// The sum of the received values' numbers, without the last one's. A case compares it with the sum of the sent
    /// ones.
    pub sum: u64,
}

impl std::iter::Sum for Delivery {
    fn sum<I: Iterator<Item = Self>>(deliveries: I) -> Self {
        deliveries.fold(Self::default(), |sum, delivery| Self {
            delivered: sum.delivered + delivery.delivered,
            lagged: sum.lagged + delivery.lagged,
            sum: sum.sum.wrapping_add(delivery.sum),
        })
    }
}

/// Percentiles of the operations' times of one run, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentiles {
    /// The median.
    pub p50: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The 99.9th percentile.
    pub p999: u64,
    /// The maximum.
    pub max: u64,
}

impl Percentiles {
    /// Computes the percentiles of one time for each operation.
    ///
    /// # Panics
    ///
    /// If `nanos` is empty.
    #[must_use]
    pub fn of(mut nanos: Vec<u64>) -> Self {
        nanos.sort_unstable();
        let all = nanos.len();
        let at = |share: f64| nanos[((all as f64 * share) as usize).min(all - 1)];
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: nanos[all - 1] }
    }
}

/// One run of one contestant.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The number of operations, by which the time is divided.
    pub operations: u64,
    /// The time of all operations.
    pub elapsed: Duration,
    /// Received and lost values, in cases in which values can be lost.
    pub delivery: Option<Delivery>,
    /// Percentiles, in cases that time each operation.
    pub tail: Option<Percentiles>,
}

impl Run {
    /// A run that took `elapsed` for `operations`.
    #[must_use]
    pub const fn new(operations: u64, elapsed: Duration) -> Self {
        Self { operations, elapsed, delivery: None, tail: None }
    }

    /// Adds the received and lost values.
    #[must_use]
    pub const fn with_delivery(self, delivery: Delivery) -> Self {
        Self { delivery: Some(delivery), ..self }
    }

    /// Adds the percentiles of the operations' times.
    #[must_use]
    pub const fn with_percentiles(self, tail: Percentiles) -> Self {
        Self { tail: Some(tail), ..self }
    }

    fn nanos(&self) -> f64 {
        self.elapsed.as_nanos() as f64 / self.operations.max(1) as f64
    }
}

type Contestant<'c> = (&'static str, Box<dyn FnMut() -> Run + 'c>);

/// A comparison of contestants with one of them, the baseline.
#[must_use]
pub struct Case<'c> {
    title: String,
    baseline: &'static str,
    contestants: Vec<Contestant<'c>>,
}

impl<'c> Case<'c> {
    /// Creates a comparison whose baseline is the contestant of this name.
    pub fn against(baseline: &'static str, title: impl Into<String>) -> Self {
        Self { title: title.into(), baseline, contestants: Vec::new() }
    }

    /// Adds a contestant. `run` does the work once and returns its time.
    pub fn contestant(mut self, name: &'static str, run: impl FnMut() -> Run + 'c) -> Self {
        self.contestants.push((name, Box::new(run)));
        self
    }

    /// Runs the contestants in turn, for as many rounds as `scale` has.
    ///
    /// # Panics
    ///
    /// If no contestant has the baseline's name.
    #[must_use]
    pub fn run(mut self, scale: Scale) -> Table {
        let names: Vec<_> = self.contestants.iter().map(|(name, _)| *name).collect();
        let baseline =
            names.iter().position(|name| *name == self.baseline).expect("the baseline takes part");
        self.round();
        let rounds: Vec<Vec<Run>> = (0..scale.rounds()).map(|_| self.round()).collect();
        let row = |at: usize| Row::new(names[at], rounds.iter().map(|r| (r[at], r[baseline])));
        let rows: Vec<_> = (0..names.len()).map(row).collect();
        table(self.title, self.baseline, &rows)
    }

    fn round(&mut self) -> Vec<Run> {
        self.contestants.iter_mut().map(|(_, run)| run()).collect()
    }
}

impl std::fmt::Debug for Case<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case").field("title", &self.title).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
struct Row {
    name: &'static str,
    nanos: f64,
    /// Time per operation over the baseline's in the same round: below one is faster.
    ratio: f64,
    spread: (f64, f64),
    delivery: Option<Delivery>,
    tail: Option<Percentiles>,
}

impl Row {
    fn new(name: &'static str, rounds: impl Iterator<Item = (Run, Run)>) -> Self {
        let (runs, baselines): (Vec<_>, Vec<_>) = rounds.unzip();
        let nanos = sorted(runs.iter().map(Run::nanos));
        let ratios =
            sorted(runs.iter().zip(&baselines).map(|(run, base)| run.nanos() / base.nanos()));
        Self {
            name,
            nanos: median(&nanos),
            ratio: median(&ratios),
            spread: (ratios[0], ratios[ratios.len() - 1]),
            delivery: runs.iter().map(|run| run.delivery).sum(),
            tail: runs.iter().map(|run| run.tail).collect::<Option<Vec<_>>>().map(median_of_rounds),
        }
    }

    fn times(&self) -> Vec<String> {
        vec![
            format!("{:.1}", self.nanos),
            format!("{:.3}", 1e3 / self.nanos),
            format!("{:.2}x", self.ratio),
            format!("{:.2}–{:.2}", self.spread.0, self.spread.1),
        ]
    }
}

impl Delivery {
    fn shares(self) -> Vec<String> {
        let all = (self.delivered + self.lagged).max(1) as f64;
        [self.delivered, self.lagged].map(|n| format!("{:.1}%", 100.0 * n as f64 / all)).into()
    }
}

impl Percentiles {
    fn micros(self) -> Vec<String> {
        [self.p50, self.p99, self.p999, self.max]
            .map(|nanos| format!("{:.2}", nanos as f64 / 1e3))
            .into()
    }
}

/// The medians of the rounds' percentiles, and the maximum of all rounds.
fn median_of_rounds(percentiles_shown: Vec<Percentiles>) -> Percentiles {
    let middle = |part: fn(&Percentiles) -> u64| {
        let mut parts: Vec<_> = percentiles_shown.iter().map(part).collect();
        parts.sort_unstable();
        parts[parts.len() / 2]
    };
    Percentiles {
        p50: middle(|tail| tail.p50),
        p99: middle(|tail| tail.p99),
        p999: middle(|tail| tail.p999),
        max: percentiles_shown.iter().map(|tail| tail.max).max().unwrap_or(0),
    }
}

/// Builds the table, without the columns that no contestant has values for: a case without losses has no column of them.
fn table(title: String, baseline: &str, rows: &[Row]) -> Table {
    let mut columns = vec!["ns/op", "Mop/s", "ratio", "min–max"];
    let deliveries =
        rows.iter().any(|row| row.delivery.is_some_and(|delivery| delivery.lagged > 0));
    let percentiles_shown = rows.iter().any(|row| row.tail.is_some());
    if deliveries {
        columns.extend(["delivered", "lagged"]);
    }
    if percentiles_shown {
        columns.extend(["p50 µs", "p99 µs", "p99.9 µs", "longest µs"]);
    }
    let unknown = |count| vec![String::new(); count];
    let cells = |row: &Row| {
        let delivery = row.delivery.map_or_else(|| unknown(2), Delivery::shares);
        let tail = row.tail.map_or_else(|| unknown(4), Percentiles::micros);
        let (delivery, tail) = (deliveries.then_some(delivery), percentiles_shown.then_some(tail));
        let more = delivery.into_iter().chain(tail).flatten();
        (row.name.to_string(), row.times().into_iter().chain(more).collect())
    };
    let bar = |row: &Row| Bar {
        name: row.name.to_string(),
        length: row.nanos,
        text: format!("{} · {:.2}×", nanos(row.nanos), row.ratio),
        ratio: Some(row.ratio),
        reference: row.name == baseline,
    };
    Table {
        name: "",
        title,
        columns,
        rows: rows.iter().map(cells).collect(),
        bars: rows.iter().map(bar).collect(),
    }
}

fn nanos(time: f64) -> String {
    match time {
        ..100.0 => format!("{time:.1} ns"),
        ..10e3 => format!("{time:.0} ns"),
        ..10e6 => format!("{:.1} µs", time / 1e3),
        _ => format!("{:.1} ms", time / 1e6),
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { sorted[middle - 1].midpoint(sorted[middle]) }
}

/// Measures the time of `work`.
pub fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// The times and results of [`on_threads`].
#[derive(Debug)]
pub struct ThreadRun<O> {
    /// The time until the writers were done.
    pub written: Duration,
    /// The time until the last reader was done.
    pub read: Duration,
    /// The results of the readers.
    pub outcomes: Vec<O>,
}

/// Runs writers and readers, each on an operating-system thread of its own; all start at the same time. The first writer
/// runs on the calling thread.
///
/// # Panics
///
/// If there is no writer, or one of them panics.
pub fn on_threads<W, R, O>(writers: Vec<W>, readers: Vec<R>) -> ThreadRun<O>
where
    W: FnOnce() + Send,
    R: FnOnce() -> O + Send,
    O: Send,
{
    let ready = &Barrier::new(writers.len() + readers.len());
    thread::scope(|scope| {
        let readers: Vec<_> =
            readers.into_iter().map(|read| scope.spawn(|| after(ready, read))).collect();
        let mut writers = writers.into_iter();
        let first = writers.next().expect("at least one writer");
        let others: Vec<_> = writers.map(|write| scope.spawn(|| after(ready, write))).collect();
        ready.wait();
        let start = Instant::now();
        first();
        others.into_iter().for_each(|other| other.join().expect("writes on"));
        let written = start.elapsed();
        let outcomes = readers.into_iter().map(|reader| reader.join().expect("reads on")).collect();
        ThreadRun { written, read: start.elapsed(), outcomes }
    })
}

fn after<O>(ready: &Barrier, work: impl FnOnce() -> O) -> O {
    ready.wait();
    work()
}

/// Turns a future into a function that drives it on the calling thread.
pub fn blocking_on<F: Future>(future: F) -> impl FnOnce() -> F::Output {
    || block_on(future)
}

/// Drives a future on this thread, which parks between polls. Without a runtime, only the contestant is measured.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }

        fn wake_by_ref(self: &Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Spins until `attempt` succeeds, and yields the thread after `SPINS` attempts: on a machine with fewer cores than
/// threads, a spinning thread would otherwise keep the thread it waits for from running.
#[inline]
pub fn spin_until<O>(mut attempt: impl FnMut() -> Option<O>) -> O {
    loop {
        for _ in 0..SPINS {
            if let Some(outcome) = attempt() {
                return outcome;
            }
            std::hint::spin_loop();
        }
        thread::yield_now();
    }
}

/// The number of attempts of [`spin_until`] between two yields.
const SPINS: u32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(nanos: u64) -> Run {
        Run::new(10, Duration::from_nanos(10 * nanos))
    }

    #[test]
    fn contestants_run_in_turn_after_one_round_to_warm_up() {
        let order = std::cell::RefCell::new(String::new());
        let log = |name| {
            order.borrow_mut().push(name);
            takes(1)
        };
        let case = Case::against("a", "").contestant("a", || log('a')).contestant("b", || log('b'));
        let _ = case.run(Scale::Smoke);
        assert_eq!(*order.borrow(), "abab");
    }

    #[test]
    fn a_ratio_is_the_median_of_rounds_and_its_spread_their_extremes() {
        let rounds = [(takes(10), takes(20)), (takes(30), takes(10)), (takes(20), takes(20))];
        let row = Row::new("", rounds.into_iter());
        assert_eq!((row.nanos, row.ratio, row.spread), (20.0, 1.0, (0.5, 3.0)));
    }

    #[test]
    fn a_table_has_one_line_for_each_contestant() {
        let case =
            Case::against("a", "title").contestant("a", || takes(2)).contestant("b", || takes(4));
        let text = case.run(Scale::Smoke).to_string();
        assert_eq!(text.lines().count(), 4);
        assert!(text.lines().last().is_some_and(|line| line.contains("2.00x")), "{text}");
    }

    #[test]
    fn percentiles_include_the_slowest_operation() {
        let tail = Percentiles::of((1..=2000).rev().collect());
        assert_eq!(tail, Percentiles { p50: 1001, p99: 1981, p999: 1999, max: 2000 });
    }

    #[test]
    fn a_table_has_the_columns_that_any_contestant_measured() {
        let timed = || takes(2).with_percentiles(Percentiles::of(vec![7]));
        let case = Case::against("a", "").contestant("a", timed).contestant("b", || takes(4));
        let table = case.run(Scale::Smoke);
        assert_eq!(table.columns.len(), 8);
        assert!(table.rows.iter().all(|(_, cells)| cells.len() == 8), "{table}");
    }
}
