//! A service on real servers, and what asks it.
//!
//! ```text
//! daemon   `reknit run` over two redis-servers, its log, its end
//! http     one request and its answer, byte by byte
//! schema   whether a document is what a schema says
//! make     documents that are what a schema says, and such that are not
//! dice     chance with a seed
//! odd      requests that no well-behaved client sends
//! ```
//!
//! Each test binary uses a part of it.
#![allow(dead_code, reason = "each test binary uses a part of this module")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests watch a real process against the wall clock"
)]

pub(crate) mod daemon;
pub(crate) mod dice;
pub(crate) mod http;
pub(crate) mod make;
pub(crate) mod odd;
pub(crate) mod schema;
