//! `aimdb doctor`: what is wrong, here and in all databases of this user.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;

use hyper::Method;

use super::ps::client;
use crate::client::{Client, key_in_path};
use crate::model::{Diagnosis, Health, Metrics, buffer};
use crate::outcome::{Failure, Outcome};
use crate::place::sockets;
use crate::table::{causes, printable};

pub(crate) async fn run() -> Outcome {
    let directory = aimdb_console::socket_directory();
    let mut report = Report { out: std::io::stdout().lock(), problems: 0 };
    let shown = directory.display();
    match std::fs::metadata(&directory) {
        Err(_) => {
            report.problem(
                &format!("there is no directory {shown}: no program has shown itself"),
                "`builder.service(Console::new())`, feature `console` of aimdb",
            )?;
        }
        Ok(data) if data.mode() & 0o077 != 0 => {
            report.problem(
                &format!("other users can enter {shown}"),
                &format!("`chmod 700 {shown}`"),
            )?;
        }
        Ok(_) => report.fine(&format!("{shown} is yours alone"))?,
    }
    let found = sockets(&directory).await?;
    for found in &found {
        if found.is_alive {
            let examined = database(&found.name, &client(found), &mut report).await;
            match examined {
                Err(Failure::Usage(text) | Failure::Failed(text)) => {
                    let text = format!("`{}` could not be examined: {text}", found.name);
                    report.problem(
                        &text,
                        "is it ending, of another version, or without `owner_grants`?",
                    )?;
                }
                other => other?,
            }
        } else {
            report.problem(
                &format!("`{}` has ended and left its socket behind", found.name),
                &format!("start it again, or `rm {}`", found.path.display()),
            )?;
        }
    }
    let Report { mut out, problems } = report;
    if found.iter().all(|found| !found.is_alive) {
        writeln!(out, "no database runs")?;
    }
    let noun = if problems == 1 { "problem" } else { "problems" };
    writeln!(out, "{problems} {noun}")?;
    Ok(if problems == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Report<O> {
    out: O,
    problems: usize,
}

impl<O: Write> Report<O> {
    fn fine(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.out, "✓ {}", printable(text))?;
        Ok(())
    }

    fn problem(&mut self, text: &str, help: &str) -> Result<(), Failure> {
        self.problems += 1;
        writeln!(self.out, "✗ {}\n    {}", printable(text), printable(help))?;
        Ok(())
    }
}

async fn database<O: Write>(
    name: &str,
    client: &Client,
    report: &mut Report<O>,
) -> Result<(), Failure> {
    let before = report.problems;
    let health: Health =
        match client.request(Method::GET, "/api/v1/health", Default::default()).await {
            Ok(answer) if matches!(answer.status, 200 | 503) => answer.parse()?,
            Ok(answer) => return Err(Failure::Failed(answer.reason())),
            Err(_) => {
                return report
                    .problem(&format!("`{name}` does not answer"), "is its process stopped?");
            }
        };
    for stage in &health.stages {
        let what = format!("`{name}`: {} of `{}`", stage.stage, stage.owner());
        let cause = stage.cause.as_deref().unwrap_or("no cause is known");
        match stage.state.as_str() {
            "Failed" => {
                let help = "give it a policy that restarts it: `Restart::on_failure()`, or repair the cause";
                report.problem(&format!("{what} has failed: {cause}"), help)?;
            }
            "Restarting" => {
                report.problem(
                    &format!("{what} is between two attempts: {cause}"),
                    "repair the cause",
                )?;
            }
            _ => {}
        }
    }
    for link in health.links.iter().filter(|link| !link.connected) {
        let error = link.last_error.as_deref().unwrap_or("no error is known");
        let text =
            format!("`{name}`: the link of `{}` to {} is down: {error}", link.key, link.address);
        report.problem(&text, "is the peer there, and the address right?")?;
    }
    let metrics: Metrics = client.json("/api/v1/metrics").await?;
    for record in &metrics.records {
        let key = &record.key;
        if let Some(blocked) = &record.blocked {
            let text =
                format!("`{name}`: writers of `{key}` wait for reader `{}`", blocked.held_back_by);
            report.problem(
                &text,
                "make the reader faster, or the buffer a ring, which loses values instead",
            )?;
        }
        // A reader of a latest record or a mailbox has the newest value by design.
        let keeps = buffer(&record.buffer).contains(" of ");
        for reader in record.readers.iter().filter(|reader| keeps && reader.lagged > 0) {
            let text = format!(
                "`{name}`: reader `{}` of `{key}` lost {} of {} values",
                reader.name, reader.lagged, record.produced
            );
            report.problem(&text, "a larger ring gives it time; a queue makes the writer wait")?;
        }
        if record.produced == 0 {
            let path = format!("/api/v1/why/{}", key_in_path(key));
            let why: Diagnosis = client.json(&path).await?;
            let fault = why.steps.iter().find(|step| step.is_fault);
            if let Some(fault) = fault {
                let text = format!("`{name}`: `{key}` has had no value: {}", fault.text);
                report.problem(&text, &format!("`aimdb --db {name} why {key}`"))?;
            }
        }
    }
    for link in metrics.links.iter().filter(|link| !link.lost.is_empty()) {
        let text = format!("`{name}`: {} lost {}", link.address, causes(&link.lost));
        report.problem(&text, link.last_error.as_deref().unwrap_or("see `aimdb losses`"))?;
    }
    if report.problems == before {
        report.fine(&format!("`{name}` is healthy"))?;
    }
    Ok(())
}
