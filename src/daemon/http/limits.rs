//! The limits of runs: how they stand, and setting them while a run works.

use std::num::NonZeroU64;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::{ApiError, ErrorBody};
use super::extract::Body;
use crate::daemon::desk::{Change, Command, Desk};
use crate::model::Intensity;
use crate::repair::Rates;

/// How fast runs may work on each replica.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct Pace {
    /// Keys read and written per second; 0 is unlimited.
    keys_per_second: u64,
    /// Bytes received and sent per second; 0 is unlimited.
    bytes_per_second: u64,
    /// The share of time spent working.
    #[schema(minimum = 0.001, maximum = 1.0)]
    intensity: f64,
}

/// The limits in force, beside those of the configuration.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct Limits {
    /// Those in force.
    now: Pace,
    /// Those of the configuration: a reload and a restart go back to them.
    configured: Pace,
    /// Whether the two differ.
    changed: bool,
}

/// Limits to be set; what is left out or null stays as it is.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SetLimits {
    /// Keys read and written per second on each replica; 0 is unlimited.
    #[schema(minimum = 0)]
    keys_per_second: Option<u64>,
    /// Bytes received and sent per second on each replica; 0 is unlimited.
    #[schema(minimum = 0)]
    bytes_per_second: Option<u64>,
    /// The share of time spent working, from 0.001 to 1.
    #[schema(minimum = 0.001, maximum = 1.0)]
    intensity: Option<f64>,
}

impl From<Rates> for Pace {
    fn from(rates: Rates) -> Self {
        let number = |limit: Option<NonZeroU64>| limit.map_or(0, NonZeroU64::get);
        Self {
            keys_per_second: number(rates.keys_per_second),
            bytes_per_second: number(rates.bytes_per_second),
            intensity: rates.intensity.get(),
        }
    }
}

impl Limits {
    pub(super) fn of(desk: &Desk) -> Self {
        let (now, configured) = (desk.throttle.rates(), Rates::from(&desk.config().limits));
        Self {
            now: now.into(),
            configured: configured.into(),
            changed: now != configured,
        }
    }
}

impl SetLimits {
    fn change(self) -> Result<Change, ApiError> {
        let intensity = |number: f64| {
            Intensity::new(number).ok_or_else(|| {
                ApiError::invalid(format!("intensity {number} is not between 0.001 and 1"))
            })
        };
        Ok(Change {
            keys_per_second: self.keys_per_second.map(NonZeroU64::new),
            bytes_per_second: self.bytes_per_second.map(NonZeroU64::new),
            intensity: self.intensity.map(intensity).transpose()?,
        })
    }
}

/// How fast runs may work.
#[utoipa::path(get, path = "/api/v1/limits", tag = "limits", responses(
    (status = 200, description = "The limits", body = Limits)))]
pub async fn limits(Shared(desk): Shared<Arc<Desk>>) -> Json<Limits> {
    Json(Limits::of(&desk))
}

/// Sets limits, at once also for a run that works. They hold until the configuration is read anew.
#[utoipa::path(put, path = "/api/v1/limits", tag = "limits", request_body = SetLimits, responses(
    (status = 200, description = "The limits as they are now", body = Limits),
    (status = 400, description = "It makes no sense", body = ErrorBody)))]
pub async fn set_limits(
    Shared(desk): Shared<Arc<Desk>>,
    Body(asked): Body<SetLimits>,
) -> Result<Json<Limits>, ApiError> {
    let change = asked.change()?;
    desk.ask(|reply| Command::SetLimits(change, reply)).await?;
    Ok(Json(Limits::of(&desk)))
}
