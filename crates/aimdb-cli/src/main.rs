//! The command `aimdb`: looks at the databases that run on this machine.
//!
//! ```text
//!   args ──▶ Place::find ──▶ Client ──▶ one module of `commands` ──▶ stdout
//!            a socket of       HTTP/1.1   tables, lines, JSON
//!            this user, or
//!            --url
//! ```
//!
//! A program shows itself by `builder.service(Console::new())`. Every command but `ps`, `doctor` and `completion` talks to one
//! database: the only one that runs, or the one that `--db` names.
//!
//! The exit statuses are in [`STATUSES`], which the help prints.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)] // A command prints.

mod client;
mod commands;
mod model;
mod outcome;
mod place;
mod table;
mod tls;
mod top;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use client::Client;
use outcome::{Failure, Outcome};
use place::Place;
use tls::Trust;

/// The exit statuses, for the help.
const STATUSES: &str = "\
Exit status:
  0  it worked; health: the database is healthy; doctor: no problem
  1  an error; set: the value was refused; health: a stage has failed or is between two
     attempts, or a link is down; doctor: a problem
  2  the command line is wrong, or there is no such database";

/// Looks at running AimDB databases.
///
/// A program shows itself with `builder.service(Console::new())`, feature `console` of the crate aimdb.
#[derive(Parser)]
#[command(name = "aimdb", version, propagate_version = true, after_help = STATUSES)]
struct Args {
    /// The name of the database, as `aimdb ps` shows it. Not needed if only one runs
    #[arg(short, long, global = true, value_name = "NAME")]
    db: Option<String>,
    /// The address of a console's HTTP server, instead of a socket of this user: http://127.0.0.1:8080, https://HOST:8443
    #[arg(long, global = true, value_name = "URL", conflicts_with = "db")]
    url: Option<String>,
    /// The Unix socket of a database in another directory than this user's
    #[arg(long, global = true, value_name = "PATH", conflicts_with_all = ["db", "url"])]
    socket: Option<std::path::PathBuf>,
    /// A file with the token for the console
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<std::path::PathBuf>,
    /// The authority of an https console's certificate (PEM), instead of those that this system trusts
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<std::path::PathBuf>,
    /// The command's own certificate for an https console (PEM)
    #[arg(long, global = true, value_name = "FILE")]
    cert: Option<std::path::PathBuf>,
    /// The key of --cert (PEM)
    #[arg(long = "key", global = true, value_name = "FILE")]
    cert_key: Option<std::path::PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists the databases of this user
    Ps,
    /// Shows rates, waiting values and losses of all records, and the links
    Top(top::Options),
    /// Prints the graph
    Graph {
        /// As a Mermaid flowchart
        #[arg(long, conflicts_with_all = ["dot", "json"])]
        mermaid: bool,
        /// In the language of Graphviz
        #[arg(long, conflicts_with = "json")]
        dot: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Lists the records
    Ls {
        /// Only keys of this pattern; `*` matches any characters
        pattern: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Prints the newest value of a record
    Get {
        /// The record's key
        key: String,
        /// With its number, its type, its schema and its counters, as JSON
        #[arg(long)]
        all: bool,
    },
    /// Prints the values of records as they come
    Tail {
        /// Keys, or patterns in which `*` matches any characters
        #[arg(required = true)]
        keys: Vec<String>,
        /// One JSON object for each value
        #[arg(long)]
        json: bool,
        /// Ends after this number of values
        #[arg(short = 'n', long, value_name = "VALUES")]
        count: Option<u64>,
    },
    /// Measures how often a record is written
    Hz {
        /// The record's key
        key: String,
        /// Ends after this number of seconds
        #[arg(short = 'n', long, value_name = "SECONDS")]
        count: Option<u64>,
    },
    /// Sets a record
    Set {
        /// The record's key
        key: String,
        /// The value, as JSON; `-` reads it from the standard input
        #[arg(allow_hyphen_values = true)]
        value: String,
        /// Without a look at the record's schema: the program alone decides
        #[arg(long)]
        unchecked: bool,
    },
    /// Says why a record has no new values
    Why {
        /// The record's key
        key: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Shows where values were lost, and why
    Losses {
        /// The accounts without losses, too
        #[arg(long)]
        all: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Shows what has happened: failures, restarts, links, payloads that did not decode
    Events {
        /// One JSON object for each event
        #[arg(long)]
        json: bool,
    },
    /// Shows stages, links and writers that wait; ends with 1 if a stage has failed or a link is down
    Health {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Looks for problems, here and in all databases of this user
    Doctor,
    /// Prints a script that completes this command in a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = run(args);
    // A write that was buffered may fail now.
    let flushed = io::stdout().flush();
    match outcome {
        Ok(code) if flushed.is_ok() => code,
        Ok(_) | Err(Failure::Gone) => ExitCode::SUCCESS,
        Err(Failure::Usage(text)) => {
            eprintln!("aimdb: {}", table::printable_lines(&text));
            ExitCode::from(2)
        }
        Err(Failure::Failed(text)) => {
            eprintln!("aimdb: {}", table::printable_lines(&text));
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let Args { db, url, socket, token_file, ca, cert, cert_key, command } = args;
    let names_one = db.is_some()
        || url.is_some()
        || socket.is_some()
        || [&token_file, &ca, &cert, &cert_key].iter().any(|file| file.is_some());
    if names_one && matches!(command, Command::Ps | Command::Doctor | Command::Completion { .. }) {
        let text = "this command is about all databases of this user: leave --db, --url, --socket and the files of tokens and certificates away";
        return Err(Failure::Usage(text.to_owned()));
    }
    let token = token_file.map(|path| place::read_token(&path)).transpose()?;
    match command {
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "aimdb", &mut script);
            io::stdout().write_all(&script)?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Ps => return runtime.block_on(commands::ps::run()),
        Command::Doctor => return runtime.block_on(commands::doctor::run()),
        _ => {}
    }
    let place = runtime.block_on(Place::find(db.as_deref(), url.as_deref(), socket))?;
    let trust = match (cert, cert_key) {
        (Some(cert), Some(key)) => Trust { authority: ca, identity: Some((cert, key)) },
        (None, None) => Trust { authority: ca, identity: None },
        _ => return Err(Failure::Usage("--cert and --key belong together".to_owned())),
    };
    if !trust.is_default() && !matches!(place, Place::Https(_)) {
        let text =
            "--ca, --cert and --key are for a console with an address: --url https://HOST:PORT";
        return Err(Failure::Usage(text.to_owned()));
    }
    let connector = match &place {
        Place::Https(_) => Some(trust.connector()?),
        _ => None,
    };
    let client = Client::new(place, token, connector);
    let mut out = io::stdout().lock();
    match command {
        Command::Top(options) => top::run(&runtime, &client, &options, &mut out),
        Command::Graph { mermaid, dot, json } => {
            let format = match (mermaid, dot, json) {
                (true, ..) => "mermaid",
                (_, true, _) => "dot",
                (_, _, true) => "json",
                _ => "text",
            };
            runtime.block_on(commands::look::graph(&client, format, &mut out))
        }
        Command::Ls { pattern, json } => {
            runtime.block_on(commands::look::ls(&client, pattern.as_deref(), json, &mut out))
        }
        Command::Get { key, all } => {
            runtime.block_on(commands::look::get(&client, &key, all, &mut out))
        }
        Command::Tail { keys, json, count } => {
            runtime.block_on(commands::tail::run(&client, &keys, json, count, &mut out))
        }
        Command::Hz { key, count } => {
            runtime.block_on(commands::tail::hz(&client, &key, count, &mut out))
        }
        Command::Set { key, value, unchecked } => {
            runtime.block_on(commands::set::run(&client, &key, &value, unchecked))
        }
        Command::Why { key, json } => {
            runtime.block_on(commands::state::why(&client, &key, json, &mut out))
        }
        Command::Losses { all, json } => {
            runtime.block_on(commands::state::losses(&client, all, json, &mut out))
        }
        Command::Events { json } => {
            runtime.block_on(commands::state::events(&client, json, &mut out))
        }
        Command::Health { json } => {
            runtime.block_on(commands::state::health(&client, json, &mut out))
        }
        Command::Ps | Command::Doctor | Command::Completion { .. } => Ok(ExitCode::SUCCESS),
    }
}
