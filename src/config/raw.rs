//! The YAML as it is written: every key of the file, nothing checked yet but the form of single values.
//!
//! A key that is absent and one that is empty are the same: the default.

use serde::Deserialize;

use super::rack::RawNode;
use super::scalar::{YamlDuration, YamlNumber, YamlSize};

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a map with the key `replicas`"
)]
pub(super) struct RawConfig {
    pub(super) replicas: Option<Vec<RawReplica>>,
    pub(super) keyspaces: Option<Vec<RawKeyspace>>,
    pub(super) replicates: Option<RawReplicates>,
    pub(super) limits: Option<RawLimits>,
    pub(super) guards: Option<RawGuards>,
    pub(super) agreement: Option<RawAgreement>,
    pub(super) clock: Option<RawClock>,
    pub(super) dynomite: Option<RawDynomite>,
    pub(super) state: Option<RawState>,
    pub(super) schedules: Option<Vec<RawSchedule>>,
    pub(super) http: Option<RawHttp>,
    pub(super) notifications: Option<RawNotifications>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with `name` and `url`")]
pub(super) struct RawReplica {
    pub(super) name: String,
    #[serde(default)]
    pub(super) url: String,
    pub(super) datacenter: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password_file: Option<String>,
    pub(super) password_env: Option<String>,
    pub(super) sentinel: Option<RawSentinel>,
    pub(super) tls: Option<RawReplicaTls>,
    pub(super) read_from: Option<String>,
    pub(super) layout: Option<String>,
    pub(super) hash: Option<String>,
    pub(super) hash_tag: Option<String>,
    pub(super) nodes: Option<Vec<RawNode>>,
    pub(super) connect_timeout: Option<YamlDuration>,
    pub(super) read_timeout: Option<YamlDuration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a map with username, and password_file or password_env"
)]
pub(super) struct RawSentinel {
    pub(super) username: Option<String>,
    pub(super) password_file: Option<String>,
    pub(super) password_env: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a map with ca, certificate, key and server_name"
)]
pub(super) struct RawReplicaTls {
    pub(super) ca: Option<String>,
    pub(super) certificate: Option<String>,
    pub(super) key: Option<String>,
    pub(super) server_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a map with the settings of one keyspace"
)]
pub(super) struct RawKeyspace {
    pub(super) name: String,
    #[serde(rename = "match")]
    pub(super) pattern: Option<String>,
    pub(super) db: Option<u32>,
    pub(super) rules: Option<RawRules>,
    pub(super) expiry: Option<RawExpiry>,
    pub(super) prefer: Option<Vec<String>>,
    pub(super) on_delete_conflict: Option<String>,
    pub(super) skip: Option<bool>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a map from types to rules")]
pub(super) struct RawRules {
    pub(super) string: Option<String>,
    pub(super) hash: Option<String>,
    pub(super) set: Option<String>,
    pub(super) zset: Option<String>,
    pub(super) list: Option<String>,
    pub(super) stream: Option<String>,
    pub(super) hyperloglog: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a map with rule, tolerance and horizon"
)]
pub(super) struct RawExpiry {
    pub(super) rule: Option<String>,
    pub(super) tolerance: Option<YamlDuration>,
    pub(super) horizon: Option<YamlDuration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a map with the key `lag`")]
pub(super) struct RawReplicates {
    pub(super) lag: Option<YamlDuration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a map of limits")]
pub(super) struct RawLimits {
    pub(super) keys_per_second: Option<u64>,
    pub(super) bytes_per_second: Option<YamlSize>,
    pub(super) intensity: Option<YamlNumber>,
    pub(super) pipeline: Option<usize>,
    pub(super) memory: Option<YamlSize>,
    pub(super) segment: Option<YamlDuration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a map of guards")]
pub(super) struct RawGuards {
    pub(super) max_delete_ratio: Option<YamlNumber>,
    pub(super) max_overwrite_ratio: Option<YamlNumber>,
    pub(super) settle: Option<YamlDuration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a map with elements and history"
)]
pub(super) struct RawAgreement {
    pub(super) elements: Option<u64>,
    pub(super) history: Option<YamlDuration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a map with max_skew")]
pub(super) struct RawClock {
    pub(super) max_skew: Option<YamlDuration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a map with tombstone_grace")]
pub(super) struct RawDynomite {
    pub(super) tombstone_grace: Option<YamlDuration>,
}

/// `none`, or a map.
#[derive(Debug)]
pub(super) enum RawState {
    Word(String),
    Map(RawStateMap),
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "`none`, or a map with the key `dir`"
)]
pub(super) struct RawStateMap {
    pub(super) dir: Option<String>,
    pub(super) journal_age: Option<YamlDuration>,
    pub(super) journal_size: Option<YamlSize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a map with the settings of one schedule"
)]
pub(super) struct RawSchedule {
    pub(super) name: String,
    pub(super) cron: Option<String>,
    pub(super) every: Option<YamlDuration>,
    pub(super) timezone: Option<String>,
    pub(super) keyspaces: Option<Vec<String>>,
    pub(super) window: Option<OneOrMany>,
    pub(super) blackouts: Option<OneOrMany>,
    pub(super) jitter: Option<YamlDuration>,
    pub(super) deadline: Option<YamlDuration>,
}

/// A text, or a list of texts.
#[derive(Debug)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a map with listen, token_file and tls"
)]
pub(super) struct RawHttp {
    pub(super) listen: Option<String>,
    pub(super) token_file: Option<String>,
    pub(super) tls: Option<RawTls>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a map with certificate and key"
)]
pub(super) struct RawTls {
    pub(super) certificate: Option<String>,
    pub(super) key: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a map with the key `webhook`"
)]
pub(super) struct RawNotifications {
    pub(super) webhook: Option<RawWebhook>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a map with the key `url`")]
pub(super) struct RawWebhook {
    pub(super) url: Option<String>,
    pub(super) secret_file: Option<String>,
    pub(super) events: Option<Vec<String>>,
    pub(super) timeout: Option<YamlDuration>,
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor)
    }
}

/// Not an untagged enum: that would say of neither what is wrong.
struct OneOrManyVisitor;

impl<'de> serde::de::Visitor<'de> for OneOrManyVisitor {
    type Value = OneOrMany;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a part of the day like \"01:00-06:00\", or a list of them")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<OneOrMany, E> {
        Ok(OneOrMany::One(text.to_owned()))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, items: A) -> Result<OneOrMany, A::Error> {
        Vec::deserialize(serde::de::value::SeqAccessDeserializer::new(items)).map(OneOrMany::Many)
    }
}

impl<'de> Deserialize<'de> for RawState {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StateVisitor)
    }
}

/// Not an untagged enum: that would forget which key is unknown.
struct StateVisitor;

impl<'de> serde::de::Visitor<'de> for StateVisitor {
    type Value = RawState;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("`none`, or a map with the key `dir`")
    }

    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<RawState, E> {
        Ok(RawState::Word(word.to_owned()))
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<RawState, A::Error> {
        RawStateMap::deserialize(serde::de::value::MapAccessDeserializer::new(map))
            .map(RawState::Map)
    }
}
