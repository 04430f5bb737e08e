//! The command, run as a program against a database with a console.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use aimdb_console::Console;
use aimdb_core::{AimDb, AimDbBuilder, BufferCfg, Json, input};
use aimdb_tokio_adapter::TokioAdapter;

struct Fixture {
    db: AimDb<TokioAdapter>,
    directory: PathBuf,
    _temporary: tempfile::TempDir,
}

/// A database `plant` with a ring, a settable limit, a transform and a source that has failed.
async fn start() -> Fixture {
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path().to_owned();
    let fixture = Fixture { db: open(&directory, "plant").await, directory, _temporary: temporary };
    let level = fixture.db.producer::<f32>("tank.level").unwrap();
    for n in 0..3_u8 {
        level.produce(f32::from(n) + 0.5).await.unwrap();
    }
    fixture
}

async fn open(runtime_directory: &Path, name: &str) -> AimDb<TokioAdapter> {
    let (sender, listening) = tokio::sync::oneshot::channel();
    let mut builder = AimDbBuilder::on(TokioAdapter);
    let console = Console::new().name(name).directory(runtime_directory.join("aimdb"));
    builder.service(console.on_listening(|at| sender.send(at.clone()).unwrap()));
    builder.configure::<f32>("tank.level", |reg| {
        reg.buffer(BufferCfg::ring(2)).written_from_outside().expose(Json);
    });
    builder.configure::<u32>("config.limit", |reg| {
        reg.buffer(BufferCfg::latest()).expose(Json).with_schema().settable();
    });
    builder.configure::<String>("report", |reg| {
        reg.buffer(BufferCfg::ring(2))
            .transform(input("broken"), |n: u8| n.to_string())
            .expose(Json);
    });
    builder.configure::<u8>("broken", |reg| {
        reg.buffer(BufferCfg::ring(2)).source(|ctx, _| async move { ctx.fail("no such device") });
    });
    let db = builder.build().unwrap();
    db.start();
    listening.await.unwrap();
    while db.health().failures().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    db
}

