//! Stages between records, initial values, late readers, results of stages.

use aimdb_core::Arc;
use alloc::boxed::Box;
use alloc::string::String;

use aimdb_core::health::StageState;
use aimdb_core::{Consumer, Producer, Restart, RuntimeContext, Start, input, output};

use super::support::{AMPLE, build, fill, queue, ring, run_through, stage, tap_into, until};
use crate::host::{BoxFallible, BoxStage, EachFn, Host, OuterFn, ProcessorFn};
use crate::recorder::Recorder;

/// A processor with one input and two outputs: even values to its own record, odd ones to the other. It waits between
/// two values, and the values that were accepted before the shutdown are answered during it.
pub async fn a_processor_answers_into_two_records_until_its_input_is_drained<R: Host>(
    runtime: Arc<R>,
) {
    let (even, odd) = (Recorder::new(), Recorder::new());
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("in", |reg| {
            reg.buffer(queue(16)).written_from_outside();
        });
        builder.configure::<u64>("even", |reg| {
            let divide = |ctx: RuntimeContext<R>,
                          values: Consumer<u64, R>,
                          (even, odd): (Producer<u64, R>, Producer<u64, R>)|
             -> BoxStage {
                Box::pin(async move {
                    let mut values = values.subscribe().expect("a processor may read");
                    while let Ok(value) = values.recv().await {
                        ctx.time().sleep(ctx.time().millis(2)).await;
                        let to = if value % 2 == 0 { &even } else { &odd };
                        to.produce(value).await.expect("the record is open");
                    }
                })
            };
            reg.buffer(queue(1)).processor_to(input::<u64>("in"), output::<u64>("odd"), divide);
            tap_into(reg, &even);
        });
        builder.configure::<u64>("odd", |reg| {
            reg.buffer(queue(1));
            tap_into(reg, &odd);
        });
    });
    fill(&db, "in", 0..10);
    run_through(&db).await;
    assert_eq!(even.values(), [0, 2, 4, 6, 8]);
    assert_eq!(odd.values(), [1, 3, 5, 7, 9]);
}

/// Every reader of the graph receives the initial value first, and a handle from outside finds it in a latest record.
pub async fn an_initial_value_reaches_every_reader_before_the_others<R: Host>(runtime: Arc<R>) {
    let seen = [Recorder::new(), Recorder::new()];
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("setpoint", |reg| {
            reg.buffer(queue(4)).initial(21).written_from_outside();
            seen.iter().for_each(|seen| tap_into(reg, seen));
        });
    });
    fill(&db, "setpoint", [22]);
    run_through(&db).await;
    for seen in &seen {
        assert_eq!(seen.values(), [21, 22]);
    }
}

/// A reader that begins at the oldest value held receives it, and has lost nothing.
pub async fn a_late_reader_begins_where_it_is_asked_to<R: Host>(runtime: Arc<R>) {
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("log", |reg| {
            reg.buffer(ring(4)).written_from_outside();
        });
    });
    fill(&db, "log", 0..6);
    let consumer = db.consumer::<u64>("log").expect("the graph has the record");
    for (start, first) in [(Start::Oldest, 2), (Start::last(3), 3), (Start::Newest, 5)] {
        let mut reader = consumer.subscribe_from(start).expect("the record is open");
        assert_eq!((reader.try_recv(), reader.lagged()), (Ok(first), 0), "{start:?}");
    }
    drop(db);
}

/// The error of a stage is its failure, with the text of the error as the cause.
pub async fn a_stage_that_returns_an_error_has_failed<R: Host>(runtime: Arc<R>) {
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("speed", |reg| {
            reg.buffer(ring(4));
            reg.source(|_: RuntimeContext<R>, _: Producer<u64, R>| -> BoxFallible {
                Box::pin(async { Err(String::from("no answer")) })
            });
        });
    });
    db.start();
    until(&*runtime, || stage(&db, "speed", "source").state == StageState::Failed).await;
    assert_eq!(stage(&db, "speed", "source").cause.as_deref(), Some("no answer"));
    let report = db.shutdown(AMPLE).await;
    assert_eq!(report.failures.len(), 1);
}

/// A processor that returns an error begins again behind the value that it had taken.
pub async fn a_restarted_processor_keeps_its_position<R: Host>(runtime: Arc<R>) {
    let seen = Recorder::new();
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("in", |reg| {
            reg.buffer(queue(16)).written_from_outside();
        });
        builder.configure::<u64>("out", |reg| {
            let halve: ProcessorFn<R> = Box::new(|_, values, halves| {
                Box::pin(async move {
                    let mut values =
                        values.subscribe().map_err(|error| alloc::format!("{error}"))?;
                    while let Ok(value) = values.recv().await {
                        if value % 2 == 1 {
                            return Err(alloc::format!("{value} is odd"));
                        }
                        halves
                            .produce(value / 2)
                            .await
                            .map_err(|error| alloc::format!("{error}"))?;
                    }
                    Ok(())
                })
            });
            let policy = Restart::skip_failures();
            reg.buffer(queue(1)).processor_with(policy, input::<u64>("in"), halve);
            tap_into(reg, &seen);
        });
    });
    fill(&db, "in", [2, 3, 4, 5, 6]);
    run_through(&db).await;
    assert_eq!(seen.values(), [1, 2, 3]);
    let processor = stage(&db, "out", "processor");
    assert_eq!((processor.restarts, processor.cause.as_deref()), (2, Some("5 is odd")));
}

/// With a policy the error of a `for_each` closure costs its value, and the closure keeps its state.
pub async fn an_error_of_for_each_costs_its_value_by_policy<R: Host>(runtime: Arc<R>) {
    let seen = Recorder::new();
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("in", |reg| {
            let (seen, mut sum) = (Recorder::clone(&seen), 0);
            let each: EachFn<R> = Box::new(move |_, value| {
                sum += value;
                if value == 2 {
                    return Err(String::from("two"));
                }
                seen.push(sum);
                Ok(())
            });
            reg.buffer(queue(8)).written_from_outside();
            reg.for_each_with(Restart::skip_failures(), each).named("sum");
        });
    });
    fill(&db, "in", [1, 2, 3]);
    run_through(&db).await;
    assert_eq!(seen.values(), [1, 6]);
    assert_eq!(stage(&db, "in", "sum").cause.as_deref(), Some("two"));
}

/// An outer join runs for each change, with what the other inputs have had and the index of the input that changed.
pub async fn an_outer_join_runs_at_every_change<R: Host>(runtime: Arc<R>) {
    let seen = Recorder::new();
    let db = build(&runtime, |builder| {
        for key in ["left", "right"] {
            builder.configure::<u64>(key, |reg| {
                reg.buffer(queue(4)).written_from_outside();
            });
        }
        builder.configure::<u64>("joined", |reg| {
            let join: OuterFn = |(left, right), changed| {
                let wanted = changed == 0 || left.is_some();
                wanted.then(|| left.unwrap_or(0) * 10 + right.unwrap_or(0))
            };
            let inputs = (input::<u64>("left"), input::<u64>("right"));
            reg.buffer(queue(4)).outer_join(inputs, join);
            tap_into(reg, &seen);
        });
    });
    db.start();
    let joined = || seen.values().len();
    fill(&db, "left", [1]);
    until(&*runtime, || joined() == 1).await;
    fill(&db, "right", [5]);
    until(&*runtime, || joined() == 2).await;
    fill(&db, "left", [2]);
    until(&*runtime, || joined() == 3).await;
    assert!(db.shutdown(AMPLE).await.is_clean());
    assert_eq!(seen.values(), [10, 15, 25]);
}
