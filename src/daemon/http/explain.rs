//! One key on every replica, and what a repair would make of it: as `reknit explain` says it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};

use super::error::{ApiError, ErrorBody};
use super::extract::Query;
use super::text::EscapedKey;
use crate::app::{Fleet, Unexplained, exit_of_explanation, explain_beside, explained};
use crate::config::Config;
use crate::daemon::desk::Desk;
use crate::model::Key;
use crate::state::State;

/// The key that is asked about.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AskedKey {
    /// The key, escaped as redis-cli shows it.
    key: EscapedKey,
}

/// What is to be said of a key.
#[derive(Debug, Serialize, ToSchema)]
pub struct Explained {
    /// The exit code of `reknit explain`: 0 in sync, 1 it differs, 3 a replica was missed.
    exit_code: u8,
    /// What that prints for people.
    page: String,
    /// What that prints as JSON: docs/json.md, `reknit.explain/1`.
    #[schema(value_type = Object)]
    report: Value,
}

/// Shows one key on every replica, and what a repair would make of it and why. Writes nothing.
#[utoipa::path(get, path = "/api/v1/explain", tag = "runs", params(AskedKey), responses(
    (status = 200, body = Explained), (status = 400, body = ErrorBody),
    (status = 404, description = "No keyspace has it", body = ErrorBody), (status = 500, body = ErrorBody)))]
pub async fn explain(
    Shared(desk): Shared<Arc<Desk>>,
    Query(asked): Query<AskedKey>,
) -> Result<Json<Explained>, ApiError> {
    let (config, state, key) = (desk.config(), desk.state(), asked.key.read()?);
    // Dropped with the request: nobody waits for it any more then.
    let stop = CancellationToken::new();
    let _ended = stop.clone().drop_guard();
    let looked = tokio::task::spawn_blocking(move || look(&config, state, key, stop)).await;
    let looked = looked.map_err(|error| ApiError::internal(error.to_string()))?;
    looked.map(Json)
}

/// Looks on a thread of its own: the service stays able to answer meanwhile.
fn look(
    config: &Config,
    state: Option<State>,
    key: Key,
    stop: CancellationToken,
) -> Result<Explained, ApiError> {
    let internal = |error: &dyn std::fmt::Display| ApiError::internal(error.to_string());
    let fleet = Fleet::new(config).map_err(|error| internal(&error))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| internal(&error))?;
    let found = runtime.block_on(async {
        tokio::select! {
            found = explain_beside(config, &fleet, key, (state, stop.clone())) => found.map_err(refused),
            () = stop.cancelled() => Err(ApiError::internal("nobody waits for the answer any more")),
        }
    });
    runtime.shutdown_background();
    let found = found?;
    let exit_code = exit_of_explanation(&found).code();
    let report = explained(found, &fleet.columns());
    Ok(Explained {
        exit_code,
        page: report.page(),
        report: serde_json::to_value(&report).map_err(|error| internal(&error))?,
    })
}

fn refused(error: Unexplained) -> ApiError {
    match &error {
        Unexplained::Own(_) => ApiError::invalid(error.to_string()),
        Unexplained::NoKeyspace(_) => ApiError::not_found(error.to_string()),
        Unexplained::Trouble(_) | Unexplained::Run(_) => ApiError::internal(error.to_string()),
    }
}
