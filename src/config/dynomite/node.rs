//! One node's file: of its many keys, those that tell where its Redis is and which keys it holds.

use serde::Deserialize;

use super::super::Tokens;
use super::seed::{Seed, host_port, server};
use super::{ImportError, RackName};
use crate::model::{Address, Placement, TokenHash};

/// A node, as its own file tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) file: String,
    pub(super) datacenter: String,
    pub(super) rack: String,
    pub(super) tokens: Vec<u32>,
    pub(super) placement: Placement,
    /// The Redis behind it.
    pub(super) redis: Address,
    /// The host that its own file told, where another is taken.
    pub(super) moved: Option<String>,
    /// The host at which its Dynomite listens for peers.
    pub(super) listens: Option<String>,
    pub(super) seeds: Vec<Seed>,
    /// Whether stamps are kept.
    pub(super) stamps: bool,
    /// Whether seeds come from somewhere else than its file.
    pub(super) asks_for_seeds: bool,
}

/// What stands below the one root.
#[derive(Debug, Deserialize)]
struct Pool {
    datacenter: Option<String>,
    rack: Option<String>,
    tokens: Option<Tokens>,
    hash: Option<String>,
    hash_tag: Option<String>,
    servers: Option<Lines>,
    data_store: Option<i64>,
    dyn_listen: Option<String>,
    dyn_seeds: Option<Lines>,
    dyn_seed_provider: Option<String>,
    read_repairs_enabled: Option<bool>,
    read_consistency: Option<String>,
    write_consistency: Option<String>,
}

/// A list of lines, or one alone.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Lines {
    One(String),
    Many(Vec<String>),
}

impl Lines {
    fn all(lines: Option<Self>) -> Vec<String> {
        match lines {
            None => Vec::new(),
            Some(Self::One(line)) => vec![line],
            Some(Self::Many(lines)) => lines,
        }
    }
}

/// The seed provider that takes seeds from the file.
const SIMPLE: &str = "simple_provider";

impl Node {
    /// Reads a node's file.
    pub(super) fn read(file: &str, text: &str) -> Result<Self, ImportError> {
        let wrong = |what: String| ImportError::File {
            file: file.to_owned(),
            what,
        };
        let pool = pool(text).map_err(wrong)?;
        if let Some(store) = pool.data_store.filter(|store| *store != 0) {
            let what =
                format!("data_store {store} is not redis, which is 0: reknit repairs redis alone");
            return Err(wrong(what));
        }
        let servers = Lines::all(pool.servers);
        let [line] = &servers[..] else {
            let what = format!(
                "{} servers are named, a node has one redis behind it",
                servers.len()
            );
            return Err(wrong(what));
        };
        let seeds = Lines::all(pool.dyn_seeds);
        let seeds = seeds
            .iter()
            .map(|line| Seed::parse(line))
            .collect::<Result<_, _>>();
        let tokens = pool
            .tokens
            .map(|tokens| tokens.0)
            .filter(|tokens| !tokens.is_empty());
        let is_quorum = |level: &Option<String>| {
            let level = level.as_deref().unwrap_or("DC_ONE");
            !level.trim().eq_ignore_ascii_case("DC_ONE")
        };
        Ok(Self {
            file: file.to_owned(),
            datacenter: pool.datacenter.unwrap_or_else(|| "localdc".into()),
            rack: pool.rack.unwrap_or_else(|| "localrack".into()),
            tokens: tokens.ok_or_else(|| wrong("the node has no tokens, write tokens:".into()))?,
            placement: placement(pool.hash.as_deref(), pool.hash_tag.as_deref()).map_err(wrong)?,
            redis: server(line).map_err(wrong)?,
            moved: None,
            listens: pool
                .dyn_listen
                .as_deref()
                .and_then(host_port)
                .map(|(host, _)| host),
            seeds: seeds.map_err(wrong)?,
            stamps: pool.read_repairs_enabled == Some(true)
                && is_quorum(&pool.read_consistency)
                && is_quorum(&pool.write_consistency),
            asks_for_seeds: pool
                .dyn_seed_provider
                .is_some_and(|provider| provider != SIMPLE),
        })
    }

    pub(super) fn rack(&self) -> RackName {
        (self.datacenter.clone(), self.rack.clone())
    }

    pub(super) fn wrong(&self, what: impl Into<String>) -> ImportError {
        ImportError::File {
            file: self.file.clone(),
            what: what.into(),
        }
    }
}

/// What stands below the one root, whatever that is called.
fn pool(text: &str) -> Result<Pool, String> {
    const ROOT: &str =
        "a node's file has one root, usually `dyn_o_mite:`, and all its keys below it";
    let whole: serde_yaml::Value =
        serde_yaml::from_str(text).map_err(|error| format!("this is no yaml: {error}"))?;
    let serde_yaml::Value::Mapping(roots) = whole else {
        return Err(ROOT.into());
    };
    let mut all = roots.into_iter();
    match (all.next(), all.next()) {
        (Some((_, pool @ serde_yaml::Value::Mapping(_))), None) => {
            serde_yaml::from_value(pool).map_err(|error| error.to_string())
        }
        _ => Err(ROOT.into()),
    }
}

fn placement(hash: Option<&str>, tag: Option<&str>) -> Result<Placement, String> {
    let tag = tag.filter(|tag| !tag.is_empty()).map(|tag| {
        <[u8; 2]>::try_from(tag.as_bytes())
            .map_err(|_| format!("hash_tag `{tag}` is not two characters"))
    });
    Ok(Placement {
        hash: hash.map_or(Ok(TokenHash::default()), str::parse)?,
        tag: tag.transpose()?,
    })
}
