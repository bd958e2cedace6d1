//! A service on real servers, and what asks it.
//!
//! ```text
//! daemon   `reknit run` over two redis-servers, its log, its end
//! http     one request and its answer, byte by byte
//! schema   whether a document is what a schema says
//! make     documents that are what a schema says, and such that are not
//! dice     chance with a seed
//! ```
#![allow(
    clippy::disallowed_methods,
    reason = "tests watch a real process against the wall clock"
)]

pub(crate) mod daemon;
pub(crate) mod dice;
pub(crate) mod http;
pub(crate) mod make;
pub(crate) mod schema;
