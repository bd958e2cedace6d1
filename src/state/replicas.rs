//! Replicas by their stable ids: enrolled, renamed, forgotten.

use crate::model::{Millis, ReplicaId, ReplicaName};

use super::layout::{Chapter, beginning, split_commit, split_replica};
use super::open::NO_PANIC;
use super::record::Record;
use super::store::{Flow, Row, Table};
use super::{Intent, Result, State};

/// A replica that was ever enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownReplica {
    /// Its identity.
    pub id: ReplicaId,
    /// Its name.
    pub name: ReplicaName,
    /// When it was enrolled.
    pub since: Millis,
    /// When it was forgotten.
    pub forgotten: Option<Millis>,
}

/// Rows of a forgotten replica that are removed at once.
const SWEPT_AT_ONCE: usize = 4096;

impl State {
    /// All replicas that were ever enrolled, the forgotten ones too, in the order of their ids.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn replicas(&self) -> Result<Vec<KnownReplica>> {
        self.chapter(Chapter::Replicas, || "a replica".into())
    }

    /// The id of a replica: a known one keeps its own, a new or forgotten name gets one made of `random`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn enrol(&self, name: &ReplicaName, random: [u8; 8], now: Millis) -> Result<ReplicaId> {
        let mut writing = self.writing();
        let known = self.replicas()?;
        let living = known
            .iter()
            .find(|it| it.forgotten.is_none() && it.name == *name);
        if let Some(replica) = living {
            return Ok(replica.id);
        }
        let mut id = u64::from_be_bytes(random);
        while known.iter().any(|it| it.id.0 == id.to_be_bytes()) {
            id = id.wrapping_add(1);
        }
        let replica = KnownReplica {
            id: ReplicaId(id.to_be_bytes()),
            name: name.clone(),
            since: now,
            forgotten: None,
        };
        self.write_rows(&mut writing, vec![replica.row()], true)?;
        Ok(replica.id)
    }

    /// Gives a replica another name; it keeps its id and all that is remembered of it. Answers whether it could: one
    /// has the old name and none the new.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn rename(&self, from: &ReplicaName, to: &ReplicaName) -> Result<bool> {
        let mut writing = self.writing();
        let mut living = self.replicas()?;
        living.retain(|replica| replica.forgotten.is_none());
        if living.iter().any(|replica| replica.name == *to) {
            return Ok(false);
        }
        let Some(mut replica) = living.into_iter().find(|replica| replica.name == *from) else {
            return Ok(false);
        };
        replica.name = to.clone();
        self.write_rows(&mut writing, vec![replica.row()], true)?;
        Ok(true)
    }

    /// Forgets a replica that does not return. In one sync its lags, lanes, voids and parts of intents are gone; its id
    /// is never used again, so nothing that it shows counts any more.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn forget(&self, replica: ReplicaId, now: Millis) -> Result<()> {
        let mut writing = self.writing();
        let at = Chapter::Replicas.about(&replica.0);
        let known = self.noted::<KnownReplica>(at, || format!("replica {replica}"))?;
        let Some(mut known) = known.filter(|known| known.forgotten.is_none()) else {
            return Ok(());
        };
        known.forgotten = Some(now);
        let mut rows = vec![known.row()];
        for chapter in [
            Chapter::Lanes,
            Chapter::Voids,
            Chapter::Coverage,
            Chapter::Evictions,
        ] {
            let range = beginning(&chapter.about(&replica.0));
            self.0.store.scan(Table::Book, range, |at, _| {
                rows.push((Table::Book, at.to_vec(), None));
                Ok(Flow::Continue)
            })?;
        }
        for intent in self.intents()? {
            rows.extend(without(&intent, replica));
        }
        // SUBTLE: its lags can be millions. This row makes them all void at once, whoever reads them asks for it; that
        // they are then removed little by little is cleaning.
        self.write_rows(&mut writing, rows, true)?;
        self.0.forgotten.write().expect(NO_PANIC).insert(replica);
        drop(writing);
        self.sweep_forgotten().map(|_| ())
    }

    pub(super) fn is_forgotten(&self, replica: ReplicaId) -> bool {
        self.0.forgotten.read().expect(NO_PANIC).contains(&replica)
    }

    pub(super) fn remember_forgotten(&self) -> Result<()> {
        let replicas = self.replicas()?.into_iter();
        let ids = replicas.filter(|it| it.forgotten.is_some()).map(|it| it.id);
        self.0.forgotten.write().expect(NO_PANIC).extend(ids);
        Ok(())
    }

    /// Removes what is left of forgotten replicas; answers how many lags.
    pub(super) fn sweep_forgotten(&self) -> Result<u64> {
        if self.0.forgotten.read().expect(NO_PANIC).is_empty() {
            return Ok(0);
        }
        let mut swept = 0;
        for table in [Table::Lags, Table::LagHistory, Table::Replaced] {
            let mut rows = Vec::new();
            self.0.store.scan(table, beginning(&[]), |at, _| {
                if self.is_of_forgotten(table, at)? {
                    rows.push((table, at.to_vec(), None));
                    swept += u64::from(table == Table::Lags);
                }
                if rows.len() == SWEPT_AT_ONCE {
                    self.write_rows(&mut self.writing(), std::mem::take(&mut rows), false)?;
                }
                Ok(Flow::Continue)
            })?;
            if !rows.is_empty() {
                self.write_rows(&mut self.writing(), rows, false)?;
            }
        }
        Ok(swept)
    }

    fn is_of_forgotten(&self, table: Table, at: &[u8]) -> Result<bool> {
        let read = match table {
            Table::LagHistory | Table::Replaced => {
                split_commit(at).and_then(|(place, _)| split_replica(place))
            }
            _ => split_replica(at),
        };
        let (_, replica) = self.read(read, || "a lag".into())?;
        Ok(self.is_forgotten(replica))
    }
}

impl KnownReplica {
    fn row(&self) -> Row {
        (
            Table::Book,
            Chapter::Replicas.about(&self.id.0),
            Some(self.encode()),
        )
    }
}

/// What is left of an intent, as a row; nothing if it does not change.
fn without(intent: &Intent, replica: ReplicaId) -> Option<Row> {
    let left = intent.without(replica);
    if left.as_ref() == Some(intent) {
        return None;
    }
    let at = Chapter::Intents.step(intent.sequence);
    Some((Table::Book, at, left.map(|left| left.encode())))
}
