//! Services: they run alongside the graph, see its drain, and keep nothing alive.
#![cfg(not(aimdb_loom))]

mod common;

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aimdb_core::access::AccessError;
use aimdb_core::health::{DbState, StageState};
use aimdb_core::service::Service;
use aimdb_core::{BufferCfg, Finding, Graph, Json, Owner, Rule, RuntimeContext, WeakAimDb};
use aimdb_testing::{Recorder, TestRuntime};
use common::*;

type Weak = WeakAimDb<TestRuntime>;
type Context = RuntimeContext<TestRuntime>;
type Run = Pin<Box<dyn Future<Output = Result<(), &'static str>> + Send>>;

/// A deadline that a test does not reach.
const AMPLE: Duration = Duration::from_secs(10);

/// A service of a closure.
struct Fn<F> {
    name: &'static str,
    faults: Vec<Finding>,
    run: F,
}

impl<F> Service<TestRuntime> for Fn<F>
where
    F: FnOnce(Weak, Context) -> Run + 'static,
{
    type Run = Run;

    fn name(&self) -> &str {
        self.name
    }

    fn describe(&self) -> String {
        format!("the {} of the test", self.name)
    }

    fn check(&self, graph: &Graph) -> Vec<Finding> {
        assert_eq!(graph.records.len(), 1, "the check sees the whole graph");
        self.faults.clone()
    }

    fn run(self, db: Weak, context: Context) -> Run {
        (self.run)(db, context)
    }
}

fn service<Fut>(
    name: &'static str,
    run: impl FnOnce(Weak, Context) -> Fut + 'static,
) -> impl Service<TestRuntime, Run = Run>
where
    Fut: Future<Output = Result<(), &'static str>> + Send + 'static,
{
    Fn { name, faults: Vec::new(), run: move |db, context| Box::pin(run(db, context)) as Run }
}

/// A record whose tap takes 10 ms for each value.
fn slow_record(builder: &mut aimdb_core::AimDbBuilder<TestRuntime>) {
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 16 }).written_from_outside().tap(
            |ctx, numbers| async move {
                let mut reader = numbers.subscribe().unwrap();
                while reader.recv().await.is_ok() {
                    ctx.time().sleep(ms(10)).await;
                }
            },
        );
    });
}

#[test]
fn a_service_sees_the_whole_drain_and_ends_after_the_last_stage() {
    let seen = Recorder::new();
    let (runtime, mut builder) = builder();
    slow_record(&mut builder);
    let list = seen.clone();
    builder.service(service("watch", |db, ctx| async move {
        let mut stopping = Box::pin(ctx.stopping());
        loop {
            let db = db.upgrade().ok_or("the database is gone")?;
            let pending = db.metrics().records[0].readers.first().map(|reader| reader.pending);
            list.push((db.health().state, pending));
            let pause = ctx.time().sleep(ms(4));
            drop(db);
            if let aimdb_core::race::Either::First(()) =
                aimdb_core::race::race(stopping.as_mut(), pause).await
            {
                list.push((DbState::Stopped, None));
                return Ok(());
            }
        }
    }));
    let db = builder.build().unwrap();
    assert!(db.graph().to_string().starts_with("service watch: the watch of the test\n"));
    db.start();
    let producer = db.producer::<u32>("numbers").unwrap();
    (0..5).for_each(|n| producer.try_produce(n).unwrap());
    runtime.advance(ms(1));
    let report = runtime.block_on(db.shutdown(AMPLE));
    assert!(report.is_clean(), "{report}");
    assert!(report.elapsed < ms(60), "it does not wait for its deadline: {:?}", report.elapsed);
    let seen = seen.values();
    assert_eq!(seen.first().map(|(state, _)| *state), Some(DbState::Running));
    let drain: Vec<_> = seen.iter().filter(|(state, _)| *state == DbState::Stopping).collect();
    assert!(drain.len() >= 8, "{seen:?}");
    assert!(drain.iter().any(|(_, pending)| *pending == Some(0)), "{seen:?}");
    assert_eq!(seen.last(), Some(&(DbState::Stopped, None)), "stopping comes last");
    let health = db.health();
    let watch = health.stages.iter().find(|stage| stage.owner == Owner::Service("watch".into()));
    assert_eq!(watch.unwrap().state, StageState::Finished);
}

