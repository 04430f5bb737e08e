//! The measuring kit: contestants run in turn (ABC ABC …), and are judged round by round against a baseline.
//!
//! Two runs of one round stand next to each other in time, so whatever else the machine was doing hit both; the
//! median of such ratios says more than the ratio of two medians.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How much work a case does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// For numbers: about a minute for all cases.
    Full,
    /// For CI: a few seconds.
    Quick,
    /// For tests: only that it runs.
    Smoke,
}

impl Scale {
    /// As the environment and the command line ask. `cargo bench` passes `--bench`; `cargo test --all-targets` runs
    /// the same program without it.
    #[must_use]
    pub fn asked_for() -> Self {
        if !std::env::args().any(|arg| arg == "--bench") {
            Self::Smoke
        } else if std::env::var_os("AIMDB_BENCH_QUICK").is_some_and(|value| value != "0") {
            Self::Quick
        } else {
            Self::Full
        }
    }

    /// Measured rounds; one more goes before them to warm up.
    #[must_use]
    pub const fn rounds(self) -> usize {
        match self {
            Self::Full => 15,
            Self::Quick => 5,
            Self::Smoke => 1,
        }
    }

    /// Operations in one run, where a full one does `full`.
    #[must_use]
    pub const fn operations(self, full: u64) -> u64 {
        match self {
            Self::Full => full,
            Self::Quick => full / 10,
            Self::Smoke => 200,
        }
    }
}

/// What became of the values that readers were meant to get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// Values that came out, over all readers.
    pub delivered: u64,
    /// Values that readers were told they had lost.
    pub lagged: u64,
}

impl std::iter::Sum for Fate {
    fn sum<I: Iterator<Item = Self>>(fates: I) -> Self {
        fates.fold(Self::default(), |sum, fate| Self {
            delivered: sum.delivered + fate.delivered,
            lagged: sum.lagged + fate.lagged,
        })
    }
}

/// One run of one contestant.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// What the time is divided by.
    pub operations: u64,
    /// The time all of them took.
    pub elapsed: Duration,
    /// Where values can get lost, how many did.
    pub fate: Option<Fate>,
}

impl Run {
    fn nanos(&self) -> f64 {
        self.elapsed.as_nanos() as f64 / self.operations.max(1) as f64
    }
}

type Contestant<'c> = (&'static str, Box<dyn FnMut() -> Run + 'c>);

/// A comparison: some contestants, and the one the others are measured against.
pub struct Case<'c> {
    title: &'static str,
    baseline: &'static str,
    contestants: Vec<Contestant<'c>>,
}

impl<'c> Case<'c> {
    /// A comparison with the contestant named `baseline`.
    #[must_use]
    pub fn against(baseline: &'static str, title: &'static str) -> Self {
        Self { title, baseline, contestants: Vec::new() }
    }

    /// Adds a contestant. `run` does the work once and says how long it took.
    #[must_use]
    pub fn contestant(mut self, name: &'static str, run: impl FnMut() -> Run + 'c) -> Self {
        self.contestants.push((name, Box::new(run)));
        self
    }

    /// Runs everybody in turn, as often as `scale` says.
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
        Table { title: self.title, rows: (0..names.len()).map(row).collect() }
    }

    fn round(&mut self) -> Vec<Run> {
        self.contestants.iter_mut().map(|(_, run)| run()).collect()
    }
}

impl fmt::Debug for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("title", &self.title).finish_non_exhaustive()
    }
}

/// What a case found, ready to print.
#[derive(Clone, Debug)]
pub struct Table {
    title: &'static str,
    rows: Vec<Row>,
}

#[derive(Clone, Debug)]
struct Row {
    name: &'static str,
    nanos: f64,
    /// Of the time per operation, to the baseline's in the same round: below one is faster.
    ratio: f64,
    spread: (f64, f64),
    fate: Option<Fate>,
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
            fate: runs.iter().map(|run| run.fate).collect::<Option<Vec<_>>>().map(total),
        }
    }
}

fn total(fates: Vec<Fate>) -> Fate {
    fates.into_iter().sum()
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

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        writeln!(
            f,
            "  {:<26} {:>9} {:>10} {:>8} {:>15} {:>10} {:>10}",
            "contestant", "ns/op", "Mop/s", "ratio", "min–max", "delivered", "lagged"
        )?;
        self.rows.iter().try_for_each(|row| writeln!(f, "  {row}"))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spread = format!("{:.2}–{:.2}", self.spread.0, self.spread.1);
        write!(
            f,
            "{:<26} {:>9.1} {:>10.3} {:>7.2}x {spread:>15}",
            self.name,
            self.nanos,
            1e3 / self.nanos,
            self.ratio
        )?;
        let Some(Fate { delivered, lagged }) = self.fate else { return Ok(()) };
        let share = |part: u64| 100.0 * part as f64 / (delivered + lagged).max(1) as f64;
        write!(f, " {:>9.1}% {:>9.1}%", share(delivered), share(lagged))
    }
}

/// How long `work` takes.
pub fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// What [`on_threads`] saw.
#[derive(Debug)]
pub struct Flow<O> {
    /// Until the writer was done.
    pub written: Duration,
    /// Until the last reader was done.
    pub read: Duration,
    /// What the readers gave.
    pub outcomes: Vec<O>,
}

/// Runs a writer and its readers, each on an operating-system thread of its own, all starting at once.
pub fn on_threads<W, F>(write: W, readers: Vec<F>) -> Flow<F::Output>
where
    W: Future<Output = ()>,
    F: Future<Output: Send> + Send,
{
    let ready = &Barrier::new(readers.len() + 1);
    thread::scope(|scope| {
        let spawn = |read| {
            scope.spawn(move || {
                ready.wait();
                block_on(read)
            })
        };
        let threads: Vec<_> = readers.into_iter().map(spawn).collect();
        ready.wait();
        let start = Instant::now();
        block_on(write);
        let written = start.elapsed();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| thread.join().expect("reads on");
        let outcomes = threads.into_iter().map(join).collect();
        Flow { written, read: start.elapsed(), outcomes }
    })
}

/// Drives a future on this thread, parking in between: no runtime, so that only the contestants are measured.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(nanos: u64) -> Run {
        Run { operations: 10, elapsed: Duration::from_nanos(10 * nanos), fate: None }
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
}
