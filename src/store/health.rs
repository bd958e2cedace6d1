//! How a server is at a moment: what decides whether a repair may work on it now.

use std::time::Duration;

use crate::model::Millis;

use super::Role;

/// A look at a server: a timed PING, and what INFO and TIME say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// How long the server took to answer PING.
    pub latency: Duration,
    /// The server's clock.
    pub time: Millis,
    /// Whether it takes writes.
    pub role: Role,
    /// Whether the server that it follows is out of reach.
    pub link_down: bool,
    /// Whether it is handing over to another.
    pub handing_over: bool,
    /// Whether it is still loading its data.
    pub loading: bool,
    /// Whether it is saving or rewriting in a child process.
    pub saving: bool,
    /// Bytes that were copied because they were written while the child process saves.
    pub copied_on_write: u64,
    /// Bytes in use.
    pub used_memory: u64,
    /// Bytes it may use; 0 is unlimited.
    pub max_memory: u64,
    /// Whether it makes room by itself where memory is full.
    pub evicts: bool,
}

impl Health {
    /// A server with which everything is well.
    pub fn well(time: Millis) -> Self {
        Self {
            latency: Duration::from_micros(100),
            time,
            role: Role::Master,
            link_down: false,
            handing_over: false,
            loading: false,
            saving: false,
            copied_on_write: 0,
            used_memory: 0,
            max_memory: 0,
            evicts: false,
        }
    }
}
