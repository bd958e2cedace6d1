//! Whose a state directory is: state id and digest secret, in a file that people can read.
//!
//! The store repeats a digest of both, so that an identity that was exchanged or edited is found.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::model::{Millis, StateId};

use super::Result;
use super::error::StateError;
use super::files::{read_text, write_whole};

/// The file's name.
pub(super) const IDENTITY: &str = "identity";

/// The format of the directory: of this file, of the others, and of the store below.
const FORMAT: u64 = 1;

const ABOUT: &str = "state of reknit: keep it, with the store beside it, and do not edit it";

/// The identity of a state directory.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) state: StateId,
    pub(super) secret: [u8; 32],
    pub(super) created: Millis,
}

/// The file as it stands.
#[derive(Serialize, Deserialize)]
struct Written {
    about: String,
    format: u64,
    state: String,
    digest_secret: String,
    created: String,
}

/// What is read of it first.
#[derive(Deserialize)]
struct Format {
    format: u64,
}

impl Identity {
    /// A new one from entropy.
    pub(super) fn new(random: &[u8; 64], created: Millis) -> Self {
        let (mut state, mut secret) = ([0; 16], [0; 32]);
        state.copy_from_slice(&random[..16]);
        secret.copy_from_slice(&random[16..48]);
        Self {
            state: StateId(state),
            secret,
            created,
        }
    }

    /// What the store repeats.
    pub(super) fn seal(&self) -> Vec<u8> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.state.0).update(&self.secret);
        [&self.state.0[..], hasher.finalize().as_bytes()].concat()
    }

    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        let created = u64::try_from(self.created.0).unwrap_or_default();
        let created = UNIX_EPOCH + Duration::from_millis(created);
        let written = Written {
            about: ABOUT.into(),
            format: FORMAT,
            state: self.state.to_string(),
            digest_secret: self
                .secret
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            created: humantime::format_rfc3339_millis(created).to_string(),
        };
        let text = serde_json::to_string_pretty(&written).expect("strings and a number are JSON");
        write_whole(dir, IDENTITY, &(text + "\n"))
    }

    pub(super) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(IDENTITY);
        let text = read_text(&path)?;
        let broken = |what: String| StateError::unreadable(&path, what);
        let Format { format } =
            serde_json::from_str(&text).map_err(|error| broken(format!("unreadable: {error}")))?;
        match format {
            FORMAT => {}
            found if found > FORMAT => {
                return Err(StateError::Newer {
                    path,
                    found,
                    ours: FORMAT,
                });
            }
            found => return Err(broken(format!("format {found} never existed"))),
        }
        let written: Written =
            serde_json::from_str(&text).map_err(|error| broken(format!("unreadable: {error}")))?;
        written.parse().map_err(|what| broken(what.into()))
    }
}

impl Written {
    fn parse(&self) -> Result<Identity, &'static str> {
        let created = humantime::parse_rfc3339(&self.created)
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
            .and_then(|since| i64::try_from(since.as_millis()).ok())
            .ok_or("`created` is not a time")?;
        Ok(Identity {
            state: StateId::parse(&self.state).ok_or("`state` is not an id")?,
            secret: secret_of(&self.digest_secret).ok_or("`digest_secret` is not a secret")?,
            created: Millis(created),
        })
    }
}

fn secret_of(text: &str) -> Option<[u8; 32]> {
    let (front, back) = text.split_at_checked(32)?;
    let (front, back) = (StateId::parse(front)?, StateId::parse(back)?);
    let mut secret = [0; 32];
    secret[..16].copy_from_slice(&front.0);
    secret[16..].copy_from_slice(&back.0);
    Some(secret)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn identity() -> Identity {
        let mut random = [0; 64];
        random
            .iter_mut()
            .zip(1..)
            .for_each(|(byte, number)| *byte = number);
        Identity::new(&random, Millis(1_700_000_000_123))
    }

    const TEXT: &str = r#"{
  "about": "state of reknit: keep it, with the store beside it, and do not edit it",
  "format": 1,
  "state": "0102030405060708090a0b0c0d0e0f10",
  "digest_secret": "1112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f30",
  "created": "2023-11-14T22:13:20.123Z"
}
"#;

    #[test]
    fn the_file_is_frozen_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        identity().write(dir.path()).unwrap();
        let text = fs::read_to_string(dir.path().join(IDENTITY)).unwrap();
        assert_eq!(text, TEXT);
        assert!(Identity::read(dir.path()).unwrap() == identity());
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        identity().write(dir.path()).unwrap();
        let mode = fs::metadata(dir.path().join(IDENTITY))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let told = |text: &str| {
            fs::write(dir.path().join(IDENTITY), text).unwrap();
            Identity::read(dir.path())
                .err()
                .expect("it is refused")
                .to_string()
        };
        assert!(told("").contains("unreadable"));
        assert!(told(&TEXT[..40]).contains("unreadable"));
        assert!(told(&TEXT.replace("0102", "01x2")).contains("`state` is not an id"));
        assert!(told(&TEXT.replace("2f30", "2f")).contains("`digest_secret`"));
        assert!(told(&TEXT.replace("2023", "yyyy")).contains("`created`"));
        let newer = told(&TEXT.replace("\"format\": 1", "\"format\": 2, \"more\": []"));
        assert!(newer.contains("newer reknit (format 2"), "{newer}");
    }
}
