//! A writer that is killed at random moments, again and again. `AIMDB_KILLS` is the number of kills: `.ci/run` takes a hundred.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rusqlite::Connection;

/// The program, which cargo builds together with the tests.
fn writer() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("examples/crash_writer")
}

/// Starts the writer, kills it after a time, and returns the values that it printed: restored, and last written. `None` if it
/// did not come to its first line.
fn lifetime(path: &Path, after: Duration) -> Option<(u64, u64)> {
    let mut child = Command::new(writer())
        .arg(path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("cargo has built the example `crash_writer`");
    let lines = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let (mut restored, mut written) = (None, 0);
        // The last line may be cut.
        for line in lines.lines().map_while(Result::ok) {
            match line.split_once(' ') {
                Some(("restored", number)) => restored = number.parse::<u64>().ok(),
                Some(("written", number)) => written = number.parse().unwrap_or(written),
                _ => {}
            }
        }
        restored.map(|restored| (restored, written.max(restored)))
    });
    std::thread::sleep(after);
    // SIGKILL. A writer that has ended by itself has found a fault, which is on stderr.
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9), "it has ended by itself");
    reader.join().unwrap()
}

/// The history of a file, which the writer must not have open: rows, different values, the newest value, the values missed, and
/// the rows whose number is not that of their value.
fn figures(path: &Path) -> [i64; 5] {
    let file = Connection::open(path).unwrap();
    let check: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let sql = "SELECT count(*), count(DISTINCT value), coalesce(max(CAST(value AS INTEGER)), 0), coalesce(sum(missed), 0),
                      coalesce(sum(seq != CAST(value AS INTEGER)), 0) FROM history";
    file.query_row(sql, [], |row| {
        Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?])
    })
    .unwrap()
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
        let Some((restored, last)) = lifetime(&path, after) else { continue };
        alive += 1;
        assert!(restored >= written, "kill {kill}: {written} was written, {restored} was restored");
        written = last;
        // Of a copy, in most rounds: the next writer is the first one that opens the file as the kill has left it.
        let looked_at = match kill % 4 {
            0 => path.clone(),
            _ => {
                let copy = directory.path().join("copy.db");
                for end in ["", "-wal"] {
                    let from = format!("{}{end}", path.display());
                    let to = format!("{}{end}", copy.display());
                    _ = std::fs::remove_file(&to);
                    if Path::new(&from).exists() {
                        std::fs::copy(from, to).unwrap();
                    }
                }
                _ = std::fs::remove_file(format!("{}-shm", copy.display()));
                copy
            }
        };
        let [rows, different, newest, missed, out_of_turn] = figures(&looked_at);
        assert!(
            newest as u64 >= written,
            "kill {kill}: {written} was written, {newest} is in the history"
        );
        assert_eq!(
            [rows, different, missed, out_of_turn],
            [newest, newest, 0, 0],
            "kill {kill}: each value once, in order"
        );
    }
    assert!(alive > kills / 2, "{alive} of {kills} lives came to their first value");
    assert!(written > 0);
}
