//! A writer that is killed at random moments, again and again. `AIMDB_KILLS` is the number of kills: `.ci/run` takes a hundred.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rusqlite::Connection;

/// The program, which cargo builds together with the tests.
fn writer() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("examples/crash_writer")
}

/// Starts the writer, kills it after a time, and returns the values that it printed: restored, and last written.
fn lifetime(path: &Path, after: Duration) -> (u64, u64) {
    let mut child = Command::new(writer())
        .arg(path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("cargo has built the example `crash_writer`");
    let lines = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let (mut restored, mut written) = (None, 0);
        // The last line may be cut.
        for line in lines.lines().map_while(Result::ok) {
            match line.split_once(' ') {
                Some(("restored", number)) => restored = number.parse().ok(),
                Some(("written", number)) => written = number.parse().unwrap_or(written),
                _ => {}
            }
        }
        (restored, written)
    });
    std::thread::sleep(after);
    // SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
    let (restored, written) = reader.join().unwrap();
    let Some(restored) = restored else { return (0, 0) };
    (restored, written.max(restored))
}

#[test]
fn no_kill_takes_what_was_written() {
    let kills: u32 = std::env::var("AIMDB_KILLS").map_or(10, |text| text.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("plant.db");
    let (mut written, mut alive) = (0, 0);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for kill in 0..kills {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let after = Duration::from_millis(20 + (random >> 33) % 180);
        let (restored, last) = lifetime(&path, after);
        if last == 0 {
            // It did not come to its first line.
            continue;
        }
        alive += 1;
        assert!(restored >= written, "kill {kill}: {written} was written, {restored} was restored");
        written = last;

        let file = Connection::open(&path).unwrap();
        let check: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok", "kill {kill}");
        let figures: (i64, i64, i64, i64) = file
            .query_row(
                "SELECT count(*), count(DISTINCT value), coalesce(max(CAST(value AS INTEGER)), 0), coalesce(sum(missed), 0)
                 FROM history",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
            )
            .unwrap();
        let (rows, distinct, newest, missed) = figures;
        assert!(
            newest as u64 >= written,
            "kill {kill}: {written} was written, {newest} is in the history"
        );
        assert_eq!((rows, distinct, missed), (newest, newest, 0), "kill {kill}: each value once");
        let in_order: i64 = file
            .query_row(
                "SELECT count(*) FROM history WHERE seq != CAST(value AS INTEGER)",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(in_order, 0, "kill {kill}");
    }
    assert!(alive > kills / 2, "{alive} of {kills} lives came to their first value");
    assert!(written > 0);
}