#[test]
fn a_service_that_fails_is_reported_under_its_name_and_stops_nothing() {
    for panics in [false, true] {
        let (runtime, mut builder) = builder();
        slow_record(&mut builder);
        builder.service(service("exporter", move |_db, _ctx| async move {
            if panics { panic!("no port") } else { Err("no port") }
        }));
        let db = builder.build().unwrap();
        db.start();
        runtime.advance(ms(1));
        let failures = db.health().failures();
        assert_eq!(failures.len(), 1);
        assert_eq!(failures[0].owner, Owner::Service("exporter".into()));
        assert!(failures[0].cause.contains("no port"), "{}", failures[0]);
        db.producer::<u32>("numbers").unwrap().try_produce(1).unwrap();
        let report = runtime.block_on(db.shutdown(AMPLE));
        assert_eq!((report.drained, report.failures.len()), (1, 1));
    }
}

#[test]
fn a_service_that_does_not_end_costs_the_shutdown_its_deadline_and_is_named() {
    let (runtime, mut builder) = builder();
    slow_record(&mut builder);
    builder.service(service("deaf", |_db, _ctx| pending()));
    let db = builder.build().unwrap();
    db.start();
    runtime.advance(ms(1));
    let report = runtime.block_on(db.shutdown(ms(200)));
    assert!((ms(200)..ms(300)).contains(&report.elapsed), "{:?}", report.elapsed);
    assert!(!report.is_clean() && report.unresponsive.is_empty(), "{report}");
    let deaf = Owner::Service("deaf".into());
    let named = report.aborted.iter().any(|stage| stage.owner == deaf);
    assert!(named, "{report}");
}

#[test]
fn a_service_has_half_a_second_after_a_deadline_that_has_passed() {
    let (runtime, mut builder) = builder();
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 16 })
            .written_from_outside()
            .tap(|_ctx, _numbers| pending::<()>());
    });
    let seen = Recorder::new();
    let list = seen.clone();
    builder.service(service("recorder", |_db, ctx| async move {
        ctx.stopping().await;
        ctx.time().sleep(ms(300)).await;
        list.push("flushed");
        Ok(())
    }));
    let db = builder.build().unwrap();
    db.start();
    runtime.advance(ms(1));
    let report = runtime.block_on(db.shutdown(ms(100)));
    assert_eq!(seen.values(), ["flushed"]);
    let aborted: Vec<_> = report.aborted.iter().map(ToString::to_string).collect();
    assert_eq!(aborted, ["numbers/tap"], "{report}");
}

#[test]
fn a_service_that_does_not_end_after_a_passed_deadline_is_aborted_in_the_end() {
    let (runtime, mut builder) = builder();
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 16 })
            .written_from_outside()
            .tap(|_ctx, _numbers| pending::<()>());
    });
    builder.service(service("deaf", |_db, _ctx| pending()));
    let db = builder.build().unwrap();
    db.start();
    runtime.advance(ms(1));
    let report = runtime.block_on(db.shutdown(ms(100)));
    let aborted: Vec<_> = report.aborted.iter().map(ToString::to_string).collect();
    assert_eq!((aborted.len(), report.unresponsive.len()), (2, 0), "{report}");
    assert!((ms(600)..ms(700)).contains(&report.elapsed), "{:?}", report.elapsed);
}

/// A service that looks at a record until its end, by `?`, has not failed.
#[test]
fn a_service_that_ends_with_a_closed_record_has_finished() {
    let (runtime, mut builder) = builder();
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 16 }).expose(Json).settable();
    });
    builder.service(Tail);
    let db = builder.build().unwrap();
    db.start();
    runtime.advance(ms(1));
    let report = runtime.block_on(db.shutdown(AMPLE));
    assert!(report.is_clean() && report.failures.is_empty(), "{report}");
}

struct Tail;

impl Service<TestRuntime> for Tail {
    type Run = Pin<Box<dyn Future<Output = Result<(), AccessError>> + Send>>;

