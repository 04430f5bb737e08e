//! Figures of snapshots and events: what transforms leave out, and the calendar's time beside the runtime's.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aimdb_core::link::{OutboundTarget, TopicFn};
use aimdb_core::{AimDbBuilder, BufferCfg, Restart, UnixTime, encode_with, graph, input};
use aimdb_testing::{MemoryPeer, TestRuntime};

#[test]
fn values_of_which_a_transform_makes_none_are_counted_at_its_record() {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    for key in ["a", "b"] {
        builder.configure::<u64>(key, |reg| {
            reg.buffer(BufferCfg::queue(32)).written_from_outside();
        });
    }
    let record = |builder: &mut AimDbBuilder<TestRuntime>, key: &str| {
        builder.configure::<u64>(key, |reg| {
            reg.buffer(BufferCfg::ring(32)).read_from_outside();
            match key {
                "even" => reg.filter_map(input("a"), |n: u64| n.is_multiple_of(2).then_some(n)),
                "changes" => reg.scan(input("a"), 0, |last: &mut u64, n: u64| {
                    (std::mem::replace(last, n / 4) != n / 4).then_some(n)
                }),
                "all" => reg.transform(input("a"), |n: u64| n),
                "both" => reg.join((input::<u64>("a"), input::<u64>("b")), |(a, b)| a + b),
                "some" => {
                    let inputs = (input::<u64>("a"), input::<u64>("b"));
                    reg.outer_join(inputs, |(a, b), _| Some(a? + b?))
                }
                _ => reg.filter_map_with(Restart::skip_failures(), input("a"), |n: u64| {
                    assert_ne!(n, 7, "seven");
                    (n > 5).then_some(n)
                }),
            };
        });
    };
    let keys = ["even", "changes", "all", "both", "some", "failing"];
    keys.iter().for_each(|key| record(&mut builder, key));
    let db = builder.build().unwrap();
    db.start();
    let a = db.producer::<u64>("a").unwrap();
    (0..10).for_each(|n| a.try_produce(n).unwrap());
    runtime.advance(Duration::from_secs(1));
    let metrics = db.metrics();
    let counts = keys.map(|key| {
        let record = metrics.record(key).unwrap();
        (record.produced, record.filtered)
    });
    // A join whose second input has had no value leaves nothing out: it has nothing to combine yet.
    assert_eq!(counts, [(5, 5), (2, 8), (10, 0), (0, 0), (0, 10), (3, 6)]);
}

#[test]
fn snapshots_and_events_carry_the_calendars_time_of_which_the_others_can_be_made() {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let hook = Arc::clone(&seen);
    builder.on_event(move |event| hook.lock().unwrap().push((event.at, event.unix_at)));
    builder.configure::<Option<UnixTime>>("stamps", |reg| {
        reg.buffer(BufferCfg::ring(8)).read_from_outside().source(|ctx, stamps| async move {
            for _ in 0..3 {
                let _closed = stamps.produce(ctx.time().unix_now()).await;
                ctx.time().sleep(ctx.time().secs(1)).await;
            }
        });
    });
    let db = builder.build().unwrap();
    let mut stamps = db.consumer::<Option<UnixTime>>("stamps").unwrap().subscribe().unwrap();
    db.start();
    runtime.advance(Duration::from_secs(60));

    let metrics = db.metrics();
    let unix_at = metrics.unix_at.unwrap();
    // `TestRuntime` begins in the year 2000.
    let begin = 946_684_800;
    assert_eq!(unix_at.since_epoch(), Duration::from_secs(begin + 60));
    let newest = metrics.record("stamps").unwrap().last_update.unwrap();
    assert_eq!(unix_at.of(newest, metrics.at).since_epoch(), Duration::from_secs(begin + 2));
    for second in 0..3 {
        let stamp = stamps.try_recv().unwrap().unwrap();
        assert_eq!(stamp.since_epoch(), Duration::from_secs(begin + second));
    }
    let health = db.health();
    assert_eq!((health.at, health.unix_at), (metrics.at, metrics.unix_at));
    let events = seen.lock().unwrap().clone();
    assert!(!events.is_empty());
    for (at, unix) in events {
        assert_eq!(unix, Some(unix_at.of(at, metrics.at)));
    }
}

/// A target whose topic is computed from each value.
struct PerValue;

impl OutboundTarget<u64> for PerValue {
    fn node(&self) -> graph::LinkNode {
        graph::LinkNode::from("memory://").with_computed_topic()
    }

    fn topic(&self) -> Option<TopicFn<u64>> {
        Some(Arc::new(|value| format!("numbers/{value}")))
    }
}

#[test]
fn the_graph_shows_which_links_have_a_topic_for_each_value() {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(runtime);
    builder.connector(MemoryPeer::new().connector());
    builder.configure::<u64>("n", |reg| {
        let encode = |_: &u64, _: &mut Vec<u8>| Ok::<_, String>(());
        reg.buffer(BufferCfg::queue(4)).written_from_outside();
        reg.link_to(PerValue, encode_with(encode)).link_to("memory://fixed", encode_with(encode));
    });
    let graph = builder.graph();
    let text = graph.to_string();
    assert!(text.contains("→ link memory:// (topic of each value)\n"), "{text}");
    assert!(text.contains("→ link memory://fixed\n"), "{text}");
    assert!(graph.mermaid().contains("memory:// (topic of each value)\"]"), "{}", graph.mermaid());
}
