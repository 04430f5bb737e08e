//! The guarantees of `MqttConnector` when connections break, brokers crash, and databases stop.

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use aimdb_core::{BufferCfg, Json, Reader};
use aimdb_mqtt_connector::{MqttVersion, QoS, mqtt};
use support::*;

/// Much more than the longest backoff of [`to_url`], for a busy machine.
const RECOVERY_LIMIT: Duration = Duration::from_secs(4);

const DAY: Duration = Duration::from_secs(86_400);

/// The values that arrive, until at least `enough` distinct ones have arrived and no further value follows.
async fn collect(reader: &mut Reader<u64>, enough: usize) -> Vec<u64> {
    let mut all = Vec::new();
    let mut distinct = BTreeSet::new();
    let began = Instant::now();
    loop {
        match tokio::time::timeout(QUIET_TIME, reader.recv()).await {
            Ok(Ok(n)) => {
                distinct.insert(n);
                all.push(n);
            }
            Ok(Err(_)) => return all,
            Err(_) if distinct.len() >= enough || began.elapsed() > TIMEOUT => return all,
            Err(_) => {}
        }
    }
}

fn random(from: u64, to: u64) -> Duration {
    use std::hash::{BuildHasher, Hasher};
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    Duration::from_millis(from + random % (to - from))
}

/// Produces numbers until the returned sender sends. The task returns their count.
fn keep_producing(
    db: &Db,
    key: &'static str,
    pause: Duration,
) -> (tokio::sync::oneshot::Sender<()>, tokio::task::JoinHandle<u64>) {
    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    let producer = db.producer::<u64>(key).unwrap();
    let producing = tokio::spawn(async move {
        let mut n = 0;
        while stopped.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Empty) {
            producer.produce(n).await.unwrap();
            n += 1;
            tokio::time::sleep(pause).await;
        }
        n
    });
    (stop, producing)
}

/// A database that sends and one that receives, each behind a network of its own. The networks break in twenty rounds.
async fn over_a_network_that_breaks(
    version: MqttVersion,
    qos: QoS,
    sender_persists: bool,
) -> (u64, Vec<u64>) {
    let broker = Mosquitto::start(UNLIMITED).unwrap();
    let (there, back) = (Proxy::to(broker.port()).await, Proxy::to(broker.port()).await);
    let mut sender = builder();
    let connector = mqtt_to(there.port()).version(version).client_id("sender");
    sender.connector(if sender_persists { connector.persistent_session(DAY) } else { connector });
    sender.configure::<u64>("out", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 64 }).link_to(mqtt::topic("n").qos(qos), Json);
    });
    let mut receiver = builder();
    receiver.connector(
        mqtt_to(back.port()).version(version).client_id("receiver").persistent_session(DAY),
    );
    receiver.configure::<u64>("in", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 64 })
            .link_from(mqtt::filter("n").qos(qos), Json);
    });
    let receiver = receiver.build().unwrap();
    let mut reader = receiver.consumer::<u64>("in").unwrap().subscribe().unwrap();
    receiver.start();
    connected(&receiver).await;
    let sender = start(sender).await;

    let (stop, producing) = keep_producing(&sender, "out", Duration::from_micros(300));
    let collecting = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Ok(n) = reader.recv().await {
            all.push(n);
        }
        all
    });
    let progress = || (link(&sender, 0).sent, link(&receiver, 0).received);
    for round in 0..20 {
        tokio::time::sleep(random(30, 150)).await;
        if round % 3 != 0 {
            there.cut();
        }
        if round % 3 != 1 {
            back.cut();
        }
        let before = progress();
        let cut = Instant::now();
        eventually("both directions continue", progress, |now| {
            now.0 > before.0 && now.1 > before.1
        })
        .await;
        assert!(cut.elapsed() < RECOVERY_LIMIT, "{:?} in round {round}", cut.elapsed());
    }
    stop.send(()).unwrap();
    let produced = producing.await.unwrap();
    eventually("all is acknowledged", || link(&sender, 0), |link| link.sent == produced).await;
    assert!(link(&sender, 0).reconnects >= 10 && link(&receiver, 0).reconnects >= 10);
    assert_eq!(link(&sender, 0).dropped() + link(&receiver, 0).dropped(), 0);
    shut_down(&sender).await;
    // The broker may still deliver messages to the receiver.
    let mut seen = 0;
    loop {
        tokio::time::sleep(QUIET_TIME).await;
        let now = link(&receiver, 0).received;
        if now == seen && link(&receiver, 0).connected {
            break;
        }
        seen = now;
    }
    shut_down(&receiver).await;
    (produced, collecting.await.unwrap())
}

#[tokio::test]
async fn at_least_once_every_value_arrives_over_a_network_that_breaks() {
    if Mosquitto::start("").is_none() {
        return;
    }
    for (version, sender_persists) in
        [(MqttVersion::V5, false), (MqttVersion::V5, true), (MqttVersion::V311, false)]
    {
        let (produced, arrived) =
            over_a_network_that_breaks(version, QoS::AtLeastOnce, sender_persists).await;
        let distinct: BTreeSet<u64> = arrived.iter().copied().collect();
        assert!(distinct.into_iter().eq(0..produced), "{version:?}, {produced} produced");
    }
}

