//! Two databases and a cable with faults, on a virtual clock.

#[expect(unreachable_pub, reason = "several test binaries share the module")]
mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aimdb_core::{AimDbBuilder, BufferCfg, Json, LogLevel, Postcard};
use aimdb_serial_connector::frame::{Body, Decoder, Frame, TopicId};
use aimdb_serial_connector::{SerialCounters, SerialStatus};
use aimdb_testing::TestRuntime;
use support::*;

/// A cable between a database that sends `up` and one that receives it.
struct Bench {
    runtime: Arc<TestRuntime>,
    cable: Cable,
    device: Db,
    gateway: Db,
    device_status: SerialStatus,
    gateway_status: SerialStatus,
}

impl Bench {
    fn new() -> Self {
        Self::with_up(QUEUE)
    }

    fn with_up(up: BufferCfg) -> Self {
        let (runtime, cable) = (Arc::new(TestRuntime::new()), Cable::new());
        let (a, b) = (cable.a(), cable.b());
        let (device_status, gateway_status) = (a.status(), b.status());
        let device = database_with(&runtime, a, true, up);
        let gateway = database_with(&runtime, b, false, QUEUE);
        device.start();
        gateway.start();
        runtime.run_until_idle();
        Self { runtime, cable, device, gateway, device_status, gateway_status }
    }

    fn send(&self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            produce(&self.runtime, &self.device, "up", number);
        }
        self.runtime.run_until_idle();
    }

    fn counters(&self) -> SerialCounters {
        self.gateway_status.counters()
    }

    fn await_heartbeat(&self) {
        self.runtime.advance(secs(3));
    }

    fn assert_both_directions_work(&self) {
        let (mut up, mut down) =
            (reader::<u64>(&self.gateway, "up"), reader::<String>(&self.device, "down"));
        self.send([424_242]);
        produce(&self.runtime, &self.gateway, "down", "still there".to_string());
        self.await_heartbeat();
        assert_eq!(take_all(&mut up).last(), Some(&424_242));
        assert_eq!(take_all(&mut down).last().map(String::as_str), Some("still there"));
    }
}

#[test]
fn records_are_delivered_in_order_in_both_directions() {
    let bench = Bench::new();
    let (mut up, mut down) =
        (reader::<u64>(&bench.gateway, "up"), reader::<String>(&bench.device, "down"));
    bench.send(0..50);
    for text in ["a", "", "ü"] {
        produce(&bench.runtime, &bench.gateway, "down", text.to_string());
    }
    bench.await_heartbeat();
    assert_eq!(take_all(&mut up), (0..50).collect::<Vec<_>>());
    assert_eq!(take_all(&mut down), ["a", "", "ü"]);
    let expected = |sent, received| format!("{sent} sent, {received} received");
    assert_eq!(bench.counters().to_string(), expected(3, 50));
    assert_eq!(bench.device_status.counters().to_string(), expected(50, 3));
    assert!(bench.gateway_status.last_frame_at().is_some());

    let link = bench.device.metrics().links[0].clone();
    assert_eq!((link.sent, link.connected, link.reconnects), (50, true, 0));
    let link = bench.gateway.metrics().links[0].clone();
    assert_eq!((link.received, link.dropped(), link.connected), (50, 0, true));
    for db in [&bench.device, &bench.gateway] {
        let report = shut_down(&bench.runtime, db);
        assert!(report.is_clean(), "{report}");
    }
}

/// The next number of Knuth's linear congruential generator.
fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

fn corrupting(mut seed: u64) -> impl FnMut(&[u8]) -> Vec<u8> + Send {
    move |bytes: &[u8]| {
        let corrupt = |byte: &u8| match random(&mut seed) % 100 {
            0 => random(&mut seed) as u8,
            _ => *byte,
        };
        bytes.iter().map(corrupt).collect()
    }
}

