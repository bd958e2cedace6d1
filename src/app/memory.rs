//! The memory of a run: its state directory, found and opened, and who takes part by which identity.
//!
//! ```text
//! state.dir ─ open ─ who is enrolled? ─ markers of ours? ─▶ memory of the run
//!    └─ --adopt: set aside, and what other states left in the replicas is removed
//! ```

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::clock::Clock;
use crate::config::Config;
use crate::model::{DbIndex, Key, OwnerToken, ReplicaId, ReplicaName, RunNumber, StateDir};
use crate::repair::{Mode, RunMemory, Scope};
use crate::state::{Holder, KnownReplica, Opening, State, StateError};
use crate::store::{Deployment, StoreError};

use super::Trouble;
use super::fleet::{Fleet, random};

/// Why there is no memory for a run that needs one. Nothing was written to a replica.
#[derive(Debug, thiserror::Error)]
pub enum Unremembered {
    /// The state directory.
    #[error("state directory {0}")]
    State(StateError),
    /// Nobody says where it is.
    #[error(
        "there is no place for the state directory: neither $STATE_DIRECTORY, $XDG_STATE_HOME nor $HOME is set; \
         name one with state.dir or --state-dir, or write state: none for a run without memory"
    )]
    NoPlace,
    /// Nothing says that there is to be one.
    #[error(
        "{0} is about what runs remember, and this one has no state directory: name one with --state-dir or state.dir"
    )]
    NoMemory(&'static str),
    /// There is none where it should be.
    #[error("there is no state directory at {path}: no run with memory was made there yet", path = .0.display())]
    Nothing(PathBuf),
    /// It remembers others.
    #[error(
        "state directory {path}: it remembers the replicas {known}, and none of those that are configured; give this \
         set of replicas a directory of its own (state.dir), tell it of new names with `reknit rename OLD NEW`, or \
         start anew with `reknit repair --adopt`", path = .path.display()
    )]
    OtherReplicas {
        /// The directory.
        path: PathBuf,
        /// Whom it remembers.
        known: String,
    },
    /// None of the replicas shows that it is ours.
    #[error(
        "state directory {path}: none of the replicas carries its marker any more (database {db}): all were emptied, or \
         they are not the ones that it remembers; put the addresses right, or start anew with \
         `reknit repair --adopt`",
        path = .path.display()
    )]
    NoMarkers {
        /// The directory.
        path: PathBuf,
        /// The database.
        db: DbIndex,
    },
    /// Which run is not said.
    #[error(
        "which run? `reknit runs` lists them; a file with pre-images is named with --journal FILE"
    )]
    Unnamed,
    /// There is no such run.
    #[error("there is no run {0} in the log, `reknit runs` lists them")]
    NoRun(RunNumber),
    /// Nobody has that name.
    #[error("no replica `{0}` is remembered, `reknit check` lists those that are")]
    NoReplica(String),
    /// A replica with a new name.
    #[error(
        "replica {new} is new, and its server carries the marker of {old}, which is not configured: tell of the new name \
         with `reknit rename {old} {new}`; if it is a copy of {old}, which never returns: `reknit forget {old}`"
    )]
    Renamed {
        /// The name that is new.
        new: ReplicaName,
        /// The one that is known.
        old: ReplicaName,
    },
    /// Nobody can be called that.
    #[error("`{0}` is no name for a replica: write letters, digits, `.`, `_` or `-`")]
    NoName(String),
    /// Somebody has that name.
    #[error("another replica is called `{0}`: give this one a name of its own")]
    Taken(String),
    /// A forced run has to say why.
    #[error(
        "--force-deletes and --force-overwrites are noted in the log of runs: say why with --reason TEXT"
    )]
    NoReason,
    /// Whoever is not asked keeps the other's markers.
    #[error(
        "replica {0} cannot be reached, and --adopt takes over all replicas or none: see to it, or leave it out of the \
         configuration"
    )]
    Unadoptable(ReplicaName),
}

