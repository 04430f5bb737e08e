//! The sentences of `why`, whole, for faults that are injected. Times differ from run to run and are shown as `T`.

use std::time::Duration;

use aimdb_core::{BufferCfg, Json, Restart, input};
use aimdb_testing::MemoryPeer;

use crate::support::*;

const RING: BufferCfg = BufferCfg::ring(16);

/// The answer for `key`, once `condition` holds.
async fn why(
    key: &str,
    configure: impl FnOnce(&mut Builder),
    act: impl AsyncFnOnce(&Fixture),
    condition: impl Fn(&Db) -> bool,
) -> String {
    let fixture = start(configure, |console| console).await;
    act(&fixture).await;
    eventually("the fault is there", || condition(&fixture.db)).await;
    // The event follows what it is about.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let answer = fixture.get(&format!("/api/v1/why/{key}")).await.json();
    _ = fixture.db.shutdown(Duration::from_millis(200)).await;
    let mut text = answer["state"].as_str().unwrap().to_owned();
    let mut at_fault = false;
    for step in answer["steps"].as_array().unwrap() {
        let is_fault = step["is_fault"].as_bool().unwrap();
        at_fault |= is_fault;
        let indent = " ".repeat(2 + 2 * step["depth"].as_u64().unwrap() as usize);
        let mark = if is_fault { '✗' } else { '·' };
        text += &format!("\n{indent}{mark} {}", step["text"].as_str().unwrap());
    }
    assert_eq!(answer["at_fault"], at_fault, "{text}");
    timeless(&text)
}