#[test]
fn a_corrupting_line_delivers_each_of_ten_thousand_values_unchanged_or_counts_it() {
    let bench = Bench::new();
    bench.cable.a_to_b().set_fault(corrupting(11));
    bench.cable.b_to_a().set_fault(corrupting(12));
    let mut up = reader::<u64>(&bench.gateway, "up");
    let mut delivered = Vec::new();
    for batch in 0..500 {
        bench.send((0..20).map(|n| (batch * 20 + n) * 0x0123_4567_89ab));
        delivered.extend(take_all(&mut up));
    }
    bench.runtime.advance(secs(20));
    delivered.extend(take_all(&mut up));

    let counters = bench.counters();
    assert_eq!(bench.device_status.counters().sent, 10_000);
    assert_eq!(accounted(counters), 10_000, "{counters}");
    assert_eq!(delivered.len() as u64, counters.received);
    assert!(
        delivered.iter().all(|value| value % 0x0123_4567_89ab == 0),
        "a value that was never sent"
    );
    assert!(delivered.is_sorted_by(|a, b| a < b), "out of order or duplicated");
    assert!(counters.lost > 500 && counters.received > 5_000, "{counters}");
    assert!(counters.corrupted + counters.truncated > 500, "{counters}");
    assert_eq!((counters.duplicates, counters.peer_restarts, counters.refused), (0, 0, 0));

    bench.cable.a_to_b().clear_fault();
    bench.cable.b_to_a().clear_fault();
    bench.assert_both_directions_work();
}

#[test]
fn lost_frames_are_counted_and_a_heartbeat_reports_the_latest_ones() {
    let bench = Bench::new();
    let mut up = reader::<u64>(&bench.gateway, "up");
    bench.send([1]);
    bench.cable.a_to_b().set_fault(|_| Vec::new());
    bench.send([2, 3]);
    bench.cable.a_to_b().clear_fault();
    bench.send([4]);
    assert_eq!((bench.counters().received, bench.counters().lost), (2, 2));
    bench.cable.a_to_b().set_fault(|_| Vec::new());
    bench.send([5, 6, 7]);
    bench.cable.a_to_b().clear_fault();
    assert_eq!(bench.counters().lost, 2);
    bench.await_heartbeat();
    assert_eq!((bench.counters().received, bench.counters().lost), (2, 5));
    assert_eq!(take_all(&mut up), [1, 4]);
    let lines = bench.runtime.log_lines();
    let warnings: Vec<_> = lines.iter().filter(|line| line.level == LogLevel::Warn).collect();
    let words: Vec<_> = warnings.iter().map(|line| line.message.as_str()).collect();
    assert!(
        words.contains(&"on the line: 5 lost") || words.contains(&"on the line: 3 lost"),
        "{words:?}"
    );
    bench.assert_both_directions_work();
}

#[test]
fn duplicate_frames_are_dropped_and_counted() {
    let bench = Bench::new();
    let mut up = reader::<u64>(&bench.gateway, "up");
    // The cable takes whole frames, so the fault repeats whole frames.
    bench.cable.a_to_b().set_capacity(10_000);
    bench.cable.a_to_b().set_fault(|bytes| [bytes, bytes].concat());
    bench.send(1..=10);
    bench.cable.a_to_b().clear_fault();
    bench.await_heartbeat();
    assert_eq!(take_all(&mut up), (1..=10).collect::<Vec<_>>());
    let counters = bench.counters();
    assert_eq!((counters.received, counters.duplicates, counters.lost), (10, 10, 0));
    bench.assert_both_directions_work();
}

#[test]
fn a_truncated_frame_is_lost_together_with_the_frame_it_merges_with() {
    let bench = Bench::new();
    let mut up = reader::<u64>(&bench.gateway, "up");
    bench.send([1]);
    bench.cable.a_to_b().set_fault(|bytes| bytes[..bytes.len() / 2].to_vec());
    bench.send([2]);
    bench.cable.a_to_b().clear_fault();
    bench.send([3, 4]);
    bench.await_heartbeat();
    assert_eq!(take_all(&mut up), [1, 4]);
    let counters = bench.counters();
    assert_eq!(
        (counters.received, counters.lost, counters.truncated + counters.corrupted),
        (2, 2, 1)
    );
    bench.assert_both_directions_work();
}

