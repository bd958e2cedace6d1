//! The configuration as an operator meets it: the example, every key, passwords, and texts that are no YAML at all.

mod complaints;

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::model::{
    DbIndex, ExpiryRule, Key, Keyspace, ListRule, Policy, Preference, StringRule, ZsetRule,
};

const EXAMPLE: &str = include_str!("../../config/reknit.yaml");

/// Two replicas, four lines: what a test adds starts at line 5.
const REPLICAS: &str = "\
replicas:
- { name: us, url: redis://a }
- { name: eu, url: redis://b }

";

fn read(text: &str) -> Result<Config, ConfigError> {
    Config::from_yaml(text, Path::new("reknit.yaml"), None)
}

fn read_with(rest: &str) -> Config {
    read(&format!("{REPLICAS}{rest}")).unwrap()
}

fn owner<'a>(config: &'a Config, key: &str) -> Option<&'a Keyspace> {
    config.keyspaces.owner(None, Key::from(key).as_bytes())
}

#[test]
fn every_default_of_the_example_is_the_default_of_the_code() {
    let example = Config::from_yaml(EXAMPLE, Path::new("/etc/reknit/reknit.yaml"), None).unwrap();
    let bare = read_with("");
    assert_eq!(example.limits, bare.limits);
    assert_eq!(example.limits, Limits::default());
    assert_eq!(example.guards, Guards::default());
    assert_eq!(example.agreement, AgreementBounds::default());
    assert_eq!(example.state, StateDir::default());
    assert_eq!(example.journal, JournalBounds::default());
    assert_eq!(example.http, HttpConfig::default());
    assert_eq!(example.notifications, Notifications::default());
    assert_eq!(example.schedules, bare.schedules);
    assert_eq!(example.replicates, None);
    assert_eq!(example.keyspaces, bare.keyspaces);
    assert_eq!(bare.keyspaces, Keyspaces::new(vec![Keyspace::everything()]));
    let (us, bare) = (&example.replicas[0], &bare.replicas[0]);
    assert_eq!((us.layout, us.db), (bare.layout, bare.db));
    assert_eq!(us.connect_timeout, bare.connect_timeout);
    assert_eq!(us.read_timeout, bare.read_timeout);
}

#[test]
fn replicas_of_the_example_are_what_it_says() {
    let config = Config::from_yaml(EXAMPLE, Path::new("/etc/reknit/reknit.yaml"), None).unwrap();
    let [us, eu] = config.replicas.as_slice() else {
        panic!("the example has two replicas");
    };
    assert_eq!(us.datacenter.0, "us-east-1");
    assert_eq!(us.address.to_string(), "redis://10.0.0.1:6379");
    assert_eq!(us.identity.username.as_deref(), Some("reknit"));
    assert_eq!(
        us.identity.password,
        PasswordSource::File("/etc/reknit/us.password".into())
    );
    assert_eq!(eu.identity.username.as_deref(), Some("reknit"));
    assert_eq!(
        eu.identity.password,
        PasswordSource::Env("REKNIT_EU_PASSWORD".into())
    );
}

/// Every key of the example, also those in comments that show one, is a key that the code knows, and the other way.
const EVERY_KEY: &[&str] = &[
    "replicas",
    "name",
    "datacenter",
    "url",
    "username",
    "password_file",
    "password_env",
    "tls",
    "ca",
    "server_name",
    "read_from",
    "layout",
    "connect_timeout",
    "read_timeout",
    "keyspaces",
    "match",
    "db",
    "rules",
    "string",
    "hash",
    "set",
    "zset",
    "list",
    "stream",
    "hyperloglog",
    "expiry",
    "rule",
    "tolerance",
    "horizon",
    "prefer",
    "on_delete_conflict",
    "skip",
    "replicates",
    "lag",
    "limits",
    "keys_per_second",
    "bytes_per_second",
    "intensity",
    "pipeline",
    "memory",
    "segment",
    "guards",
    "max_delete_ratio",
    "max_overwrite_ratio",
    "settle",
    "agreement",
    "elements",
    "history",
    "state",
    "dir",
    "journal_age",
    "journal_size",
    "schedules",
    "cron",
    "every",
    "timezone",
    "window",
    "blackouts",
    "jitter",
    "deadline",
    "http",
    "listen",
    "token_file",
    "tls",
    "certificate",
    "key",
    "notifications",
    "webhook",
    "secret_file",
    "events",
    "timeout",
];

