//! `tail` and `hz`: new values, and how many.

use std::borrow::Cow;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::{Client, key_in_path};
use crate::model::Record;
use crate::outcome::{Failure, Outcome};
use crate::table::{printable, rate, span};

pub(crate) async fn run(
    client: &Client,
    keys: &[String],
    json: bool,
    count: Option<u64>,
    out: &mut impl Write,
) -> Outcome {
    // A comma divides keys; one inside of a key is encoded.
    let keys: Vec<String> = keys.iter().map(|key| key_in_path(key)).collect();
    let keys = keys.join(",");
    let mut events = client.stream(&format!("/api/v1/stream?key={keys}")).await?;
    let mut values = 0;
    while count.is_none_or(|count| values < count) {
        let Some(event) = events.next().await? else {
            return Err(Failure::Failed(format!(
                "the stream of {} broke: has the program ended? `aimdb ps` shows those that run",
                client.place()
            )));
        };
        match &*event.name {
            "value" => values += 1,
            "end" => return Ok(ExitCode::SUCCESS),
            "error" => {
                let trouble = serde_json::from_str::<Trouble>(&event.data);
                let text = trouble.map_or(event.data, |trouble| trouble.error);
                eprintln!("aimdb: {}", printable(&text));
                continue;
            }
            _ => continue,
        }
        if json {
            writeln!(out, "{}", event.data)?;
        } else {
            writeln!(out, "{}", line(&event.data)?)?;
        }
        // A line that is there is seen, also by the next program of a pipe.
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// An error in a stream.
#[derive(Deserialize)]
struct Trouble {
    error: String,
}

/// A value as the stream shows it.
#[derive(Deserialize)]
struct Shown<'e> {
    #[serde(borrow)]
    record: Cow<'e, str>,
    seq: u64,
    missed: u64,
    /// As it was sent, so that its members keep their order.
    #[serde(borrow, alias = "text", alias = "hex")]
    value: &'e RawValue,
}

/// `temp.indoor #12 {"celsius":21.5}`, and what was missed before.
fn line(data: &str) -> Result<String, Failure> {
    let Shown { record, seq, missed, value } = serde_json::from_str(data)
        .map_err(|error| Failure::Failed(format!("the stream is not as expected: {error}")))?;
    let missed = if missed > 0 { format!(" ({missed} missed)") } else { String::new() };
    Ok(format!("{} #{seq}{missed} {}", printable(&record), printable(value.get())))
}

/// A rate each second, from the record's counter: no value is missed, however fast they come.
pub(crate) async fn hz(
    client: &Client,
    key: &str,
    count: Option<u64>,
    out: &mut impl Write,
) -> Outcome {
    #[derive(Deserialize)]
    struct One {
        metrics: Record,
    }
    let path = format!("/api/v1/records/{}", key_in_path(key));
    let measure = async || -> Result<(tokio::time::Instant, u64), Failure> {
        let One { metrics } = client.json(&path).await?;
        Ok((tokio::time::Instant::now(), metrics.produced))
    };
    let (mut start, mut first) = measure().await?;
    let (mut before, mut produced) = (start, first);
    let mut seconds = 0;
    while count.is_none_or(|count| seconds < count) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (now, values) = measure().await?;
        if values < produced {
            writeln!(out, "the program was started anew")?;
            (start, first, before, produced) = (now, values, now, values);
            continue;
        }
        let per_second = |from: tokio::time::Instant, values: u64| {
            rate(values as f64 / (now - from).as_secs_f64())
        };
        let mean = per_second(start, values - first);
        let period = match values - first {
            0 => "-".to_owned(),
            values => span((now - start).as_nanos() as u64 / values),
        };
        writeln!(
            out,
            "{} /s   mean {mean} /s, one each {period}",
            per_second(before, values - produced)
        )?;
        out.flush()?;
        (before, produced) = (now, values);
        seconds += 1;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn a_value_is_a_line_without_control_characters_whose_members_keep_their_order() {
        let data = r#"{"record":"a\u0007","seq":3,"at":1,"missed":0,"value":{"z":"\u001b","a":1}}"#;
        assert_eq!(line(data).unwrap(), "a\u{fffd} #3 {\"z\":\"\\u001b\",\"a\":1}");
        let data = r#"{"record":"a","seq":9,"at":1,"missed":5,"hex":"00ff"}"#;
        assert_eq!(line(data).unwrap(), "a #9 (5 missed) \"00ff\"");
        assert!(line("{").is_err());
    }
}
