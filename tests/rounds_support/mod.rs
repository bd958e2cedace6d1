//! What the test of a hundred rounds is made of.
//!
//! ```text
//! spec      what must be: dots, sums, lists; knows nothing of reknit
//! clients   random writes, as plain commands, told to the specification
//! fleet     servers, configuration, state directory; what the servers hold
//! gate      counts what a run says, and holds it at chosen moments
//! history   the rounds
//! ```

pub(crate) mod clients;
#[path = "../model_support/dice.rs"]
pub(crate) mod dice;
pub(crate) mod fleet;
pub(crate) mod gate;
pub(crate) mod history;
pub(crate) mod spec;