/// The text with `T` in the place of each time.
fn timeless(text: &str) -> String {
    let units = ["µs", "ms", "s", "min", "h"];
    let line = |line: &str| {
        let mut words: Vec<&str> = line.split(' ').collect();
        let mut at = 0;
        while at + 1 < words.len() {
            let is_time = words[at].parse::<f64>().is_ok()
                && units.contains(&words[at + 1].trim_end_matches([',', '.', ':']));
            if is_time {
                let end = words[at + 1].trim_start_matches(|c: char| c.is_alphabetic() || c == 'µ');
                words[at] = match end {
                    "." => "T.",
                    "," => "T,",
                    ":" => "T:",
                    _ => "T",
                };
                words.remove(at + 1);
            }
            at += 1;
        }
        words.join(" ")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn produced(db: &Db, key: &str) -> u64 {
    db.metrics().record(key).unwrap().produced
}

async fn nothing(_: &Fixture) {}

#[tokio::test]
async fn a_source_that_has_written_nothing() {
    let configure = |builder: &mut Builder| {
        builder.configure::<u64>("temp", |reg| {
            reg.buffer(RING).read_from_outside().source(sensor);
        });
    };
    async fn sensor(
        ctx: aimdb_core::RuntimeContext<aimdb_tokio_adapter::TokioAdapter>,
        _temp: aimdb_core::Producer<u64, aimdb_tokio_adapter::TokioAdapter>,
    ) {
        ctx.stopping().await;
    }
    assert_eq!(
        why("temp", configure, nothing, |_| true).await,
        "`temp` has had no value yet.\n  · The source `sensor` of `temp` runs, and has written nothing yet."
    );
}

#[tokio::test]
async fn a_source_that_failed_for_good() {
    let configure = |builder: &mut Builder| {
        builder.configure::<u64>("temp", |reg| {
            reg.buffer(RING).read_from_outside().source(|ctx, temp| async move {
                temp.produce(1).await.unwrap();
                ctx.fail("no device on bus 3");
            });
        });
    };
    assert_eq!(
        why("temp", configure, nothing, |db| !db.health().is_healthy()).await,
        "`temp` has had 1 value, the newest T ago.\n  ✗ The source of `temp` failed T ago: no device on bus 3. Nothing restarts it."
    );
}

#[tokio::test]
async fn a_source_between_two_attempts() {
    let configure = |builder: &mut Builder| {
        builder.configure::<u64>("temp", |reg| {
            let policy =
                Restart::on_failure().backoff(Duration::from_secs(60), Duration::from_secs(60));
            reg.buffer(RING).read_from_outside().source_with(policy, |ctx, _temp| async move {
                ctx.fail("no device on bus 3");
            });
        });
    };
    assert_eq!(
        why("temp", configure, nothing, |db| !db.health().is_healthy()).await,
        "`temp` has had no value yet.\n  ✗ The source of `temp` failed T ago: no device on bus 3. Attempt 2 begins in T."
    );
}

#[tokio::test]
async fn a_source_that_has_returned() {
    let configure = |builder: &mut Builder| {
        builder.configure::<u64>("temp", |reg| {
            reg.buffer(RING).read_from_outside().source(|_ctx, temp| async move {
                temp.produce(1).await.unwrap();
                temp.produce(2).await.unwrap();
            });
        });
    };
    assert_eq!(
        why("temp", configure, nothing, |db| produced(db, "temp") == 2).await,
        "`temp` has had 2 values, the newest T ago.\n  ✗ The source of `temp` has returned T ago: it writes no more."
    );
}

#[tokio::test]
async fn a_record_that_code_outside_has_not_written() {
    let configure = |builder: &mut Builder| {
        builder.configure::<u64>("temp", |reg| {
            reg.buffer(RING).read_from_outside().written_from_outside();
        });
    };
    assert_eq!(
        why("temp", configure, nothing, |_| true).await,
        "`temp` has had no value yet.\n  · `temp` is written by code outside of the graph, which has not written it yet."
    );
}

#[tokio::test]
async fn a_record_that_nobody_has_set() {
    let answer = why("config%2Flimits", three, nothing, |_| true).await;
    assert_eq!(
        answer,
        "`config/limits` has had no value yet.\n  · `config/limits` is set from outside of the graph, and nobody has set it yet: `aimdb set config/limits VALUE`."
    );
}

fn from_memory(builder: &mut Builder, peer: &MemoryPeer) {
    builder.connector(peer.connector());
    builder.configure::<u64>("temp", |reg| {
        reg.buffer(RING).read_from_outside().link_from("memory://a/b", Json);
    });
}

#[tokio::test]
async fn a_link_that_was_never_connected() {
    let peer = MemoryPeer::new();
    peer.disconnect();
    let refused = |db: &Db| db.metrics().links[0].last_error.is_some();
    let answer = why("temp", |builder| from_memory(builder, &peer), nothing, refused).await;
    assert_eq!(
        answer,
        "`temp` has had no value yet.\n  ✗ The link from `memory://a/b` has not been connected yet: the peer refused the connection."
    );
}

#[tokio::test]
async fn a_link_that_is_down_since() {
    let peer = MemoryPeer::new();
    let act = async |fixture: &Fixture| {
        eventually("it is connected", || fixture.db.metrics().links[0].connected).await;
        peer.publish("a/b", "1");
        eventually("a value comes", || produced(&fixture.db, "temp") == 1).await;
        peer.disconnect();
    };
    let down = |db: &Db| !db.metrics().links[0].connected;
    let answer = why("temp", |builder| from_memory(builder, &peer), act, down).await;
    assert!(
        answer.starts_with("`temp` has had 1 value, the newest T ago.\n  ✗ The link from `memory://a/b` has been down for T"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_link_without_a_message() {
    let peer = MemoryPeer::new();
    let connected = |db: &Db| db.metrics().links[0].connected;
    let answer = why("temp", |builder| from_memory(builder, &peer), nothing, connected).await;
    assert_eq!(
        answer,
        "`temp` has had no value yet.\n  · The link from `memory://a/b` is connected, and no message has come yet."
    );
}

#[tokio::test]
async fn payloads_that_do_not_decode() {
    let peer = MemoryPeer::new();
    for _ in 0..40 {
        peer.publish("a/b", "warm");
    }
    let received = |db: &Db| db.metrics().links[0].received == 40;
    let answer = why("temp", |builder| from_memory(builder, &peer), nothing, received).await;
    assert_eq!(
        answer,
        "`temp` has had no value yet.\n  ✗ 40 of 40 messages from `memory://a/b` did not decode, the last: a payload on `a/b` did not decode: expected value at line 1 column 1."
    );
}

#[tokio::test]
async fn a_queue_that_a_reader_holds_back() {
    let configure = |builder: &mut Builder| {
        builder.configure::<u64>("jobs", |reg| {
            reg.buffer(BufferCfg::queue(2)).source(|_ctx, jobs| async move {
                for n in 0..10 {
                    jobs.produce(n).await.ok();
                }
            });
            reg.tap(|ctx, jobs| async move {
                let _jobs = jobs.subscribe().unwrap();
                ctx.stopping().await;
            })
            .named("page");
        });
    };
    let blocked = |db: &Db| db.metrics().record("jobs").unwrap().blocked.is_some();
    assert_eq!(
        why("jobs", configure, nothing, blocked).await,
        "`jobs` has had 2 values, the newest T ago.\n  ✗ `jobs` is full: reader `page` has held its writers back for T.\n  · The source of `jobs` runs, and writes when it has something."
    );
}

#[tokio::test]
async fn a_transform_that_leaves_out_everything() {
    let configure = |builder: &mut Builder| {
        builder.configure::<u64>("raw", |reg| {
            reg.buffer(BufferCfg::queue(512)).written_from_outside();
        });
        builder.configure::<u64>("odd", |reg| {
            reg.buffer(RING).read_from_outside();
            reg.filter_map(input("raw"), |n: u64| (!n.is_multiple_of(2)).then_some(n));
        });
    };
    let act = async |fixture: &Fixture| {
        let raw = fixture.db.producer::<u64>("raw").unwrap();
        for n in 0..300 {
            raw.produce(2 * n).await.unwrap();
        }
    };
    let filtered = |db: &Db| db.metrics().record("odd").unwrap().filtered == 300;
    assert_eq!(
        why("odd", configure, act, filtered).await,
        "`odd` has had no value yet.\n  ✗ The transform `filter_map` of `odd` left out 300 of 300 values of `raw`.\n    · `raw` is written by code outside of the graph."
    );
}

#[tokio::test]
async fn a_join_whose_second_input_comes_from_a_source_that_failed() {
    let configure = |builder: &mut Builder| {
        builder.configure::<u64>("a", |reg| {
            reg.buffer(RING).written_from_outside();
        });
        builder.configure::<u64>("b", |reg| {
            reg.buffer(RING).source(|ctx, _b| async move { ctx.fail("broken wire") });
        });
        builder.configure::<u64>("mean", |reg| {
            reg.buffer(RING).read_from_outside();
            reg.join((input::<u64>("a"), input::<u64>("b")), |(a, b)| (a + b) / 2);
        });
        builder.configure::<String>("text", |reg| {
            reg.buffer(RING)
                .read_from_outside()
                .transform(input("mean"), |mean: u64| mean.to_string());
        });
    };
    let act = async |fixture: &Fixture| {
        fixture.db.producer::<u64>("a").unwrap().produce(1).await.unwrap();
    };
    assert_eq!(
        why("text", configure, act, |db| !db.health().is_healthy()).await,
        "`text` has had no value yet.\n  · The transform of `text` waits for `mean`, which has had none.\n    · The join of `mean` has had no value of `b` yet.\n      ✗ The source of `b` failed T ago: broken wire. Nothing restarts it.\n      · `a` is written by code outside of the graph."
    );
}

#[tokio::test]
async fn a_source_that_wrote_what_it_had_is_no_fault_of_the_records_behind_it() {
    let configure = |builder: &mut Builder| {
        builder.configure::<u64>("config", |reg| {
            reg.buffer(BufferCfg::latest()).source(|_ctx, config| async move {
                config.produce(7).await.unwrap();
            });
        });
        builder.configure::<u64>("scaled", |reg| {
            reg.buffer(RING).read_from_outside().transform(input("config"), |n: u64| 2 * n);
        });
    };
    assert_eq!(
        why("scaled", configure, nothing, |db| produced(db, "scaled") == 1).await,
        "`scaled` has had 1 value, the newest T ago.\n    · The source of `config` has returned T ago: it writes no more."
    );
}

#[tokio::test]
async fn a_processor_that_hangs() {
    let configure = |builder: &mut Builder| {
        builder.configure::<u64>("raw", |reg| {
            reg.buffer(RING).written_from_outside();
        });
        builder.configure::<u64>("done", |reg| {
            reg.buffer(RING).read_from_outside();
            reg.processor(input::<u64>("raw"), |ctx, raw, done| async move {
                let _unused = (raw, done);
                ctx.stopping().await;
            });
        });
    };
    let act = async |fixture: &Fixture| {
        fixture.db.producer::<u64>("raw").unwrap().produce(1).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2200)).await;
    };
    let answer = why("done", configure, act, |_| true).await;
    assert!(
        answer.contains("has 1 value of `raw` and takes none: the newest came T ago."),
        "{answer}"
    );
}

#[tokio::test]
async fn values_that_come_as_they_should() {
    let configure = |builder: &mut Builder| {
        builder.configure::<u64>("temp", |reg| {
            reg.buffer(RING).read_from_outside().source(|ctx, temp| async move {
                temp.produce(1).await.unwrap();
                ctx.stopping().await;
            });
        });
    };
    assert_eq!(
        why("temp", configure, nothing, |db| produced(db, "temp") == 1).await,
        "`temp` has had 1 value, the newest T ago.\n  · The source of `temp` runs, and writes when it has something."
    );
}
