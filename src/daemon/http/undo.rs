//! Undoing a run, and what became of each of its writes.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::api::{Started, off_the_loop};
use super::ask::{Page, StartUndo};
use super::error::{ApiError, ErrorBody};
use super::extract::{Body, Path, Query};
use crate::daemon::board::{Card, Undone};
use crate::daemon::desk::{Command, Desk};
use crate::daemon::order::What;
use crate::model::{RunNumber, escape};
use crate::repair::{Forgetful, Tripped, UndoFinding};
use crate::state::{State, StateError};

/// A page of what an undo did, in the order in which it was decided, and what it came to.
#[derive(Debug, Serialize, ToSchema)]
pub struct UndoneWrites {
    /// What became of writes.
    findings: Vec<UndoneWrite>,
    /// How many there are. The first 10,000 of an undo can be seen; all are in its counts.
    total: u64,
    /// The run that is undone.
    undoes: u64,
    /// Whether nothing was to be written.
    dry_run: bool,
    /// How many writes came to what, by name; noughts are left out.
    fates: BTreeMap<String, u64>,
    /// Replicas that took no part, or not to the end, and why.
    lost: BTreeMap<String, String>,
    /// Replicas that lost what they had.
    forgetful: Vec<Forgot>,
    /// Guards that stopped it, or would stop it. If there are any, nothing was put back.
    tripped: Vec<TrippedGuard>,
    /// Whether it was told to stop.
    interrupted: bool,
    /// Whether it has ended.
    ended: bool,
}

/// What became of a write of the run at one replica.
#[derive(Debug, Serialize, ToSchema)]
pub struct UndoneWrite {
    /// The key, escaped as redis-cli shows it.
    key: String,
    /// The database.
    db: u32,
    /// The replica.
    replica: String,
    /// `planned`, `undone`, `changed`, `missed`, `kept` or `left-out`.
    #[schema(value_type = String)]
    fate: &'static str,
    /// What there is to say beyond that.
    reason: Option<String>,
    /// What is put back, in words.
    operations: Vec<String>,
}

/// A replica that lost what it had.
#[derive(Debug, Serialize, ToSchema)]
pub struct Forgot {
    /// Its name.
    replica: String,
    /// The database.
    db: u32,
    /// The step that it still remembers; null if it is none.
    remembers: Option<u64>,
    /// Whether it was ever seen before.
    known: bool,
}

/// A guard that stops a run.
#[derive(Debug, Serialize, ToSchema)]
pub struct TrippedGuard {
    /// Where.
    replica: String,
    /// `overwrite` or `delete`.
    #[schema(value_type = String)]
    guard: &'static str,
    /// How many keys it would be.
    keys: u64,
    /// How many keys the replica holds.
    held: u64,
    /// How many are allowed.
    limit: u64,
}

/// Puts back what a run overwrote or removed, where nothing was written since: a run of its own.
#[utoipa::path(post, path = "/api/v1/runs/{id}/undo", tag = "runs", params(("id" = u64, Path, description = "Its number")),
    request_body = StartUndo, responses((status = 202, body = Started), (status = 400, body = ErrorBody),
    (status = 404, description = "The run or the replica is not known", body = ErrorBody),
    (status = 409, description = "A run is under way", body = ErrorBody),
    (status = 413, body = ErrorBody), (status = 415, body = ErrorBody), (status = 500, body = ErrorBody)))]
