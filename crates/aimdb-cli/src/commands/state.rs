//! `why`, `losses` and `health`: how it is.

use std::io::Write;
use std::process::ExitCode;

use hyper::Method;
use serde_json::Value;

use crate::client::{Answer, Client, key_in_path};
use crate::model::{Account, Diagnosis, Happened, Health, Losses, Metrics, Party};
use crate::outcome::{Failure, Outcome};
use crate::table::{Table, causes, printable, span};

pub(crate) async fn why(client: &Client, key: &str, json: bool, out: &mut impl Write) -> Outcome {
    let answer = client.get(&format!("/api/v1/why/{}", key_in_path(key))).await?;
    if json {
        return pretty(&answer, out);
    }
    let Diagnosis { state, at_fault, steps } = answer.parse()?;
    writeln!(out, "{}", printable(&state))?;
    for step in &steps {
        let mark = if step.is_fault { '✗' } else { '·' };
        let indent = 2 + 2 * step.depth;
        writeln!(out, "{:indent$}{mark} {}", "", printable(&step.text))?;
    }
    if !at_fault {
        writeln!(out, "No fault was found upstream.")?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn losses(
    client: &Client,
    all: bool,
    json: bool,
    out: &mut impl Write,
) -> Outcome {
    let answer = client.get("/api/v1/losses").await?;
    if json {
        return pretty(&answer, out);
    }
    let Losses { total, causes: meanings, accounts } = answer.parse()?;
    let head = ["RECORD", "PARTY", "ENTERED", "DELIVERED", "HELD", "FILTERED", "LOST"];
    let mut table = Table::new(&head, &[2, 3, 4, 5]);
    let mut rows = 0;
    for account in accounts.iter().filter(|account| all || !account.lost.is_empty()) {
        rows += 1;
        table.add(row(account));
    }
    if rows > 0 {
        table.lines().iter().try_for_each(|line| writeln!(out, "{line}"))?;
    }
    for cause in total.keys() {
        let text = meanings.get(cause).map_or("", String::as_str);
        writeln!(out, "{cause}: {}", printable(text))?;
    }
    let sum = if total.is_empty() {
        "nothing was lost".to_owned()
    } else {
        format!("lost: {}", causes(&total))
    };
    writeln!(out, "{sum}")?;
    Ok(ExitCode::SUCCESS)
}

fn row(account: &Account) -> Vec<String> {
    let party = match &account.party {
        Party::Record => "-".to_owned(),
        Party::Reader { name } => name.clone(),
        Party::DepartedReaders => "(readers that left)".to_owned(),
        Party::Link { address, direction } if direction == "inbound" => format!("← {address}"),
        Party::Link { address, .. } => format!("→ {address}"),
        Party::Other => "?".to_owned(),
    };
    let number = |number: u64| number.to_string();
    let Account { entered, delivered, held, filtered, .. } = *account;
    vec![
        account.record.clone(),
        party,
        number(entered),
        number(delivered),
        number(held),
        number(filtered),
        causes(&account.lost),
    ]
}

pub(crate) async fn health(client: &Client, json: bool, out: &mut impl Write) -> Outcome {
    // An unhealthy database answers with 503 and its health.
    let answer = client.request(Method::GET, "/api/v1/health", Default::default()).await?;
    if !matches!(answer.status, 200 | 503) {
        return Err(Failure::Failed(answer.reason()));
    }
    let health: Health = answer.parse()?;
    let code = if health.healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    let printed = if json { pretty(&answer, out).map(|_| ()) } else { table(client, &health, out) };
    match printed {
        // A reader that has seen enough changes nothing about the health.
        Ok(()) | Err(Failure::Gone) => Ok(code),
        Err(failure) => Err(failure),
    }
}

fn table(client: &Client, health: &Health, out: &mut impl Write) -> Result<(), Failure> {
    let verdict = if health.healthy { "healthy" } else { "NOT healthy" };
    writeln!(out, "{}: {}, {verdict}", client.place(), health.state.to_lowercase())?;
    let mut table = Table::new(&["STATE", "WHAT", "RESTARTS", "CAUSE"], &[2]);
    for stage in &health.stages {
        table.add(vec![
            stage.state.to_lowercase(),
            format!("{} of {}", stage.stage, stage.owner()),
            stage.restarts.to_string(),
            stage.cause.clone().unwrap_or_default(),
        ]);
    }
    for link in &health.links {
        let state = if link.connected { "connected" } else { "down" };
        let error = link.last_error.clone().filter(|_| !link.last_error_is_over);
        table.add(vec![
            state.to_owned(),
            format!("link of {}: {}", link.key, link.address),
            String::new(),
            error.unwrap_or_default(),
        ]);
    }
    for record in &health.blocked {
        table.add(vec![
            "waiting".to_owned(),
            format!("writers of {}", record.key),
            String::new(),
            format!("reader {} does not keep up", record.blocked.held_back_by),
        ]);
    }
    table.lines().iter().try_for_each(|line| writeln!(out, "{line}"))?;
    Ok(())
}

pub(crate) async fn events(client: &Client, json: bool, out: &mut impl Write) -> Outcome {
    let answer = client.get("/api/v1/events").await?;
    if json {
        for event in answer.parse::<Vec<Value>>()? {
            writeln!(out, "{event}")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let events: Vec<Happened> = answer.parse()?;
    // Not every runtime has a calendar; the age of an event needs none.
    let now = client.json::<Metrics>("/api/v1/metrics").await?.at;
    for event in events {
        let age = span(now.saturating_sub(event.at));
        writeln!(out, "{age:>6} ago  {}", printable(&event.text))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn pretty(answer: &Answer, out: &mut impl Write) -> Outcome {
    let value: Value = answer.parse()?;
    writeln!(out, "{value:#}")?;
    Ok(ExitCode::SUCCESS)
}
