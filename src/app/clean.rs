//! Removes what reknit left in the replicas: keys below `reknit:`, and no others.

use tokio_util::sync::CancellationToken;

use crate::model::{DbIndex, Key, ReplicaName};
use crate::store::{BATCH_KEYS, Deployment, StoreError};

use super::Exit;
use super::fleet::Fleet;

/// What is to be removed.
#[derive(Debug, Clone, Copy)]
pub struct Cleaning {
    /// Count only.
    pub dry_run: bool,
    /// Remove markers too.
    pub markers: bool,
    /// This database alone.
    pub db: Option<DbIndex>,
}

/// One database of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanedDatabase {
    /// Its number.
    pub db: DbIndex,
    /// Keys of reknit's own that were found.
    pub found: u64,
    /// Those of them that were removed.
    pub removed: u64,
    /// Those of them that are markers and are kept.
    pub kept: u64,
}

/// One replica.
#[derive(Debug)]
pub struct CleanedServer {
    /// Its name.
    pub name: ReplicaName,
    /// The databases that were looked through.
    pub databases: Vec<CleanedDatabase>,
    /// Why it was not looked through, or not to the end.
    pub lost: Option<StoreError>,
}

/// Looks through every database that has keys, replica by replica.
pub async fn clean(
    fleet: &Fleet,
    cleaning: Cleaning,
    stop: &CancellationToken,
) -> Vec<CleanedServer> {
    let mut servers = Vec::with_capacity(fleet.servers.len());
    for server in &fleet.servers {
        let mut databases = Vec::new();
        let cleaned = clean_server(server.as_ref(), cleaning, stop, &mut databases).await;
        servers.push(CleanedServer {
            name: server.name().clone(),
            databases,
            lost: cleaned.err(),
        });
    }
    servers
}

/// How it ends: nothing is left to do, some replicas were missed, or all were.
pub fn exit_of_clean(servers: &[CleanedServer], stop: &CancellationToken) -> Exit {
    let lost = servers.iter().filter(|one| one.lost.is_some()).count();
    if stop.is_cancelled() {
        Exit::Interrupted
    } else if lost == servers.len() {
        Exit::Trouble
    } else if lost > 0 {
        Exit::Partial
    } else {
        Exit::InSync
    }
}

async fn clean_server(
    server: &dyn Deployment,
    cleaning: Cleaning,
    stop: &CancellationToken,
    databases: &mut Vec<CleanedDatabase>,
) -> Result<(), StoreError> {
    let Some(facts) = unless_stopped(stop, server.facts()).await? else {
        return Ok(());
    };
    let wanted = |db: &&DbIndex| cleaning.db.is_none_or(|only| only == **db);
    for db in facts.keys.keys().filter(wanted) {
        let Some(own) = unless_stopped(stop, server.own_keys(Some(*db))).await? else {
            return Ok(());
        };
        let (removable, kept): (Vec<Key>, Vec<Key>) = own
            .into_iter()
            .partition(|key| cleaning.markers || !key.is_marker());
        let index = databases.len();
        databases.push(CleanedDatabase {
            db: *db,
            found: (removable.len() + kept.len()) as u64,
            removed: 0,
            kept: kept.len() as u64,
        });
        if cleaning.dry_run {
            continue;
        }
        for batch in removable.chunks(BATCH_KEYS) {
            if !stop.is_cancelled() {
                databases[index].removed += server.remove_own(Some(*db), batch).await?;
            }
        }
    }
    Ok(())
}

/// What a server answers; nothing where the stop comes first, as with a server that is silent.
async fn unless_stopped<T>(
    stop: &CancellationToken,
    answer: impl Future<Output = Result<T, StoreError>>,
) -> Result<Option<T>, StoreError> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Ok(None),
        answer = answer => answer.map(Some),
    }
}
