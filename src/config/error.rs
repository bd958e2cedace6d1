//! What can be wrong with a configuration: always where, what, and what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::YamlPath;

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}, check that it exists and is readable", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The text says something that is not possible.
    #[error("{origin}: {problem}")]
    Invalid {
        /// Where the text came from.
        origin: Origin,
        /// What is wrong with it.
        problem: Problem,
    },
    /// A password cannot be read from where the configuration says it is.
    #[error("replica {replica}: cannot read the password from {from}: {why}")]
    Password {
        /// The replica's name.
        replica: String,
        /// The file or the variable.
        from: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// A secret of the service cannot be read from its file.
    #[error("{of}: cannot read the secret from {}: {why}", .path.display())]
    Secret {
        /// What it is for.
        of: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        why: String,
    },
}

/// Where a configuration came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A YAML file.
    File(PathBuf),
    /// The options of the command line.
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

/// A place in a text, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// One thing that is wrong: `path: what at line L column C, advice`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key it is about, as in `keyspaces[1].prefer[0]`, or an option's name; empty for the whole text.
    pub path: String,
    /// What is wrong.
    pub what: String,
    /// Where it stands, as far as it is known.
    pub at: Option<Location>,
    /// What to do.
    pub advice: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.what)?;
        if let Some(Location { line, column }) = self.at {
            write!(f, " at line {line} column {column}")?;
        }
        match &self.advice {
            Some(advice) => write!(f, ", {advice}"),
            None => Ok(()),
        }
    }
}

/// A problem whose place is known as a path, before it is looked up in the text.
#[derive(Debug)]
pub(super) struct Contradiction {
    pub(super) path: YamlPath,
    pub(super) what: String,
    pub(super) advice: Option<String>,
}

impl Contradiction {
    /// A value that cannot stand where it stands.
    pub(super) fn new(path: YamlPath, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            path,
            what: what.into(),
            advice: Some(advice.into()),
        }
    }
}

/// The known name nearest to a mistyped one, if one is near.
pub(super) fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this likeness (0 to 1), a suggestion confuses more than it helps.
    const ALIKE: f64 = 0.8;
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(text, name), name))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// `did you mean ...?` where one of the known names is near, else all of them.
pub(crate) fn suggestion(text: &str, known: &[&str]) -> String {
    match nearest(text, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("the known ones are {}", known.join(", ")),
    }
}
