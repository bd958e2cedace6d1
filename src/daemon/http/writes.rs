//! What a run wrote, page by page of its journal.
//!
//! A page begins at a place, which the page before it named: nothing before it is read again.

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::api::off_the_loop;
use super::ask::checked_limit;
use super::error::{ApiError, ErrorBody};
use super::extract::{Path, Query};
use super::text::Place;
use super::view::expires_at;
use crate::app::{is_whole, known_names, written};
use crate::daemon::desk::Desk;
use crate::model::{RunNumber, Sequence, escape};
use crate::report::{LoggedState, LoggedWrite};
use crate::state::{State, StateError};

/// A page of writes, in the order of the run's steps.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Writes {
    /// The writes.
    writes: Vec<Write>,
    /// Where the next page begins, for `after`; null behind the last.
    next: Option<String>,
}

/// A write of a run, as the journal keeps it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Write {
    /// The step of the run.
    pub step: u64,
    /// The replica that was written.
    pub replica: String,
    /// The database.
    pub db: u32,
    /// The key, escaped as redis-cli shows it.
    pub key: String,
    /// What it held.
    pub before: Written,
    /// What was written.
    pub after: Written,
    /// The merge rule.
    pub rule: String,
    /// The evidence.
    pub evidence: String,
    /// Whether it happened; null while that is unknown.
    pub applied: Option<bool>,
}

/// What a key held before a write, or holds after it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Written {
    /// Whether the key was there.
    pub held: bool,
    /// The type, where it is known.
    #[serde(rename = "type")]
    #[schema(value_type = Option<String>)]
    pub kind: Option<&'static str>,
    /// Elements of a collection, bytes of a string, where it is known.
    pub length: Option<u64>,
    /// When the key ends, in milliseconds since 1970; null means never.
    pub expires_at_ms: Option<i64>,
}

/// A page of the journal.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FromPlace {
    /// The `next` of the page before; nothing for the first page.
    #[param(pattern = "^[0-9]+-[0-9]+$")]
    after: Option<String>,
    /// How many are answered at the most.
    #[param(minimum = 1, maximum = 1000)]
    limit: usize,
}

impl Default for FromPlace {
    fn default() -> Self {
        Self {
            after: None,
            limit: 100,
        }
    }
}

/// What a run overwrote, removed and added, as the journal keeps it.
#[utoipa::path(get, path = "/api/v1/runs/{id}/writes", tag = "runs",
    params(("id" = u64, Path, description = "Its number"), FromPlace), responses(
    (status = 200, body = Writes), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn writes(
    Shared(desk): Shared<Arc<Desk>>,
    Path(id): Path<u64>,
    Query(page): Query<FromPlace>,
) -> Result<Json<Writes>, ApiError> {
    let limit = checked_limit(page.limit)?;
    let place = match page.after.as_deref() {
        None => Place::default(),
        Some(text) => Place::read(text)?,
    };
    let unknown = || ApiError::not_found(format!("run {id} is not in the log of runs"));
    let state = desk.state().ok_or_else(unknown)?;
    let writes = off_the_loop(move || page_of(&state, RunNumber(id), (place, limit))).await?;
    Ok(Json(writes.ok_or_else(unknown)?))
}

/// A page of a run's journal; nothing for a run that is not in the log.
fn page_of(
    state: &State,
    run: RunNumber,
    (from, limit): (Place, usize),
) -> Result<Option<Writes>, StateError> {
    if state.run(run)?.is_none() {
        return Ok(None);
    }
    let names = known_names(state)?;
    let (mut page, mut behind, mut place) = (Writes::default(), from, Place::default());
    state.journal_from(run, Sequence(from.step), &mut |entry| {
        if !is_whole(&entry) {
            return ControlFlow::Continue(());
        }
        place = place.behind(entry.sequence.0);
        if place.step == from.step && place.passed <= from.passed {
            return ControlFlow::Continue(());
        }
        if page.writes.len() == limit {
            page.next = Some(behind.to_string());
            return ControlFlow::Break(());
        }
        page.writes.push(Write::from(written(&entry, &names)));
        behind = place;
        ControlFlow::Continue(())
    })?;
    Ok(Some(page))
}

impl From<LoggedWrite> for Write {
    fn from(write: LoggedWrite) -> Self {
        Self {
            step: write.step,
            replica: write.replica.0,
            db: write.db.0,
            key: escape(write.key.as_bytes()),
            before: write.before.into(),
            after: write.after.into(),
            rule: write.rule,
            evidence: write.evidence,
            applied: write.applied,
        }
    }
}

impl From<LoggedState> for Written {
    fn from(state: LoggedState) -> Self {
        Self {
            held: state.held,
            kind: state.kind.map(|kind| kind.name()),
            length: state.length,
            expires_at_ms: expires_at(state.expiry),
        }
    }
}
