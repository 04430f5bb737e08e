//! The names of stages: set by `named`, or else taken from the function or the kind, and the same everywhere.
#![cfg(not(aimdb_loom))]

mod common;

use aimdb_core::health::StageState;
use aimdb_core::{
    AimDbBuilder, Consumer, DbError, Owner, Restart, Rule, RuntimeContext, encode_with, input,
};
use aimdb_testing::{MemoryPeer, TestRuntime};
use common::{QUEUE, RING, builder, ms};

type Builder = AimDbBuilder<TestRuntime>;

/// The names of a record's stages, in the order of registration.
fn stage_names(builder: &Builder, record: &str) -> Vec<String> {
    let graph = builder.graph();
    let record = graph.records.iter().find(|known| known.key == record).expect("the record");
    record.stages.iter().map(|stage| stage.name.clone()).collect()
}

async fn show(_: RuntimeContext<TestRuntime>, _: Consumer<u32, TestRuntime>) {}

#[test]
fn stages_with_one_name_are_numbered_and_a_set_name_stays_as_it_is() {
    let (_, mut builder) = builder();
    builder.configure::<u32>("temp", |reg| {
        reg.buffer(RING).tap(|_, _| async {}).tap(|_, _| async {}).named("tap").tap(show).tap(show);
        reg.tap(|_, _| async {}).named("last");
    });
    builder.configure::<u32>("temp", |reg| {
        reg.tap(|_, _| async {}).source(|_, _| async {}).named(String::from("sensor"));
    });
    let expected = ["tap#2", "tap", "show", "show#2", "last", "tap#3", "sensor"];
    assert_eq!(stage_names(&builder, "temp"), expected);
    let db = builder.build().unwrap();
    let stages = db.health().stages;
    let mut names: Vec<_> = stages.iter().map(|stage| stage.stage.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["last", "sensor", "show", "show#2", "tap", "tap#2", "tap#3"]);
}

#[test]
fn every_kind_of_stage_can_be_named() {
    let peer = MemoryPeer::new();
    let (_, mut builder) = builder();
    builder.connector(peer.connector());
    builder.configure::<u32>("in", |reg| {
        reg.buffer(RING).source(|_, _| async {}).named("a");
        reg.tap_with(Restart::on_failure(), |_, _| async {}).named("b");
    });
    for (key, name) in [("map", "c"), ("filter", "d"), ("scan", "e"), ("join", "f")] {
        builder.configure::<u32>(key, |reg| {
            reg.buffer(RING);
            match name {
                "c" => reg.transform(input::<u32>("in"), |n| n),
                "d" => reg.filter_map(input::<u32>("in"), Some),
                "e" => reg.scan(input::<u32>("in"), 0, |_, n| Some(n)),
                _ => reg.join([input::<u32>("in")], |[n]| n),
            };
            reg.named(name);
        });
    }
    builder.configure::<u32>("out", |reg| {
        let codec = encode_with(|_: &u32, _: &mut Vec<u8>| Ok::<_, String>(()));
        reg.buffer(RING).source_with(Restart::on_failure(), |_, _| async {}).named("g");
        reg.link_to("memory://out", codec).named("h");
    });
    let names: Vec<_> = ["in", "map", "filter", "scan", "join", "out"]
        .into_iter()
        .flat_map(|key| stage_names(&builder, key))
        .collect();
    assert_eq!(names, ["a", "b", "c", "d", "e", "f", "g", "h"]);
    assert_eq!(builder.graph().to_string().lines().last().unwrap(), "  → link h memory://out");
    assert!(builder.graph().mermaid().contains(">\"h<br/>memory://out\"]"));
    assert!(builder.build().is_ok());
}

