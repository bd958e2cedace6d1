//! One total order of values, by what they mean and not by how they are written.
//!
//! # Guarantee
//! Two values are equal here exactly when their digests are equal: HyperLogLogs by their registers, modules' values
//! without the footer, streams without their groups' positions.

use std::cmp::Ordering;

use bytes::Bytes;

use crate::model::{Registers, Stream, Value};

/// A value that is compared by its meaning.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole<'a>(pub(super) &'a Value);

impl Ord for Whole<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.0, other.0) {
            (Value::String(a), Value::String(b)) => compare_strings(a, b),
            (Value::Stream(a), Value::Stream(b)) => compare_streams(a, b),
            (Value::Module(a), Value::Module(b)) => {
                (&a.type_name, a.body()).cmp(&(&b.type_name, b.body()))
            }
            (a, b) => a.cmp(b),
        }
    }
}

impl PartialOrd for Whole<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Whole<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Whole<'_> {}

/// Whether two values mean the same: whether their digests are equal.
pub fn alike(a: &Value, b: &Value) -> bool {
    Whole(a) == Whole(b)
}

fn compare_strings(a: &Bytes, b: &Bytes) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    match (Registers::parse(a), Registers::parse(b)) {
        (Some(a), Some(b)) => a.as_slice().cmp(b.as_slice()),
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        (None, None) => a.cmp(b),
    }
}

fn compare_streams(a: &Stream, b: &Stream) -> Ordering {
    (&a.entries, a.last_id)
        .cmp(&(&b.entries, b.last_id))
        .then_with(|| a.groups.keys().cmp(b.groups.keys()))
}
