//! A house with three thermometers: the record types, keys and stages that the demos share, and the graph of them.
//!
//! [`house`] is generic over the runtime, so the demo on Tokio and the demo on a microcontroller run one graph. Each demo
//! adds its own stages and links to the same records.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use aimdb_core::Arc;
use alloc::format;
use alloc::string::String;
use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;

use aimdb_core::{
    AimDbBuilder, BufferCfg, Consumer, Producer, RecordKey, Runtime, RuntimeContext, SendRuntime,
    input,
};
use portable_atomic::AtomicU32;
use serde::{Deserialize, Serialize};

/// One reading of a thermometer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Temperature {
    /// Degrees Celsius.
    pub celsius: f32,
    /// Milliseconds on the clock of the thermometer's device.
    pub at_ms: u64,
}

/// The mean of the thermometers, with their extremes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    /// Degrees Celsius.
    pub celsius: f32,
    /// The coldest of the three.
    pub min: f32,
    /// The warmest of the three.
    pub max: f32,
}

/// A command: how often to measure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SamplingPeriod {
    /// Milliseconds from one reading to the next, 20 at least.
    pub millis: u32,
}

/// A command: the unit in which to show temperatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Display {
    /// The unit.
    pub unit: Unit,
}

/// A unit of temperature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// °C.
    #[default]
    Celsius,
    /// °F.
    Fahrenheit,
}

impl Unit {
    /// The value in this unit, and its sign.
    #[must_use]
    pub fn show(self, celsius: f32) -> (f32, &'static str) {
        match self {
            Self::Celsius => (celsius, "°C"),
            Self::Fahrenheit => (celsius * 1.8 + 32.0, "°F"),
        }
    }
}

/// The records of the thermometers.
#[derive(RecordKey, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[key_prefix = "sensor.temp."]
pub enum SensorKey {
    /// In the living room.
    #[key = "indoor"]
    #[link_address = "mqtt://sensors/temp/indoor?qos=1&retain"]
    Indoor,
    /// In the garden.
    #[key = "outdoor"]
    #[link_address = "mqtt://sensors/temp/outdoor?qos=1&retain"]
    Outdoor,
    /// Under the roof.
    #[key = "attic"]
    #[link_address = "mqtt://sensors/temp/attic?qos=1&retain"]
    Attic,
    /// Derived from the three.
    #[key = "mean"]
    #[link_address = "mqtt://sensors/temp/mean"]
    Mean,
}

impl SensorKey {
    /// The thermometers.
    pub const THERMOMETERS: [Self; 3] = [Self::Indoor, Self::Outdoor, Self::Attic];

    /// The centre of the temperatures and their swing around it, in degrees Celsius.
    const fn climate(self) -> (f32, f32) {
        match self {
            Self::Indoor | Self::Mean => (21.0, 0.8),
            Self::Outdoor => (9.0, 4.0),
            Self::Attic => (16.0, 2.0),
        }
    }
}

/// The records of commands.
#[derive(RecordKey, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[key_prefix = "command."]
pub enum CommandKey {
    /// A [`SamplingPeriod`].
    #[key = "period"]
    #[link_address = "mqtt://commands/period?qos=1"]
    Period,
    /// A [`Display`].
    #[key = "display"]
    #[link_address = "mqtt://commands/display?qos=1"]
    Display,
}

/// The address of a key's link over a serial line. Both ends derive it from the key.
#[must_use]
pub fn serial_address(key: &impl RecordKey) -> String {
    format!("serial://{}", key.as_str())
}

/// Settings that commands change and sources read.
#[derive(Debug)]
pub struct Settings {
    period_millis: AtomicU32,
}

impl Settings {
    /// Shortest time between two readings, in milliseconds. A shorter period in a command is raised to it.
    pub const SHORTEST_PERIOD: u32 = 20;

    /// Settings with this initial sampling period.
    #[must_use]
    pub fn new(period: SamplingPeriod) -> Arc<Self> {
        Arc::new(Self { period_millis: AtomicU32::new(period.millis.max(Self::SHORTEST_PERIOD)) })
    }

    /// The current sampling period.
    #[must_use]
    pub fn period(&self) -> Duration {
        Duration::from_millis(u64::from(self.period_millis.load(Relaxed)))
    }
}

/// Declares the house: the thermometers, their mean, and the two commands.
pub fn house<R: SendRuntime>(builder: &mut AimDbBuilder<R>, settings: &Arc<Settings>) {
    thermometers(builder, settings);
    builder.configure::<Mean>(SensorKey::Mean, |reg| {
        reg.buffer(BufferCfg::latest())
            .join(SensorKey::THERMOMETERS.map(input::<Temperature>), mean);
    });
    builder.configure::<Display>(CommandKey::Display, |reg| {
        reg.buffer(BufferCfg::latest()).tap(announce_unit);
    });
}

