//! What runs remember, against true CRDTs with dots and exact sums over random histories; and the rules one by one.

mod bases;
mod book;
mod dots;
mod rules;
mod totals;
mod undo;

/// Elements that are left as they are at a replica: none.
const NOTHING: &std::collections::BTreeSet<bytes::Bytes> = &std::collections::BTreeSet::new();
