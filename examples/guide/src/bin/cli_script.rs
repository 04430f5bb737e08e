//! A program of the guide: docs/guide/src.
use aimdb::prelude::*;

/// The graph of the script: a reading, and the mean of all readings so far.
fn graph() -> AimDbBuilder<TokioAdapter> {
    let mut builder = AimDbBuilder::on(TokioAdapter);
    builder.configure::<f64>("reading", |reg| {
        reg.buffer(BufferCfg::queue(16)).written_from_outside();
    });
    builder.configure::<f64>("mean", |reg| {
        reg.buffer(BufferCfg::queue(16)).read_from_outside().scan(
            input::<f64>("reading"),
            (0.0, 0.0),
            |(sum, count), reading| {
                (*sum, *count) = (*sum + reading, *count + 1.0);
                Some(*sum / *count)
            },
        );
    });
    builder
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let handle = graph().attach()?;
    let (readings, means) = (handle.producer("reading")?, handle.consumer::<f64>("mean")?);
    for line in std::io::stdin().lines() {
        readings.set(line?.trim().parse::<f64>()?)?;
        println!("mean {:.2}", means.get()?);
    }
    handle.detach()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reading_has_a_mean() -> Result<(), Box<dyn std::error::Error>> {
        let handle = graph().attach()?;
        let (readings, means) = (handle.producer("reading")?, handle.consumer::<f64>("mean")?);
        for (reading, mean) in [(20.0, 20.0), (21.0, 20.5), (22.0, 21.0)] {
            readings.set(reading)?;
            assert_eq!(means.get_with_timeout(Duration::from_secs(10))?, mean);
        }
        assert!(handle.detach()?.is_clean());
        Ok(())
    }
}