// Not as a source: the words are in the message already, and would be told twice.
impl From<StateError> for Unremembered {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

/// What a command asks of memory.
#[derive(Debug, Clone, Default)]
pub struct Remembering {
    /// Set aside what there is, take all replicas over, and begin as a first run.
    pub adopt: bool,
    /// Why guards are overruled.
    pub reason: Option<String>,
    /// Where to keep pre-images without memory.
    pub journal: Option<PathBuf>,
    /// Take up the run before this one, if it was cut off, as far as what it finished is no older.
    pub resume: Option<std::time::Duration>,
}

/// An open state directory, and who the configured replicas are in it.
#[derive(Clone)]
pub struct Memory {
    /// The directory.
    pub state: State,
    /// Where it is.
    pub dir: PathBuf,
    /// The identities of the configured replicas, in their order.
    pub ids: Vec<ReplicaId>,
    /// Replicas that it remembers and that are not configured.
    pub others: Vec<KnownReplica>,
}

/// Where a configuration's state directory is; nothing for a run without memory.
///
/// # Errors
/// When the environment names no place and the configuration none either.
pub fn state_dir(state: &StateDir) -> Result<Option<PathBuf>, Unremembered> {
    match state {
        StateDir::Nowhere => Ok(None),
        StateDir::At(dir) => Ok(Some(dir.clone())),
        StateDir::Usual => usual(|name| std::env::var_os(name)).map(Some),
    }
}

/// systemd's state directory, else `reknit` in the user's.
fn usual(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, Unremembered> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let Some(list) = set("STATE_DIRECTORY") {
        // Several are separated by colons; the first is the service's own.
        let mut paths = std::env::split_paths(&list);
        return paths.next().ok_or(Unremembered::NoPlace);
    }
    let home = || set("HOME").map(|home| Path::new(&home).join(".local/state"));
    let states = set("XDG_STATE_HOME").map(PathBuf::from).or_else(home);
    states
        .map(|states| states.join("reknit"))
        .ok_or(Unremembered::NoPlace)
}

/// Whether runs with memory were ever made in this directory.
fn is_used(dir: &Path) -> bool {
    std::fs::read_dir(dir).map_or_else(
        |error| error.kind() != std::io::ErrorKind::NotFound,
        |mut entries| entries.next().is_some(),
    )
}

/// Opens the state directory of a configuration. A command that only looks gets nothing where no run was made yet.
///
/// # Errors
/// When the directory cannot be used.
pub(super) fn open(
    config: &Config,
    fleet: &Fleet,
    mode: Mode,
    clock: &dyn Clock,
) -> Result<Option<Memory>, Trouble> {
    let writes = mode == Mode::Repair;
    let dir = match state_dir(&config.state) {
        Err(Unremembered::NoPlace) if !writes => return Ok(None),
        found => found?,
    };
    let Some(dir) = dir.filter(|dir| writes || is_used(dir)) else {
        return Ok(None);
    };
    let purpose = match mode {
        Mode::Diff => "diff",
        Mode::Plan => "dry run",
        Mode::Repair => "repair",
    };
    let state = open_dir(&dir, purpose, clock)?;
    let names: Vec<ReplicaName> = fleet
        .servers
        .iter()
        .map(|server| server.name().clone())
        .collect();
    introduce(state, dir, &names, writes, clock).map(Some)
}

/// Opens the state directory of a configuration for a service, which keeps it and is asked at `url`; nothing for one
/// without memory.
///
/// # Errors
/// When the directory cannot be used.
pub fn open_for_service(
    config: &Config,
    url: &str,
    clock: &dyn Clock,
) -> Result<Option<Memory>, Trouble> {
    let Some(dir) = state_dir(&config.state)? else {
        return Ok(None);
    };
    let state = open_dir(&dir, &Holder::service_at(url), clock)?;
    let names: Vec<ReplicaName> = config
        .replicas
        .iter()
        .map(|replica| replica.name.clone())
        .collect();
    introduce(state, dir, &names, true, clock).map(Some)
}

/// Holds the state directory of a configuration, if there is one that can be held, so that no run works meanwhile.
///
/// # Errors
/// When somebody works on it.
pub fn hold(config: &Config, clock: &dyn Clock) -> Result<Option<State>, Trouble> {
    let Ok(Some(dir)) = state_dir(&config.state) else {
        return Ok(None);
    };
    if !is_used(&dir) {
        return Ok(None);
    }
    match open_dir(&dir, "clean", clock) {
        Ok(state) => Ok(Some(state)),
        Err(locked) if locked.is_locked() => Err(locked),
        // One that is damaged is often why markers are removed.
        Err(error) => {
            tracing::debug!("{error}");
            Ok(None)
        }
    }
}

/// Opens a state directory for a command that is about what runs remembered.
///
/// # Errors
/// When there is none, or it cannot be used.
pub fn open_existing(
    dir: Option<PathBuf>,
    purpose: &str,
    clock: &dyn Clock,
) -> Result<State, Trouble> {
    let Some(dir) = dir else {
        return Err(Unremembered::NoMemory("this command").into());
    };
    if !is_used(&dir) {
        return Err(Unremembered::Nothing(dir).into());
    }
    open_dir(&dir, purpose, clock)
}

fn open_dir(dir: &Path, purpose: &str, clock: &dyn Clock) -> Result<State, Trouble> {
    let opening = Opening {
        dir,
        now: clock.now(),
        purpose,
        random: random()?,
    };
    Ok(State::open(opening).map_err(Unremembered::from)?)
}

/// The memory in a state directory that is open, for somebody who only looks.
pub(super) fn look_into(
    state: State,
    config: &Config,
    clock: &dyn Clock,
) -> Result<Memory, Trouble> {
    let replicas = config.replicas.iter();
    let names: Vec<ReplicaName> = replicas.map(|replica| replica.name.clone()).collect();
    introduce(state, PathBuf::new(), &names, false, clock)
}

/// Finds the identities of the configured replicas, and enrols those that are new if anything is to be written.
pub(super) fn introduce(
    state: State,
    dir: PathBuf,
    names: &[ReplicaName],
    writes: bool,
    clock: &dyn Clock,
) -> Result<Memory, Trouble> {
    let mut living = state.replicas().map_err(Unremembered::from)?;
    living.retain(|replica| replica.forgotten.is_none());
    let known = |name: &ReplicaName| living.iter().find(|replica| replica.name == *name);
    if !living.is_empty() && !names.iter().any(|name| known(name).is_some()) {
        let known: Vec<&str> = living.iter().map(|one| one.name.0.as_str()).collect();
        return Err(Unremembered::OtherReplicas {
            path: dir,
            known: known.join(", "),
        }
        .into());
    }
    let mut ids = Vec::with_capacity(names.len());
    for name in names {
        ids.push(match known(name) {
            Some(replica) => replica.id,
            None if writes => state
                .enrol(name, random()?, clock.now())
                .map_err(Unremembered::from)?,
            // Nothing is written down: it is nobody that anything is remembered of.
            None => ReplicaId(random()?),
        });
    }
    living.retain(|replica| !names.contains(&replica.name));
    Ok(Memory {
        state,
        dir,
        ids,
        others: living,
    })
}

impl Memory {
    /// The same directory, for the replicas of another configuration of the same set.
    ///
    /// # Errors
    /// When none of them is known, or the directory cannot be written.
    pub fn of(&self, config: &Config, clock: &dyn Clock) -> Result<Self, Trouble> {
        let names: Vec<ReplicaName> = config
            .replicas
            .iter()
            .map(|replica| replica.name.clone())
            .collect();
        introduce(self.state.clone(), self.dir.clone(), &names, true, clock)
    }

