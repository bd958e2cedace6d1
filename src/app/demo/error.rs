//! Why the demo could not be played.

use std::io;

use crate::app::Trouble;
use crate::config::ConfigError;
use crate::repair::RunError;

/// Why the demo could not be played.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// There is no server to start.
    #[error(
        "redis-server is not installed: the demo starts three of them, try `apt-get install redis-server`"
    )]
    NotInstalled,
    /// The server is one that reknit does not work with.
    #[error("redis-server is too old: {0}; the demo needs version 7.0 or later")]
    TooOld(String),
    /// There is no place for the servers' files.
    #[error(
        "cannot make a directory for the servers' files: {0}; see to the space and permissions of the \
         temporary directory, or name another in TMPDIR"
    )]
    Directory(#[source] io::Error),
    /// A server does not come up.
    #[error("redis-server for {name} does not start, it says: {reason}")]
    Start {
        /// The replica.
        name: &'static str,
        /// The last line of its log.
        reason: String,
    },
    /// A server refused a command or went away.
    #[error("the demo's server {name}: {source}")]
    Server {
        /// The replica.
        name: &'static str,
        /// What it said.
        #[source]
        source: redis::RedisError,
    },
    /// The repair left something.
    #[error(
        "the diff after the repair must find nothing, and it did: this is a bug, please report it"
    )]
    Left,
    /// The run could not be put together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The run could not begin.
    #[error(transparent)]
    Trouble(#[from] Trouble),
    /// The run came to nothing.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A file, a process or the output.
    #[error("{0}")]
    Io(#[from] io::Error),
}
