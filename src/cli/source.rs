//! Where the configuration comes from: a file, the environment, or the command line itself.

use std::ffi::OsString;
use std::path::PathBuf;

use thiserror::Error;

use super::args::memory::StateArgs;
use super::args::{ConnectionArgs, LimitArgs, Unparsed};
use crate::config::{AdHoc, AdHocReplica, Config, ConfigError, suggestion};
use crate::model::{DbIndex, StateDir};

/// The environment variable that names the configuration file where no option does.
pub const CONFIG_VARIABLE: &str = "REKNIT_CONFIG";

/// Why the command line leads to no configuration.
#[derive(Debug, Error)]
pub enum SourceError {
    /// Nothing names replicas.
    #[error("no replicas, name a file with --config or two replicas with --replica NAME=URL")]
    NoReplicas,
    /// An option of replicas on the command line, beside a file.
    #[error("{0} is about --replica; with a configuration file, write it there")]
    OfReplicas(&'static str),
    /// A value without `=`.
    #[error("{option} number {number} is not {form}, write one like {option} {example}")]
    NotAPair {
        /// The option.
        option: &'static str,
        /// Which of its values, from 1: the value itself may hold a password.
        number: usize,
        /// What it should look like.
        form: &'static str,
        /// One that does.
        example: &'static str,
    },
    /// A password for nobody.
    #[error("{option} {name}: there is no --replica `{name}`, {advice}")]
    NoSuchReplica {
        /// The option.
        option: &'static str,
        /// The name.
        name: String,
        /// The nearest name, or all.
        advice: String,
    },
    /// Two passwords for one.
    #[error("{option} {name}: named twice, keep one of them")]
    Twice {
        /// The option.
        option: &'static str,
        /// The name.
        name: String,
    },
    /// The configuration itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Loads the configuration that the command line asks for, with its limits laid over it.
///
/// `config_variable` is the value of [`CONFIG_VARIABLE`], used where neither `--config` nor `--replica` is given.
///
/// # Errors
/// What is wrong and what to do; never with a password.
pub fn load(
    connection: &ConnectionArgs,
    limits: &LimitArgs,
    config_variable: Option<OsString>,
) -> Result<Config, SourceError> {
    let db = connection.db.map(DbIndex);
    refuse_without_replicas(connection)?;
    let mut config = if connection.replica.is_empty() {
        let from_variable = config_variable
            .filter(|path| !path.is_empty())
            .map(PathBuf::from);
        let path = connection.config.clone().or(from_variable);
        Config::from_file(&path.ok_or(SourceError::NoReplicas)?, db)?
    } else {
        Config::from_ad_hoc(&ad_hoc(connection)?, db)?
    };
    if let Some(dir) = &connection.state_dir {
        config.state = StateDir::At(dir.clone());
    }
    limits.apply(&mut config);
    Ok(config)
}

/// The state directory that the command line asks for; nothing where the configuration says that there is none.
///
/// # Errors
/// What is wrong and what to do.
pub fn state_dir(
    args: &StateArgs,
    config_variable: Option<OsString>,
) -> anyhow::Result<Option<PathBuf>> {
    if let Some(dir) = &args.state_dir {
        return Ok(Some(dir.clone()));
    }
    let from_variable = config_variable
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    let state = match args.config.clone().or(from_variable) {
        Some(path) => Config::from_file(&path, None)?.state,
        None => StateDir::Usual,
    };
    Ok(crate::app::state_dir(&state)?)
}

/// Options about replicas on the command line mean nothing beside a file; clap does not hold that where there is one.
fn refuse_without_replicas(connection: &ConnectionArgs) -> Result<(), SourceError> {
    let given = [
        ("--prefer", !connection.prefer.is_empty()),
        ("--rule", !connection.rule.is_empty()),
        (PASSWORD_FILE.option, !connection.password_file.is_empty()),
        (PASSWORD_ENV.option, !connection.password_env.is_empty()),
    ];
    let first = given.into_iter().find(|(_, is_given)| *is_given);
    match first.filter(|_| connection.replica.is_empty()) {
        Some((option, _)) => Err(SourceError::OfReplicas(option)),
        None => Ok(()),
    }
}

fn ad_hoc(connection: &ConnectionArgs) -> Result<AdHoc, SourceError> {
    let mut replicas = Vec::with_capacity(connection.replica.len());
    for (name, url) in pairs(REPLICA, &connection.replica)? {
        replicas.push(AdHocReplica {
            name: name.to_owned(),
            url: url.to_owned(),
            password_file: None,
            password_env: None,
        });
    }
    let option = PASSWORD_FILE.option;
    for (name, file) in pairs(PASSWORD_FILE, &connection.password_file)? {
        let slot = &mut named(&mut replicas, option, name)?.password_file;
        set_once(slot, option, name, file)?;
    }
    let option = PASSWORD_ENV.option;
    for (name, variable) in pairs(PASSWORD_ENV, &connection.password_env)? {
        let slot = &mut named(&mut replicas, option, name)?.password_env;
        set_once(slot, option, name, variable)?;
    }
    Ok(AdHoc {
        replicas,
        prefer: connection.prefer.clone(),
        rules: connection.rule.clone(),
    })
}

/// An option whose values are a replica's name and something of its own.
#[derive(Clone, Copy)]
struct PairOption {
    option: &'static str,
    form: &'static str,
    example: &'static str,
}

const REPLICA: PairOption = PairOption {
    option: "--replica",
    form: "NAME=URL",
    example: "us=redis://10.0.0.1:6379",
};
const PASSWORD_FILE: PairOption = PairOption {
    option: "--password-file",
    form: "NAME=FILE",
    example: "us=/etc/reknit/us.password",
};
const PASSWORD_ENV: PairOption = PairOption {
    option: "--password-env",
    form: "NAME=VARIABLE",
    example: "us=US_PASSWORD",
};

impl PairOption {
    fn complaint(self, number: usize) -> SourceError {
        SourceError::NotAPair {
            option: self.option,
            number,
            form: self.form,
            example: self.example,
        }
    }
}

fn pairs(of: PairOption, values: &[Unparsed]) -> Result<Vec<(&str, &str)>, SourceError> {
    let mut pairs = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        let found = value.0.split_once('=').filter(|(name, _)| is_name(name));
        pairs.push(found.ok_or(of.complaint(index + 1))?);
    }
    Ok(pairs)
}

/// A bare URL with a `=` in its password is no name: it must not be shown as one.
fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains([':', '/', '@'])
}

