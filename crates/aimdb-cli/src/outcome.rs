//! How commands end.

use std::io;
use std::process::ExitCode;

/// The reason why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line, or the choice of a database: exit status 2.
    Usage(String),
    /// Everything else: exit status 1.
    Failed(String),
    /// The reader of the output has closed it: the command is over.
    Gone,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Gone,
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// The exit status of a command, or why it failed.
pub(crate) type Outcome = Result<ExitCode, Failure>;
