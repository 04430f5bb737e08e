//! C records and an MQTT broker that runs inside the process.

use std::ffi::CString;

use embedded_broker::EmbeddedBroker;

#[test]
fn values_make_a_round_trip_as_json_and_as_bytes() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.unwrap();
    let broker = runtime.block_on(EmbeddedBroker::start()).unwrap();
    let url = CString::new(broker.url()).unwrap();
    assert_eq!(aimdb_ffi_interop::links_to_a_broker(&url), 0, "the line of the failed check");
    runtime.block_on(broker.stop());
}
