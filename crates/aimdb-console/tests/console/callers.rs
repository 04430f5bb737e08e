//! Who may what.

use aimdb_console::Grants;
use aimdb_core::{BufferCfg, Json};

use crate::support::*;

const LIMITS: &str = "/api/v1/records/config%2Flimits";
const SECRET: &str = "correct-horse-battery-staple";

#[tokio::test]
async fn the_owner_sets_by_the_socket_and_other_programs_only_look_by_http() {
    let fixture = start(three, |console| console).await;
    let body = br#"{"low": 1.0, "high": 2.0}"#;
    let refused = fixture.request("PUT", LIMITS, "", body).await;
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("may not set `config/limits`"), "{}", refused.text());
    assert_eq!(fixture.owner("PUT", LIMITS, body).await.status, 204);
    assert_eq!(fixture.get(&format!("{LIMITS}/value")).await.text(), r#"{"low":1.0,"high":2.0}"#);
    let info = fixture.get("/api/v1/info").await.json();
    assert_eq!(info["grants"], "read: *; observe: *; set: nothing");
    assert_eq!(info["refused"], 1);
    fixture.shut_down().await;
}

#[tokio::test]
async fn a_token_grants_what_the_program_says_and_an_unknown_one_nothing() {
    let fixture = start(three, |console| {
        let operator = Grants::none().read("config/*").set("config/*");
        console.http_grants(Grants::none()).token(SECRET, operator)
    })
    .await;
    let bearer = format!("Authorization: Bearer {SECRET}\r\n");
    let body = br#"{"low": 1.0, "high": 2.0}"#;
    assert_eq!(fixture.request("PUT", LIMITS, &bearer, body).await.status, 204);
    assert_eq!(fixture.request("GET", &format!("{LIMITS}/value"), &bearer, b"").await.status, 200);
    let other = fixture.request("GET", "/api/v1/records/count/value", &bearer, b"").await;
    assert_eq!(other.status, 403);
    let streams = fixture.request("GET", &format!("{LIMITS}/stream"), &bearer, b"").await;
    assert_eq!(streams.status, 403, "to observe was not granted");
    for line in [
        "",
        "Authorization: Bearer wrong\r\n",
        "Authorization: Basic eDp5\r\n",
        "Authorization: Bearer\r\n",
    ] {
        let answer = fixture.request("GET", "/api/v1/metrics", line, b"").await;
        assert_eq!(answer.status, 401, "{line}");
        assert!(!answer.text().contains(SECRET), "{}", answer.text());
    }
    fixture.shut_down().await;
}

#[tokio::test]
async fn a_foreign_page_gets_nothing() {
    let fixture = start(three, open).await;
    let get = async |lines: &str| {
        let request = format!("GET /api/v1/metrics HTTP/1.1\r\nConnection: close\r\n{lines}\r\n");
        fixture.raw(request).await
    };
    for (lines, status) in [
        ("Host: evil.example\r\n", 403),
        ("Host: evil.example:80\r\n", 403),
        ("Host: 127.0.0.1.evil.example\r\n", 403),
        ("Host: localhost\r\nOrigin: http://evil.example\r\n", 403),
        ("Host: localhost\r\nOrigin: null\r\n", 403),
        ("Host: localhost:80\r\nOrigin: http://localhost:81\r\n", 403),
        ("Host: localhost\r\nSec-Fetch-Site: cross-site\r\n", 403),
        ("Host: localhost\r\nHost: localhost\r\n", 400),
        ("Host: localhost\r\n", 200),
        ("Host: LOCALHOST:1234\r\n", 200),
        ("Host: 127.0.0.1:80\r\n", 200),
        ("Host: [::1]:80\r\n", 200),
        (
            "Host: localhost:80\r\nOrigin: http://localhost:80\r\nSec-Fetch-Site: same-origin\r\n",
            200,
        ),
    ] {
        let answer = get(lines).await;
        assert_eq!(answer.status, status, "{lines}: {}", answer.text());
    }
    let answer = get("Host: localhost\r\n").await;
    let head = answer.head.to_ascii_lowercase();
    for line in [
        "x-content-type-options: nosniff",
        "x-frame-options: deny",
        "content-security-policy: default-src 'none'",
    ] {
        assert!(head.contains(line), "{head}");
    }
    assert!(!head.contains("access-control-allow-origin"), "{head}");
    fixture.shut_down().await;
}

#[tokio::test]
async fn errors_that_quote_a_value_are_shown_to_who_may_read_it_and_are_short() {
    let peer = aimdb_testing::MemoryPeer::new();
    let secret = "S3CRET".repeat(10_000);
    peer.publish("in", format!("\"{secret}\""));
    let fixture = start(
        |builder| {
            builder.connector(peer.connector());
            builder.configure::<u32>("dose", |reg| {
                reg.buffer(BufferCfg::latest()).read_from_outside().link_from("memory://in", Json);
            });
        },
        |console| console.http_grants(Grants::none().read("other")),
    )
    .await;
    let undecoded = || fixture.db.metrics().links[0].decode_errors() == 1;
    eventually("it does not decode", undecoded).await;
    for path in ["events", "health", "metrics", "why/dose"] {
        let path = format!("/api/v1/{path}");
        let (hidden, shown) = (fixture.get(&path).await, fixture.owner("GET", &path, b"").await);
        assert!(!hidden.text().contains("S3CRET"), "{path}: {}", hidden.text());
        // A health without errors that are not over has none to show.
        assert!(
            shown.text().contains("S3CRET") && shown.body.len() < 4000,
            "{path}: {}",
            shown.text()
        );
    }
    fixture.shut_down().await;
}

#[tokio::test]
async fn callers_by_http_do_not_take_the_places_of_the_owner() {
    let fixture = start(three, |console| console.max_connections(3).max_streams(1)).await;
    let _stream = fixture.stream("/api/v1/stream", "").await;
    let (_one, _two) = (fixture.tcp().await, fixture.tcp().await);
    assert_eq!(fixture.owner("GET", "/api/v1/info", b"").await.status, 200);
    fixture.shut_down().await;
}

#[tokio::test]
async fn a_name_that_the_program_allows_is_accepted_as_host() {
    let fixture = start(three, |console| console.host("Gateway.local")).await;
    let request =
        "GET /api/v1/info HTTP/1.1\r\nConnection: close\r\nHost: gateway.local:8080\r\n\r\n";
    assert_eq!(fixture.raw(request).await.status, 200);
    fixture.shut_down().await;
}
