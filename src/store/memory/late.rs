//! Transactions between WATCH and EXEC: executed at once, or when their EXEC arrives.

use bytes::Bytes;

use crate::model::{DbIndex, Key, Marker, Op, ReplicaId, STATES_KEY, State, Value, Write};
use crate::store::WriteOutcome;

use super::Inner;
use super::write::is_scripted;

/// A transaction whose keys are watched.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) db: DbIndex,
    /// How often the server had been restarted: no connection outlives a restart.
    pub(super) restarts: u64,
    /// When each watched key was last touched.
    pub(super) watched: Vec<(Key, u64)>,
    /// The writes, each with its place in the batch.
    pub(super) members: Vec<(usize, Write)>,
    /// Members, by place, whose operations the server refuses, with its words.
    pub(super) refused: Vec<(usize, String)>,
    /// The id under which the replica is listed.
    pub(super) register: Option<ReplicaId>,
    /// The marker that is set; counters that are increased are added to its mask.
    pub(super) marker: Option<(Key, Marker)>,
}

/// What a transaction came to.
pub(super) struct Executed {
    pub(super) outcomes: Vec<(usize, WriteOutcome)>,
    pub(super) marker: Option<Marker>,
}

impl Inner {
    /// EXEC: nothing if a watched key was touched or the server restarted.
    pub(super) fn exec(&mut self, pending: &Pending) -> Option<Executed> {
        let db = pending.db;
        if pending.restarts != self.data.restarts() {
            return None;
        }
        for (key, touched) in &pending.watched {
            if self.data.last_touch(db, key) != *touched {
                return None;
            }
        }
        let mut marker = pending.marker.as_ref().map(|(_, marker)| *marker);
        let mut outcomes = Vec::with_capacity(pending.members.len());
        for (place, write) in &pending.members {
            let refused = pending.refused.iter().find(|(refused, _)| refused == place);
            let outcome = match refused {
                Some((_, words)) => WriteOutcome::Refused(words.clone()),
                None => self.run(db, write),
            };
            if let Some(marker) = &mut marker
                && (!is_scripted(write) || outcome == WriteOutcome::Applied)
            {
                marker.written |= 1 << place;
            }
            outcomes.push((*place, outcome));
        }
        if let (Some((lane, _)), Some(marker)) = (&pending.marker, marker) {
            self.set_marker(db, lane, &marker);
            if let Some(replica) = pending.register {
                self.register(db, &marker, replica);
            }
        }
        Some(Executed { outcomes, marker })
    }

    /// Delivers every EXEC that is on its way; answers how many took effect.
    pub(super) fn deliver_late(&mut self) -> usize {
        let late = std::mem::take(&mut self.late);
        late.iter().filter_map(|pending| self.exec(pending)).count()
    }

    fn set_marker(&mut self, db: DbIndex, lane: &Key, marker: &Marker) {
        let text = Value::String(Bytes::from(marker.encode()));
        self.data.set_state(db, lane, Some(State::lasting(text)));
    }

    fn register(&mut self, db: DbIndex, marker: &Marker, replica: ReplicaId) {
        let field = (marker.state.to_string(), replica.to_string());
        let set = Op::SetFields(vec![(field.0.into(), field.1.into())]);
        let listed = self.data.apply(db, &Key::copied(STATES_KEY), &set);
        debug_assert!(listed.is_ok(), "the list was looked at before");
    }
}
