//! Files that are in use, are not ours, are damaged, or are read by others meanwhile.

use std::path::Path;
use std::time::Duration;

use aimdb_core::{AimDbBuilder, BufferCfg, Json};
use aimdb_store::{Durability, Keep, Persist, Store, StoreError};
use aimdb_tokio_adapter::TokioAdapter;
use rusqlite::{Connection, OpenFlags};

async fn record(store: &Store, values: std::ops::Range<u32>) {
    let mut builder = AimDbBuilder::on(TokioAdapter);
    builder.service(store.clone());
    builder.configure::<u32>("boiler.temperature", |reg| {
        reg.buffer(BufferCfg::queue(16)).written_from_outside();
        reg.restore(store, Json).history(store, Json, Keep::all());
    });
    let db = builder.build().unwrap();
    db.start();
    db.producer::<u32>("boiler.temperature").unwrap().produce_many(values).await.unwrap();
    let report = db.shutdown(Duration::from_secs(20)).await;
    assert!(report.is_clean() && report.failures.is_empty(), "{report}");
}

fn refused(path: &Path) -> StoreError {
    Store::open(path).map(|_| ()).unwrap_err()
}

#[test]
fn a_file_has_one_store_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("plant.db");
    let store = Store::open(&path).unwrap();
    let error = refused(&path);
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("is in use: end the other process"), "{error}");
    // Also by another name.
    let link = directory.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(matches!(refused(&link), StoreError::InUse { .. }));
    drop(store);
    Store::open(&link).unwrap();
}

#[test]
fn what_is_no_store_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    for name in ["", ":memory:"] {
        let error = refused(Path::new(name));
        assert!(error.to_string().contains("it names no file"), "{error}");
    }
    let error = refused(directory.path());
    assert!(error.to_string().contains("it is a directory"), "{error}");
    let error = refused(&file("missing/plant.db"));
    assert!(matches!(error, StoreError::Open { .. }), "{error}");

    std::fs::write(file("notes.txt"), "these are my notes, ".repeat(1000)).unwrap();
    let error = refused(&file("notes.txt"));
    assert!(error.to_string().contains("it is no SQLite database"), "{error}");
    assert!(std::fs::read(file("notes.txt")).unwrap().starts_with(b"these are my notes"));

    let other = Connection::open(file("other.db")).unwrap();
    other.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES(1)").unwrap();
    let error = refused(&file("other.db"));
    assert!(error.to_string().contains("a database of another program"), "{error}");
    assert_eq!(other.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)), Ok(1));

    drop(Store::open(file("newer.db")).unwrap());
    let newer = Connection::open(file("newer.db")).unwrap();
    newer.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(newer);
    let error = refused(&file("newer.db"));
    assert!(matches!(error, StoreError::Newer { version: 99, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn others_read_the_file_while_it_is_written() {
    let directory = tempfile::tempdir().unwrap();
    for durability in [Durability::Kill, Durability::PowerCut] {
        let path = directory.path().join(format!("{durability:?}.db"));
        let store = Store::open_with(&path, durability).unwrap();
        record(&store, 0..1000).await;
        // The store is open.
        let reader = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let sum = "SELECT count(*), sum(json_extract(value, '$')), max(seq) FROM history JOIN record ON id = record
                   WHERE key = 'boiler.temperature'";
        let figures: (i64, i64, i64) =
            reader.query_row(sum, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        assert_eq!(figures, (1000, 499_500, 1000));
        let newest: String =
            reader.query_row("SELECT value FROM newest", [], |row| row.get(0)).unwrap();
        assert_eq!(newest, "999");
        let form: (String, String) = reader
            .query_row("SELECT type, codec FROM record", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        assert_eq!(form, ("u32".to_owned(), "application/json".to_owned()));
    }
}
