//! Where the console listens, and what is in its way.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use aimdb_console::{Console, Grants};
use aimdb_core::AimDbBuilder;
use aimdb_core::health::StageState;
use aimdb_tokio_adapter::TokioAdapter;

use crate::support::*;

/// The findings of a build with this console.
async fn finding(console: Console) -> String {
    let mut builder = AimDbBuilder::on(TokioAdapter);
    three(&mut builder);
    builder.service(console);
    builder.build().unwrap_err().to_string()
}

#[tokio::test]
async fn a_console_that_could_be_reached_from_elsewhere_is_a_finding() {
    for address in ["0.0.0.0:80", "192.168.1.5:8080", "[::]:8080"] {
        let text = finding(Console::new().http(address)).await;
        let problem = format!("`{address}` can be reached from other machines");
        assert!(text.contains(&problem) && text.contains("ssh -L"), "{text}");
    }
}

#[tokio::test]
async fn other_mistakes_are_findings_with_a_remedy() {
    let long = "x".repeat(120);
    for (console, problem) in [
        (Console::new().http("localhost"), "`localhost` is no address to listen on"),
        (Console::new().without_socket(), "it listens nowhere"),
        (Console::new().name("a/b"), "`a/b` cannot be the name of a socket"),
        (Console::new().name(""), "`` cannot be the name of a socket"),
        (Console::new().name(&long), "and 103 are possible"),
        (Console::new().token("hunter2", Grants::all()), "a token has less than 16 bytes"),
    ] {
        let text = finding(console).await;
        assert!(text.contains(problem) && text.contains("help: "), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

/// Starts a console that cannot listen, and returns why. The database runs on.
async fn failure(console: Console) -> String {
    let mut builder = AimDbBuilder::on(TokioAdapter);
    three(&mut builder);
    builder.service(console);
    let db = builder.build().unwrap();
    db.start();
    let failed = || {
        let health = db.health();
        health.stages.iter().any(|stage| stage.state == StageState::Failed)
    };
    eventually("it fails", failed).await;
    let cause = db.health().failures()[0].cause.clone();
    db.producer::<u64>("count").unwrap().try_produce(1).unwrap();
    assert!(db.shutdown(LIMIT).await.is_clean());
    cause
}

#[tokio::test]
async fn a_port_in_use_fails_the_console_and_not_the_database() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (_directory, sockets) = directory();
    let cause = failure(Console::new().directory(sockets).http(&address)).await;
    assert!(
        cause.contains(&format!("cannot listen on {address}: Address already in use")),
        "{cause}"
    );
}

#[tokio::test]
async fn a_directory_that_others_can_enter_is_refused() {
    let (_directory, sockets) = directory();
    std::fs::create_dir(&sockets).unwrap();
    std::fs::set_permissions(&sockets, PermissionsExt::from_mode(0o755)).unwrap();
    let cause = failure(Console::new().directory(&sockets)).await;
    assert!(cause.contains("other users can enter") && cause.contains("chmod 700"), "{cause}");
}

#[tokio::test]
async fn a_file_in_the_place_of_the_socket_is_left_alone() {
    let (_directory, sockets) = directory();
    make(&sockets);
    std::fs::write(sockets.join("test.sock"), "mine").unwrap();
    let cause = failure(Console::new().name("test").directory(&sockets)).await;
    assert!(cause.contains("is there, and is no socket"), "{cause}");
    assert_eq!(std::fs::read(sockets.join("test.sock")).unwrap(), b"mine");
}

fn make(sockets: &Path) {
    std::fs::create_dir(sockets).unwrap();
    std::fs::set_permissions(sockets, PermissionsExt::from_mode(0o700)).unwrap();
}

#[tokio::test]
async fn a_socket_that_a_process_left_behind_is_replaced_and_removed_at_the_end() {
    let (_directory, sockets) = directory();
    make(&sockets);
    let path = sockets.join("test.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let fixture = start(three, |console| console.directory(&sockets)).await;
    assert_eq!(fixture.at.socket.as_deref(), Some(&*path));
    assert_eq!(fixture.owner("GET", "/api/v1/info", b"").await.status, 200);
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    fixture.shut_down().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn the_second_of_two_programs_with_one_name_has_its_process_number_in_it() {
    let (_directory, sockets) = directory();
    let first = start(three, |console| console.directory(&sockets)).await;
    let second = start(three, |console| console.directory(&sockets)).await;
    assert_eq!(first.at.name, "test");
    assert_eq!(second.at.name, format!("test-{}", std::process::id()));
    first.shut_down().await;
    assert_eq!(second.owner("GET", "/api/v1/info", b"").await.json()["name"], second.at.name);
    second.shut_down().await;
}

#[tokio::test]
async fn a_database_that_is_dropped_takes_its_console_with_it() {
    let fixture = start(three, |console| console).await;
    let path = fixture.at.socket.clone().unwrap();
    let mut stream = fixture.stream("/api/v1/records/count/stream", "").await;
    let Fixture { db, .. } = fixture;
    drop(db);
    eventually("its socket is gone", || !path.exists()).await;
    let mut rest = Vec::new();
    let end = tokio::io::AsyncReadExt::read_to_end(&mut stream.stream, &mut rest);
    _ = tokio::time::timeout(Duration::from_secs(10), end).await.expect("the stream ends");
}
