//! The keys of a batch as they stand: what every replica holds of them, with the stamps beside it.

use crate::model::Digester;
use crate::repair::reading::{looks, read, siblings};
use crate::repair::round::Candidate;
use crate::repair::run::Shared;
use crate::repair::stamps::{Stampings, stamps_of_journal};
use crate::state::JournalEntry;
use crate::store::Observed;

/// A key that is to be undone.
pub(super) struct Looked<'k> {
    pub(super) candidate: Candidate<'k>,
    pub(super) observed: Vec<Option<Observed>>,
    pub(super) stampings: Stampings,
    /// What the run wrote, in the order of its steps.
    pub(super) entries: Vec<JournalEntry>,
}

/// Looks at keys.
pub(super) async fn look<'k>(
    shared: &Shared<'_>,
    keys: Vec<(Candidate<'k>, Vec<JournalEntry>)>,
) -> Vec<Looked<'k>> {
    let reading = read(shared, keys.iter().map(|(candidate, _)| candidate)).await;
    let mut digester = Digester::new(shared.run.digest_key.clone());
    let numbered = keys.into_iter().enumerate();
    let mut all: Vec<Looked<'k>> = numbered
        .map(|(number, (mut candidate, entries))| {
            let observed = siblings(&reading, number);
            candidate.looks = looks(&observed, &mut digester);
            Looked {
                candidate,
                observed,
                stampings: Vec::new(),
                entries,
            }
        })
        .collect();
    let asked = all
        .iter()
        .map(|one| (&one.candidate, &one.observed[..], &one.entries[..]));
    let stampings = stamps_of_journal(shared, asked.collect()).await;
    for (one, stampings) in all.iter_mut().zip(stampings) {
        one.stampings = stampings;
    }
    all
}
