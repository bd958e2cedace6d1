//! Keyspaces: named sets of keys with one policy; the first that matches a key owns it.

use std::fmt;

use super::{Glob, Policy};

/// The number of a logical database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DbIndex(pub u32);

impl fmt::Display for DbIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A keyspace's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyspaceName(pub String);

impl fmt::Display for KeyspaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A named set of keys with one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyspace {
    /// Its name.
    pub name: KeyspaceName,
    /// Its database; nothing means the one in each replica's URL.
    pub db: Option<DbIndex>,
    /// The keys that belong to it.
    pub pattern: Glob,
    /// What is done with them.
    pub policy: Policy,
    /// Whether its keys are left alone.
    pub skip: bool,
}

impl Keyspace {
    /// The keyspace that owns every key, with the default policy.
    pub fn everything() -> Self {
        Self {
            name: KeyspaceName("default".into()),
            db: None,
            pattern: Glob::new("*"),
            policy: Policy::default(),
            skip: false,
        }
    }
}

/// The configured keyspaces, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyspaces(Vec<Keyspace>);

impl Keyspaces {
    /// Keyspaces in the order in which they are tried; none means one that owns every key.
    pub fn new(keyspaces: Vec<Keyspace>) -> Self {
        if keyspaces.is_empty() {
            Self(vec![Keyspace::everything()])
        } else {
            Self(keyspaces)
        }
    }

    /// The keyspace that owns a key of this database: the first that matches; nothing if none does.
    pub fn owner(&self, db: Option<DbIndex>, key: &[u8]) -> Option<&Keyspace> {
        self.0
            .iter()
            .find(|keyspace| keyspace.db == db && keyspace.pattern.matches(key))
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Keyspace> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyspace(name: &str, pattern: &str) -> Keyspace {
        Keyspace {
            name: KeyspaceName(name.into()),
            pattern: Glob::new(pattern),
            ..Keyspace::everything()
        }
    }

    #[test]
    fn first_match_wins_and_databases_do_not_mix() {
        let other_db = Keyspace {
            db: Some(DbIndex(3)),
            ..keyspace("three", "*")
        };
        let keyspaces = Keyspaces::new(vec![
            keyspace("hits", "hits:*"),
            keyspace("rest", "h*"),
            other_db,
        ]);
        let owner = |db, key: &str| {
            keyspaces
                .owner(db, key.as_bytes())
                .map(|found| found.name.0.clone())
        };
        assert_eq!(owner(None, "hits:1").as_deref(), Some("hits"));
        assert_eq!(owner(None, "hot").as_deref(), Some("rest"));
        assert_eq!(owner(None, "cold"), None);
        assert_eq!(owner(Some(DbIndex(3)), "cold").as_deref(), Some("three"));
    }
}