#[test]
fn after_noise_the_next_valid_frame_is_delivered() {
    let bench = Bench::new();
    let mut up = reader::<u64>(&bench.gateway, "up");
    bench.send([1]);
    let mut seed = 5;
    let noise: Vec<u8> = (0..20_000).map(|_| random(&mut seed) as u8).collect();
    for piece in noise.chunks(100) {
        bench.cable.a_to_b().inject(piece);
        bench.runtime.run_until_idle();
    }
    // The noise merges with the first frame after it, unless its last byte is a zero.
    bench.send([2, 3]);
    bench.await_heartbeat();
    let delivered = take_all(&mut up);
    assert_eq!((delivered[0], *delivered.last().unwrap()), (1, 3));
    let counters = bench.counters();
    assert_eq!(accounted(counters), 3);
    assert!(counters.truncated + counters.corrupted > 20, "{counters}");
    bench.assert_both_directions_work();
}

#[test]
fn a_frame_over_the_limit_is_discarded_and_the_next_one_is_delivered() {
    let bench = Bench::new();
    let mut up = reader::<u64>(&bench.gateway, "up");
    bench.send([1]);
    let mut bytes = Vec::new();
    let body = Body::Data { topic: TopicId::of("up"), payload: &[1; 5000] };
    Frame::new(7, 2, body).encode(&mut bytes);
    bench.cable.a_to_b().inject(&bytes);
    bench.cable.a_to_b().inject(&vec![5; 100_000]);
    bench.cable.a_to_b().inject(&[0]);
    bench.runtime.run_until_idle();
    bench.send([2]);
    assert_eq!(take_all(&mut up), [1, 2]);
    assert_eq!(bench.counters().too_long, 2);
    bench.assert_both_directions_work();
}

#[test]
fn a_value_over_the_limit_is_not_sent_but_counted_and_logged() {
    let bench = Bench::new();
    let mut down = reader::<String>(&bench.device, "down");
    for text in ["x".repeat(510), "x".repeat(511), "short".into()] {
        produce(&bench.runtime, &bench.gateway, "down", text);
    }
    bench.await_heartbeat();
    // Postcard prefixes the text with its length: two bytes.
    assert_eq!(take_all(&mut down), ["x".repeat(510), "short".into()]);
    let counters = bench.counters();
    assert_eq!((counters.sent, counters.oversized), (2, 1));
    assert_eq!(bench.device_status.counters().to_string(), "2 received");
    let text = "a message of `down` to `down` was dropped: its 513 bytes are over the limit of 512, \
                see `max_payload`";
    let link = bench.gateway.metrics().links[1].clone();
    assert_eq!((link.sent, link.dropped(), link.last_error.as_deref()), (2, 1, Some(text)));
    let logged = bench.runtime.log_lines().into_iter().filter(|line| line.message == text).count();
    assert_eq!(logged, 1);
}

#[test]
fn an_unplugged_cable_leaves_values_in_their_record_and_both_directions_recover() {
    let bench = Bench::new();
    let (mut up, mut down) =
        (reader::<u64>(&bench.gateway, "up"), reader::<String>(&bench.device, "down"));
    bench.send([1, 2]);
    bench.await_heartbeat();
    bench.cable.unplug();
    bench.runtime.advance(secs(60));
    assert!(!bench.device.metrics().links[0].connected);
    let error = "the cable: it is unplugged";
    assert_eq!(bench.device.metrics().links[0].last_error.as_deref(), Some(error));
    bench.send(3..=20);
    produce(&bench.runtime, &bench.gateway, "down", "while it was unplugged".to_string());
    bench.runtime.advance(secs(60));
    assert_eq!(take_all(&mut up), [1, 2]);
    bench.cable.plug_in();
    bench.runtime.advance(secs(15));
    assert_eq!(take_all(&mut up), (3..=20).collect::<Vec<_>>());
    assert_eq!(take_all(&mut down), ["while it was unplugged"]);
    let counters = bench.counters();
    assert_eq!((counters.received, counters.lost, counters.reconnects), (20, 0, 1));
    assert_eq!((counters.peer_restarts, counters.duplicates), (0, 0));
    assert_eq!(bench.device.metrics().links[0].reconnects, 1);
    bench.assert_both_directions_work();
}