    fn name(&self) -> &str {
        "tail"
    }

    fn run(self, db: Weak, _context: Context) -> Self::Run {
        Box::pin(async move {
            let record = db.upgrade().and_then(|db| db.record("numbers").ok());
            let mut observer = record.expect("it is there").observe("tail")?;
            loop {
                observer.see(&mut Vec::new()).await?;
            }
        })
    }
}

#[test]
fn a_service_keeps_no_database_alive() {
    let seen = Recorder::new();
    let list = seen.clone();
    let guard = Arc::new(());
    let held = Arc::clone(&guard);
    let (runtime, mut builder) = builder();
    slow_record(&mut builder);
    builder.service(service("console", |db, ctx| async move {
        let _held = held;
        loop {
            list.push(db.upgrade().is_some());
            ctx.time().sleep(ms(1)).await;
        }
    }));
    let db = builder.build().unwrap();
    let weak = db.downgrade();
    db.start();
    runtime.advance(ms(2));
    assert!(weak.upgrade().is_some());
    drop(db);
    runtime.advance(ms(5));
    assert!(weak.upgrade().is_none());
    assert_eq!(Arc::strong_count(&guard), 1, "its future is dropped");
    assert!(seen.values().iter().all(|upgraded| *upgraded), "it ends before it misses anything");
}

#[test]
fn a_service_runs_before_the_sources_and_ends_with_the_work() {
    let seen = Recorder::new();
    let (first, second) = (seen.clone(), seen.clone());
    let (runtime, mut builder) = builder();
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 16 })
            .source(|_ctx, numbers| async move {
                second.push("source");
                numbers.produce(1).await.unwrap();
            })
            .for_each(|_, _| {});
    });
    builder.service(service("console", |db, ctx| async move {
        first.push(if db.upgrade().is_some() { "service" } else { "no database" });
        ctx.stopping().await;
        first.push("end");
        Ok(())
    }));
    runtime.block_on(builder.run()).unwrap();
    assert_eq!(seen.values(), ["service", "source", "end"]);
}

#[test]
fn a_service_that_subscribes_in_its_run_misses_no_event_of_the_start() {
    for seed in 0..50 {
        let runtime = Arc::new(TestRuntime::seeded(seed));
        let mut builder = aimdb_core::AimDbBuilder::new().runtime(Arc::clone(&runtime));
        builder.configure::<u32>("numbers", |reg| {
            reg.buffer(BufferCfg::SingleLatest)
                .source(|ctx, _| async move { ctx.fail("no such device") })
                .read_from_outside();
        });
        let seen = Recorder::new();
        let list = seen.clone();
        let run = move |_: Weak, ctx: Context| {
            // Here, and not in the future: the source may run before its first poll.
            let mut events = ctx.events();
            Box::pin(async move {
                while let Some(event) = events.next().await {
                    list.push(event.to_string());
                }
                Ok(())
            }) as Run
        };
        builder.service(Fn { name: "journal", faults: Vec::new(), run });
        _ = runtime.block_on(builder.run());
        let failed = "stage `numbers/source` failed: no such device";
        assert!(seen.values().iter().any(|event| event.contains(failed)), "{seed}: {seen:?}");
        runtime.drop_tasks();
    }
}

#[test]
fn the_faults_of_services_are_findings() {
    let (_, mut builder) = builder();
    slow_record(&mut builder);
    let run = |_: Weak, _: Context| Box::pin(pending()) as Run;
    let fault = |rule, record: &str| Finding::new(rule, record, "its port is taken", "use another");
    builder.service(Fn { name: "console", faults: vec![fault(Rule::BadService, "")], run });
    builder.service(Fn { name: "console", faults: Vec::new(), run });
    let findings = builder.build().unwrap_err().to_string();
    assert!(findings.contains("E26"), "{findings}");
    assert!(findings.contains("two services are named `console`"), "{findings}");
    assert!(findings.contains("E27"), "{findings}");
    assert!(findings.contains("its port is taken"), "{findings}");
    assert!(findings.contains("services.rs:"), "{findings}");
}
