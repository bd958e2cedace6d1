//! What the model test is made of.
//!
//! ```text
//! sight    the specification: dots at holders, and how they are merged
//! world    what really happened: clients' writes
//! watch    what runs read, wrote and lost; the scripts that disturb them
//! edge     a replica that tells the world, and falls silent when the run dies
//! site     replicas and a state directory
//! history  one random history, and what must hold in the end
//! forgetting  the same where replicas forget
//! ```
#![allow(dead_code, reason = "each test binary uses a part of this module")]

pub(crate) mod dice;
pub(crate) mod edge;
pub(crate) mod forgetting;
pub(crate) mod history;
pub(crate) mod sight;
pub(crate) mod site;
pub(crate) mod watch;
pub(crate) mod world;
