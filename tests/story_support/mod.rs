//! Stories: plain files that say what happens to replicas and what is seen then, run on any kind of replica.
//!
//! ```text
//! story (text) ──▶ steps ──▶ World: sites (memory, or real servers) and an engine (diff, repair)
//!                   ▲                          │
//!                   └── expected lines ◀─ compared, or rewritten with REKNIT_UPDATE=1
//! ```
//!
//! tests/scenarios/README.md has the language.

pub(crate) mod command;
pub(crate) mod engine;
pub(crate) mod memory;
pub(crate) mod servers;
pub(crate) mod show;
pub(crate) mod step;
pub(crate) mod story;
pub(crate) mod world;
