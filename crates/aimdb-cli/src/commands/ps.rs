//! `aimdb ps`: the databases of this user.

use std::io::Write;
use std::process::ExitCode;

use crate::client::Client;
use crate::model::{Health, Info};
use crate::outcome::{Failure, Outcome};
use crate::place::{Found, Place, sockets};
use crate::table::Table;

pub(crate) async fn run() -> Outcome {
    let directory = aimdb_console::socket_directory();
    let found = sockets(&directory).await?;
    let mut table = Table::new(&["NAME", "PID", "STATE", "RECORDS", "HEALTH"], &[1, 3]);
    let mut rows = 0;
    for found in found.iter().filter(|found| found.is_alive) {
        rows += 1;
        table.add(row(found).await.unwrap_or_else(|_| {
            let unknown = || "?".to_owned();
            vec![found.name.clone(), unknown(), "no answer".to_owned(), unknown(), unknown()]
        }));
    }
    if rows == 0 {
        // An empty list for scripts, and a word for people.
        eprintln!(
            "aimdb: no database of this user shows itself (looked in {}); a program does with `builder.service(Console::new())`",
            directory.display()
        );
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = std::io::stdout().lock();
    table.lines().iter().try_for_each(|line| writeln!(out, "{line}"))?;
    Ok(ExitCode::SUCCESS)
}

/// The client of a socket.
pub(crate) fn client(found: &Found) -> Client {
    let place = Place::Socket { name: found.name.clone(), path: found.path.clone() };
    Client::new(place, None, None)
}

async fn row(found: &Found) -> Result<Vec<String>, Failure> {
    let client = client(found);
    let info: Info = client.json("/api/v1/info").await?;
    let health: Health =
        client.request(hyper::Method::GET, "/api/v1/health", Default::default()).await?.parse()?;
    let failed = health.stages.iter().filter(|stage| stage.state == "Failed").count();
    let down = health.links.iter().filter(|link| !link.connected).count();
    let text = match (health.healthy, failed, down) {
        (true, ..) => "healthy".to_owned(),
        (false, 0, 0) => "restarting".to_owned(),
        (false, failed, 0) => format!("{failed} failed"),
        (false, 0, down) => format!("{down} down"),
        (false, failed, down) => format!("{failed} failed, {down} down"),
    };
    let state = info.state.to_lowercase();
    Ok(vec![found.name.clone(), info.pid.to_string(), state, info.records.to_string(), text])
}
