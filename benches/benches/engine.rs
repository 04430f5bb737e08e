//! Run with: cargo bench -p benches
//!
//! `AIMDB_BENCH_QUICK=1` for a quick look, `-- queue` for the cases with `queue` in their name.
#![expect(clippy::print_stdout, reason = "tables are what it is for")]

use benches::kit::Scale;
use benches::{cases, machine};

fn main() {
    let scale = Scale::asked_for();
    let wanted: Vec<_> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    println!("{}", machine::line());
    println!(
        "{} paired rounds; ratio = time over the baseline's, below 1 is faster\n",
        scale.rounds()
    );
    for (name, case) in cases::ALL {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())) {
            println!("{}", case(scale));
        }
    }
}
