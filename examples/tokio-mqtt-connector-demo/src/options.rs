//! Command-line arguments and environment variables.

use std::time::Duration;

use lexopt::prelude::*;

pub(crate) const USAGE: &str = "\
Three thermometers, their mean and two commands, linked to an MQTT broker.

usage: tokio-mqtt-connector-demo [--seconds N]

  --seconds N        shut down after N seconds
  --help             show this

environment:
  MQTT_BROKER_URL    use this broker (mqtt://host:port, mqtts://user:password@host:port);
                     without it the demo starts one inside the process
  RUST_LOG           what to log on stderr, for instance `info`";

pub(crate) struct Options {
    pub(crate) seconds: Option<Duration>,
    pub(crate) broker: Option<String>,
}

impl Options {
    /// Parses the arguments. `None` if it has printed the help instead.
    pub(crate) fn from_args() -> Result<Option<Self>, lexopt::Error> {
        let mut options = Self { seconds: None, broker: broker_from_environment() };
        let mut args = lexopt::Parser::from_env();
        while let Some(arg) = args.next()? {
            match arg {
                Long("seconds") => options.seconds = Some(seconds(args.value()?)?),
                Short('h') | Long("help") => {
                    println!("{USAGE}");
                    return Ok(None);
                }
                other => return Err(other.unexpected()),
            }
        }
        Ok(Some(options))
    }
}

fn seconds(value: std::ffi::OsString) -> Result<Duration, lexopt::Error> {
    value.parse_with(|text| {
        text.parse::<f64>().map_err(|e| e.to_string()).and_then(positive_seconds)
    })
}

fn positive_seconds(seconds: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn broker_from_environment() -> Option<String> {
    std::env::var("MQTT_BROKER_URL").ok().filter(|url| !url.is_empty())
}
