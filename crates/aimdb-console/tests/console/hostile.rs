//! Requests that no caller sends: valid ones with random changes, on both kinds of connection.
//!
//! `AIMDB_HOSTILE` is their number, and `AIMDB_HOSTILE_SEED` the seed of the first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::support::*;

const REQUESTS: &[&str] = &[
    "PUT /api/v1/records/config%2Flimits HTTP/1.1\r\nHost: localhost\r\nContent-Length: 22\r\n\r\n{\"low\":1.5,\"high\":2e3}",
    "PUT /api/v1/records/config%2Flimits HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: chunked\r\n\r\n16\r\n{\"low\":1.5,\"high\":2e3}\r\n0\r\n\r\n",
    "GET /api/v1/records/count HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAuthorization: Bearer a-token-of-32-random-characters!\r\n\r\n",
    "GET /api/v1/records/count/stream HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 17\r\n\r\n",
    "GET /api/v1/stream?key=count,config*&every=50&metrics=100&events=1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET /api/v1/why/config%2Flimits HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n\r\n",
    "GET /api/v1/graph?format=mermaid HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: \"x\"\r\n\r\n",
    "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\nGET /api/v1/info HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "HEAD /app.js HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive, upgrade\r\nUpgrade: h2c\r\n\r\n",
];

/// Pieces that parsers trip over.
const PIECES: &[&str] = &[
    "%",
    "%ff",
    "%00",
    "%2F",
    "%252F",
    "&",
    "=",
    "*",
    "**",
    ",",
    "?",
    "#",
    "/../",
    "\0",
    "\r\n",
    "\n",
    "\u{feff}",
    "é",
    "key=",
    "-1",
    "18446744073709551616",
    "1e999",
    "NaN",
    "null",
    "[[[[[[[[",
    "{\"low\":",
    "\\u0000",
    "\\ud800",
    "\"",
    ":",
    ";",
    "Host: evil.example\r\n",
    "Content-Length: 3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Bearer ",
    "HTTP/1.1",
];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn request(&mut self) -> Vec<u8> {
        let mut bytes = REQUESTS[self.below(REQUESTS.len())].as_bytes().to_vec();
        for _ in 0..self.below(5) {
            let at = self.below(bytes.len());
            match self.below(7) {
                0 => bytes[at] = self.next() as u8,
                1 => bytes.insert(at, self.next() as u8),
                2 => bytes.truncate(at.max(1)),
                3 => drop(bytes.remove(at)),
                4 => {
                    let copied: Vec<u8> =
                        bytes[at..].iter().copied().take(self.below(64)).collect();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, copied);
                }
                5 => {
                    let piece = PIECES[self.below(PIECES.len())].as_bytes();
                    bytes.splice(at..at, piece.iter().copied());
                }
                _ => {
                    let piece = PIECES[self.below(PIECES.len())].as_bytes();
                    let many = 1 << self.below(13);
                    bytes.splice(at..at, piece.iter().copied().cycle().take(many));
                }
            }
            if bytes.is_empty() {
                break;
            }
        }
        bytes
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// The status of the first answer; 0 without an answer.
async fn status_of<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &[u8]) -> u16 {
    _ = stream.write_all(request).await;
    _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let read = async {
        while let Ok(1..) = stream.read_buf(&mut answer).await {
            // A stream does not end by itself.
            if answer.windows(17).any(|part| part == b"text/event-stream") {
                return;
            }
        }
    };
    within(read).await;
    let text = String::from_utf8_lossy(&answer);
    let Some(rest) = text.strip_prefix("HTTP/1.") else {
        assert!(text.is_empty(), "{:?}: {text}", String::from_utf8_lossy(request));
        return 0;
    };
    rest.get(2..5).and_then(|digits| digits.parse().ok()).expect("a status")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_whatever_harms_the_console() {
    let (count, first) = (number("AIMDB_HOSTILE", 2_000), number("AIMDB_HOSTILE_SEED", 1));
    let panics = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&panics);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // Codecs of other tests panic on purpose.
        if panic.location().is_some_and(|location| location.file().contains("aimdb-console/src")) {
            counted.fetch_add(1, Relaxed);
        }
        before(panic);
    }));
    let short = Duration::from_secs(2);
    let fixture = Arc::new(
        start(three, |console| {
            open(console)
                .timeouts(short, short, short)
                .token("a-token-of-32-random-characters!", aimdb_console::Grants::read_only())
        })
        .await,
    );
    let statuses = Arc::new([const { AtomicU64::new(0) }; 6]);
    let attackers = (0..4_u64).map(|worker| {
        let (fixture, statuses) = (Arc::clone(&fixture), Arc::clone(&statuses));
        tokio::spawn(async move {
            for seed in (first..first + count).filter(|seed| seed % 4 == worker) {
                let request = Random(seed).request();
                let status = if seed % 8 < 4 {
                    status_of(fixture.unix().await, &request).await
                } else {
                    let stream = fixture.tcp().await;
                    // The port is free again at once: there are more requests than ports.
                    stream.set_zero_linger().unwrap();
                    status_of(stream, &request).await
                };
                let text = String::from_utf8_lossy(&request);
                assert!(status < 500, "seed {seed}: {status} to {text:?}");
                statuses[usize::from(status / 100)].fetch_add(1, Relaxed);
            }
        })
    });
    for attacker in attackers.collect::<Vec<_>>() {
        attacker.await.unwrap();
    }
    let statuses = statuses.each_ref().map(|count| count.load(Relaxed));
    // Neither are all changes harmless, nor is everything refused before it comes to a handler.
    assert!(statuses[2] > count / 20 && statuses[4] > count / 20, "{statuses:?}");
    assert_eq!(panics.load(Relaxed), 0);
    assert_eq!(fixture.get("/api/v1/info").await.status, 200);
    Arc::into_inner(fixture).expect("the attackers have ended").shut_down().await;
}
