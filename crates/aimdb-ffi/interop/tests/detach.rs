//! The C programs that detach a database whose shutdown was requested before. They are a test binary of their own, because
//! they wait for deadlines.

use aimdb_ffi_interop as c;

const LINE: &str = "the line of the failed check";

#[test]
fn a_detach_right_after_a_request_has_its_own_deadline() {
    assert_eq!(c::detach_with_a_shorter_deadline_than_the_shutdown(0), 0, "{LINE}");
}

#[test]
fn a_detach_while_the_requested_shutdown_is_under_way_has_its_own_deadline() {
    assert_eq!(c::detach_with_a_shorter_deadline_than_the_shutdown(1), 0, "{LINE}");
}

#[test]
fn a_detach_without_a_limit_waits_for_a_tap_that_requested_the_shutdown() {
    let line = c::a_tap_works_past_the_deadline_of_the_shutdown_it_requested(100_000, 2_000_000);
    assert_eq!(line, 0, "{LINE}");
}

/// The same with the default of 10 s, as a program has it.
#[test]
#[ignore = "takes 12 s; `--ignored` runs it"]
fn a_detach_without_a_limit_waits_for_longer_than_the_default() {
    let line = c::a_tap_works_past_the_deadline_of_the_shutdown_it_requested(0, 12_000_000);
    assert_eq!(line, 0, "{LINE}");
}