#[test]
fn an_unplugged_cable_loses_and_counts_its_bytes_but_not_the_value_in_flight() {
    let bench = Bench::new();
    let mut up = reader::<u64>(&bench.gateway, "up");
    bench.send([1]);
    bench.await_heartbeat();
    // The cable loses three values; the fourth is partly written.
    bench.cable.a_to_b().set_fault(|_| Vec::new());
    bench.send([2, 3, 4]);
    bench.cable.a_to_b().clear_fault();
    bench.cable.a_to_b().block(5);
    bench.send([5, 6]);
    assert_eq!(bench.device_status.counters().sent, 4);
    bench.cable.unplug();
    bench.cable.a_to_b().unblock();
    bench.cable.plug_in();
    bench.runtime.advance(secs(5));
    assert_eq!(take_all(&mut up), [1, 5, 6]);
    let counters = bench.counters();
    assert_eq!((counters.received, counters.lost, counters.duplicates), (3, 3, 0));
    bench.assert_both_directions_work();
}

#[test]
fn a_peer_that_does_not_read_blocks_the_outbound_direction_alone() {
    let bench = Bench::with_up(BufferCfg::SingleLatest);
    let (mut up, mut down) =
        (reader::<u64>(&bench.gateway, "up"), reader::<String>(&bench.device, "down"));
    bench.cable.a_to_b().block(0);
    for number in 1..=100 {
        bench.send([number]);
        produce(&bench.runtime, &bench.gateway, "down", format!("command {number}"));
        bench.runtime.run_until_idle();
        assert_eq!(take_all(&mut down), [format!("command {number}")]);
    }
    bench.runtime.advance(secs(100));
    assert_eq!(bench.device_status.counters().sent, 0);
    bench.cable.a_to_b().unblock();
    bench.await_heartbeat();
    // The value in flight, then the latest one.
    assert_eq!(take_all(&mut up), [1, 100]);
    bench.assert_both_directions_work();
}

#[test]
fn a_queue_with_a_blocked_line_applies_backpressure_to_its_writers() {
    let bench = Bench::new();
    bench.cable.a_to_b().block(0);
    bench.send(0..64);
    let producer = bench.device.producer::<u64>("up").unwrap();
    // One value is in flight, so the queue has room for one more.
    assert!(producer.try_produce(64).is_ok());
    assert!(producer.try_produce(65).is_err());
}

#[test]
fn a_blocked_line_does_not_delay_a_shutdown_beyond_its_deadline() {
    let bench = Bench::new();
    bench.cable.a_to_b().block(0);
    bench.send(0..5);
    let report = shut_down(&bench.runtime, &bench.device);
    assert_eq!(report.total_undelivered(), 5, "{report}");
    assert_eq!(report.aborted, ["serial/connector"]);
}

/// A fault that loses the data frame with the sequence number `number`, written in one piece.
fn losing_the_value(number: u64) -> impl FnMut(&[u8]) -> Vec<u8> + Send {
    let sequence = u32::try_from(number).unwrap();
    move |bytes: &[u8]| {
        let (mut decoder, mut rest) = (Decoder::new(512), bytes);
        match decoder.feed(&mut rest) {
            Some(Ok(Frame { sequence: found, body: Body::Data { .. }, .. }))
                if found == sequence =>
            {
                Vec::new()
            }
            _ => bytes.to_vec(),
        }
    }
}

#[test]
fn a_shutdown_sends_accepted_values_and_reports_the_last_number() {
    let bench = Bench::new();
    let mut up = reader::<u64>(&bench.gateway, "up");
    bench.send([1]);
    bench.cable.a_to_b().block(0);
    bench.send(2..=30);
    bench.cable.a_to_b().unblock();
    bench.cable.a_to_b().set_capacity(10_000);
    let mut last = Vec::new();
    Frame::new(7, 30, Body::Heartbeat).encode(&mut last);
    bench.cable.a_to_b().set_fault(losing_the_value(30));
    let report = shut_down(&bench.runtime, &bench.device);
    assert!(report.is_clean(), "{report}");
    bench.runtime.run_until_idle();
    assert_eq!(take_all(&mut up), (1..=29).collect::<Vec<_>>());
    assert_eq!((bench.counters().received, bench.counters().lost), (29, 1));
    assert!(bench.cable.a_to_b().written.ends_with(&last));
}

