//! What a request may ask, and the order that it makes.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::ApiError;
use super::text::{EscapedKey, Reason, Slots};
use crate::app::{Plan, Undoing};
use crate::config::Config;
use crate::daemon::order::{Order, What};
use crate::daemon::service::selection_of;
use crate::model::{Glob, Key, KeyspaceName, Kind, RunNumber, Selection};
use crate::repair::Mode;

/// How many keys one request may name.
const MOST_KEYS: usize = 10_000;

/// How many items a page has at the most.
pub const MOST_ITEMS: usize = 1000;

/// A run that is asked for. Everything may be left out: then all is repaired.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StartRun {
    /// How far it goes.
    mode: AskedMode,
    /// Which keys.
    #[serde(deserialize_with = "super::extract::object")]
    selection: AskedSelection,
    /// Only the first so many divergences are repaired.
    #[schema(minimum = 1)]
    limit: Option<u64>,
    /// So many keys of a replica may be overwritten whatever the guards say.
    #[schema(minimum = 1)]
    force_overwrites: Option<u64>,
    /// So many keys of a replica may be deleted whatever the guards say.
    #[schema(minimum = 1)]
    force_deletes: Option<u64>,
    /// Why, for the log of runs: one line. Needed where guards are overruled.
    reason: Option<Reason>,
}

/// How far a run goes.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum AskedMode {
    /// It compares.
    Diff,
    /// It compares and merges, and writes nothing.
    DryRun,
    /// It compares, merges, writes and verifies.
    #[default]
    Repair,
}

/// Which keys: those that all parts admit which are given.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct AskedSelection {
    /// These keyspaces; all that are not skipped, if there are none.
    keyspaces: Vec<String>,
    /// Keys that match this pattern.
    r#match: Option<String>,
    /// These keys alone, escaped as redis-cli shows them.
    #[schema(min_items = 1, max_items = 10_000)]
    keys: Option<Vec<EscapedKey>>,
    /// Keys from this one on.
    from: Option<EscapedKey>,
    /// Keys before this one.
    to: Option<EscapedKey>,
    /// Keys in these slots, as `A-B`.
    slots: Option<Slots>,
    /// Keys that have one of these types on any replica.
    #[schema(min_items = 1)]
    types: Option<Vec<AskedKind>>,
}

/// A type of Redis, by the name that `TYPE` answers.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum AskedKind {
    /// A string.
    String,
    /// A list.
    List,
    /// A hash.
    Hash,
    /// A set.
    Set,
    /// A sorted set.
    Zset,
    /// A stream.
    Stream,
    /// Any type of a module.
    Module,
}

/// An undo that is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StartUndo {
    /// Only at this replica.
    replica: Option<String>,
    /// Only these keys, escaped as redis-cli shows them; all of the run, if there are none.
    #[schema(min_items = 1, max_items = 10_000)]
    keys: Option<Vec<EscapedKey>>,
    /// Write nothing.
    dry_run: bool,
    /// So many keys of a replica may be overwritten whatever the guards say.
    #[schema(minimum = 1)]
    force_overwrites: Option<u64>,
    /// So many keys of a replica may be deleted whatever the guards say.
    #[schema(minimum = 1)]
    force_deletes: Option<u64>,
    /// Why, for the log of runs: one line. Needed where guards are overruled.
    reason: Option<Reason>,
}

/// A page of a list.
#[derive(Debug, Clone, Copy, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// How many items are left out at the beginning.
    #[param(minimum = 0)]
    pub offset: usize,
    /// How many are answered at the most.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: usize,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            offset: 0,
            limit: 100,
        }
    }
}

impl Page {
    /// The page, if it is one.
    ///
    /// # Errors
    /// When it asks for nothing, or for too much.
    pub fn checked(self) -> Result<Self, ApiError> {
        checked_limit(self.limit).map(|_| self)
    }
}

/// A number of items that a page can have.
pub(super) fn checked_limit(limit: usize) -> Result<usize, ApiError> {
    match limit {
        1..=MOST_ITEMS => Ok(limit),
        _ => Err(ApiError::invalid(format!(
            "limit is not between 1 and {MOST_ITEMS}"
        ))),
    }
}

impl StartRun {
    /// The order that it makes under a configuration.
    ///
    /// # Errors
    /// When a part of it makes no sense, or it selects no keyspace.
    pub fn order(self, config: &Config) -> Result<Order, ApiError> {
        if self.limit == Some(0) {
            return Err(ApiError::invalid("limit is at least 1"));
        }
        let reason = self.reason.map(Reason::read).transpose()?;
        check_forces(
            [self.force_overwrites, self.force_deletes],
            reason.as_deref(),
        )?;
        let plan = Plan {
            mode: match self.mode {
                AskedMode::Diff => Mode::Diff,
                AskedMode::DryRun => Mode::Plan,
                AskedMode::Repair => Mode::Repair,
            },
            limit: self.limit,
            force_markers: false,
            force_overwrites: self.force_overwrites,
            force_deletes: self.force_deletes,
        };
        let selection = self.selection.resolve(config)?;
        Ok(Order {
            what: What::Compare(plan, Box::new(selection)),
            schedule: None,
            reason,
            resumes: false,
        })
    }
}

