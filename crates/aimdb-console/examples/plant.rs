//! A plant with everything that can go wrong, to look at: `cargo run -p aimdb-console --example plant -- [RECORDS [PORT]]`.
//!
//! It prints the address of its page. A source has failed, a link is down, a queue is full, a ring is lossy, one record is
//! silent. With a number it has that many records more.
#![allow(clippy::print_stdout)] // An example prints.

use std::time::Duration;

use aimdb_console::{Console, Grants};
use aimdb_core::{AimDbBuilder, BufferCfg, DbResult, Json, input};
use aimdb_testing::MemoryPeer;
use aimdb_tokio_adapter::TokioAdapter;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct Reading {
    celsius: f32,
    humidity: f32,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct Limits {
    /// The level at which the pump stops.
    high: f32,
    /// The level at which the pump starts.
    low: f32,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> DbResult<()> {
    let argument = |nth| std::env::args().nth(nth).and_then(|text| text.parse::<u16>().ok());
    let (records, port) = (argument(1).unwrap_or(0), argument(2).unwrap_or(0));
    TokioAdapter::silence();
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    let console =
        Console::new().name("plant").http(format!("127.0.0.1:{port}")).http_grants(Grants::all());
    builder.service(console.on_listening(|at| {
        if let Some(http) = at.http {
            println!("http://{http}/");
        }
    }));
    let broker = MemoryPeer::new();
    builder.connector(broker.connector());
    climate(&mut builder);
    tank(&mut builder, &broker);
    for n in 0..records {
        let key = format!("line{}.sensor{:03}", n % 20, n / 20);
        builder.configure::<f32>(key, |reg| {
            reg.buffer(BufferCfg::latest()).read_from_outside().expose(Json);
            reg.source(move |ctx, sensor| async move {
                for tick in 0_u32.. {
                    let value = (tick as f32 / 10.0 + n as f32).sin();
                    if sensor.produce(value).await.is_err() {
                        return;
                    }
                    ctx.time().sleep(Duration::from_millis(700 + 3 * n as u64)).await;
                }
            });
        });
    }
    builder.run().await
}

/// Readings, their smoothed mean, and an alarm that is silent.
fn climate(builder: &mut AimDbBuilder<TokioAdapter>) {
    builder.configure::<Reading>("climate.hall", |reg| {
        reg.buffer(BufferCfg::ring(32)).expose(Json).with_schema();
        reg.source(|ctx, hall| async move {
            for tick in 0_u32.. {
                let phase = tick as f32 / 40.0;
                let reading =
                    Reading { celsius: 20.0 + phase.sin(), humidity: 45.0 + 5.0 * phase.cos() };
                if hall.produce(reading).await.is_err() {
                    return;
                }
                ctx.time().sleep(Duration::from_millis(20)).await;
            }
        })
        .named("thermometer");
    });
    builder.configure::<f32>("climate.smooth", |reg| {
        reg.buffer(BufferCfg::latest()).expose(Json);
        reg.scan(input("climate.hall"), 20.0, |mean: &mut f32, reading: Reading| {
            *mean += 0.05 * (reading.celsius - *mean);
            Some(*mean)
        });
        reg.for_each(|_ctx, _celsius| {}).named("display");
    });
    builder.configure::<String>("climate.alarm", |reg| {
        reg.buffer(BufferCfg::Mailbox).expose(Json);
        reg.filter_map(input("climate.smooth"), |celsius: f32| {
            (celsius > 99.0).then(|| "hot".to_owned())
        });
        reg.for_each(|_ctx, _alarm| {}).named("siren");
    });
}

/// A level with a lossy reader, a link, settable limits, a pump that has failed, and jobs that are never done.
fn tank(builder: &mut AimDbBuilder<TokioAdapter>, broker: &MemoryPeer) {
    builder.configure::<f32>("tank.level", |reg| {
        reg.buffer(BufferCfg::ring(8)).expose(Json);
        reg.source(|ctx, level| async move {
            for tick in 0_u32.. {
                if level.produce(50.0 + 30.0 * (tick as f32 / 60.0).sin()).await.is_err() {
                    return;
                }
                ctx.time().sleep(Duration::from_millis(50)).await;
            }
        });
        reg.tap(|ctx, level| async move {
            let Ok(mut level) = level.subscribe() else { return };
            while level.recv().await.is_ok() {
                ctx.time().sleep(Duration::from_millis(300)).await;
            }
        })
        .named("archive");
    });
    builder.configure::<Limits>("tank.limits", |reg| {
        reg.buffer(BufferCfg::latest())
            .initial(Limits { high: 80.0, low: 20.0 })
            .expose(Json)
            .with_schema()
            .settable();
    });
    builder.configure::<bool>("tank.pump", |reg| {
        reg.buffer(BufferCfg::latest()).read_from_outside().expose(Json);
        reg.source(|ctx, pump| async move {
            pump.produce(true).await.ok();
            ctx.time().sleep(Duration::from_secs(1)).await;
            ctx.fail("the pump does not answer on bus 3");
        });
    });
    broker.disconnect();
    builder.configure::<f32>("tank.valve", |reg| {
        reg.buffer(BufferCfg::queue(16)).link_from("memory://plant/valve", Json).expose(Json);
        reg.for_each(|_ctx, _valve| {}).named("actuator");
    });
    builder.configure::<u64>("jobs.print", |reg| {
        reg.buffer(BufferCfg::queue(4)).expose(Json);
        reg.source(|_ctx, jobs| async move {
            for job in 0.. {
                if jobs.produce(job).await.is_err() {
                    return;
                }
            }
        });
        reg.tap(|ctx, jobs| async move {
            let Ok(mut jobs) = jobs.subscribe() else { return };
            let _first = jobs.recv().await;
            ctx.stopping().await;
        })
        .named("printer");
    });
}