/// Replaces the device by one with the given session number, on the same cable.
fn restart(bench: &mut Bench, session: u16) {
    bench.cable.unplug();
    let report = shut_down(&bench.runtime, &bench.device);
    assert!(report.is_clean(), "{report}");
    bench.cable.plug_in();
    let connector = bench.cable.a().session(session);
    bench.device_status = connector.status();
    bench.device = database(&bench.runtime, connector, true);
    bench.device.start();
    bench.runtime.advance(secs(15));
}

#[test]
fn a_restarted_peer_is_recognised_at_once_with_any_session_number() {
    for (before, session) in [(3, 7), (3, 8), (200, 7), (200, 8)] {
        let mut bench = Bench::new();
        let mut up = reader::<u64>(&bench.gateway, "up");
        for number in 0..before {
            bench.send([number]);
            assert_eq!(take_all(&mut up), [number]);
        }
        restart(&mut bench, session);
        bench.send(1000..1005);
        bench.await_heartbeat();
        assert_eq!(take_all(&mut up), (1000..1005).collect::<Vec<_>>());
        let counters = bench.counters();
        assert_eq!((counters.received, counters.peer_restarts), (before + 5, 1));
        assert_eq!((counters.lost, counters.duplicates), (0, 0));
        bench.assert_both_directions_work();
    }
}

#[test]
fn a_late_gateway_counts_earlier_values_separately() {
    let bench = Bench::new();
    bench.send(0..10);
    let report = shut_down(&bench.runtime, &bench.gateway);
    assert!(report.is_clean(), "{report}");
    let connector = bench.cable.b();
    let status = connector.status();
    let gateway = database(&bench.runtime, connector, false);
    let mut up = reader::<u64>(&gateway, "up");
    gateway.start();
    bench.send(10..15);
    bench.await_heartbeat();
    assert_eq!(take_all(&mut up), (10..15).collect::<Vec<_>>());
    assert_eq!(status.counters().to_string(), "5 received, 10 sent before the first frame");
}

#[test]
fn values_of_unknown_topics_are_counted() {
    let bench = Bench::new();
    let mut bytes = Vec::new();
    let body = Body::Data { topic: TopicId::of("unknown"), payload: b"x" };
    Frame::new(7, 1, body).encode(&mut bytes);
    bench.cable.a_to_b().inject(&bytes);
    bench.runtime.run_until_idle();
    assert_eq!(bench.counters().to_string(), "1 received, 1 of unknown topics");
}

#[test]
fn a_payload_that_does_not_decode_is_counted_at_its_link() {
    let (runtime, cable) = (Arc::new(TestRuntime::new()), Cable::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.connector(cable.a());
    builder.configure::<String>("text", |reg| {
        reg.buffer(QUEUE).link_to("serial://up", Json);
    });
    let device = builder.build().unwrap();
    let gateway = database(&runtime, cable.b(), false);
    let mut up = reader::<u64>(&gateway, "up");
    device.start();
    gateway.start();
    produce(&runtime, &device, "text", "not a number".to_string());
    runtime.run_until_idle();
    assert!(take_all(&mut up).is_empty());
    let link = gateway.metrics().links[0].clone();
    assert_eq!((link.received, link.decode_errors()), (1, 1));
}

#[test]
fn a_full_record_keeps_one_value_pending_and_drops_its_newer_ones_alone() {
    let (runtime, cable) = (Arc::new(TestRuntime::new()), Cable::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.connector(cable.a());
    for key in ["slow", "quick"] {
        builder.configure::<u64>(key, |reg| {
            reg.buffer(QUEUE).link_to(format!("serial://{key}"), Postcard);
        });
    }
    let device = builder.build().unwrap();
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    let connector = cable.b();
    let status = connector.status();
    builder.connector(connector);
    builder.configure::<u64>("slow", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 2 }).link_from("serial://slow", Postcard);
    });
    builder.configure::<u64>("quick", |reg| {
        reg.buffer(QUEUE).link_from("serial://quick", Postcard);
    });
    let gateway = builder.build().unwrap();
    let (mut slow, mut quick) = (reader::<u64>(&gateway, "slow"), reader::<u64>(&gateway, "quick"));
    device.start();
    gateway.start();
    for number in 0..10_u64 {
        produce(&runtime, &device, "slow", number);
        produce(&runtime, &device, "quick", number);
    }
    // The connector waits for the slow record once.
    runtime.advance(Duration::from_millis(30));
    assert_eq!(take_all(&mut quick), (0..10).collect::<Vec<_>>());
    // Two values are in the record, one is pending in the link.
    assert_eq!(status.counters().to_string(), "20 received, 7 refused by a full or closed record");
    let link = gateway.metrics().links[0].clone();
    assert_eq!((link.received, link.dropped()), (10, 7));

    assert_eq!(take_all(&mut slow), [0, 1]);
    runtime.run_until_idle();
    assert_eq!(take_all(&mut slow), [2], "the pending value is delivered without a further value");
    produce(&runtime, &device, "slow", 99_u64);
    runtime.run_until_idle();
    assert_eq!(take_all(&mut slow), [99]);
}

