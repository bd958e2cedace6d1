//! What integration tests and benchmarks share: real servers, the binary, a judge, data.
//!
//! ```text
//! server    a redis-server as a child, gone when the test ends
//! authority  signs certificates for servers and clients
//! cluster   a Redis Cluster as children, resharded and failed over
//! reknit    the binary, run with a time limit
//! transcript  what it printed, without what differs from run to run
//! judge     are two servers equal? asked of the servers, never of reknit
//! prometheus  a Prometheus as a child, and what it answers
//! proxy     loses answers, delays transactions, lets clients in between
//! disguise  a server that looks like an older one, a fork or a newer one
//! disk      one that is full, or cannot be written
//! damage    makes one copy of some data differ from another
//! golden    files that hold what is printed
//! generate  a million mixed keys, and differences among them
//! run       a run over replicas of any kind, made without configuration
//! sentinel  a master that sentinels watch over, as children
//! site      servers, a configuration and a state directory
//! racks     racks of a Dynomite cluster, recorded or made
//! resp      commands and answers as bytes, for loading and for the floor of the benchmark
//! ```
//!
//! Every file of tests/ uses a part of it, so parts are unused in each.
#![allow(dead_code, reason = "each test binary uses a part of this module")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests watch real processes against the wall clock"
)]

pub(crate) mod authority;
pub(crate) mod cluster;
pub(crate) mod damage;
pub(crate) mod disguise;
pub(crate) mod disk;
pub(crate) mod generate;
pub(crate) mod golden;
pub(crate) mod judge;
pub(crate) mod prometheus;
pub(crate) mod proxy;
pub(crate) mod racks;
pub(crate) mod reknit;
pub(crate) mod resp;
pub(crate) mod run;
pub(crate) mod sentinel;
pub(crate) mod server;
pub(crate) mod site;
pub(crate) mod transcript;
