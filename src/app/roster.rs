//! Who is enrolled: a replica that never returns is forgotten, one with another name is renamed.

use crate::clock::Clock;
use crate::config::is_name;
use crate::model::ReplicaName;
use crate::state::{KnownReplica, State};

use super::Trouble;
use super::memory::Unremembered;

/// A replica that runs remember, by its name.
///
/// # Errors
/// When nobody has that name.
pub fn enrolled(state: &State, name: &str) -> Result<KnownReplica, Trouble> {
    let known = state.replicas().map_err(Unremembered::from)?;
    let mut living = known.into_iter().filter(|one| one.forgotten.is_none());
    let found = living.find(|one| one.name.0 == name);
    Ok(found.ok_or_else(|| Unremembered::NoReplica(name.into()))?)
}

/// Forgets a replica.
///
/// # Errors
/// When the state directory takes no more.
pub fn forget(state: &State, replica: &KnownReplica, clock: &dyn Clock) -> Result<(), Trouble> {
    let forgotten = state.forget(replica.id, clock.now());
    Ok(forgotten.map_err(Unremembered::from)?)
}

/// Gives a replica another name.
///
/// # Errors
/// When nobody has the old one, or somebody the new one.
pub fn rename(state: &State, old: &str, new: &str) -> Result<(), Trouble> {
    let replica = enrolled(state, old)?;
    if !is_name(new) {
        return Err(Unremembered::NoName(new.into()).into());
    }
    let renamed = state.rename(&replica.name, &ReplicaName(new.into()));
    match renamed.map_err(Unremembered::from)? {
        true => Ok(()),
        false => Err(Unremembered::Taken(new.into()).into()),
    }
}