/// Declares the thermometers, and the command for their sampling period.
fn thermometers<R: SendRuntime>(builder: &mut AimDbBuilder<R>, settings: &Arc<Settings>) {
    for sensor in SensorKey::THERMOMETERS {
        let settings = Arc::clone(settings);
        builder.configure::<Temperature>(sensor, |reg| {
            reg.buffer(BufferCfg::ring(32))
                .source(move |ctx, producer| thermometer(ctx, producer, sensor, settings));
        });
    }
    let settings = Arc::clone(settings);
    builder.configure::<SamplingPeriod>(CommandKey::Period, |reg| {
        reg.buffer(BufferCfg::mailbox())
            .tap(move |ctx, commands| set_period(ctx, commands, settings));
    });
}

/// A source: measures once in every period.
pub async fn thermometer<R: Runtime>(
    ctx: RuntimeContext<R>,
    producer: Producer<Temperature, R>,
    sensor: SensorKey,
    settings: Arc<Settings>,
) {
    let time = ctx.time();
    let mut weather = Weather::new(sensor);
    loop {
        let at_ms = time.now().as_nanos() / 1_000_000;
        if producer.produce(Temperature { celsius: weather.measure(), at_ms }).await.is_err() {
            return;
        }
        time.sleep(settings.period()).await;
    }
}

/// A tap: applies commands for the sampling period.
pub async fn set_period<R: Runtime>(
    ctx: RuntimeContext<R>,
    commands: Consumer<SamplingPeriod, R>,
    settings: Arc<Settings>,
) {
    let Ok(mut reader) = commands.subscribe() else { return };
    while let Ok(command) = reader.recv().await {
        settings.period_millis.store(command.millis.max(Settings::SHORTEST_PERIOD), Relaxed);
        ctx.log().info(format_args!("sampling every {:?}", settings.period()));
    }
}

/// A tap: logs the unit in which temperatures are shown from now on.
pub async fn announce_unit<R: Runtime>(ctx: RuntimeContext<R>, display: Consumer<Display, R>) {
    let Ok(mut reader) = display.subscribe() else { return };
    while let Ok(Display { unit }) = reader.recv().await {
        ctx.log().info(format_args!("showing {}", unit.show(0.0).1));
    }
}

/// The function of a join: the mean of three readings, and their extremes.
#[must_use]
pub fn mean(readings: [Temperature; 3]) -> Mean {
    let celsius = readings.map(|reading| reading.celsius);
    Mean {
        celsius: celsius.iter().sum::<f32>() / 3.0,
        min: celsius.into_iter().fold(f32::INFINITY, f32::min),
        max: celsius.into_iter().fold(f32::NEG_INFINITY, f32::max),
    }
}

/// Pseudo-random temperatures around the climate of a sensor, the same in every run.
#[derive(Debug)]
pub struct Weather {
    centre: f32,
    swing: f32,
    celsius: f32,
    seed: u32,
}

impl Weather {
    /// The weather at a sensor.
    #[must_use]
    pub fn new(sensor: SensorKey) -> Self {
        let (centre, swing) = sensor.climate();
        Self { centre, swing, celsius: centre, seed: 0x9E37_79B9 ^ sensor as u32 }
    }

    /// The next temperature, in degrees Celsius.
    pub fn measure(&mut self) -> f32 {
        // Marsaglia's xorshift is good enough for a demo's weather.
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 17;
        self.seed ^= self.seed << 5;
        let push = (self.seed % 2001) as f32 / 1000.0 - 1.0;
        let pull = (self.centre - self.celsius) * 0.1;
        self.celsius += pull + push * self.swing * 0.1;
        self.celsius
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_has_its_extremes() {
        let at = |celsius| Temperature { celsius, at_ms: 0 };
        assert_eq!(
            mean([at(10.0), at(20.0), at(30.0)]),
            Mean { celsius: 20.0, min: 10.0, max: 30.0 }
        );
    }

    #[test]
    fn the_weather_stays_near_its_climate() {
        let mut weather = Weather::new(SensorKey::Indoor);
        assert!(
            (0..10_000).map(|_| weather.measure()).all(|celsius| (15.0..27.0).contains(&celsius))
        );
    }

    #[test]
    fn a_temperature_shows_in_either_unit() {
        assert_eq!(Unit::Celsius.show(20.0), (20.0, "°C"));
        assert_eq!(Unit::Fahrenheit.show(20.0), (68.0, "°F"));
    }
}