#[test]
fn the_example_names_every_key() {
    for key in EVERY_KEY {
        assert!(EXAMPLE.contains(&format!("{key}:")), "{key}");
    }
}

#[test]
fn every_key_of_the_outline_is_read() {
    let config = read_with(
        "keyspaces:
  - name: hits
    match: \"hits:*\"
    db: 0
    rules: { string: counter, zset: max, list: lww }
    expiry: { rule: ignore, tolerance: 2s, horizon: 1m }
    prefer: [eu, majority, greatest]
    on_delete_conflict: delete-wins
    skip: true
  - { name: rest, db: 4 }
limits: { keys_per_second: 5, bytes_per_second: 1MiB, intensity: 1, pipeline: 3, memory: 64MiB, segment: 30s }
guards: { max_delete_ratio: 0, max_overwrite_ratio: 1, settle: 500ms }
state: none
schedules:
  - { name: nightly, cron: \"0 2 * * *\", timezone: UTC, keyspaces: [hits], window: \"01:00-06:00\" }
  - { name: often, every: 15m }
",
    );
    let hits = owner(&config, "hits:1").unwrap();
    assert_eq!(hits.db, None, "0 is every replica's default");
    assert_eq!(hits.policy.rules.string, StringRule::Counter);
    assert_eq!(hits.policy.rules.zset, ZsetRule::Max);
    assert_eq!(hits.policy.expiry.rule, ExpiryRule::Ignore);
    assert_eq!(hits.policy.prefer[1], Preference::Majority);
    assert!(hits.skip);
    assert_eq!(config.keyspaces.iter().nth(1).unwrap().db, Some(DbIndex(4)));
    assert_eq!(config.limits.bytes_per_second.map(u64::from), Some(1 << 20));
    assert_eq!(config.limits.segment, Duration::from_secs(30));
    assert_eq!(config.guards.settle, Duration::from_millis(500));
    assert_eq!(config.state, StateDir::Nowhere);
    let windows = config.schedules[0].windows.iter();
    let windows: Vec<_> = windows.map(|w| (w.from_minute, w.to_minute)).collect();
    assert_eq!(windows, [(60, 360)]);
    assert_eq!(
        config.schedules[1].due,
        Due::Every(Duration::from_secs(900))
    );
}

#[test]
fn every_key_of_the_service_is_read() {
    let config = read_with(
        "schedules:
  - name: n
    cron: \"0 2 * * *\"
    timezone: Europe/Berlin
    window: [\"01:00-06:00\", \"Sat,Sun\"]
    blackouts: \"Mon-Fri 05:00-18:00\"
    jitter: 10m
    deadline: 4h
http: { listen: \"0.0.0.0:1\", token_file: t, tls: { certificate: c, key: k } }
notifications:
  webhook: { url: \"https://hooks/hunter2\", secret_file: s, events: [failed, overdue], timeout: 3s }
",
    );
    let schedule = &config.schedules[0];
    assert_eq!(schedule.timezone.name(), "Europe/Berlin");
    assert_eq!((schedule.windows.len(), schedule.blackouts.len()), (2, 1));
    assert_eq!(schedule.jitter, Duration::from_secs(600));
    assert_eq!(schedule.deadline, Some(Duration::from_secs(4 * 3600)));
    // Weekdays from 1 to 5, and the weekend whole.
    let open = schedule.open_minutes().iter().filter(|open| **open).count();
    assert_eq!(open, 5 * 240 + 2 * 1440);
    assert_eq!(config.http.token_file.as_deref(), Some(Path::new("t")));
    assert_eq!(config.http.tls.as_ref().unwrap().key, Path::new("k"));
    let webhook = config.notifications.webhook.as_ref().unwrap();
    assert_eq!(webhook.url.expose(), "https://hooks/hunter2");
    assert_eq!(webhook.events, [EventKind::Overdue, EventKind::Failed]);
    assert_eq!(webhook.timeout, Duration::from_secs(3));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn an_empty_section_is_its_default() {
    let config = read_with("keyspaces:\nlimits:\nguards:\nstate:\nhttp: {}\nschedules: []\n");
    assert_eq!(config.limits, Limits::default());
    assert_eq!(
        owner(&config, "any").map(|k| k.policy.clone()),
        Some(Policy::default())
    );
}

#[test]
fn where_datacenters_replicate_settle_waits_and_appends_are_not_joined() {
    let config = read_with("replicates: { lag: 5s }\n");
    assert_eq!(config.guards.settle, Duration::from_secs(5));
    assert_eq!(
        owner(&config, "k").unwrap().policy.rules.list,
        ListRule::Lww
    );
}

#[test]
fn a_database_from_the_command_line_replaces_that_of_every_url() {
    let text = format!("{REPLICAS}keyspaces: [{{ name: five, db: 5 }}, {{ name: rest }}]\n");
    let error = Config::from_yaml(&text, Path::new("f"), Some(DbIndex(5))).unwrap_err();
    assert!(
        error.to_string().contains("`rest` never owns a key"),
        "{error}"
    );
    let config = read(&text).unwrap();
    assert_eq!(config.keyspaces.iter().next().unwrap().db, Some(DbIndex(5)));
}

#[test]
fn a_password_file_loses_one_newline_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let text = "replicas:\n- { name: a, url: redis://u@a, password_file: secret }\n- { name: b, url: redis://b }\n";
    let config = Config::from_yaml(text, &dir.path().join("reknit.yaml"), None).unwrap();
    let replica = &config.replicas[0];
    let missing = replica.credentials().unwrap_err().to_string();
    assert!(
        missing.starts_with("replica a: cannot read the password from the file "),
        "{missing}"
    );
    for (written, expected) in [
        ("p\n", "p"),
        ("p\r\n", "p"),
        (" p \n\n", " p \n"),
        ("p", "p"),
    ] {
        std::fs::write(dir.path().join("secret"), written).unwrap();
        let credentials = replica.credentials().unwrap();
        assert_eq!(
            credentials.password.unwrap().expose(),
            expected,
            "{written:?}"
        );
        assert_eq!(credentials.username.as_deref(), Some("u"));
    }
    std::fs::write(dir.path().join("secret"), "\n").unwrap();
    let empty = replica.credentials().unwrap_err().to_string();
    assert!(
        empty.ends_with("it is empty, write the password into it"),
        "{empty}"
    );
}

#[test]
fn a_missing_password_variable_is_named() {
    let text = "replicas:\n- { name: a, url: redis://a, password_env: REKNIT_TEST_UNSET }\n- { name: b, url: redis://b }\n";
    assert_eq!(
        read(text).unwrap().replicas[0]
            .credentials()
            .unwrap_err()
            .to_string(),
        "replica a: cannot read the password from the environment variable REKNIT_TEST_UNSET: \
         it is not set, set it to the password"
    );
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::from_file(Path::new("/nowhere/reknit.yaml"), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the configuration /nowhere/reknit.yaml, check that it exists and is readable"
    );
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "(?s).{0,200}") {
        let _ = read(&text);
    }

    /// Text that is almost right gets further than noise.
    #[test]
    fn no_damage_to_the_example_makes_the_reader_panic(
        from in 0..EXAMPLE.len(),
        length in 0..40_usize,
        with in "[\\t\\n :*&!|>\\[\\]{},'\"#a-z0-9-]{0,6}",
    ) {
        let bytes = EXAMPLE.as_bytes();
        let end = (from + length).min(bytes.len());
        let damaged = [&bytes[..from], with.as_bytes(), &bytes[end..]].concat();
        let _ = read(&String::from_utf8_lossy(&damaged)).map_err(|error| error.to_string());
    }
}
