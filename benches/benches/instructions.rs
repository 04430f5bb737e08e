//! Run by `tools/instructions`, under valgrind: `instructions PATH OPERATIONS` repeats one hot path.
//!
//! Without arguments it repeats each path a few times, so that an ordinary `cargo bench` shows that they run.

use benches::cases::instructions::PATHS;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match &arguments[..] {
        [asked, operations] => {
            let operations = operations.parse().expect("the second argument is a number");
            let path = PATHS.iter().find(|path| path.name == asked);
            (path.expect("the first argument is a path").run)(operations);
        }
        _ => PATHS.iter().for_each(|path| (path.run)(1_000)),
    }
}
