//! One participant's part of a step: its writes and its marker in one transaction, and what became of it.

use crate::model::{Marker, Sequence, Write};
use crate::repair::run::Shared;
use crate::store::{Replica, Seal, Sealing, StoreError, WriteOutcome, Written};

use super::{Notary, lane_name};

/// How often a marker is set that a transaction left as it was.
const SEALINGS: usize = 3;

/// What a participant said to its part of a step.
pub(super) enum Answer {
    /// The marker was set; the outcomes of its writes, by place.
    Proved(Marker, Vec<WriteOutcome>),
    /// It cannot be reached, and what was sent may have happened.
    Unknown(StoreError),
    /// Nothing of it happened.
    Refused(StoreError),
}

/// One participant's part of a step.
struct Asked<'s, 'a> {
    notary: &'s Notary<'a>,
    shared: &'s Shared<'s>,
    sequence: Sequence,
    replica: usize,
}

/// Writes to one participant, and finds out what became of it. Its marker is set, also where nothing is written.
pub(super) async fn ask(
    notary: &Notary<'_>,
    shared: &Shared<'_>,
    sequence: Sequence,
    replica: usize,
    writes: &[(usize, Write)],
) -> Answer {
    let asked = Asked {
        notary,
        shared,
        sequence,
        replica,
    };
    asked.write(writes).await
}

impl Asked<'_, '_> {
    fn edge(&self) -> &dyn Replica {
        self.shared.run.participants[self.replica].replica.as_ref()
    }

    async fn write(&self, writes: &[(usize, Write)]) -> Answer {
        let batch: Vec<Write> = writes.iter().map(|(_, write)| write.clone()).collect();
        match self.send(&batch).await {
            Err(error) => Answer::Refused(error),
            Ok(written) => match written.sealing {
                Sealing::Set(marker) => Answer::Proved(marker, written.outcomes),
                Sealing::Unset | Sealing::Unasked => self.prove(written.outcomes).await,
                Sealing::Unknown => self.find_out(batch.len()).await,
            },
        }
    }

    async fn send(&self, batch: &[Write]) -> Result<Written, StoreError> {
        let (memory, digest_key) = (self.notary.memory, &self.shared.run.digest_key);
        let seal = Seal {
            lane: lane_name(memory.ids[self.replica]),
            expect: self.notary.marker(self.replica),
            set: Marker {
                state: self.notary.identity(),
                owner: memory.owner,
                run: memory.run,
                sequence: self.sequence,
                written: 0,
            },
            register: None,
        };
        let edge = self.edge();
        edge.write(self.notary.db, batch, digest_key, Some(&seal))
            .await
    }

    /// Sets the marker alone, after a transaction that was aborted: what was read is proved all the same.
    async fn prove(&self, outcomes: Vec<WriteOutcome>) -> Answer {
        for _ in 0..SEALINGS {
            match self.send(&[]).await {
                Err(error) => return Answer::Refused(error),
                Ok(written) => match written.sealing {
                    Sealing::Set(marker) => return Answer::Proved(marker, outcomes),
                    Sealing::Unknown => return Box::pin(self.find_out(outcomes.len())).await,
                    Sealing::Unset | Sealing::Unasked => {}
                },
            }
        }
        Answer::Refused(self.fenced())
    }

    /// After a lost answer: fences the lane, so that nothing can arrive any more, and asks the marker.
    async fn find_out(&self, writes: usize) -> Answer {
        let memory = self.notary.memory;
        let lane = lane_name(memory.ids[self.replica]);
        let edge = self.edge();
        let fenced = edge
            .fence(self.notary.db, &lane, memory.owner, memory.run)
            .await;
        let found = match fenced {
            Err(error) => return Answer::Unknown(error),
            Ok(None) => return Answer::Refused(self.fenced()),
            Ok(Some(found)) => Marker {
                owner: memory.owner,
                run: memory.run,
                ..found
            },
        };
        let told = |place: usize| match found.proves(self.sequence, place as u8) {
            true => WriteOutcome::Applied,
            false => WriteOutcome::Superseded,
        };
        let outcomes = (0..writes).map(told).collect();
        if found.sequence == self.sequence {
            return Answer::Proved(found, outcomes);
        }
        self.notary.set_marker(self.replica, found);
        Box::pin(self.prove(outcomes)).await
    }

    fn fenced(&self) -> StoreError {
        StoreError::Fenced {
            replica: self.edge().name().clone(),
            lane: lane_name(self.notary.memory.ids[self.replica]),
            found: None,
        }
    }
}
