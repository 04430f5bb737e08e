//! Requests that are wrong, too large, too slow or too many.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::*;

const LIMITS: &str = "/api/v1/records/config%2Flimits";

#[tokio::test]
async fn a_value_that_is_none_is_refused_with_the_place_of_the_fault() {
    let fixture = start(three, open).await;
    for (body, text) in [
        ("", "EOF while parsing"),
        ("{", "EOF while parsing"),
        (r#"{"low": 1.0}"#, "missing field `high` at line 1 column 12"),
        (r#"{"low": "warm", "high": 2}"#, "line 1 column 14"),
        ("[1, 2, 3]", "line 1 column"),
        (r#"{"low": 1.0, "high": 2.0} x"#, "trailing characters"),
        ("\u{0}", "expected value"),
    ] {
        let answer = fixture.request("PUT", LIMITS, "", body.as_bytes()).await;
        assert_eq!(answer.status, 400, "{body}");
        let reason = answer.json();
        let error = reason["error"].as_str().unwrap();
        assert!(error.contains(text) && error.contains("config/limits"), "{body}: {error}");
        assert!(!reason["help"].as_str().unwrap().is_empty());
    }
    assert_eq!(fixture.db.metrics().record("config/limits").unwrap().produced, 0);
    fixture.shut_down().await;
}

#[tokio::test]
async fn unknown_paths_keys_and_methods_are_answered_with_what_there_is() {
    let fixture = start(three, open).await;
    for (method, path, status, text) in [
        ("GET", "/api/v1/records/nobody", 404, "nobody"),
        ("GET", "/api/v1/records/nobody/stream", 404, "count"),
        ("PUT", "/api/v1/records/nobody", 404, "count"),
        ("GET", "/api/v1/why/nobody", 404, "count"),
        ("GET", "/api/v1/stream?key=nobody*", 404, "nobody*"),
        ("GET", "/api/v1/stream?every=soon", 400, "every"),
        ("GET", "/api/v1/stream?evry=5", 400, "evry"),
        ("GET", "/api/v1/stream?key=%ff", 400, "UTF-8"),
        ("GET", "/api/v1/stream?key=hidden", 409, "not exposed"),
        ("GET", "/api/v1/stream?key=hid*", 400, "exposed"),
        (
            "GET",
            "/api/v1/stream?key=a1,a2,a3,a4,a5,a6,a7,a8,a9,b1,b2,b3,b4,b5,b6,b7,b8,b9,c1,c2,c3,c4,c5,c6,c7,c8,c9,d1,d2,d3,d4,d5,d6,d7,d8,d9,e1,e2,e3,e4,e5,e6,e7,e8,e9,f1,f2,f3,f4,f5,f6,f7,f8,f9,g1,g2,g3,g4,g5,g6,g7,g8,g9,h1,h2",
            400,
            "64",
        ),
        ("GET", "/nowhere", 404, "/nowhere"),
        ("GET", "/api/v1/records/config/limits", 404, "%2F"),
        ("DELETE", "/api/v1/records/count", 405, "method"),
        ("PUT", "/api/v1/records/count", 409, "not settable"),
        ("PUT", "/api/v1/records/hidden", 409, "not settable"),
        ("GET", "/api/v1/records/hidden/stream", 409, "hidden"),
        ("GET", "/api/v1/records/%ff", 400, "UTF-8"),
    ] {
        let answer = fixture.request(method, path, "", b"").await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        let reason = answer.json();
        assert!(answer.text().contains(text), "{method} {path}: {reason}");
        assert!(reason["error"].is_string() && reason["help"].is_string(), "{reason}");
    }
    fixture.shut_down().await;
}

#[tokio::test]
async fn a_body_of_ten_megabytes_is_refused() {
    let fixture = start(three, open).await;
    let answer = fixture.request("PUT", LIMITS, "", &vec![b' '; 10 << 20]).await;
    assert_eq!(answer.status, 413, "{}", answer.text());
    assert_eq!(fixture.get("/api/v1/info").await.status, 200);
    fixture.shut_down().await;
}

#[tokio::test]
async fn requests_that_do_not_come_to_an_end_are_ended() {
    let short = Duration::from_millis(300);
    let fixture = start(three, |console| open(console).timeouts(short, short, short)).await;
    for start in [
        "",
        "G",
        "GET /api/v1/info HTTP/1.1\r\nHost: local",
        "PUT /api/v1/records/config%2Flimits HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
    ] {
        let mut stream = fixture.tcp().await;
        stream.write_all(start.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // The server ends the connection, with an answer if it can.
        within(stream.read_to_end(&mut answer)).await.ok();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{start}: {answer}");
    }
    fixture.shut_down().await;
}

#[tokio::test]
async fn a_thousand_idle_connections_leave_room_after_their_time() {
    let short = Duration::from_millis(500);
    let fixture =
        start(three, |console| console.max_connections(50).timeouts(short, short, short)).await;
    let mut idle = Vec::new();
    for _ in 0..1000 {
        idle.push(fixture.tcp().await);
    }
    let answer = async {
        loop {
            let mut stream = fixture.tcp().await;
            let request =
                "GET /api/v1/info HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            let mut answer = Vec::new();
            if stream.write_all(request.as_bytes()).await.is_ok() {
                _ = stream.read_to_end(&mut answer).await;
            }
            if answer.starts_with(b"HTTP/1.1 200") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(answer).await;
    drop(idle);
    fixture.shut_down().await;
}