    /// The memory as a run has it.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub(super) fn of_run(
        &self,
        run: RunNumber,
        config: &Config,
        release_held: bool,
    ) -> Result<RunMemory, Trouble> {
        Ok(RunMemory {
            state: self.state.clone(),
            run,
            owner: OwnerToken(random()?),
            ids: self.ids.clone(),
            others: self.others.iter().map(|replica| replica.id).collect(),
            elements: usize::try_from(config.agreement.elements).unwrap_or(usize::MAX),
            replicates: config.replicates.is_some(),
            release_held,
            digest: None,
            taken_up: None,
        })
    }

    /// Says once who is remembered and not configured: that may be a slip.
    pub(super) fn warn_of_others(&self) {
        for replica in &self.others {
            let name = &replica.name;
            tracing::warn!(
                "replica {name} is remembered and not configured: it counts as absent, and what it lags behind in is \
                 kept for it; if it does not return: `reknit forget {name}`, if it has another name now: `reknit rename \
                 {name} NEW`"
            );
        }
    }
}

/// The database that a keyspace without one is remembered under.
pub(super) fn default_db(fleet: &Fleet) -> DbIndex {
    let first = fleet.participants.first();
    first.map_or(DbIndex(0), |first| first.default_db)
}

/// Sets aside what a state directory holds, and removes what any state directory left in the replicas.
///
/// # Errors
/// When a replica cannot be asked: it would keep the markers of another.
pub(super) async fn adopt(
    config: &Config,
    fleet: &Fleet,
    scope: &Scope,
    clock: &dyn Clock,
) -> Result<(), Trouble> {
    let Some(dir) = state_dir(&config.state)? else {
        return Err(Unremembered::NoMemory("--adopt").into());
    };
    let aside = State::set_aside(&dir, clock.now()).map_err(Unremembered::from)?;
    match aside {
        Some(aside) => tracing::warn!(
            "what was remembered is set aside in {}; this is a first run: nothing is deleted on anybody's word",
            aside.display()
        ),
        None => tracing::warn!("nothing was remembered; the replicas are taken over"),
    }
    for server in &fleet.servers {
        for db in scope.databases() {
            let removed = take_over(server.as_ref(), db).await?;
            if removed > 0 {
                let name = server.name();
                tracing::warn!(
                    "replica {name}: removed {removed} markers of other state directories"
                );
            }
        }
    }
    Ok(())
}

