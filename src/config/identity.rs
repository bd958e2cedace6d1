//! Who reknit is on a server: the user, and where the password comes from. Each from one place only.

use std::path::{Path, PathBuf};

use crate::model::{Credentials, ReplicaName, Secret};

use super::error::Contradiction;
use super::{ConfigError, YamlPath};

/// Who reknit is on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The ACL user; nothing means the default user.
    pub username: Option<String>,
    /// Where the password comes from.
    pub password: PasswordSource,
}

/// Where a password comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordSource {
    /// There is none.
    None,
    /// It stood in the URL.
    Given(Secret),
    /// A file holds it; one newline at its end does not count.
    File(PathBuf),
    /// An environment variable holds it.
    Env(String),
}

impl Identity {
    /// User and password, the latter read now.
    pub(super) fn credentials(&self, replica: &ReplicaName) -> Result<Credentials, ConfigError> {
        let password = self.password.read();
        let password = password.map_err(|(from, why)| ConfigError::Password {
            replica: replica.0.clone(),
            from,
            why,
        })?;
        Ok(Credentials {
            username: self.username.clone(),
            password,
        })
    }
}

impl PasswordSource {
    /// The password, or where it was looked for and why it is not there.
    fn read(&self) -> Result<Option<Secret>, (String, String)> {
        match self {
            Self::None => Ok(None),
            Self::Given(secret) => Ok(Some(secret.clone())),
            Self::File(path) => read_file(path).map(Some).map_err(|why| {
                let from = format!("the file {}", path.display());
                (from, why)
            }),
            Self::Env(name) => read_variable(name).map(Some).map_err(|why| {
                let from = format!("the environment variable {name}");
                (from, why)
            }),
        }
    }
}

fn read_file(path: &Path) -> Result<Secret, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{error}, check password_file and its permissions"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    match text {
        "" => Err("it is empty, write the password into it".into()),
        _ => Ok(Secret::new(text)),
    }
}

fn read_variable(name: &str) -> Result<Secret, String> {
    match std::env::var(name) {
        Ok(text) if text.is_empty() => Err("it is empty, set it to the password".into()),
        Ok(text) => Ok(Secret::new(text)),
        Err(std::env::VarError::NotPresent) => Err("it is not set, set it to the password".into()),
        Err(std::env::VarError::NotUnicode(_)) => Err("it is not utf-8".into()),
    }
}

/// What a configuration says of it.
pub(super) struct Said<'r> {
    pub(super) username: Option<&'r str>,
    pub(super) password_file: Option<&'r str>,
    pub(super) password_env: Option<&'r str>,
    /// User and password of the url.
    pub(super) url: (Option<&'r str>, Option<&'r Secret>),
}

impl Said<'_> {
    pub(super) fn read(&self, at: &YamlPath, base_dir: &Path) -> Result<Identity, Contradiction> {
        let username = match (self.username, self.url.0) {
            (Some(_), Some(_)) => {
                return Err(Contradiction::new(
                    at.key("username"),
                    "the url names a user too",
                    "keep one of them",
                ));
            }
            (Some(name), None) | (None, Some(name)) => Some(name.to_owned()),
            (None, None) => None,
        };
        let password = self.password(at, base_dir)?;
        if let (Some(name), PasswordSource::None) = (&username, &password) {
            return Err(Contradiction::new(
                at.clone(),
                format!("the user `{name}` has no password"),
                "add password_file or password_env (any text will do for a user with nopass)",
            ));
        }
        Ok(Identity { username, password })
    }

    fn password(&self, at: &YamlPath, base_dir: &Path) -> Result<PasswordSource, Contradiction> {
        match (self.password_file, self.password_env, self.url.1) {
            (None, None, None) => Ok(PasswordSource::None),
            (None, None, Some(secret)) => Ok(PasswordSource::Given(secret.clone())),
            (Some(""), None, None) => Err(Contradiction::new(
                at.key("password_file"),
                "the file name is empty",
                "name the file",
            )),
            (Some(file), None, None) => Ok(PasswordSource::File(base_dir.join(file))),
            (None, Some(name), None) if !is_variable(name) => Err(Contradiction::new(
                at.key("password_env"),
                "this is not the name of an environment variable",
                "write letters, digits and _ only, not the password itself",
            )),
            (None, Some(name), None) => Ok(PasswordSource::Env(name.to_owned())),
            (Some(_), Some(_), _) => Err(Contradiction::new(
                at.key("password_env"),
                "there is a password_file too",
                "keep one of them",
            )),
            (Some(_), None, Some(_)) => Err(Contradiction::new(
                at.key("password_file"),
                "the url has a password too",
                "remove the one in the url",
            )),
            (None, Some(_), Some(_)) => Err(Contradiction::new(
                at.key("password_env"),
                "the url has a password too",
                "remove the one in the url",
            )),
        }
    }
}

fn is_variable(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(allowed) && !name.as_bytes()[0].is_ascii_digit()
}
