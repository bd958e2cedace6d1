//! The routes of the API.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::ask::{Page, StartRun};
use super::error::{ApiError, ErrorBody};
use super::extract::{Body, Path, Query};
use super::limits::Limits;
use super::node::{Node, nodes};
use super::run::Run;
use super::view::{Divergence, Schedule};
use crate::clock::{Clock, SystemClock};
use crate::daemon::desk::{Command, Desk};
use crate::model::RunNumber;
use crate::state::{RunRecord, StateError};

/// The service as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct Status {
    /// The version of reknit.
    version: String,
    /// When the service began, in milliseconds since 1970.
    began_ms: i64,
    /// What time it is there, in milliseconds since 1970.
    now_ms: i64,
    /// Whether it remembers anything between runs.
    memory: bool,
    /// The run that is under way.
    current: Option<Run>,
    /// The run that ended last since the service began.
    last: Option<Run>,
    /// The schedules.
    schedules: Vec<Schedule>,
    /// How fast runs may work.
    limits: Limits,
    /// The replicas: how they are, and whether a run waits for them.
    replicas: Vec<Node>,
}

/// A page of runs, the latest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct Runs {
    /// The runs.
    runs: Vec<Run>,
    /// How many there are.
    total: u64,
}

/// A page of divergences, in the order in which they were decided.
#[derive(Debug, Serialize, ToSchema)]
pub struct Divergences {
    /// The divergences.
    divergences: Vec<Divergence>,
    /// How many there are. The first 10,000 of a run can be seen; all are in the journal, as far as they were written.
    total: u64,
}

/// The schedules.
#[derive(Debug, Serialize, ToSchema)]
pub struct Schedules {
    /// The schedules, in the order of the configuration.
    schedules: Vec<Schedule>,
}

/// A run that has begun.
#[derive(Debug, Serialize, ToSchema)]
pub struct Started {
    /// Its number.
    pub(super) id: u64,
}

/// How the service stands: its run, its schedules.
#[utoipa::path(get, path = "/api/v1/status", tag = "service", responses((status = 200, body = Status)))]
pub async fn status(Shared(desk): Shared<Arc<Desk>>) -> Json<Status> {
    let cards = desk.cards();
    let last = cards.iter().rev().find(|card| card.state().is_ended());
    Json(Status {
        version: env!("CARGO_PKG_VERSION").into(),
        began_ms: desk.began.0,
        now_ms: SystemClock.now().0,
        memory: desk.remembers,
        current: desk.current().map(|card| Run::of_card(&card)),
        last: last.map(|card| Run::of_card(card)),
        schedules: desk.schedules().into_iter().map(Schedule::from).collect(),
        limits: Limits::of(&desk),
        replicas: nodes(&desk),
    })
}

/// Runs, the latest first.
#[utoipa::path(get, path = "/api/v1/runs", tag = "runs", params(Page), responses(
    (status = 200, body = Runs), (status = 400, body = ErrorBody)))]
pub async fn runs(
    Shared(desk): Shared<Arc<Desk>>,
    Query(page): Query<Page>,
) -> Result<Json<Runs>, ApiError> {
    let page = page.checked()?;
    let cards = desk.cards();
    let mut logged: BTreeMap<u64, RunRecord> = match desk.state() {
        Some(state) => {
            let records = off_the_loop(move || state.runs()).await?.into_iter();
            records.map(|one| (one.number.0, one)).collect()
        }
        None => BTreeMap::new(),
    };
    let mut runs: Vec<Run> = cards
        .iter()
        .map(|card| Run::of_card(card).logged(logged.remove(&card.id)))
        .collect();
    runs.extend(logged.into_values().map(Run::of_record));
    runs.sort_by_key(|run| std::cmp::Reverse(run.id));
    let total = runs.len() as u64;
    let runs = runs
        .into_iter()
        .skip(page.offset)
        .take(page.limit)
        .collect();
    Ok(Json(Runs { runs, total }))
}

/// Begins a run.
#[utoipa::path(post, path = "/api/v1/runs", tag = "runs", request_body = StartRun, responses(
    (status = 202, body = Started), (status = 400, body = ErrorBody),
    (status = 404, description = "A keyspace is not known, or nothing lies between two ends", body = ErrorBody),
    (status = 409, description = "A run is under way, or a keyspace is skipped", body = ErrorBody),
    (status = 413, body = ErrorBody), (status = 415, body = ErrorBody), (status = 500, body = ErrorBody)))]
pub async fn start(
    Shared(desk): Shared<Arc<Desk>>,
    Body(asked): Body<StartRun>,
) -> Result<(StatusCode, Json<Started>), ApiError> {
    let order = Box::new(asked.order(&desk.config())?);
    let id = desk.ask(|reply| Command::Start(order, reply)).await?;
    Ok((StatusCode::ACCEPTED, Json(Started { id })))
}

