//! A C program with the default disposition of SIGPIPE. It is a test binary of its own, because it changes the process.

use std::ffi::CString;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// The signal would end this process: the test has no other way to fail, and needs none.
#[test]
fn a_broker_that_goes_away_while_values_go_out_raises_no_signal() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = CString::new(format!("mqtt://127.0.0.1:{}", listener.local_addr().unwrap().port()));
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut some = [0; 1024];
            let read = stream.read(&mut some);
            // A CONNACK of MQTT 5; then some values, and the end with more of them unread.
            if read.is_ok() && stream.write_all(&[0x20, 3, 0, 0, 0]).is_ok() {
                _ = stream.read(&mut some);
                counted.fetch_add(1, SeqCst);
            }
        }
    });
    let line = aimdb_ffi_interop::values_for_a_broker_that_goes_away(&url.unwrap(), 1_500_000);
    assert_eq!(line, 0, "the line of the failed check");
    assert!(connections.load(SeqCst) >= 2, "the broker must have gone away");
}