#[tokio::test]
async fn exactly_once_every_value_arrives_once_and_in_order_over_a_network_that_breaks() {
    if Mosquitto::start("").is_none() {
        return;
    }
    for version in VERSIONS {
        let (produced, arrived) = over_a_network_that_breaks(version, QoS::ExactlyOnce, true).await;
        let mut sorted = arrived.clone();
        sorted.sort_unstable();
        let doubled: Vec<_> = sorted.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(doubled.is_empty(), "{version:?}: {} of {produced} arrived twice", doubled.len());
        assert!(sorted.into_iter().eq(0..produced), "{version:?}, {produced} produced");
    }
}

#[tokio::test]
async fn nothing_is_lost_or_miscounted_when_the_broker_is_killed_twenty_times() {
    let Some(mut broker) = Mosquitto::start(UNLIMITED) else { return };
    let mut builder = builder();
    builder.connector(mqtt_to(broker.port()));
    let buffers = [
        ("queue", BufferCfg::SpmcQueue { capacity: 32 }),
        ("ring", BufferCfg::SpmcRing { capacity: 32 }),
        ("latest", BufferCfg::SingleLatest),
    ];
    for (key, buffer) in buffers {
        builder.configure::<u64>(key, |reg| {
            reg.buffer(buffer)
                .link_to(mqtt::topic(format!("out/{key}")).qos(QoS::AtLeastOnce), Json);
        });
    }
    builder.configure::<u64>("in", |reg| {
        reg.buffer(QUEUE).link_from("mqtt://in?qos=1", Json);
    });
    let db = builder.build().unwrap();
    let mut reader = db.consumer::<u64>("in").unwrap().subscribe().unwrap();
    db.start();
    connected(&db).await;
    let producing =
        ["queue", "ring", "latest"].map(|key| keep_producing(&db, key, Duration::from_micros(500)));
    let mut slowest = Duration::ZERO;
    for round in 0..20_u64 {
        tokio::time::sleep(random(100, 600)).await;
        broker.kill();
        tokio::time::sleep(random(10, 150)).await;
        let sent_before: Vec<u64> = (0..3).map(|at| link(&db, at).sent).collect();
        broker.restart();
        let back = Instant::now();
        connected(&db).await;
        let probe = Probe::connect(broker.port()).await;
        probe.publish("in", round.to_string(), QoS::AtLeastOnce).await;
        assert_eq!(value(&mut reader).await, round);
        eventually(
            "every link sends again",
            || db.metrics(),
            |metrics| {
                metrics.links.iter().zip(&sent_before).all(|(link, before)| link.sent > *before)
            },
        )
        .await;
        slowest = slowest.max(back.elapsed());
    }
    assert!(slowest < RECOVERY_LIMIT, "{slowest:?}");
    let mut produced = Vec::new();
    for (stop, producing) in producing {
        stop.send(()).unwrap();
        produced.push(producing.await.unwrap());
    }
    eventually(
        "the records are drained",
        || db.metrics(),
        |metrics| metrics.records.iter().take(3).all(|record| record.readers[0].pending == 0),
    )
    .await;
    let metrics = db.metrics();
    for (at, record) in metrics.records.iter().take(3).enumerate() {
        assert_eq!(record.produced, produced[at]);
        let reader = &record.readers[0];
        assert_eq!(reader.delivered + reader.lagged, record.produced, "{record}");
        eventually(
            "every taken message is acknowledged",
            || link(&db, at),
            |link| link.sent == reader.delivered,
        )
        .await;
        assert_eq!(link(&db, at).dropped(), 0);
        assert!(link(&db, at).reconnects >= 20);
    }
    assert_eq!(metrics.records[0].readers[0].lagged, 0);
    assert!(metrics.records[1].readers[0].lagged > 0);
    shut_down(&db).await;
}