#[test]
fn a_port_is_reopened_after_the_idle_timeout() {
    let (runtime, cable) = (Arc::new(TestRuntime::new()), Cable::new());
    let connector = cable.b().idle_timeout(secs(5));
    let status = connector.status();
    let gateway = database(&runtime, connector, false);
    gateway.start();
    runtime.advance(secs(20));
    assert!(status.counters().reconnects >= 2, "{}", status.counters());
    let error = gateway.metrics().links[0].last_error.clone();
    assert_eq!(error.as_deref(), Some("no frame arrived for 5s"));
    let device = database(&runtime, cable.a(), true);
    device.start();
    runtime.advance(secs(20));
    let reconnects = status.counters().reconnects;
    runtime.advance(secs(60));
    assert_eq!(status.counters().reconnects, reconnects, "a heartbeat restarts the idle timeout");
}

#[test]
fn an_idle_line_carries_a_heartbeat_every_second_and_a_busy_line_none() {
    let bench = Bench::new();
    let written = |bench: &Bench| bench.cable.a_to_b().written.len();
    let before = written(&bench);
    bench.runtime.advance(secs(10));
    let heartbeats = written(&bench) - before;
    assert_eq!(heartbeats, 10 * 13);
    let before = written(&bench);
    for number in 0..20 {
        bench.send([number]);
        bench.runtime.advance(Duration::from_millis(500));
    }
    assert_eq!(written(&bench) - before, 20 * 18);
}

#[test]
fn one_topic_can_fill_several_records_and_several_records_can_share_one_topic() {
    let (runtime, cable) = (Arc::new(TestRuntime::new()), Cable::new());
    let build = |connector, outbound: bool| {
        let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
        builder.connector(connector);
        for key in ["one", "two"] {
            builder.configure::<u64>(key, |reg| {
                let reg = reg.buffer(QUEUE);
                match outbound {
                    true => reg.link_to("serial://shared", Postcard),
                    false => reg.link_from("serial://shared", Postcard),
                };
            });
        }
        let db = builder.build().unwrap();
        db.start();
        db
    };
    let (device, gateway) = (build(cable.a(), true), build(cable.b(), false));
    let (mut one, mut two) = (reader::<u64>(&gateway, "one"), reader::<u64>(&gateway, "two"));
    for number in 0..5_u64 {
        produce(&runtime, &device, "one", number);
        produce(&runtime, &device, "two", number + 10);
    }
    runtime.run_until_idle();
    let (one, two) = (take_all(&mut one), take_all(&mut two));
    assert_eq!(one, two);
    let of = |low: u64| one.iter().copied().filter(move |n| (low..low + 10).contains(n));
    assert!(of(0).eq(0..5) && of(10).eq(10..15), "{one:?}");
}

