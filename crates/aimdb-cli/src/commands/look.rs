//! `graph`, `ls` and `get`: what is there.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use serde_json::Value;

use crate::client::{Client, key_in_path};
use crate::model::{Listed, buffer};
use crate::outcome::{Failure, Outcome};
use crate::table::{Table, printable_lines};

pub(crate) async fn graph(client: &Client, format: &str, out: &mut impl Write) -> Outcome {
    let answer = client.get(&format!("/api/v1/graph?format={format}")).await?;
    show(&answer.body, true, out)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes bytes as they are, and for a person at a terminal without the characters that it would obey. `ends_line`: also
/// a program that reads them expects lines.
fn show(bytes: &[u8], ends_line: bool, out: &mut impl Write) -> Result<(), Failure> {
    let is_terminal = std::io::stdout().is_terminal();
    if is_terminal {
        out.write_all(printable_lines(&String::from_utf8_lossy(bytes)).as_bytes())?;
    } else {
        out.write_all(bytes)?;
    }
    if (is_terminal || ends_line) && !bytes.ends_with(b"\n") {
        writeln!(out)?;
    }
    Ok(())
}

pub(crate) async fn ls(
    client: &Client,
    pattern: Option<&str>,
    json: bool,
    out: &mut impl Write,
) -> Outcome {
    let answer = client.get("/api/v1/records").await?;
    let all: Vec<Value> = answer.parse()?;
    let listed: Vec<Listed> = answer.parse()?;
    let pattern = pattern.unwrap_or("*");
    let nothing = || {
        Failure::Failed(format!(
            "no record of {} is called `{pattern}`: `aimdb ls` lists them",
            client.place()
        ))
    };
    let is_chosen = |key: &str| aimdb_console::Grants::none().read(pattern).may_read(key);
    if json {
        if !listed.iter().any(|record| is_chosen(&record.key)) {
            return Err(nothing());
        }
        for (value, _) in all.iter().zip(&listed).filter(|(_, record)| is_chosen(&record.key)) {
            writeln!(out, "{value}")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["KEY", "TYPE", "BUFFER", "ENCODING", "MAY"], &[]);
    let mut rows = 0;
    for record in listed.into_iter().filter(|record| is_chosen(&record.key)) {
        rows += 1;
        let may = match (record.readable, record.settable) {
            (true, true) => "get, set",
            (true, false) => "get",
            (false, true) => "set",
            (false, false) => "-",
        };
        let encoding = record.encoding.unwrap_or_else(|| "not exposed".to_owned());
        let short = record.type_name.rsplit("::").next().unwrap_or_default().to_owned();
        let type_name = if short.contains('>') { record.type_name.clone() } else { short };
        table.add(vec![record.key, type_name, buffer(&record.buffer), encoding, may.to_owned()]);
    }
    if rows == 0 {
        return Err(nothing());
    }
    table.lines().iter().try_for_each(|line| writeln!(out, "{line}"))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn get(client: &Client, key: &str, all: bool, out: &mut impl Write) -> Outcome {
    let path = format!("/api/v1/records/{}", key_in_path(key));
    if all {
        let record: Value = client.json(&path).await?;
        writeln!(out, "{record:#}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let answer = client.get(&format!("{path}/value")).await?;
    if answer.status == 204 {
        let record: Value = client.json(&path).await?;
        let text = match record["metrics"]["produced"].as_u64() {
            Some(0) | None => format!("`{key}` has had no value yet; `aimdb why {key}` says why"),
            Some(produced) => format!(
                "`{key}` holds no value: its readers have taken all {produced}; `aimdb tail {key}` shows the next one"
            ),
        };
        return Err(Failure::Failed(text));
    }
    show(&answer.body, answer.is_json, out)?;
    Ok(ExitCode::SUCCESS)
}
