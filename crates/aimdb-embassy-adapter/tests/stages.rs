//! Properties of Embassy alone: stages that are not `Send`, and where they may be spawned.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread;

use aimdb_core::{AimDbBuilder, BufferCfg, DbError};
use aimdb_embassy_adapter::testing::on_embassy;
use aimdb_embassy_adapter::{EmbassyAdapter, sink};
use embassy_executor::Spawner;

#[test]
fn a_stage_may_hold_values_that_are_not_send() {
    on_embassy(|runtime| async move {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let mut builder = AimDbBuilder::new().runtime(runtime);
        let notes = Rc::clone(&seen);
        builder.configure::<u32>("counter", |reg| {
            reg.buffer(BufferCfg::SpmcQueue { capacity: 2 })
                .source(|ctx, counter| async move {
                    let held = Rc::new(3);
                    for n in 0..*held {
                        counter.produce(n).await.unwrap();
                        ctx.time().sleep(ctx.time().millis(1)).await;
                    }
                })
                .tap(|_ctx, counter| async move {
                    let mut reader = counter.subscribe().unwrap();
                    while let Ok(n) = reader.recv().await {
                        notes.borrow_mut().push(n);
                    }
                });
        });
        builder.run().await.unwrap();
        assert_eq!(*seen.borrow(), [0, 1, 2]);
    });
}

#[test]
fn a_database_built_on_another_thread_is_refused_by_a_finding() {
    on_embassy(|runtime| async move {
        let elsewhere = Arc::clone(&runtime);
        let refused = thread::spawn(move || {
            let mut builder = AimDbBuilder::new().runtime(elsewhere);
            builder.configure::<u32>("counter", |reg| {
                reg.buffer(BufferCfg::SingleLatest).source(|_, _| async {}).tap(|_, _| async {});
            });
            builder.build().map(|_| ()).unwrap_err()
        });
        let refused = refused.join().unwrap();
        assert!(matches!(refused, DbError::Build(_)), "{refused}");
        let text = refused.to_string();
        assert!(text.contains("counter"), "{text}");
        assert!(text.contains("build the database in a task of that executor"), "{text}");
    });
}

/// The spawner of the executor that polls the caller.
async fn spawner() -> Spawner {
    // SAFETY: `on_embassy` polls its body as a task of Embassy's executor.
    unsafe { Spawner::for_current_executor().await }
}

#[test]
fn send_stages_of_a_database_built_on_another_thread_run_on_the_executor() {
    on_embassy(|_| async {
        let runtime = Arc::new(EmbassyAdapter::for_send_stages(spawner().await, sink::none));
        let ran_on = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&ran_on);
        let elsewhere = thread::spawn(move || {
            let source_notes = Arc::clone(&notes);
            let mut builder = AimDbBuilder::new().runtime(runtime);
            builder.configure::<u32>("counter", move |reg| {
                reg.buffer(BufferCfg::SpmcQueue { capacity: 1 })
                    .source(move |_, counter| async move {
                        source_notes.lock().unwrap().push(thread::current().id());
                        counter.produce(7).await.unwrap();
                    })
                    .tap(move |ctx, counter| async move {
                        let received = counter.subscribe().unwrap().recv().await;
                        notes.lock().unwrap().push(thread::current().id());
                        ctx.shutdown();
                        assert_eq!(received, Ok(7));
                    });
            });
            builder.build().unwrap()
        });
        let db = elsewhere.join().unwrap();
        let report = db.run_until(std::future::pending()).await.unwrap();
        assert!(report.failures.is_empty(), "{report:?}");
        assert_eq!(*ran_on.lock().unwrap(), [thread::current().id(); 2]);
    });
}

#[test]
fn an_unchecked_adapter_runs_stages_that_are_not_send() {
    on_embassy(|_| async {
        // SAFETY: the database is built by this task, which runs on the spawner's executor.
        let adapter = unsafe { EmbassyAdapter::unchecked(spawner().await, sink::none) };
        let seen = Rc::new(RefCell::new(Vec::new()));
        let mut builder = AimDbBuilder::new().runtime(Arc::new(adapter));
        let notes = Rc::clone(&seen);
        builder.configure::<u32>("counter", |reg| {
            reg.buffer(BufferCfg::SpmcQueue { capacity: 1 })
                .source(|_, counter| async move {
                    for n in 0..3 {
                        counter.produce(n).await.unwrap();
                    }
                })
                .tap(|_, counter| async move {
                    let mut reader = counter.subscribe().unwrap();
                    while let Ok(n) = reader.recv().await {
                        notes.borrow_mut().push(n);
                    }
                });
        });
        builder.run().await.unwrap();
        assert_eq!(*seen.borrow(), [0, 1, 2]);
    });
}

#[test]
fn several_executors_run_databases_concurrently() {
    let threads = (0..4).map(|n| {
        thread::spawn(move || {
            on_embassy(move |runtime| async move {
                let mut builder = AimDbBuilder::new().runtime(runtime);
                builder.configure::<u32>("counter", move |reg| {
                    reg.buffer(BufferCfg::SpmcQueue { capacity: 1 })
                        .source(move |_, counter| async move {
                            for value in 0..1000 {
                                counter.produce(value * n).await.unwrap();
                            }
                        })
                        .tap(move |_, counter| async move {
                            let mut reader = counter.subscribe().unwrap();
                            for value in 0..1000 {
                                assert_eq!(reader.recv().await, Ok(value * n));
                            }
                        });
                });
                builder.run().await.unwrap();
            });
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().unwrap();
    }
}

#[test]
fn a_producer_on_another_thread_wakes_the_executor() {
    on_embassy(|runtime| async move {
        let mut builder = AimDbBuilder::new().runtime(runtime);
        builder.configure::<u32>("counter", |reg| {
            reg.buffer(BufferCfg::SpmcQueue { capacity: 1 });
        });
        let db = builder.build().unwrap();
        db.start();
        let producer = db.producer::<u32>("counter").unwrap();
        let mut reader = db.consumer::<u32>("counter").unwrap().subscribe().unwrap();
        let writer = thread::spawn(move || {
            for n in 0..100 {
                while producer.try_produce(n).is_err() {
                    thread::yield_now();
                }
            }
        });
        for n in 0..100 {
            assert_eq!(reader.recv().await, Ok(n));
        }
        writer.join().unwrap();
    });
}
