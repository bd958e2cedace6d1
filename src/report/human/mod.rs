//! The form for people: a headline to read at a glance, tables, then the first keys, then what to do next.

mod check;
mod clean;
mod explain;
mod grid;
mod headline;
mod keys;
mod paint;
mod runs;
mod status;
mod tables;
mod undo;

use crate::model::{Datacenter, ReplicaName};
use crate::repair::{Finding, Mode, Summary};

use super::shape::Shape;
use paint::Paint;

pub(super) use check::check;
pub(super) use clean::clean;
pub(super) use explain::explain;
pub(super) use runs::{run_foot, run_head, runs, write};
pub(super) use status::{limits, status};
pub(super) use undo::undo;

/// The report of a run; `kept` are the first findings.
pub(super) fn run(
    shape: &Shape,
    mode: Mode,
    replicas: &[(ReplicaName, Datacenter)],
    summary: &Summary,
    kept: &[Finding],
) -> String {
    let paint = Paint(shape.colour);
    let parts = [
        headline::headline(paint, mode, summary),
        tables::keyspaces(shape, mode, summary),
        tables::replicas(shape, mode, summary, replicas),
        keys::keys(shape, replicas, summary, kept),
        headline::closing(paint, mode, summary),
    ];
    joined(parts)
}

/// Parts with an empty line between them.
fn joined(parts: impl IntoIterator<Item = String>) -> String {
    let parts: Vec<String> = parts
        .into_iter()
        .map(|part| part.trim_end().to_owned())
        .filter(|part| !part.is_empty())
        .collect();
    parts.join("\n\n") + "\n"
}
