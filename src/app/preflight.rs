//! What must hold before a run: replicas that can be reached, are distinct, and may be read or written.

use futures::future::join_all;

use crate::repair::Mode;
use crate::store::{Facts, Replica, Role, StoreError};

use super::fleet::{Fleet, Trouble};

/// Above this share of maxmemory, a write may evict or be refused.
const MEMORY_SHARE: f64 = 0.95;

/// The oldest version whose commands reknit needs: PEXPIRETIME.
const OLDEST_MAJOR: u32 = 7;

/// Looks at all replicas before a run. Replicas that cannot be reached take no part, as long as two can.
///
/// # Errors
/// When fewer than two can be reached, two are the same, or one is not fit for what is asked.
pub async fn preflight(fleet: &Fleet, mode: Mode) -> Result<Vec<Option<Facts>>, Trouble> {
    let asked = join_all(fleet.servers.iter().map(|server| server.facts())).await;
    let (mut facts, mut reasons) = (Vec::with_capacity(asked.len()), Vec::new());
    for answer in asked {
        match answer {
            Ok(found) => facts.push(Some(found)),
            Err(error @ StoreError::Unreachable { .. }) => {
                reasons.push(error.to_string());
                facts.push(None);
            }
            Err(error) => return Err(error.into()),
        }
    }
    if facts.iter().flatten().count() < 2 {
        return Err(Trouble::TooFew(reasons.join("; ")));
    }
    refuse_same_server(fleet, &facts)?;
    for (server, facts) in fleet.servers.iter().zip(&facts) {
        if let Some(problem) = facts.as_ref().and_then(|facts| problem(facts, mode)) {
            return Err(Trouble::Unfit {
                replica: server.name().clone(),
                problem,
            });
        }
    }
    Ok(facts)
}

fn refuse_same_server(fleet: &Fleet, facts: &[Option<Facts>]) -> Result<(), Trouble> {
    for (index, later) in facts.iter().enumerate() {
        for (earlier_index, earlier) in facts.iter().enumerate().take(index) {
            if let (Some(one), Some(other)) = (earlier, later)
                && one.run_id == other.run_id
                && one.default_db == other.default_db
            {
                return Err(Trouble::SameServer {
                    first: fleet.servers[earlier_index].name().clone(),
                    second: fleet.servers[index].name().clone(),
                    run_id: one.run_id.clone(),
                    db: one.default_db,
                });
            }
        }
    }
    Ok(())
}

/// Why a server is not fit, and what to do.
pub(super) fn problem(facts: &Facts, mode: Mode) -> Option<String> {
    let major = facts
        .version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok());
    if major.is_some_and(|major: u32| major < OLDEST_MAJOR) {
        return Some(format!(
            "it is version {}, and reknit needs 7.0 or later, for PEXPIRETIME",
            facts.version
        ));
    }
    if facts.loading {
        return Some("it is loading its data, try again when it is done".into());
    }
    if mode != Mode::Repair {
        return None;
    }
    match &facts.role {
        Role::ReplicaOf(master) if facts.read_only => Some(format!(
            "it is a read-only replica of {master} and cannot be written, name its master instead"
        )),
        Role::Master | Role::ReplicaOf(_) | Role::Other(_) => memory_problem(facts),
    }
}

fn memory_problem(facts: &Facts) -> Option<String> {
    let near =
        facts.max_memory > 0 && facts.used_memory as f64 > facts.max_memory as f64 * MEMORY_SHARE;
    near.then(|| {
        format!(
            "it uses {} of {} bytes of maxmemory ({}): writing may evict keys or be refused, raise maxmemory first",
            facts.used_memory, facts.max_memory, facts.max_memory_policy
        )
    })
}
