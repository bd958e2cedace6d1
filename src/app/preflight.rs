//! What must hold before a run: replicas that can be reached, are distinct, and may be read or written.

use std::sync::atomic::Ordering;

use futures::future::join_all;

use crate::model::{Keyspace, Layout, SlotRange};
use crate::repair::{Mode, Run, Scope};
use crate::store::{Access, Deployment, Facts, StoreError};

use super::fitness::{Obstacle, access_of, obstacles, refused};
use super::fleet::{Fleet, Trouble};

/// Looks at all replicas before a run in these keyspaces. Replicas that cannot be reached take no part, as long as two
/// can.
///
/// # Errors
/// When fewer than two can be reached, two are the same, or one is not fit for what is asked.
pub async fn preflight(
    fleet: &Fleet,
    mode: Mode,
    layout: Layout,
    keyspaces: impl Iterator<Item = &Keyspace>,
) -> Result<Vec<Option<Facts>>, Trouble> {
    let access = access_of(mode, layout, keyspaces);
    let asked = join_all(
        fleet
            .servers
            .iter()
            .map(|server| look(server.as_ref(), access)),
    )
    .await;
    let (mut facts, mut found) = (Vec::with_capacity(asked.len()), Vec::new());
    let mut reasons = Vec::new();
    for answer in asked {
        match answer {
            Ok((of_one, obstacle)) => {
                facts.push(Some(of_one));
                found.push(obstacle);
            }
            Err(error @ StoreError::Unreachable { .. }) => {
                reasons.push(error.to_string());
                facts.push(None);
                found.push(None);
            }
            Err(error) => return Err(error.into()),
        }
    }
    if facts.iter().flatten().count() < 2 {
        return Err(Trouble::TooFew(reasons.join("; ")));
    }
    refuse_same_server(fleet, &facts)?;
    for (server, obstacle) in fleet.servers.iter().zip(found) {
        if let Some(obstacle) = obstacle {
            return Err(Trouble::Unfit {
                replica: server.name().clone(),
                problem: obstacle.to_string(),
            });
        }
    }
    Ok(facts)
}

/// What a server says of itself, and the first that stands against the access.
async fn look(
    server: &dyn Deployment,
    access: Access,
) -> Result<(Facts, Option<Obstacle>), StoreError> {
    let facts = server.facts().await?;
    let against = |found: Vec<Obstacle>| found.into_iter().find(|one| one.access <= access);
    if let Some(obstacle) = against(obstacles(&facts)) {
        return Ok((facts, Some(obstacle)));
    }
    let refusals = server.rehearse(&facts, access).await?;
    let obstacle = against(refused(&refusals, server.user()));
    Ok((facts, obstacle))
}

/// Tells a run's progress how many keys it will read on all replicas together, where that can be known.
pub fn expect(run: &Run, facts: &[Option<Facts>]) {
    let reached = || facts.iter().flatten();
    let listed = run.scope.listed_keys();
    let keys = match listed {
        Some(keys) => Some((keys.len() * reached().count()) as u64),
        None => reached().map(|facts| keys_of(&run.scope, facts)).sum(),
    };
    let expected = &run.progress.expected;
    expected.store(keys.unwrap_or(0), Ordering::Relaxed);
}

/// The keys of all databases that are worked on, of some slots their share; nothing where else only some are.
fn keys_of(scope: &Scope, facts: &Facts) -> Option<u64> {
    let databases = scope.databases().into_iter();
    databases
        .map(|db| {
            let index = db.unwrap_or(facts.default_db);
            let keys = facts.keys.get(&index).copied().unwrap_or(0);
            let share = u128::from(keys) * u128::from(scope.slots().count());
            let share = share / u128::from(SlotRange::all().count());
            let share = u64::try_from(share).unwrap_or(u64::MAX);
            scope.takes_all_of_slots(db).then_some(share)
        })
        .sum()
}

fn refuse_same_server(fleet: &Fleet, facts: &[Option<Facts>]) -> Result<(), Trouble> {
    match same_server(facts) {
        None => Ok(()),
        Some((first, second, facts)) => Err(Trouble::SameServer {
            first: fleet.servers[first].name().clone(),
            second: fleet.servers[second].name().clone(),
            run_id: facts.run_id.clone(),
            db: facts.default_db,
        }),
    }
}

/// The first two replicas that are the same server and database, by index.
pub(super) fn same_server(facts: &[Option<Facts>]) -> Option<(usize, usize, &Facts)> {
    let known = || {
        let indexed = facts.iter().enumerate();
        indexed.filter_map(|(index, facts)| Some((index, facts.as_ref()?)))
    };
    known().find_map(|(second, facts)| {
        let is_same = |other: &Facts| {
            !other.run_id.is_empty()
                && other.run_id == facts.run_id
                && other.default_db == facts.default_db
        };
        let (first, _) = known()
            .take_while(|(index, _)| *index < second)
            .find(|(_, other)| is_same(other))?;
        Some((first, second, facts))
    })
}