impl Fixture {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aimdb"));
        command.args(args).env("XDG_RUNTIME_DIR", &self.directory).stdin(Stdio::null());
        command
    }

    /// The exit status, what it printed, and its errors.
    async fn run(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = self.command(args);
        let Output { status, stdout, stderr } =
            tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_read_set_and_refused() {
    let plant = start().await;
    assert_eq!(plant.run(&["get", "tank.level"]).await, (0, "2.5\n".into(), String::new()));
    let (code, _, error) = plant.run(&["get", "config.limit"]).await;
    assert_eq!(
        (code, &*error),
        (1, "aimdb: `config.limit` has had no value yet; `aimdb why config.limit` says why\n")
    );
    assert_eq!(plant.run(&["set", "config.limit", "12"]).await, (0, String::new(), String::new()));
    assert_eq!(plant.run(&["get", "config.limit"]).await.1, "12\n");
    for (value, reason) in [
        ("-1", "-1 is less than the minimum of 0"),
        ("twelve", "this is no JSON"),
        ("\"x\"", "is not of type \"integer\""),
    ] {
        let (code, out, error) = plant.run(&["set", "config.limit", value]).await;
        assert_eq!((code, &*out), (1, ""), "{value}");
        assert!(error.contains(reason), "{value}: {error}");
    }
    let (code, _, error) = plant.run(&["set", "--unchecked", "config.limit", "-1"]).await;
    assert!(code == 1 && error.contains("invalid value: integer `-1`"), "the codec: {error}");
    let (code, _, error) = plant.run(&["set", "tank.level", "1"]).await;
    assert!(code == 1 && error.contains("is not settable"), "{error}");
    let (code, _, error) = plant.run(&["get", "tank.levle"]).await;
    assert!(code == 1 && error.contains("`tank.level`"), "{error}");
    let all = plant.run(&["get", "--all", "config.limit"]).await.1;
    assert!(all.contains("\"schema\"") && all.contains("\"produced\": 1"), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_answer_what_is_there_and_how_it_is() {
    let plant = start().await;
    let (code, out, _) = plant.run(&["ps"]).await;
    assert_eq!(code, 0);
    assert!(out.contains("plant") && out.contains("running") && out.contains("1 failed"), "{out}");
    let (_, out, _) = plant.run(&["ls", "*.l*"]).await;
    assert_eq!(
        out,
        "KEY           TYPE  BUFFER     ENCODING          MAY\n\
         tank.level    f32   ring of 2  application/json  get\n\
         config.limit  u32   latest     application/json  get, set\n"
    );
    let (code, out, _) = plant.run(&["health"]).await;
    assert_eq!(code, 1, "a stage has failed");
    assert!(out.contains("NOT healthy") && out.contains("no such device"), "{out}");
    let (_, out, _) = plant.run(&["losses"]).await;
    assert!(
        out.contains("tank.level")
            && out.ends_with(
                "overwritten: it left the buffer before anybody took it\nlost: 1 overwritten\n"
            ),
        "{out}"
    );
    let (_, out, error) = plant.run(&["events"]).await;
    assert!(out.contains(" ago  stage `broken/source` failed: no such device"), "{out}{error}");
    let (_, out, _) = plant.run(&["why", "report"]).await;
    assert!(
        out.contains("\n    ✗ The source of `broken` failed") && out.contains("no such device"),
        "{out}"
    );
    let (_, out, _) = plant.run(&["top", "--once", "--every", "50", "--sort", "key"]).await;
    let keys: Vec<&str> = out.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(keys, ["broken", "config.limit", "report", "tank.level"], "{out}");
    let (_, out, _) =
        plant.run(&["top", "--once", "--every", "50", "--json", "--filter", "tank*"]).await;
    let view: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (view["records"].as_array().unwrap().len(), &view["records"][0]["produced"]),
        (1, &3.into())
    );
    for (args, start) in [
        (&["graph"][..], "service console"),
        (&["graph", "--dot"], "digraph"),
        (&["graph", "--mermaid"], "flowchart"),
    ] {
        let (_, out, _) = plant.run(args).await;
        assert!(out.starts_with(start), "{out}");
    }
    let (code, out, _) = plant.run(&["doctor"]).await;
    assert_eq!(code, 1);
    assert!(out.contains("source of `broken` has failed: no such device"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_shows_values_as_they_come_and_ends_with_its_reader() {
    let plant = start().await;
    let (code, out, _) = plant.run(&["tail", "tank.*", "-n", "1"]).await;
    assert_eq!((code, &*out), (0, "tank.level #3 2.5\n"));
    let (_, out, _) = plant.run(&["tail", "tank.level", "--json", "-n", "1"]).await;
    let event: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&event["seq"], &event["value"]), (&3.into(), &2.5.into()));
    let (code, _, error) = plant.run(&["tail", "broken"]).await;
    assert!(code == 1 && error.contains("`broken` is not exposed"), "{error}");
    let (code, _, error) = plant.run(&["tail", "nobody*"]).await;
    assert!(code == 1 && error.contains("no record is called `nobody*`"), "{error}");
    // The reader closes its output: it ends at the next value, without an error.
    let mut tail = plant
        .command(&["tail", "tank.level"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(tail.stdout.take());
    let level = plant.db.producer::<f32>("tank.level").unwrap();
    let status = loop {
        level.produce(1.0).await.unwrap();
        if let Some(status) = tail.try_wait().unwrap() {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(status.success(), "{status}");
    // A shutdown ends it, too.
    while !plant.db.metrics().record("tank.level").unwrap().observers.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut tail = plant.command(&["tail", "tank.level"]).stdout(Stdio::null()).spawn().unwrap();
    while plant.db.metrics().record("tank.level").unwrap().observers.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(plant.db.shutdown(Duration::from_secs(10)).await.elapsed < Duration::from_secs(5));
    assert!(tokio::task::spawn_blocking(move || tail.wait()).await.unwrap().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_chosen_by_its_name_and_its_absence_is_explained() {
    let plant = start().await;
    let (code, _, error) = plant.run(&["--db", "plan", "ls"]).await;
    assert_eq!((code, &*error), (2, "aimdb: no database is called `plan`; there are: plant\n"));
    let other = open(&plant.directory, "other").await;
    let (code, _, error) = plant.run(&["ls"]).await;
    assert_eq!(
        (code, &*error),
        (2, "aimdb: several databases run: other, plant; choose one: `--db NAME`\n")
    );
    assert_eq!(plant.run(&["-d", "plant", "get", "tank.level"]).await.1, "2.5\n");
    other.shutdown(Duration::from_secs(10)).await;
    plant.db.shutdown(Duration::from_secs(10)).await;
    let (code, _, error) = plant.run(&["ls"]).await;
    assert!(code == 2 && error.contains("no database of this user shows itself"), "{error}");
    assert!(error.contains("builder.service(Console::new())"), "{error}");
    let (code, _, error) = plant.run(&["--db", "plant", "doctor"]).await;
    assert!(code == 2 && error.contains("leave --db"), "{error}");
    let (code, _, error) = plant.run(&["--url", "http://127.0.0.1:1", "ls"]).await;
    assert!(code == 1 && error.contains("Connection refused"), "{error}");
    let (code, out, _) = plant.run(&["completion", "bash"]).await;
    assert!(code == 0 && out.contains("_aimdb()"), "{out}");
}
