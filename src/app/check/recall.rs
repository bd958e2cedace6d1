//! Where runs remember, whether that opens, and whether the replicas' markers fit it. Nothing is written.

use crate::clock::Clock;
use crate::config::Config;
use crate::model::{DbIndex, Marker, ReplicaId};
use crate::repair::{Mode, Scope, lane_name};
use crate::state::StateError;
use crate::store::{Deployment, StoreError};

use super::{CheckedServer, Gravity, Note, Reach};
use crate::app::fleet::{Fleet, Trouble};
use crate::app::memory::{Memory, default_db, open, state_dir};

/// What there is to say of a run's memory; what concerns a replica goes to its notes.
pub(super) async fn recall(
    config: &Config,
    fleet: &Fleet,
    scope: &Scope,
    clock: &dyn Clock,
    servers: &mut [CheckedServer],
) -> Vec<Note> {
    let dir = match state_dir(&config.state) {
        Ok(None) => return Vec::new(),
        Ok(Some(dir)) => dir,
        Err(error) => return vec![note(Gravity::Warning, error.to_string(), None)],
    };
    let shown = format!("state directory {}", dir.display());
    // As a run would that writes nothing: where there is none yet, none is made.
    let memory = match open(config, fleet, Mode::Diff, clock) {
        Ok(Some(memory)) => memory,
        Ok(None) => {
            let text = format!("{shown}: none yet, the first repair makes it");
            return vec![note(Gravity::Fine, text, None)];
        }
        Err(error) => return vec![of_trouble(&error)],
    };
    let mut notes = vec![enrolled(&shown, &memory)];
    notes.extend(memory.others.iter().map(|other| {
        let text = format!("replica {} is remembered and not configured", other.name);
        let advice = format!(
            "it counts as absent; if it never returns: `reknit forget {}`",
            other.name
        );
        note(Gravity::Warning, text, Some(advice))
    }));
    for ((server, id), checked) in fleet.servers.iter().zip(&memory.ids).zip(servers) {
        if checked.reach != Reach::Answers {
            continue;
        }
        for db in scope.databases() {
            let index = db.unwrap_or_else(|| default_db(fleet));
            let marker = Asked {
                memory: &memory,
                server: server.as_ref(),
                id: *id,
                db,
                index,
                replicates: config.replicates.is_some(),
            };
            match marker.look().await {
                Ok(Ok(found)) => checked.notes.push(found),
                Ok(Err(error)) => notes.push(note(Gravity::Fault, error.to_string(), None)),
                Err(error) => checked
                    .notes
                    .push(note(Gravity::Fault, error.to_string(), None)),
            }
        }
    }
    notes
}

fn note(gravity: Gravity, text: String, advice: Option<String>) -> Note {
    Note {
        gravity,
        text,
        advice,
    }
}

fn of_trouble(trouble: &Trouble) -> Note {
    let gravity = if trouble.is_locked() {
        Gravity::Warning
    } else {
        Gravity::Fault
    };
    note(gravity, trouble.to_string(), None)
}

/// Whose it is and how far it has come.
fn enrolled(shown: &str, memory: &Memory) -> Note {
    let run = memory.state.last_run();
    let known = memory.state.replicas().unwrap_or_default();
    let living = known.iter().filter(|one| one.forgotten.is_none());
    let mut names: Vec<&str> = living.map(|one| one.name.0.as_str()).collect();
    names.sort_unstable();
    let text = format!(
        "{shown} opens: {} enrolled ({}), last run {run}",
        names.len(),
        names.join(", ")
    );
    note(Gravity::Fine, text, None)
}

/// One replica's marker in one database.
struct Asked<'a> {
    memory: &'a Memory,
    server: &'a dyn Deployment,
    id: ReplicaId,
    db: Option<DbIndex>,
    index: DbIndex,
    replicates: bool,
}

impl Asked<'_> {
    async fn look(&self) -> Result<Result<Note, StateError>, StoreError> {
        let ours = self.memory.state.id().to_string();
        let states = self.server.states(self.db).await?;
        if let Some((other, _)) = states.iter().find(|(state, _)| *state != ours.as_bytes()) {
            let text = format!(
                "database {}: it is repaired with another state directory ({})",
                self.index,
                crate::model::escape(other)
            );
            let advice = "use that one, or take the replicas over with `reknit repair --adopt`";
            return Ok(Ok(note(Gravity::Fault, text, Some(advice.into()))));
        }
        let id = self.id.to_string();
        if !self.replicates && states.iter().any(|(_, under)| *under != id.as_bytes()) {
            let text = format!(
                "database {}: it was seeded from another replica; what it lacks is no evidence of a delete",
                self.index
            );
            return Ok(Ok(note(Gravity::Warning, text, None)));
        }
        let bytes = self.server.marker(self.db, &lane_name(self.id)).await?;
        let lane = match self.memory.state.lane(self.id, self.index) {
            Ok(lane) => lane,
            Err(error) => return Ok(Err(error)),
        };
        let acknowledged = lane.map(|lane| lane.acknowledged);
        let marker = bytes.as_deref().map(Marker::decode);
        let (gravity, text) = match (marker, acknowledged) {
            (None, None) => (Gravity::Fine, "no marker: it takes part for the first time".into()),
            (None, Some(_)) => (
                Gravity::Warning,
                "its marker is missing: it was emptied or seeded from another server; what it lacks is no evidence of a \
                 delete"
                    .to_owned(),
            ),
            (Some(None), _) => (
                Gravity::Fault,
                "what stands under its marker's name is no marker of this version".into(),
            ),
            (Some(Some(marker)), Some(last)) if marker.sequence < last => (
                Gravity::Warning,
                format!(
                    "its marker was rolled back from step {} to {}: it lost its last writes, which is no evidence of \
                     deletes",
                    last.0, marker.sequence.0
                ),
            ),
            (Some(Some(marker)), _) => (
                Gravity::Fine,
                format!("its marker is intact, step {} of run {}", marker.sequence.0, marker.run),
            ),
        };
        let text = format!("database {}: {text}", self.index);
        Ok(Ok(note(gravity, text, None)))
    }
}