#[tokio::test]
async fn a_shutdown_without_a_broker_counts_exactly_the_undelivered_values() {
    let Some(broker) = Mosquitto::start(UNLIMITED) else { return };
    for version in VERSIONS {
        for (what, mute_first) in [("no packet passes", false), ("no acknowledgement passes", true)]
        {
            let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
            let proxy = Proxy::to(broker.port()).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            let before = tasks();
            let mut builder = builder();
            builder.connector(mqtt_to(proxy.port()).version(version));
            builder.configure::<u64>("out", |reg| {
                reg.buffer(QUEUE).link_to("mqtt://n?qos=1", Json);
            });
            let db = start(builder).await;
            let producer = db.producer::<u64>("out").unwrap();
            producer.produce_many(0..10).await.unwrap();
            eventually("ten are sent", || link(&db, 0).sent, |sent| *sent == 10).await;
            if mute_first {
                proxy.mute(true);
                producer.produce_many(0..150).await.unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            proxy.close(true);
            eventually("the loss is detected", || link(&db, 0), |link| !link.connected).await;
            producer.produce_many(0..50).await.unwrap();
            let report = db.shutdown(Duration::from_millis(300)).await;
            let produced = if mute_first { 210 } else { 60 };
            let unread: u64 = report.undelivered.iter().map(|undelivered| undelivered.unread).sum();
            let interrupted: u64 =
                report.undelivered.iter().map(|undelivered| undelivered.interrupted).sum();
            // The window: what may be unacknowledged at once.
            let window = if version == MqttVersion::V5 { 100 } else { 20 };
            let expected = if mute_first { (200 - window, window) } else { (50, 0) };
            assert_eq!((unread, interrupted), expected, "{version:?}, {what}: {report}");
            assert_eq!(
                report.total_undelivered() + link(&db, 0).sent,
                produced,
                "{what}: {report}"
            );
            assert!(report.elapsed < Duration::from_secs(2), "{report}");
            eventually("no task survives", tasks, |tasks| *tasks <= before).await;
        }
    }
}

#[tokio::test]
async fn a_restart_resumes_a_session_without_loss_or_duplicates() {
    let Some(broker) = Mosquitto::start(UNLIMITED) else { return };
    for version in VERSIONS {
        let probe = Probe::connect(broker.port()).await;
        let build = || {
            let mut builder = builder();
            builder.connector(
                mqtt_to(broker.port())
                    .version(version)
                    .client_id("restarted")
                    .persistent_session(DAY),
            );
            builder.configure::<u64>("in", |reg| {
                reg.buffer(QUEUE).link_from("mqtt://in?qos=2", Json);
            });
            builder
        };
        let first = start(build()).await;
        shut_down(&first).await;
        let mut publishing = tokio::spawn(async move {
            for n in 0..1000_u64 {
                probe.publish("in", n.to_string(), QoS::ExactlyOnce).await;
            }
        });
        let mut all = Vec::new();
        for round in 0..6 {
            let db = build().build().unwrap();
            let mut reader = db.consumer::<u64>("in").unwrap().subscribe().unwrap();
            db.start();
            connected(&db).await;
            if round < 5 {
                tokio::time::sleep(Duration::from_millis(40)).await;
            } else {
                // The publishes have no common time limit, only one each: together they take as long as the broker
                // needs.
                (&mut publishing).await.unwrap();
                eventually(
                    "the last value arrives",
                    || db.consumer::<u64>("in").unwrap().latest(),
                    |latest| *latest == Some(999),
                )
                .await;
            }
            shut_down(&db).await;
            all.extend(collect(&mut reader, 0).await);
        }
        all.sort_unstable();
        let doubled: Vec<_> = all.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(doubled.is_empty(), "{version:?}: {} arrived twice", doubled.len());
        assert!(all.into_iter().eq(0..1000), "{version:?}");
    }
}

#[tokio::test]
async fn messages_for_a_removed_link_do_not_stop_a_resumed_session() {
    let Some(broker) = Mosquitto::start(UNLIMITED) else { return };
    for version in VERSIONS {
        let probe = Probe::connect(broker.port()).await;
        let build = |filters: &[&'static str]| {
            let mut builder = builder();
            builder.connector(
                mqtt_to(broker.port()).version(version).client_id("other").persistent_session(DAY),
            );
            for filter in filters {
                builder.configure::<String>(*filter, |reg| {
                    let topic = aimdb_core::decode_with(|message: &aimdb_core::Incoming<'_>| {
                        Ok::<_, String>(message.topic.to_owned())
                    });
                    reg.buffer(QUEUE).link_from(mqtt::filter(*filter).qos(QoS::AtLeastOnce), topic);
                });
            }
            builder
        };
        let first = start(build(&["gone/+", "kept/+"])).await;
        shut_down(&first).await;
        // More messages than a client may leave unacknowledged.
        for n in 0..400 {
            probe.publish(&format!("gone/{n}"), "", QoS::AtLeastOnce).await;
        }
        probe.publish("kept/while-away", "", QoS::AtLeastOnce).await;
        // The broker's subscription identifiers belong to other filters now.
        let db = build(&["kept/+", "new/+"]).build().unwrap();
        let mut kept = db.consumer::<String>("kept/+").unwrap().subscribe().unwrap();
        let mut new = db.consumer::<String>("new/+").unwrap().subscribe().unwrap();
        db.start();
        connected(&db).await;
        assert_eq!(value(&mut kept).await, "kept/while-away");
        probe.publish("new/1", "", QoS::AtLeastOnce).await;
        assert_eq!(value(&mut new).await, "new/1");
        probe.publish("kept/1", "", QoS::AtLeastOnce).await;
        assert_eq!(value(&mut kept).await, "kept/1");
        assert!(kept.try_recv().is_err() && new.try_recv().is_err());
        shut_down(&db).await;
        end_session(&broker, "other").await;
    }
}

/// Ends the session that the broker keeps for `client`.
async fn end_session(broker: &Mosquitto, client: &str) {
    let options = rumqttc_v5::MqttOptions::new(client, ("127.0.0.1", broker.port()));
    let probe = Probe::with_options(options, false).await;
    probe.subscribe("nothing", QoS::AtMostOnce).await;
}
