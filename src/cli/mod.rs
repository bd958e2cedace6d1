//! The command line: what it takes ([`args`]) and which keys it means ([`selection`]). No logic of a run.

pub mod args;
pub mod limits;
pub mod selection;
pub mod source;
