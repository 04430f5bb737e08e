//! Every conformance suite on Embassy's std executor with a running clock. `tools/firmware run conformance` runs the same
//! suites as firmware.

mod buffers {
    use aimdb_embassy_adapter::testing::{adapter, in_embassy};
    use aimdb_testing::buffers::AsyncApi;

    aimdb_testing::buffer_conformance!(AsyncApi(adapter()), around = in_embassy);
}

mod runtime {
    aimdb_testing::runtime_conformance!(aimdb_embassy_adapter::testing::on_embassy);
}

mod engine {
    aimdb_testing::engine_conformance!(aimdb_embassy_adapter::testing::on_embassy);
}
