//! Run with `tools/firmware run out-of-memory`.
//!
//! A heap of 32 KB and graphs that need more. A buffer or a task that does not fit is a finding that names the record; a
//! graph that fits still runs afterwards. The exit status is 1 if a finding is missing.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::ToString;

use aimdb::embassy::sink;
use aimdb::prelude::*;
use board::console;
use embassy_executor::Spawner;

type Builder = AimDbBuilder<EmbassyAdapter>;

#[cortex_m_rt::entry]
fn main() -> ! {
    board::heap::init(32 * 1024);
    board::executor::run(|spawner| spawner.spawn(run(spawner).expect("the first task")))
}

#[embassy_executor::task]
async fn run(spawner: Spawner) {
    let builder =
        || AimDbBuilder::new().runtime(Arc::new(EmbassyAdapter::new(spawner, sink::none)));

    let buffers = expect_finding(
        builder(),
        "E20 record `history`: there is no memory for its buffer",
        |builder| {
            builder.configure::<[f32; 4]>("history", |reg| {
                reg.buffer(BufferCfg::SpmcRing { capacity: 100_000 })
                    .source(|_, _| async {})
                    .tap(|_, _| async {});
            });
        },
    );

    let mut fits = builder();
    fits.configure::<u32>("small", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 4 })
            .source(|_, small| async move {
                for n in 0..10 {
                    small.produce(n).await.ok();
                }
            })
            .tap(|_, small| async move {
                let mut reader = small.subscribe().expect("a tap may read");
                let mut sum = 0;
                while let Ok(n) = reader.recv().await {
                    sum += n;
                }
                console::line(format_args!("what fits still runs: {sum}"));
            });
    });
    let runs = fits.run().await.is_ok();

    let tasks =
        expect_finding(builder(), "E18 record `crowd`: the runtime refused its stage", |builder| {
            builder.configure::<u32>("crowd", |reg| {
                reg.buffer(BufferCfg::SingleLatest).source(|_, _| async {});
                for _ in 0..40 {
                    reg.tap(|ctx, _| async move {
                        let held = [0_u8; 2048];
                        ctx.stopping().await;
                        core::hint::black_box(held);
                    });
                }
            });
        });
    console::exit(u32::from(!(buffers && tasks && runs)))
}

/// Builds the graph that `declare` declares, prints the finding, and returns whether it has the expected beginning.
fn expect_finding(
    mut builder: Builder,
    beginning: &str,
    declare: impl FnOnce(&mut Builder),
) -> bool {
    declare(&mut builder);
    match builder.build() {
        Ok(_) => {
            console::line(format_args!(
                "the graph was built; expected a finding for lack of memory"
            ));
            false
        }
        Err(problem) => {
            console::line(format_args!("{problem}"));
            problem.to_string().contains(beginning)
        }
    }
}