fn named<'a>(
    replicas: &'a mut [AdHocReplica],
    option: &'static str,
    name: &str,
) -> Result<&'a mut AdHocReplica, SourceError> {
    let Some(index) = replicas.iter().position(|replica| replica.name == name) else {
        let known: Vec<&str> = replicas
            .iter()
            .map(|replica| replica.name.as_str())
            .collect();
        return Err(SourceError::NoSuchReplica {
            option,
            name: name.to_owned(),
            advice: suggestion(name, &known),
        });
    };
    Ok(&mut replicas[index])
}

fn set_once(
    slot: &mut Option<String>,
    option: &'static str,
    name: &str,
    value: &str,
) -> Result<(), SourceError> {
    match slot.replace(value.to_owned()) {
        None => Ok(()),
        Some(_) => Err(SourceError::Twice {
            option,
            name: name.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, Command};
    use crate::config::PasswordSource;

    fn load_words(words: &str) -> Result<Config, SourceError> {
        let words = std::iter::once("reknit").chain(words.split_whitespace());
        match Cli::try_parse_from(words).unwrap().command {
            Command::Diff(args) => load(&args.connection, &args.limits, None),
            other => panic!("only diff is tried here, not {other:?}"),
        }
    }

    #[test]
    fn ad_hoc_replicas_have_their_names_for_datacenters_and_no_memory() {
        let config = load_words(
            "diff --replica us=redis://a/3 --replica eu=redis://r@b --password-file eu=/p --prefer eu,greatest",
        )
        .unwrap();
        assert_eq!(config.replicas[0].datacenter.0, "us");
        assert_eq!(config.replicas[0].db, DbIndex(3));
        assert_eq!(
            config.replicas[1].identity.password,
            PasswordSource::File("/p".into())
        );
        assert_eq!(config.state, StateDir::Nowhere);
        let keyspace = config.keyspaces.iter().next().unwrap();
        assert_eq!(keyspace.policy.prefer.len(), 2);
    }

    #[test]
    fn flags_override_the_configuration() {
        let config = load_words(
            "diff --replica a=redis://a/3 --replica b=redis://b --pipeline 77 --keys-per-second 9 \
             --memory 2MiB --settle 3s --db 5",
        )
        .unwrap();
        assert_eq!(config.limits.pipeline.get(), 77);
        assert_eq!(config.limits.keys_per_second, NonZeroU64::new(9));
        assert_eq!(config.limits.memory, bytesize::ByteSize::mib(2));
        assert_eq!(config.guards.settle, std::time::Duration::from_secs(3));
        assert!(
            config
                .replicas
                .iter()
                .all(|replica| replica.db == DbIndex(5))
        );
    }

    #[test]
    fn every_complaint_about_options_says_what_to_do() {
        let table = [
            (
                "diff",
                "no replicas, name a file with --config or two replicas with --replica NAME=URL",
            ),
            (
                "diff --replica redis://:hunter2=@h",
                "--replica number 1 is not NAME=URL, write one like --replica us=redis://10.0.0.1:6379",
            ),
            (
                "diff --replica us=redis://a",
                "command line: --replica: 1 named, there must be 2 to 64, name every copy of the data",
            ),
            (
                "diff --replica us=redis://a --replica us=redis://b",
                "command line: --replica us: two replicas are named `us`, give each its own name",
            ),
            (
                "diff --replica us=redis://a --replica eu=redis://a:6379/0",
                "command line: --replica eu: the same server and database as replica `us`, \
                 name two different copies of the data",
            ),
            (
                "diff --replica us=redis://a --replica eu=redis://u:hunter2/@b",
                "command line: --replica eu: malformed url (invalid port number), in a user or password \
                 write @ : / ? # % as %40 %3A %2F %3F %23 %25",
            ),
            (
                "diff --replica us=redis://a --replica eu=redis://b --prefer mars",
                "command line: --prefer: no replica is in a datacenter `mars`, \
                 the known ones are us, eu, majority, greatest, skip",
            ),
            (
                "diff --replica us=redis://a --replica eu=redis://b --rule string=conter",
                "command line: --rule string: unknown value `conter`, did you mean `counter`?",
            ),
            (
                "diff --replica us=redis://a --replica eu=redis://b --rule lost=lww",
                "command line: --rule: unknown type `lost`, did you mean `list`?",
            ),
            (
                "diff --replica us=redis://a --replica eu=redis://b --rule x",
                "command line: --rule: `x` is not TYPE=RULE, write one like string=counter",
            ),
            (
                "diff --replica us=redis://a --replica eu=redis://b --password-env uz=P",
                "--password-env uz: there is no --replica `uz`, the known ones are us, eu",
            ),
            (
                "diff --replica us=redis://a --replica eu=redis://b --password-env us=P --password-env us=Q",
                "--password-env us: named twice, keep one of them",
            ),
            (
                "diff --replica us=redis://u@a --replica eu=redis://b",
                "command line: --replica us: the user `u` has no password, add password_file or password_env \
                 (any text will do for a user with nopass)",
            ),
        ];
        for (words, message) in table {
            let error = load_words(words).unwrap_err().to_string();
            assert_eq!(error, message, "{words}");
        }
    }
}
