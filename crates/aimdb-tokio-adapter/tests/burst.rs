//! A burst into a ring, with the writer and the reader on different threads.

use std::sync::Arc;

use aimdb_core::{AimDbBuilder, BufferCfg};
use aimdb_testing::Recorder;
use aimdb_tokio_adapter::TokioAdapter;

#[test]
fn every_value_is_received_or_counted_as_lost() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    runtime.unwrap().block_on(async {
        for _ in 0..200 {
            let (seen, lagged) = (Recorder::new(), Recorder::new());
            let (values, lag) = (seen.clone(), lagged.clone());
            let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter::new().unwrap()));
            builder.configure::<u32>("numbers", |reg| {
                reg.buffer(BufferCfg::SpmcRing { capacity: 16 }).source(|_, numbers| async move {
                    for n in 0..1_000 {
                        numbers.produce(n).await.unwrap();
                    }
                });
                reg.tap(|_, numbers| async move {
                    let mut reader = numbers.subscribe().unwrap();
                    while let Ok(n) = reader.recv().await {
                        values.push(n);
                    }
                    lag.push(reader.lagged());
                });
            });
            builder.run().await.unwrap();
            let values = seen.values();
            assert_eq!(values.len() as u64 + lagged.values()[0], 1_000);
            assert!(values.is_sorted_by(|a, b| a < b), "in order, none twice");
        }
    });
}
