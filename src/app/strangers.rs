//! Whether the servers behind the names are those that are remembered.

use futures::future::join_all;

use super::Trouble;
use super::fleet::Fleet;
use super::memory::{Memory, Unremembered, default_db};
use crate::clock::{Clock, SystemClock};
use crate::model::{DbIndex, Key, Marker, ReplicaId};
use crate::repair::{Scope, lane_name};
use crate::state::StateError;
use crate::store::SharedDeployment;

impl Memory {
    /// Refuses replicas of which none carries a marker where all should: each alone would be a newcomer, but all of them
    /// are more likely others.
    pub(super) async fn refuse_strangers(
        &self,
        fleet: &Fleet,
        scope: &Scope,
    ) -> Result<(), Trouble> {
        for db in scope.databases() {
            let index = db.unwrap_or_else(|| default_db(fleet));
            let (mut expected, mut found) = (0, 0);
            let asked = fleet.servers.iter().zip(&self.ids);
            let answers = join_all(asked.map(|(server, id)| self.marker(server, *id, db, index)));
            for answer in answers.await {
                let Some(is_there) = answer.map_err(Unremembered::from)? else {
                    continue;
                };
                expected += 1;
                found += u64::from(is_there);
            }
            if expected > 1 && found == 0 {
                return Err(Unremembered::NoMarkers {
                    path: self.dir.clone(),
                    db: index,
                }
                .into());
            }
            self.refuse_renamed(fleet, db, index).await?;
        }
        Ok(())
    }

    /// Refuses a new name whose server carries the marker of a replica that is no longer configured: as a newcomer, what
    /// its clients counted and deleted since would mean nothing.
    async fn refuse_renamed(
        &self,
        fleet: &Fleet,
        db: Option<DbIndex>,
        index: DbIndex,
    ) -> Result<(), Trouble> {
        let lanes: Vec<Key> = self.others.iter().map(|one| lane_name(one.id)).collect();
        if lanes.is_empty() {
            return Ok(());
        }
        for (server, id) in fleet.servers.iter().zip(&self.ids) {
            let is_known = self.state.lane(*id, index).map_err(Unremembered::from)?;
            if is_known.is_some() {
                continue;
            }
            // Whoever cannot be asked takes no part, which is told elsewhere.
            let markers = server.markers(db, &lanes).await.unwrap_or_default();
            let ours = |marker: &Option<bytes::Bytes>| {
                let marker = marker.as_ref().and_then(|bytes| Marker::decode(bytes));
                marker.is_some_and(|marker| marker.state == self.state.id())
            };
            if let Some((other, _)) = self
                .others
                .iter()
                .zip(&markers)
                .find(|(_, marker)| ours(marker))
            {
                // The name is free again: nothing was remembered under it.
                let forgotten = self.state.forget(*id, SystemClock.now());
                forgotten.map_err(Unremembered::from)?;
                return Err(Unremembered::Renamed {
                    new: server.name().clone(),
                    old: other.name.clone(),
                }
                .into());
            }
        }
        Ok(())
    }

    /// Whether a replica carries a marker of ours; nothing where none is expected, or it cannot be asked. One under
    /// another's name counts: then names were exchanged, which is told elsewhere.
    async fn marker(
        &self,
        server: &SharedDeployment,
        id: ReplicaId,
        db: Option<DbIndex>,
        index: DbIndex,
    ) -> Result<Option<bool>, StateError> {
        if self.state.lane(id, index)?.is_none() {
            return Ok(None);
        }
        let lanes: Vec<Key> = self.ids.iter().map(|id| lane_name(*id)).collect();
        Ok(match server.markers(db, &lanes).await {
            Ok(markers) => Some(markers.iter().any(Option::is_some)),
            Err(error) => {
                tracing::debug!("{error}");
                None
            }
        })
    }
}