#[test]
fn a_shared_mailbox_whose_line_is_blocked_serves_its_other_takers() {
    let (runtime, cable) = (Arc::new(TestRuntime::new()), Cable::new());
    let taken = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&taken);
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.connector(cable.a());
    builder.configure::<u64>("up", |reg| {
        reg.buffer(QUEUE).link_to("serial://up", Postcard);
    });
    builder.configure::<u64>("job", |reg| {
        reg.buffer(BufferCfg::Mailbox).shared().link_to("serial://job", Postcard).tap(
            |_, jobs| async move {
                let mut jobs = jobs.subscribe().unwrap();
                while let Ok(job) = jobs.recv().await {
                    notes.lock().unwrap().push(job);
                }
            },
        );
    });
    let db = builder.build().unwrap();
    db.start();
    let produce_job = |job: u64| {
        produce(&runtime, &db, "job", job);
        runtime.run_until_idle();
    };
    // A taker that took a value queues behind the other: once the tap has taken one, the link is first.
    (1..=2).take_while(|_| taken.lock().unwrap().is_empty()).for_each(produce_job);
    cable.a_to_b().block(0);
    produce(&runtime, &db, "up", 1_u64);
    runtime.run_until_idle();
    produce_job(7);
    assert_eq!(taken.lock().unwrap().last(), Some(&7));
}

#[test]
fn a_connection_begins_with_a_zero_and_two_starts() {
    let bench = Bench::new();
    let mut start = Vec::new();
    Frame::new(7, 0, Body::Start).encode(&mut start);
    assert_eq!(bench.cable.a_to_b().written, [&[0][..], &start, &start].concat());
}

#[test]
fn a_connection_that_lasted_is_reopened_at_once_and_another_one_after_a_backoff() {
    let bench = Bench::new();
    for round in 1..=5 {
        // The longest pause.
        bench.runtime.advance(secs(10));
        bench.cable.unplug();
        bench.cable.plug_in();
        bench.runtime.run_until_idle();
        assert_eq!(bench.counters().reconnects, round);
    }
    bench.await_heartbeat();
    bench.cable.unplug();
    bench.cable.plug_in();
    bench.runtime.run_until_idle();
    assert_eq!(bench.counters().reconnects, 5, "it has not lasted");
    bench.cable.unplug();
    bench.runtime.advance(secs(5));
    bench.cable.plug_in();
    bench.runtime.advance(Duration::from_millis(1));
    assert_eq!(bench.counters().reconnects, 5);
    bench.runtime.advance(secs(10));
    assert_eq!(bench.counters().reconnects, 6);
}

#[test]
fn links_take_turns() {
    let (runtime, cable) = (Arc::new(TestRuntime::new()), Cable::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.connector(cable.a());
    for key in ["one", "two", "three"] {
        builder.configure::<u64>(key, |reg| {
            reg.buffer(QUEUE).link_to(format!("serial://{key}"), Postcard);
        });
    }
    let db = builder.build().unwrap();
    for key in ["one", "two", "three"] {
        (0..4_u64).for_each(|number| produce(&runtime, &db, key, number));
    }
    cable.a_to_b().set_capacity(10_000);
    db.start();
    runtime.run_until_idle();
    let written = cable.a_to_b().written.clone();
    let (mut decoder, mut bytes, mut topics) = (Decoder::new(512), &written[..], Vec::new());
    while let Some(frame) = decoder.feed(&mut bytes) {
        if let Body::Data { topic, .. } = frame.unwrap().body {
            topics.push(topic);
        }
    }
    let round = ["one", "two", "three"].map(TopicId::of);
    assert_eq!(topics, [round; 4].concat());
}

#[test]
fn a_value_pending_when_its_record_closes_is_counted() {
    let (runtime, cable) = (Arc::new(TestRuntime::new()), Cable::new());
    let device = database(&runtime, cable.a(), true);
    let connector = cable.b();
    let status = connector.status();
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.connector(connector);
    builder.configure::<u64>("up", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 1 }).link_from("serial://up", Postcard);
    });
    let gateway = builder.build().unwrap();
    let _slow = reader::<u64>(&gateway, "up");
    device.start();
    gateway.start();
    for number in 0..2_u64 {
        produce(&runtime, &device, "up", number);
    }
    runtime.run_until_idle();
    assert_eq!(status.counters().to_string(), "2 received");
    shut_down(&runtime, &gateway);
    assert_eq!(status.counters().received - status.counters().refused, 1);
}
