//! Every suite, on the runtime with the virtual clock.

use std::sync::Arc;

use aimdb_testing::TestRuntime;
use aimdb_testing::buffers::HandleDoor;

mod buffers {
    use super::*;

    aimdb_testing::buffer_conformance!(HandleDoor(Arc::new(TestRuntime::new())));
}
