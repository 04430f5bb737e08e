//! Records that outlive a life of the program, on both storages.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use aimdb_core::{
    AimDb, AimDbBuilder, BufferCfg, DbError, Json, UnixTime, decode_with, encode_with,
};
use aimdb_store::{
    Backend, Entry, Form, Keep, Memory, Newest, Persist, RecordId, Row, Status, Store, StoreError,
    Write,
};
use aimdb_tokio_adapter::TokioAdapter;

const LIMIT: Duration = Duration::from_secs(20);

type Builder = AimDbBuilder<TokioAdapter>;

/// Runs a test on a store in memory, whose lives are one after the other, and on a file, which each life opens.
async fn in_each_storage(test: impl AsyncFn(&dyn Fn() -> Store)) {
    let memory = Store::in_memory();
    test(&|| memory.clone()).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("plant.db");
    test(&|| Store::open(&path).unwrap()).await;
}

/// A life of the program: the graph that `configure` declares, and what happens in it.
async fn life(
    store: &Store,
    configure: impl FnOnce(&mut Builder),
    happens: impl AsyncFnOnce(&AimDb<TokioAdapter>),
) {
    let mut builder = AimDbBuilder::on(TokioAdapter);
    builder.service(store.clone());
    configure(&mut builder);
    let db = builder.build().unwrap_or_else(|error| panic!("{error}"));
    db.start();
    happens(&db).await;
    let report = db.shutdown(LIMIT).await;
    assert!(report.is_clean() && report.failures.is_empty(), "{report}");
}

