//! reknit: Merkle-tree anti-entropy repair for Redis replicas across datacenters.
//!
//! The law: the tree says **where** to look, a fresh read says **what** is there, evidence says what **should** be
//! there, and a conditional write changes it. Nothing else may write to a replica.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crdt;
pub mod daemon;
pub mod merkle;
pub mod model;
pub mod repair;
pub mod report;
pub mod state;
pub mod store;