pub async fn undo(
    Shared(desk): Shared<Arc<Desk>>,
    Path(id): Path<u64>,
    Body(asked): Body<StartUndo>,
) -> Result<(StatusCode, Json<Started>), ApiError> {
    let Some(state) = desk.state() else {
        return Err(ApiError::not_found(match desk.remembers {
            true => {
                "the state directory cannot be read at present, the log of the service says why"
            }
            false => "a service without memory keeps nothing to undo",
        }));
    };
    let replica = asked.replica().map(str::to_owned);
    let known = off_the_loop(move || known(&state, id, replica.as_deref())).await?;
    if !known.0 {
        return Err(ApiError::not_found(format!("there is no run {id}")));
    }
    if !known.1 {
        let name = asked.replica().unwrap_or_default();
        let words = format!("no replica `{name}` is remembered, `reknit status` shows them");
        return Err(ApiError::not_found(words));
    }
    let order = Box::new(asked.order(id)?);
    let id = desk.ask(|reply| Command::Start(order, reply)).await?;
    Ok((StatusCode::ACCEPTED, Json(Started { id })))
}

/// Whether there is such a run, and such a replica.
fn known(state: &State, run: u64, replica: Option<&str>) -> Result<(bool, bool), StateError> {
    let run = state.run(RunNumber(run))?.is_some();
    let Some(name) = replica else {
        return Ok((run, true));
    };
    let mut replicas = state.replicas()?.into_iter();
    let replica = replicas.any(|one| one.forgotten.is_none() && one.name.0 == name);
    Ok((run, replica))
}

/// What an undo did write by write, as it works and of those among the last twenty runs.
#[utoipa::path(get, path = "/api/v1/runs/{id}/undone", tag = "runs",
    params(("id" = u64, Path, description = "The number of the undo"), Page), responses(
    (status = 200, body = UndoneWrites), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn undone(
    Shared(desk): Shared<Arc<Desk>>,
    Path(id): Path<u64>,
    Query(page): Query<Page>,
) -> Result<Json<UndoneWrites>, ApiError> {
    let page = page.checked()?;
    let unknown = || {
        let words =
            format!("run {id} is no undo, or what became of its writes is not kept any more");
        ApiError::not_found(words)
    };
    let card = desk.card(id).ok_or_else(unknown)?;
    let What::Undo(undoing) = &card.order.what else {
        return Err(unknown());
    };
    let asked = (undoing.run.map_or(0, |run| run.0), undoing.dry_run);
    let undone = card.undone(page.offset, page.limit);
    Ok(Json(UndoneWrites::of(&card, asked, undone)))
}

impl UndoneWrites {
    fn of(card: &Card, (undoes, dry_run): (u64, bool), undone: Undone) -> Self {
        let summary = undone.summary.unwrap_or_default();
        let total = undone.counts.values().sum();
        let counts = undone.counts.into_iter();
        let lost = summary.lost.into_iter();
        Self {
            total,
            findings: undone.findings.into_iter().map(UndoneWrite::from).collect(),
            undoes,
            dry_run,
            fates: counts
                .map(|(fate, count)| (fate.to_owned(), count))
                .collect(),
            lost: lost.map(|(name, reason)| (name.0, reason)).collect(),
            forgetful: summary.forgetful.into_iter().map(Forgot::from).collect(),
            tripped: summary
                .tripped
                .into_iter()
                .map(TrippedGuard::from)
                .collect(),
            interrupted: summary.interrupted,
            ended: card.state().is_ended(),
        }
    }
}

impl From<UndoFinding> for UndoneWrite {
    fn from(finding: UndoFinding) -> Self {
        Self {
            key: escape(finding.key.as_bytes()),
            db: finding.db.0,
            fate: finding.fate.name(),
            reason: finding.fate.reason().map(str::to_owned),
            replica: finding.replica.0,
            operations: finding.ops,
        }
    }
}

impl From<Forgetful> for Forgot {
    fn from(one: Forgetful) -> Self {
        Self {
            replica: one.replica.0,
            db: one.db.0,
            remembers: one.remembers.map(|step| step.0),
            known: one.known,
        }
    }
}

impl From<Tripped> for TrippedGuard {
    fn from(one: Tripped) -> Self {
        Self {
            replica: one.replica.0,
            guard: one.what.name(),
            keys: one.keys,
            held: one.held,
            limit: one.limit,
        }
    }
}