/// One run.
#[utoipa::path(get, path = "/api/v1/runs/{id}", tag = "runs", params(("id" = u64, Path, description = "Its number")),
    responses((status = 200, body = Run), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn run(
    Shared(desk): Shared<Arc<Desk>>,
    Path(id): Path<u64>,
) -> Result<Json<Run>, ApiError> {
    let card = desk.card(id);
    let logged = match desk.state() {
        Some(state) => off_the_loop(move || state.run(RunNumber(id))).await?,
        None => None,
    };
    if let Some(card) = card {
        return Ok(Json(Run::of_card(&card).logged(logged)));
    }
    let unknown = || ApiError::not_found(format!("there is no run {id}"));
    Ok(Json(Run::of_record(logged.ok_or_else(unknown)?)))
}

/// The divergences of a run, as it works and of the last twenty.
#[utoipa::path(get, path = "/api/v1/runs/{id}/divergences", tag = "runs",
    params(("id" = u64, Path, description = "Its number"), Page), responses(
    (status = 200, body = Divergences), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn divergences(
    Shared(desk): Shared<Arc<Desk>>,
    Path(id): Path<u64>,
    Query(page): Query<Page>,
) -> Result<Json<Divergences>, ApiError> {
    let page = page.checked()?;
    let unknown =
        || ApiError::not_found(format!("the divergences of run {id} are not kept any more"));
    let card = desk.card(id).ok_or_else(unknown)?;
    let (findings, total) = card.divergences(page.offset, page.limit);
    let shown = findings
        .iter()
        .map(|one| Divergence::of(one, &card.replicas));
    Ok(Json(Divergences {
        divergences: shown.collect(),
        total,
    }))
}

/// Pauses a run: nothing further is read or written until it is resumed.
#[utoipa::path(post, path = "/api/v1/runs/{id}/pause", tag = "runs", params(("id" = u64, Path, description = "Its number")),
    responses((status = 204), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
    (status = 409, description = "It has ended", body = ErrorBody)))]
pub async fn pause(
    Shared(desk): Shared<Arc<Desk>>,
    Path(id): Path<u64>,
) -> Result<StatusCode, ApiError> {
    desk.ask(|reply| Command::Pause(id, reply)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Resumes a run.
#[utoipa::path(post, path = "/api/v1/runs/{id}/resume", tag = "runs", params(("id" = u64, Path, description = "Its number")),
    responses((status = 204), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
    (status = 409, description = "It has ended", body = ErrorBody)))]
pub async fn resume(
    Shared(desk): Shared<Arc<Desk>>,
    Path(id): Path<u64>,
) -> Result<StatusCode, ApiError> {
    desk.ask(|reply| Command::Resume(id, reply)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a run; what it wrote stays.
#[utoipa::path(post, path = "/api/v1/runs/{id}/cancel", tag = "runs", params(("id" = u64, Path, description = "Its number")),
    responses((status = 204), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
    (status = 409, description = "It has ended", body = ErrorBody)))]
pub async fn cancel(
    Shared(desk): Shared<Arc<Desk>>,
    Path(id): Path<u64>,
) -> Result<StatusCode, ApiError> {
    desk.ask(|reply| Command::Cancel(id, reply)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The schedules.
#[utoipa::path(get, path = "/api/v1/schedules", tag = "schedules", responses((status = 200, body = Schedules)))]
pub async fn schedules(Shared(desk): Shared<Arc<Desk>>) -> Json<Schedules> {
    let schedules = desk.schedules().into_iter().map(Schedule::from).collect();
    Json(Schedules { schedules })
}

/// Begins a run of a schedule as soon as its window is open and no other works.
#[utoipa::path(post, path = "/api/v1/schedules/{name}/run", tag = "schedules",
    params(("name" = String, Path, description = "Its name")),
    responses((status = 202), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn run_now(
    Shared(desk): Shared<Arc<Desk>>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    desk.ask(|reply| Command::RunNow(name, reply)).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Takes back a run of a schedule that was asked for and has not begun.
#[utoipa::path(post, path = "/api/v1/schedules/{name}/cancel", tag = "schedules",
    params(("name" = String, Path, description = "Its name")),
    responses((status = 204), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
    (status = 409, description = "None waits", body = ErrorBody)))]
pub async fn withdraw(
    Shared(desk): Shared<Arc<Desk>>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    desk.ask(|reply| Command::Withdraw(name, reply)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Pauses a schedule: it is not due until it is resumed. A run that is under way goes on.
#[utoipa::path(post, path = "/api/v1/schedules/{name}/pause", tag = "schedules",
    params(("name" = String, Path, description = "Its name")),
    responses((status = 204), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn pause_schedule(
    Shared(desk): Shared<Arc<Desk>>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    desk.ask(|reply| Command::PauseSchedule(name, true, reply))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Resumes a schedule.
#[utoipa::path(post, path = "/api/v1/schedules/{name}/resume", tag = "schedules",
    params(("name" = String, Path, description = "Its name")),
    responses((status = 204), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn resume_schedule(
    Shared(desk): Shared<Arc<Desk>>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    desk.ask(|reply| Command::PauseSchedule(name, false, reply))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reads the configuration anew, as SIGHUP does. A bad one is refused, and the old one stays.
#[utoipa::path(post, path = "/api/v1/reload", tag = "service",
    responses((status = 204), (status = 400, body = ErrorBody)))]
pub async fn reload(Shared(desk): Shared<Arc<Desk>>) -> Result<StatusCode, ApiError> {
    desk.ask(Command::Reload).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reads the state directory on a thread that may wait for the disk.
pub(super) async fn off_the_loop<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, StateError> + Send + 'static,
) -> Result<T, ApiError> {
    let read = tokio::task::spawn_blocking(read).await;
    let read = read.map_err(|error| ApiError::internal(error.to_string()))?;
    read.map_err(|error| ApiError::internal(error.to_string()))
}
