//! The configuration: YAML or command line in, types out that cannot say anything contradictory.
//!
//! ```text
//! text --parse--> raw (form checked) --build--> Config (meaning checked)
//!                    ^
//! --replica, --prefer, --rule
//! ```
//!
//! Both ways go through the same checks. Every complaint says where, what, and what to do. Files with passwords are
//! not read here but when a connection is made ([`ReplicaConfig::credentials`]), so that a configuration can be
//! checked without them.

mod ad_hoc;
mod bounds;
mod cron;
mod databases;
mod dynomite;
mod error;
mod http;
mod identity;
mod keyspaces;
mod notifications;
mod parse;
mod policy;
mod rack;
mod raw;
mod replica_url;
mod replicas;
mod scalar;
mod schedules;
mod windows;
mod yaml_path;

use std::path::Path;
use std::time::Duration;

use raw::RawConfig;
use yaml_path::{Step, YamlPath};

pub use ad_hoc::{AdHoc, AdHocReplica};
pub use cron::Cron;
pub use dynomite::{ImportError, Imported, import};
pub(crate) use error::suggestion;
pub use error::{ConfigError, Location, Origin, Problem};
pub use http::{HttpConfig, TlsFiles};
pub use identity::{Identity, PasswordSource};
pub use notifications::{EventKind, Notifications, WebhookConfig};
pub(crate) use parse::redact;
pub use rack::{MAX_NODES, RackConfig, Tokens};
pub use replica_url::{DEFAULT_PORT, ReplicaUrl, UrlError};
pub use replicas::{MAX_REPLICAS, ReplicaConfig, is_name};
pub use scalar::{duration, size};
pub use schedules::{Due, Schedule};
pub use windows::{MINUTES_PER_DAY, Weekdays, Window};

use crate::model::{
    AgreementBounds, DbIndex, Guards, JournalBounds, Keyspaces, Layout, Limits, StampBounds,
    StateDir,
};

/// Words of `prefer` that no datacenter can be named by.
const RESERVED_NAMES: [&str; 3] = ["majority", "greatest", "skip"];

/// A configuration without contradictions.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The replicas, in datacenter order: two or more.
    pub replicas: Vec<ReplicaConfig>,
    /// The keyspaces. One whose `db` is every replica's default has none instead.
    pub keyspaces: Keyspaces,
    /// How late the datacenters' own replication to each other may be, where they have one.
    pub replicates: Option<Duration>,
    /// Limits.
    pub limits: Limits,
    /// Guards; settle waits at least as long as `replicates`.
    pub guards: Guards,
    /// The agreement's bounds.
    pub agreement: AgreementBounds,
    /// How stamps beside the data are taken.
    pub stamps: StampBounds,
    /// Where memory is kept.
    pub state: StateDir,
    /// How much of the journal is kept there.
    pub journal: JournalBounds,
    /// When repairs run by themselves.
    pub schedules: Vec<Schedule>,
    /// Where status and metrics are served.
    pub http: HttpConfig,
    /// Who is told of what.
    pub notifications: Notifications,
}

impl Config {
    /// How the data of the replicas is laid out: all alike.
    pub fn layout(&self) -> Layout {
        let first = self.replicas.first();
        first.map_or_else(Layout::default, |replica| replica.layout)
    }

    /// Reads a YAML text; `path` is the file it came from: it is named in errors, and relative paths in the text
    /// start at its directory. `db` replaces every replica's default database.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with path, line, column and what to do.
    pub fn from_yaml(text: &str, path: &Path, db: Option<DbIndex>) -> Result<Self, ConfigError> {
        let invalid = |problem| ConfigError::Invalid {
            origin: Origin::File(path.to_owned()),
            problem,
        };
        let raw = parse::parse(text).map_err(invalid)?;
        let base_dir = path.parent().unwrap_or(Path::new(""));
        build(&raw, base_dir, db).map_err(|found| {
            invalid(Problem {
                at: found.path.locate(text),
                path: found.path.to_string(),
                what: found.what,
                advice: found.advice,
            })
        })
    }

    /// Reads a YAML file.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`], or what [`Self::from_yaml`] finds.
    pub fn from_file(path: &Path, db: Option<DbIndex>) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::from_yaml(&text, path, db)
    }

    /// The configuration of a run whose replicas stand on the command line: no memory, one keyspace.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with the option and what to do; never with a URL's password.
    pub fn from_ad_hoc(ad_hoc: &AdHoc, db: Option<DbIndex>) -> Result<Self, ConfigError> {
        let invalid = |problem| ConfigError::Invalid {
            origin: Origin::CommandLine,
            problem,
        };
        let raw = ad_hoc.to_raw().map_err(invalid)?;
        let mut config =
            build(&raw, Path::new(""), db).map_err(|found| invalid(ad_hoc.explain(found)))?;
        config.state = StateDir::Nowhere;
        Ok(config)
    }
}

fn build(
    raw: &RawConfig,
    base_dir: &Path,
    db: Option<DbIndex>,
) -> Result<Config, error::Contradiction> {
    let replicates = bounds::lag(raw.replicates.as_ref())?;
    let raw_replicas = raw.replicas.as_deref().unwrap_or_default();
    let replicas = replicas::replicas(raw_replicas, base_dir, db)?;
    let raw_keyspaces = raw.keyspaces.as_deref().unwrap_or_default();
    let keyspaces = keyspaces::keyspaces(raw_keyspaces, &replicas, replicates.is_some())?;
    let raw_schedules = raw.schedules.as_deref().unwrap_or_default();
    Ok(Config {
        limits: bounds::limits(raw.limits.as_ref().unwrap_or(&Default::default()))?,
        guards: bounds::guards(
            raw.guards.as_ref().unwrap_or(&Default::default()),
            replicates,
        )?,
        agreement: bounds::agreement(raw.agreement.as_ref().unwrap_or(&Default::default())),
        stamps: bounds::stamps(
            raw.clock.as_ref().unwrap_or(&Default::default()),
            raw.dynomite.as_ref().unwrap_or(&Default::default()),
        ),
        state: bounds::state(raw.state.as_ref(), base_dir)?,
        journal: bounds::journal(raw.state.as_ref())?,
        schedules: schedules::schedules(raw_schedules, &keyspaces)?,
        http: http::http(raw.http.as_ref().unwrap_or(&Default::default()), base_dir)?,
        notifications: notifications::notifications(raw.notifications.as_ref(), base_dir)?,
        replicas,
        keyspaces,
        replicates,
    })
}

#[cfg(test)]
mod tests;