fn findings(store: &Store, configure: impl FnOnce(&mut Builder)) -> String {
    let mut builder = AimDbBuilder::on(TokioAdapter);
    builder.service(store.clone());
    configure(&mut builder);
    match builder.build() {
        Err(DbError::Build(findings)) => findings.to_string(),
        Ok(_) => String::new(),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_value_is_there_before_the_first_source_runs() {
    for buffer in [BufferCfg::latest(), BufferCfg::ring(4), BufferCfg::queue(8)] {
        in_each_storage(async |open| {
            for number in 1..=3_u32 {
                let store = open();
                let seen = Arc::new(Mutex::new(None));
                let seen_by_tap = Arc::clone(&seen);
                let (done, written) = tokio::sync::oneshot::channel();
                life(
                    &store,
                    |builder| {
                        builder.configure::<u32>("limit", |reg| {
                            reg.buffer(buffer).restore(&store, Json);
                            reg.source(move |_ctx, limit| async move {
                                for n in 0..100 {
                                    limit.produce(number * 1000 + n).await.ok();
                                    tokio::task::yield_now().await;
                                }
                                done.send(()).ok();
                                std::future::pending::<()>().await;
                            });
                            reg.for_each(move |_, limit| {
                                seen_by_tap.lock().unwrap().get_or_insert(limit);
                            });
                        });
                    },
                    async |_| written.await.unwrap(),
                )
                .await;
                let first = seen.lock().unwrap().unwrap();
                let restored = store.restored("limit");
                if number == 1 {
                    assert!(first >= 1000 && restored.is_none(), "{buffer}");
                } else {
                    // A latest record may have a newer one before the tap looks.
                    let last = (number - 1) * 1000 + 99;
                    assert!(
                        first == last || buffer == BufferCfg::latest() && first > last,
                        "{buffer}: {first}"
                    );
                    assert!(restored.unwrap().at > UnixTime::from_nanos(0), "{buffer}");
                }
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_was_only_restored_keeps_its_age() {
    in_each_storage(async |open| {
        let mut times = Vec::new();
        for number in 0..3 {
            let store = open();
            life(
                &store,
                |builder| {
                    builder.configure::<u32>("limit", |reg| {
                        reg.buffer(BufferCfg::latest()).written_from_outside();
                        reg.restore_or(&store, Json, 7);
                    });
                },
                async |db| {
                    assert_eq!(db.consumer::<u32>("limit").unwrap().latest(), Some(7));
                    if number == 0 {
                        db.producer::<u32>("limit").unwrap().produce(7).await.unwrap();
                    }
                },
            )
            .await;
            times.extend(store.restored("limit"));
        }
        assert_eq!(times.len(), 2);
        assert_eq!(times[0], times[1]);
    })
    .await;
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Limits {
    low: f32,
    high: f32,
}

#[tokio::test(flavor = "multi_thread")]
async fn another_form_is_a_finding_or_is_migrated() {
    in_each_storage(async |open| {
        let store = open();
        let writes_a_number = |builder: &mut Builder| {
            builder.configure::<f32>("limits", |reg| {
                reg.buffer(BufferCfg::latest()).written_from_outside().restore(&store, Json);
            });
        };
        life(&store, writes_a_number, async |db| {
            db.producer::<f32>("limits").unwrap().produce(30.0).await.unwrap();
        })
        .await;
        let found = findings(&store, |builder| {
            builder.configure::<Limits>("limits", |reg| {
                reg.buffer(BufferCfg::latest()).written_from_outside().restore(&store, Json);
            });
        });
        for part in
            ["`limits`", "`f32` as application/json", "Limits` as application/json", "restore_with"]
        {
            assert!(found.contains(part), "{part}: {found}");
        }
        drop(store);
        // The finding has changed nothing.
        for _ in 0..2 {
            let store = open();
            life(
                &store,
                |builder| {
                    builder.configure::<Limits>("limits", |reg| {
                        reg.buffer(BufferCfg::latest()).written_from_outside();
                        reg.restore_with(&store, Json, Json, |high: f32| Limits { low: 0.0, high });
                    });
                },
                async |db| {
                    let expected = Limits { low: 0.0, high: 30.0 };
                    assert_eq!(
                        db.consumer::<Limits>("limits").unwrap().latest(),
                        Some(expected.clone())
                    );
                    db.producer::<Limits>("limits").unwrap().produce(expected).await.unwrap();
                },
            )
            .await;
        }
    })
    .await;
}

/// A codec of four bytes, which takes whatever four bytes there are.
fn raw() -> impl aimdb_core::Encode<u32> + aimdb_core::Decode<u32> + Clone + Sync {
    (
        encode_with(|n: &u32, out: &mut Vec<u8>| {
            out.extend(n.to_le_bytes());
            Ok::<_, String>(())
        }),
        decode_with(|message: &aimdb_core::Incoming<'_>| {
            let mut bytes = [0; 4];
            bytes[..message.payload.len().min(4)].copy_from_slice(message.payload);
            Ok::<_, String>(u32::from_le_bytes(bytes))
        }),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migrated_value_is_stored_in_its_new_form_with_its_old_time() {
    for with_history in [false, true] {
        in_each_storage(async |open| {
            let mut times = Vec::new();
            for number in 0..4 {
                let store = open();
                life(
                    &store,
                    |builder| {
                        builder.configure::<u32>("n", |reg| {
                            let reg = reg.buffer(BufferCfg::latest()).written_from_outside();
                            match number {
                                0 => reg.restore(&store, Json),
                                1 => reg.restore_with(&store, raw(), Json, |n: u32| n),
                                _ => reg.restore(&store, raw()),
                            };
                            match (with_history, number) {
                                (false, _) => {}
                                (true, 0) => _ = reg.history(&store, Json, Keep::all()),
                                (true, _) => _ = reg.history(&store, raw(), Keep::all()),
                            }
                        });
                    },
                    async |db| match number {
                        0 => db.producer::<u32>("n").unwrap().produce(7).await.unwrap(),
                        // Nothing new comes: it is a setting.
                        _ => assert_eq!(db.consumer::<u32>("n").unwrap().latest(), Some(7)),
                    },
                )
                .await;
                times.extend(store.restored("n").map(|restored| restored.at));
                if with_history {
                    let history = store.history::<u32, _>("n", raw()).unwrap().unwrap();
                    assert_eq!(history.last(10).unwrap().len(), 1, "it is in the history once");
                }
            }
            assert!(times.len() == 3 && times.iter().all(|time| *time == times[0]), "{times:?}");
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_does_not_come_back_is_not_restored() {
    in_each_storage(async |open| {
        for number in 0..3 {
            let store = open();
            life(
                &store,
                |builder| {
                    builder.configure::<f32>("setpoint", |reg| {
                        reg.buffer(BufferCfg::queue(8)).written_from_outside();
                        reg.restore_or(&store, Json, 20.0).history(&store, Json, Keep::all());
                    });
                },
                async |db| {
                    let first = if number == 0 { 20.0 } else { 21.5 };
                    assert_eq!(db.consumer::<f32>("setpoint").unwrap().latest(), Some(first));
                    let setpoint = db.producer::<f32>("setpoint").unwrap();
                    // In JSON it is `null`, which is no number.
                    setpoint.produce_many([21.5, f32::NAN]).await.unwrap();
                },
            )
            .await;
            let history = store.history::<f32, _>("setpoint", Json).unwrap().unwrap();
            let last = history.last(2).unwrap();
            assert_eq!(last[0].value(), Some(&21.5));
            assert!(matches!(last[1], Entry::Unreadable { .. }), "{last:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_never_given_again() {
    in_each_storage(async |open| {
        let store = open();
        life(&store, recorded(&store, BufferCfg::queue(16), Keep::all()), async |db| {
            produce(db, 0..500).await;
        })
        .await;
        drop(store);
        let store = open();
        let keep = Keep::all().age(Duration::from_nanos(1));
        life(&store, recorded(&store, BufferCfg::queue(16), keep), async |_| {
            while !history(&store).is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        drop(store);
        let store = open();
        life(&store, recorded(&store, BufferCfg::queue(16), Keep::all()), async |db| {
            produce(db, 500..503).await;
        })
        .await;
        assert!(history(&store).iter().map(Entry::seq).eq(501..=503));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_serves_one_graph_after_another() {
    let store = Store::in_memory();
    let both = |builder: &mut Builder| {
        builder.configure::<u64>("count", |reg| {
            reg.buffer(BufferCfg::queue(8)).written_from_outside();
            reg.restore(&store, Json).history(&store, Json, Keep::all());
        });
    };
    life(&store, both, async |db| produce(db, 0..3).await).await;
    life(&store, both, async |_| {}).await;
    // A graph that is only checked changes nothing of one that runs.
    life(&store, both, async |db| {
        let mut other = AimDbBuilder::on(TokioAdapter);
        other.service(store.clone());
        recorded(&store, BufferCfg::queue(4), Keep::values(0))(&mut other);
        assert!(other.build().is_err());
        produce(db, 3..6).await;
    })
    .await;
    // Here nothing is restored: the first value is a new one.
    let only_history = recorded(&store, BufferCfg::queue(8), Keep::all());
    life(&store, only_history, async |db| produce(db, 6..9).await).await;
    assert_eq!(values(&history(&store)), Vec::from_iter(0..9));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_another_codec_are_never_decoded() {
    let store = Store::in_memory();
    life(
        &store,
        |builder| {
            builder.configure::<u32>("n", |reg| {
                reg.buffer(BufferCfg::latest()).written_from_outside().restore(&store, Json);
            });
        },
        async |db| db.producer::<u32>("n").unwrap().produce(7).await.unwrap(),
    )
    .await;
    let found = findings(&store, |builder| {
        builder.configure::<u32>("n", |reg| {
            reg.buffer(BufferCfg::latest()).written_from_outside().restore(&store, raw());
        });
    });
    assert!(found.contains("another codec has encoded it"), "{found}");
    assert!(found.contains("application/octet-stream"), "{found}");
}

fn recorded(store: &Store, buffer: BufferCfg, keep: Keep) -> impl FnOnce(&mut Builder) {
    let store = store.clone();
    move |builder| {
        builder.configure::<u64>("count", |reg| {
            reg.buffer(buffer).written_from_outside().history(&store, Json, keep);
        });
    }
}

async fn produce(db: &AimDb<TokioAdapter>, values: std::ops::Range<u64>) {
    db.producer::<u64>("count").unwrap().produce_many(values).await.unwrap();
}

fn history(store: &Store) -> Vec<Entry<u64>> {
    let history = store.history::<u64, _>("count", Json).unwrap().expect("it was stored");
    history.last(usize::MAX).unwrap()
}

fn values(entries: &[Entry<u64>]) -> Vec<u64> {
    entries.iter().filter_map(Entry::value).copied().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queues_history_has_every_value_of_every_life_in_order() {
    in_each_storage(async |open| {
        for number in 0..3 {
            let store = open();
            life(&store, recorded(&store, BufferCfg::queue(16), Keep::all()), async |db| {
                produce(db, number * 5000..(number + 1) * 5000).await;
            })
            .await;
            let entries = history(&store);
            assert_eq!(values(&entries), Vec::from_iter(0..(number + 1) * 5000));
            assert!(entries.iter().map(Entry::seq).eq(1..=(number as i64 + 1) * 5000));
        }
        let store = open();
        let history = store.history::<u64, _>("count", Json).unwrap().unwrap();
        assert_eq!(values(&history.last(3).unwrap()), [14_997, 14_998, 14_999]);
        assert_eq!(values(&history.after(9_999, 2).unwrap()), [9_999, 10_000]);
        assert_eq!(history.after(15_000, 2).unwrap(), []);
        let all = history.last(usize::MAX).unwrap();
        let times: RangeInclusive<UnixTime> = all[0].at()..=all[14_999].at();
        assert_eq!(history.range(times, usize::MAX).unwrap().len(), 15_000);
        let before = UnixTime::from_nanos(0)..=UnixTime::from_nanos(1);
        assert_eq!(history.range(before, 10).unwrap(), []);
        assert!(store.history::<u64, _>("nobody", Json).unwrap().is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_accounts_for_every_value() {
    for buffer in [BufferCfg::ring(8), BufferCfg::queue(8), BufferCfg::latest()] {
        in_each_storage(async |open| {
            let store = open();
            life(&store, recorded(&store, buffer, Keep::all()), async |db| {
                produce(db, 0..20_000).await
            })
            .await;
            let entries = history(&store);
            let missed: u64 = entries
                .iter()
                .map(|entry| match entry {
                    Entry::Gap { missed, .. } => *missed,
                    _ => 0,
                })
                .sum();
            let values = values(&entries);
            assert!(values.is_sorted(), "{buffer}");
            assert_eq!(values.len() as u64 + missed, 20_000, "{buffer}");
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_exact() {
    in_each_storage(async |open| {
        let store = open();
        for (keep, count, kept) in [
            (Keep::values(100), 2000, 100),
            // Four bytes each.
            (Keep::all().bytes(403), 2000, 100),
            (Keep::values(50).bytes(1000), 2000, 50),
            // The rows of an earlier life are limited, too.
            (Keep::values(1), 0, 1),
            (Keep::all().age(Duration::from_secs(3600)), 0, 1),
        ] {
            life(&store, recorded(&store, BufferCfg::queue(16), keep), async |db| {
                produce(db, 3000 - count..3000).await;
                store.flush().await.unwrap();
            })
            .await;
            let entries = history(&store);
            assert_eq!(entries.len(), kept, "{keep:?}");
            assert_eq!(values(&entries).last(), Some(&2999), "{keep:?}");
        }
        life(
            &store,
            recorded(&store, BufferCfg::queue(16), Keep::all().age(Duration::from_millis(1))),
            async |_| {
                while !history(&store).is_empty() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            },
        )
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_findings_or_failures_with_a_remedy() {
    let store = Store::in_memory();
    let found = findings(&store, recorded(&store, BufferCfg::queue(4), Keep::values(0)));
    assert!(found.contains("`count`") && found.contains("it keeps 0 values"), "{found}");
    let found = findings(&store, |builder| {
        builder.configure::<u32>("command", |reg| {
            reg.buffer(BufferCfg::mailbox()).written_from_outside().restore(&store, Json);
        });
        builder.configure::<u32>("twice", |reg| {
            reg.buffer(BufferCfg::latest()).initial(7).written_from_outside();
            reg.restore(&store, Json);
        });
        builder.configure::<u32>("codecs", |reg| {
            reg.buffer(BufferCfg::latest()).written_from_outside();
            reg.restore(&store, Json).history(&store, raw(), Keep::all());
        });
    });
    for part in [
        "`command`: it is a mailbox",
        "`twice`: it is restored, and has an initial value of its own",
        "use `.restore_or(&store, codec, first)`",
        "`codecs`: its newest value and its history have different codecs",
    ] {
        assert!(found.contains(part), "{part}: {found}");
    }
    // Without the service nothing would write the rest at the end.
    let mut builder = AimDbBuilder::on(TokioAdapter);
    recorded(&Store::in_memory(), BufferCfg::queue(4), Keep::all())(&mut builder);
    let db = builder.build().unwrap();
    db.start();
    let failure = async {
        loop {
            if let Some(failure) = db.health().failures().into_iter().next() {
                return failure.to_string();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let failure = tokio::time::timeout(LIMIT, failure).await.unwrap();
    assert!(failure.contains("add `builder.service(store.clone())`"), "{failure}");
}

/// A storage that fails, or blocks, as the test says.
struct Troubled {
    inner: Box<dyn Backend>,
    trouble: Arc<Trouble>,
}

#[derive(Default)]
struct Trouble {
    is_full: AtomicBool,
    blocks_for_ms: AtomicU32,
    refused: AtomicU32,
}

impl Backend for Troubled {
    fn describe(&self) -> String {
        "a troubled storage".to_owned()
    }
    fn record(&mut self, key: &str, form: Option<&Form>) -> Result<RecordId, StoreError> {
        self.inner.record(key, form)
    }
    fn find(&mut self, key: &str) -> Result<Option<(RecordId, Form)>, StoreError> {
        self.inner.find(key)
    }
    fn newest(&mut self, record: RecordId) -> Result<Option<Newest>, StoreError> {
        self.inner.newest(record)
    }
    fn write(&mut self, batch: &[Write]) -> Result<(), StoreError> {
        thread::sleep(Duration::from_millis(self.trouble.blocks_for_ms.load(Relaxed).into()));
        if self.trouble.is_full.load(Relaxed) {
            self.trouble.refused.fetch_add(1, Relaxed);
            return Err(StoreError::Storage { reason: "no space left on device".to_owned() });
        }
        self.inner.write(batch)
    }
    fn rows(
        &mut self,
        record: RecordId,
        seqs: RangeInclusive<i64>,
        limit: usize,
        from_end: bool,
    ) -> Result<Vec<Row>, StoreError> {
        self.inner.rows(record, seqs, limit, from_end)
    }
    fn between(
        &mut self,
        record: RecordId,
        times: RangeInclusive<i64>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.inner.between(record, times, limit)
    }
    fn last_seq(&mut self, record: RecordId) -> Result<i64, StoreError> {
        self.inner.last_seq(record)
    }
}

fn troubled() -> (Store, Arc<Trouble>) {
    let trouble = Arc::<Trouble>::default();
    let backend = Troubled { inner: Box::new(Memory::default()), trouble: Arc::clone(&trouble) };
    (Store::on(backend).unwrap(), trouble)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_a_state_and_costs_no_value_of_a_queue() {
    let (store, trouble) = troubled();
    life(&store, recorded(&store, BufferCfg::queue(16), Keep::all()), async |db| {
        trouble.is_full.store(true, Relaxed);
        produce(db, 0..1000).await;
        while trouble.refused.load(Relaxed) < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let status = store.status();
        assert!(matches!(status, Status::Failing { .. }), "{status}");
        assert!(status.to_string().contains("no space left on device"), "{status}");
        produce(db, 1000..2000).await;
        trouble.is_full.store(false, Relaxed);
        store.flush().await.unwrap();
        assert!(matches!(store.status(), Status::Good));
    })
    .await;
    assert_eq!(values(&history(&store)), Vec::from_iter(0..2000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_to_who_asks_and_holds_no_end_up() {
    let (store, trouble) = troubled();
    let mut builder = AimDbBuilder::on(TokioAdapter);
    builder.service(store.clone());
    recorded(&store, BufferCfg::ring(8), Keep::all())(&mut builder);
    let db = builder.build().unwrap();
    db.start();
    produce(&db, 0..100).await;
    store.flush().await.unwrap();
    trouble.is_full.store(true, Relaxed);
    produce(&db, 0..20_000).await;
    while trouble.refused.load(Relaxed) < 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let asked = store.clone();
    let answer = tokio::task::spawn_blocking(move || asked.history::<u64, _>("count", Json));
    let answer = tokio::time::timeout(LIMIT, answer).await.unwrap().unwrap();
    let error = answer.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("no space left on device"), "{error}");
    // The deadline of the shutdown ends the stages; the drop of the last handle gives up after a few attempts.
    let report = db.shutdown(Duration::from_millis(50)).await;
    assert!(!report.is_clean());
    drop(db);
    let dropped = tokio::task::spawn_blocking(move || drop(store));
    tokio::time::timeout(LIMIT, dropped).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_disk_that_blocks_for_a_second_stops_no_stage() {
    let (store, trouble) = troubled();
    let ticks = Arc::new(AtomicU64::new(0));
    let ticked = Arc::clone(&ticks);
    life(
        &store,
        |builder| {
            builder.configure::<u64>("count", |reg| {
                reg.buffer(BufferCfg::queue(16)).history(&store, Json, Keep::all());
                reg.source(move |ctx, count| async move {
                    loop {
                        let tick = ticked.fetch_add(1, Relaxed);
                        if count.produce(tick).await.is_err() {
                            return;
                        }
                        ctx.time().sleep(Duration::from_millis(5)).await;
                    }
                });
            });
        },
        async |_| {
            trouble.blocks_for_ms.store(1000, Relaxed);
            tokio::time::sleep(Duration::from_millis(1500)).await;
            trouble.blocks_for_ms.store(0, Relaxed);
        },
    )
    .await;
    // All stages run on this one thread. On a quiet machine there are 290 to 300; a loaded one has fewer.
    let ticks = ticks.load(Relaxed);
    assert!(ticks >= 100, "{ticks} ticks of 5 ms in 1.5 s");
    assert_eq!(values(&history(&store)), Vec::from_iter(0..ticks));
}
