//! Scanning over connections that get lost.

use crate::model::DbIndex;
use crate::store::bulk::Bulk;
use crate::store::wire::{Wire, WireError};
use crate::store::{ScanReport, StoreError, server_info};

use super::{BACKOFF, RedisReplica};

impl RedisReplica {
    pub(super) async fn run_bulk(
        &self,
        db: Option<DbIndex>,
        mut bulk: Bulk<'_>,
    ) -> Result<ScanReport, StoreError> {
        let mut lease = self.lease(db, "scan").await?;
        let run_id = server_info::run_id(&mut lease.wire)
            .await
            .map_err(|error| self.failure("INFO", error))?;
        let mut pauses = BACKOFF.iter();
        loop {
            match bulk.run(&mut lease.wire).await {
                Ok(()) => break,
                Err(WireError::Lost(reason)) => {
                    let Some(pause) = pauses.next() else {
                        return Err(self.failure("scan", WireError::Lost(reason)));
                    };
                    tracing::warn!(replica = %self.name, %reason, "scan interrupted, connecting again");
                    drop(lease);
                    tokio::time::sleep(*pause).await;
                    lease = self.lease(db, "scan").await?;
                    self.same_server(&mut lease.wire, &run_id).await?;
                    bulk.take_up();
                }
                Err(error) => return Err(self.failure("scan", error)),
            }
        }
        self.give_back(lease);
        let report = bulk.report();
        self.meter.count_read(report.keys_read);
        Ok(report)
    }

    /// A SCAN cursor means nothing to a server that was restarted in between.
    async fn same_server(&self, wire: &mut Wire, run_id: &str) -> Result<(), StoreError> {
        let found = server_info::run_id(wire)
            .await
            .map_err(|error| self.failure("INFO", error))?;
        if found == run_id {
            return Ok(());
        }
        Err(StoreError::Unreachable {
            replica: self.name.clone(),
            action: "scan".into(),
            reason: "the server was restarted meanwhile, start the run again".into(),
        })
    }
}
