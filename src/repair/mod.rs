//! From differing replicas to equal ones: what to write, and the run that writes it.

pub mod ops;
