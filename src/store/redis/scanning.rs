//! Scanning over connections that get lost.

use bytes::Bytes;

use crate::model::{DbIndex, Key, Stamp};
use crate::store::bulk::Bulk;
use crate::store::seal::SealError;
use crate::store::wire::{Wire, WireError};
use crate::store::{Beside, ScanReport, StoreError, server_info, stamps};

use super::RedisReplica;

impl RedisReplica {
    pub(super) async fn page_of_keys_beside(
        &self,
        db: Option<DbIndex>,
        what: Beside,
        cursor: u64,
    ) -> Result<(Vec<Key>, u64), StoreError> {
        retrying!(self, db, "SCAN", |wire| stamps::keys_page(
            wire, what, cursor
        ))
    }

    /// A page of a set of removals; one that is none is refused.
    pub(super) async fn page_of_removals(
        &self,
        db: Option<DbIndex>,
        of: Option<&Key>,
        cursor: u64,
    ) -> Result<(Vec<(Bytes, Stamp)>, u64), StoreError> {
        let set = stamps::removals_of(of);
        let page: Result<_, StoreError> =
            retrying!(self, db, "ZSCAN", |wire| stamps::page(wire, &set, cursor));
        page?.map_err(|words| StoreError::Refused {
            replica: self.name.clone(),
            command: "ZSCAN".into(),
            reason: stamps::misused(&set, &words),
        })
    }

    pub(super) async fn run_bulk(
        &self,
        db: Option<DbIndex>,
        mut bulk: Bulk<'_>,
    ) -> Result<ScanReport, StoreError> {
        let mut lease = self.lease(db, "scan").await?;
        let mut run_id = self.run_id(&mut lease.wire).await?;
        let mut pauses = self.pauses.iter();
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
                    bulk.take_up();
                    let now = self.run_id(&mut lease.wire).await?;
                    if now != run_id {
                        self.refuse_another(&mut bulk)?;
                        run_id = now;
                    } else if now.is_empty() {
                        // It does not say which process it is: the cursor may be another's.
                        bulk.begin_again();
                    }
                }
                Err(error) => return Err(self.failure("scan", error)),
            }
        }
        self.give_back(lease);
        let report = bulk.report();
        self.meter.count_read(report.keys_read);
        Ok(report)
    }

    async fn run_id(&self, wire: &mut Wire) -> Result<String, StoreError> {
        let found = server_info::run_id(wire).await;
        found.map_err(|error| self.failure("INFO", error))
    }

    /// A SCAN cursor means nothing to a server that was restarted in between. A master that took another's place is
    /// read from the beginning; what is read twice counts once.
    fn refuse_another(&self, bulk: &mut Bulk<'_>) -> Result<(), StoreError> {
        if self.follows() {
            tracing::warn!(replica = %self.name, "another server is the master now, it is read from the beginning");
            bulk.begin_again();
            return Ok(());
        }
        Err(StoreError::Unreachable {
            replica: self.name.clone(),
            action: "scan".into(),
            reason: "the server was restarted meanwhile, start the run again".into(),
        })
    }
}