impl AskedSelection {
    fn resolve(self, config: &Config) -> Result<Selection, ApiError> {
        for name in &self.keyspaces {
            let known = config.keyspaces.iter().find(|one| one.name.0 == *name);
            match known {
                None => {
                    let words = format!("there is no keyspace `{name}`");
                    return Err(ApiError::not_found(words));
                }
                Some(one) if one.skip => {
                    return Err(ApiError::conflict(format!("keyspace `{name}` is skipped")));
                }
                Some(_) => {}
            }
        }
        let named = self.keyspaces.into_iter().map(KeyspaceName).collect();
        let whole = selection_of(config, named);
        if whole.keyspaces.is_empty() {
            return Err(ApiError::conflict("all keyspaces are skipped"));
        }
        let from = self.from.as_ref().map(EscapedKey::read).transpose()?;
        let to = self.to.as_ref().map(EscapedKey::read).transpose()?;
        if matches!((&from, &to), (Some(from), Some(to)) if from.as_bytes() >= to.as_bytes()) {
            return Err(ApiError::not_found(
                "`from` is not before `to`: no key is selected",
            ));
        }
        Ok(Selection {
            pattern: self.r#match.map(|text| Glob::new(text.into_bytes())),
            keys: self.keys.map(keys).transpose()?,
            from,
            to,
            slots: self.slots.as_ref().map(Slots::read).transpose()?,
            kinds: self.types.map(kinds).transpose()?,
            ..whole
        })
    }
}

impl StartUndo {
    /// The replica that it is about; nothing means all.
    pub(super) fn replica(&self) -> Option<&str> {
        self.replica.as_deref()
    }

    /// The order that it makes.
    ///
    /// # Errors
    /// When a key cannot be read, or a guard is overruled without a reason.
    pub fn order(self, run: u64) -> Result<Order, ApiError> {
        let reason = self.reason.map(Reason::read).transpose()?;
        check_forces(
            [self.force_overwrites, self.force_deletes],
            reason.as_deref(),
        )?;
        let named = self.keys.map(keys).transpose()?.unwrap_or_default();
        let undoing = Undoing {
            run: Some(RunNumber(run)),
            replica: self.replica,
            keys: named.into_iter().collect(),
            dry_run: self.dry_run,
            reason: reason.clone(),
            force_markers: false,
            force_overwrites: self.force_overwrites,
            force_deletes: self.force_deletes,
        };
        Ok(Order {
            what: What::Undo(Box::new(undoing)),
            schedule: None,
            reason,
            resumes: false,
        })
    }
}

/// Guards are overruled by a number and for a reason.
fn check_forces(forces: [Option<u64>; 2], reason: Option<&str>) -> Result<(), ApiError> {
    if forces.contains(&Some(0)) {
        return Err(ApiError::invalid("force_... is at least 1"));
    }
    if forces != [None, None] && reason.is_none() {
        let words =
            "force_overwrites and force_deletes are noted in the log of runs: give a reason";
        return Err(ApiError::invalid(words));
    }
    Ok(())
}

fn keys(texts: Vec<EscapedKey>) -> Result<BTreeSet<Key>, ApiError> {
    // SUBTLE: a list that came out empty by mistake must not mean everything.
    if texts.is_empty() {
        return Err(ApiError::invalid(
            "`keys` is empty: leave it out, or name some",
        ));
    }
    if texts.len() > MOST_KEYS {
        let words = format!(
            "at most {MOST_KEYS} keys at once; select them by `match`, or use `reknit repair --keys-from`"
        );
        return Err(ApiError::invalid(words));
    }
    texts.iter().map(EscapedKey::read).collect()
}

fn kinds(asked: Vec<AskedKind>) -> Result<BTreeSet<Kind>, ApiError> {
    if asked.is_empty() {
        return Err(ApiError::invalid(
            "`types` is empty: leave it out, or name some",
        ));
    }
    Ok(asked.into_iter().map(Kind::from).collect())
}

impl From<AskedKind> for Kind {
    fn from(asked: AskedKind) -> Self {
        match asked {
            AskedKind::String => Self::String,
            AskedKind::List => Self::List,
            AskedKind::Hash => Self::Hash,
            AskedKind::Set => Self::Set,
            AskedKind::Zset => Self::SortedSet,
            AskedKind::Stream => Self::Stream,
            AskedKind::Module => Self::Module,
        }
    }
}
