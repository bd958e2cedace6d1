//! After the writes: the keys are read again, and what is alike now is repaired.

use super::super::describe::settle_change;
use super::super::finding::{Fate, Verdict};
use super::super::look::{Look, difference};
use super::super::reading::{looks, read, siblings};
use super::super::writing::Written;
use super::{Candidate, Round, Tracked};

impl<'a> Round<'a> {
    /// Notes what became of the writes, and reads the keys again. What is alike now is repaired; the rest is looked at
    /// again.
    pub(super) async fn verify(
        &mut self,
        mut wrote: Vec<Tracked<'a>>,
        written: Vec<Written>,
    ) -> Vec<Tracked<'a>> {
        let participants = &self.shared.run.participants;
        if wrote.is_empty() {
            return Vec::new();
        }
        let mut refused: Vec<Option<Verdict>> = wrote.iter().map(|_| None).collect();
        let mut counted: Vec<Option<bool>> = vec![None; wrote.len()];
        for one in written {
            let name = participants[one.replica].replica.name();
            if let Some(finding) = &mut wrote[one.key].finding {
                settle_change(finding, name, one.fate);
            }
            let so_far = counted[one.key].unwrap_or(true);
            counted[one.key] = Some(so_far && one.fate == Fate::Applied);
            refused[one.key] = one.verdict.or(refused[one.key].take());
        }
        let reading = read(self.shared, wrote.iter().map(|one| &one.candidate)).await;
        let mut again = Vec::new();
        for (index, (mut one, refused)) in wrote.into_iter().zip(refused).enumerate() {
            let mut looks = looks(&siblings(&reading, index), &mut self.digester);
            self.leave_out_evicted(&one.candidate, &mut looks);
            // A counter that was increased everywhere is done, also where clients go on counting.
            let counted_all = counted[index] == Some(true);
            let counted = one.counts && counted_all;
            let refused = refused.or(counted.then_some(Verdict::Repaired));
            // Alike it was before as well: only what was written tells.
            let refused = refused.or_else(|| {
                let done = one.recounted && counted_all;
                done.then_some(Verdict::Repaired)
            });
            let verdict = match one.recounted && refused.is_none() {
                true => None,
                false => verified(&one.candidate, &looks, refused),
            };
            one.candidate.looks = looks;
            match (verdict, one.finding.take()) {
                (Some(verdict), Some(finding)) => {
                    if one.large && verdict == Verdict::Repaired {
                        self.learn_large(&one.candidate, &one.evicted).await;
                    }
                    self.find(finding, verdict);
                }
                (_, finding) => {
                    one.finding = finding;
                    again.push(one);
                }
            }
        }
        again
    }
}

/// The verdict on a key that was written, if the looks at it give one.
fn verified(
    candidate: &Candidate<'_>,
    looks: &[Option<Look>],
    refused: Option<Verdict>,
) -> Option<Verdict> {
    let took_part = candidate.looks.iter().flatten().count();
    let present: Vec<Look> = looks.iter().flatten().copied().collect();
    let lost = || Verdict::Unfinished("a replica was lost before the key was verified".into());
    let alike = difference(&present, &candidate.keyspace.policy.expiry).is_none();
    refused
        .or_else(|| (present.len() < took_part).then(lost))
        .or_else(|| alike.then_some(Verdict::Repaired))
}