/// Removes the markers and the list of state directories from a database.
async fn take_over(server: &dyn Deployment, db: Option<DbIndex>) -> Result<u64, StoreError> {
    let mut own = server.own_keys(db).await?;
    own.retain(Key::is_marker);
    let mut removed = 0;
    for batch in own.chunks(crate::store::BATCH_KEYS) {
        removed += server.remove_own(db, batch).await?;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Result<String, String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(one, _)| *one == name);
            found.map(|(_, value)| OsString::from(value))
        };
        usual(variable)
            .map(|path| path.display().to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_usual_place_is_that_of_the_service_or_else_of_the_user() {
        let home = ("HOME", "/home/u");
        let table: [(&[(&str, &str)], &str); 5] = [
            (&[home], "/home/u/.local/state/reknit"),
            (&[home, ("XDG_STATE_HOME", "/s")], "/s/reknit"),
            (
                &[home, ("XDG_STATE_HOME", "")],
                "/home/u/.local/state/reknit",
            ),
            (
                &[home, ("STATE_DIRECTORY", "/var/lib/reknit")],
                "/var/lib/reknit",
            ),
            (
                &[("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")],
                "/var/lib/a",
            ),
        ];
        for (variables, expected) in table {
            assert_eq!(found(variables).as_deref(), Ok(expected), "{variables:?}");
        }
        let nowhere = found(&[]).unwrap_err();
        assert!(nowhere.contains("state: none"), "{nowhere}");
    }
}
