//! The writes of a batch in a run without memory.

use crate::crdt::Outcome;
use crate::model::ReplicaIndex;

use super::super::notary::evidence;
use super::super::noting::Note;
use super::super::reading::state;
use super::super::resolve::Resolution;
use super::super::writing::Order;
use super::{Acting, Round, Work};

impl Round<'_> {
    /// What is to be written without memory; with what it overwrites, where that is kept in a file.
    pub(super) fn order(
        &mut self,
        one: &Acting<'_>,
        resolution: Resolution,
        number: usize,
        work: &mut Work<'_>,
    ) {
        let keeps = self.shared.run.journal.is_some();
        let merged = &resolution.merged;
        let left_out = &resolution.left_out;
        for (ReplicaIndex(replica), write) in resolution.writes {
            let held = state(&one.observed[replica]);
            let note = match &merged.outcome {
                Outcome::Target(target) if keeps => {
                    let why = (merged.rule, evidence(merged.evidence));
                    let wanted = match left_out.get(&ReplicaIndex(replica)) {
                        Some(names) => target.leaving(names).at(held),
                        None => target.at(held),
                    };
                    Some(Note::whole(held, wanted.as_ref(), why, &mut self.digester))
                }
                Outcome::Target(_) | Outcome::Unresolved(_) => None,
            };
            work.writes.entry(replica).or_default().push(Order {
                key: number,
                write,
                note,
            });
        }
    }
}