#[test]
fn health_metrics_and_the_shutdown_report_use_the_set_names() {
    let peer = MemoryPeer::new();
    let (runtime, mut builder) = builder();
    builder.connector(peer.connector());
    builder.configure::<u8>("numbers", |reg| {
        let codec = encode_with(|n: &u8, out: &mut Vec<u8>| {
            out.push(*n);
            Ok::<_, String>(())
        });
        reg.buffer(QUEUE).link_to("memory://out", codec).named("uplink");
        reg.tap(|_, numbers| async move {
            let mut reader = numbers.subscribe().unwrap();
            reader.recv().await.unwrap();
            std::future::pending::<()>().await
        });
        reg.named("slow");
        reg.tap(|_, _| async { panic!("broken") }).named("broken");
    });
    builder.configure::<u8>("sums", |reg| {
        reg.buffer(QUEUE).transform(input::<u8>("numbers"), |n| n + 1).named("adder");
    });
    let db = builder.build().unwrap();
    db.start();
    let producer = db.producer::<u8>("numbers").unwrap();
    for n in 0..5 {
        runtime.block_on(producer.produce(n)).unwrap();
    }
    let mut blocked = producer.produce(5);
    assert!(runtime.block_on(async {
        let polled = std::future::poll_fn(|cx| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut blocked).poll(cx).is_pending())
        });
        polled.await
    }));
    runtime.run_until_idle();

    let health = db.health();
    assert_eq!(health.stage("numbers", "slow").unwrap().state, StageState::Running);
    assert_eq!(health.stage("numbers", "broken").unwrap().state, StageState::Failed);
    assert_eq!(health.stage("sums", "adder").unwrap().state, StageState::Running);
    assert_eq!(health.links[0].stage, "uplink");
    assert_eq!(health.blocked[0].blocked.held_back_by, "slow");

    let metrics = db.metrics();
    assert_eq!(metrics.links[0].stage, "uplink");
    let readers = &metrics.record("numbers").unwrap().readers;
    let mut readers: Vec<_> = readers.iter().map(|reader| reader.name.as_str()).collect();
    readers.sort_unstable();
    assert_eq!(readers, ["slow", "sums/adder", "uplink"]);

    drop(blocked);
    let report = runtime.block_on(db.shutdown(ms(10)));
    assert_eq!(report.undelivered.len(), 1, "{report}");
    assert_eq!(report.undelivered[0].stage, "slow");
    assert_eq!(report.aborted, ["numbers/slow"]);
    assert_eq!(report.failures[0].owner, Owner::Record("numbers".into()));
    assert_eq!(report.failures[0].stage, "broken");
}

/// Asserts that the graph has exactly one finding, of the rule `StageName`.
#[track_caller]
fn assert_finding(problem: &str, help: &str, declare: impl FnOnce(&mut Builder)) {
    let (_, mut builder) = builder();
    declare(&mut builder);
    let Err(DbError::Build(findings)) = builder.build() else { panic!("no findings") };
    assert_eq!(findings.len(), 1, "{findings}");
    let finding = findings.iter().next().unwrap();
    assert_eq!((finding.rule, finding.rule.code()), (Rule::StageName, "E21"));
    assert_eq!((finding.problem.as_str(), finding.help.as_str()), (problem, help));
}

#[test]
fn a_name_without_a_stage_before_it_is_a_finding() {
    let help = "call `.named(…)` once, directly after the stage";
    assert_finding("its name `early` is given to no stage", help, |builder| {
        builder.configure::<u32>("temp", |reg| {
            reg.named("early").buffer(RING).tap(|_, _| async {});
        });
    });
    assert_finding("its name `second` is given to no stage", help, |builder| {
        builder.configure::<u32>("temp", |reg| {
            reg.buffer(RING).tap(|_, _| async {}).named("first").named("second");
        });
    });
    assert_finding("its name `late` is given to no stage", help, |builder| {
        builder.configure::<u32>("temp", |reg| {
            reg.buffer(RING).tap(|_, _| async {});
        });
        builder.configure::<u32>("temp", |reg| {
            reg.named("late");
        });
    });
}

#[test]
fn an_empty_name_is_a_finding() {
    let help = "write a name, or leave `.named(…)` away";
    assert_finding("the name of its source is empty", help, |builder| {
        builder.configure::<u32>("temp", |reg| {
            reg.buffer(RING).source(|_, _| async {}).named("");
        });
    });
}

#[test]
fn two_stages_of_a_record_with_one_set_name_are_a_finding() {
    assert_finding(
        "2 of its stages are named `a`: a source and a tap",
        "give each stage a name of its own",
        |builder| {
            builder.configure::<u32>("temp", |reg| {
                reg.buffer(RING).tap(|_, _| async {}).named("a").source(|_, _| async {}).named("a");
            });
            builder.configure::<u32>("other", |reg| {
                reg.buffer(RING).tap(|_, _| async {}).named("a");
            });
        },
    );
}

#[test]
fn a_finding_shows_the_set_name_of_a_link_and_its_address() {
    let (_, mut builder) = builder();
    builder.configure::<u32>("temp", |reg| {
        let codec = encode_with(|_: &u32, _: &mut Vec<u8>| Ok::<_, String>(()));
        reg.link_to("memory://out", codec).named("uplink");
    });
    let text = builder.build().unwrap_err().to_string();
    assert!(text.contains("is used by link `uplink` to `memory://out` but"), "{text}");
}

#[test]
fn a_builder_takes_an_adapter_by_value_or_in_an_arc() {
    let runtime = aimdb_core::Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::on(aimdb_core::Arc::clone(&runtime));
    builder.configure::<u32>("temp", |reg| {
        reg.buffer(RING);
    });
    builder.build().unwrap();
    assert!(!runtime.log_lines().is_empty());
    let builder: Builder = AimDbBuilder::on(TestRuntime::new());
    assert!(builder.build().is_ok());
}
