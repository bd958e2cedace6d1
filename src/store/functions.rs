//! The functions by which applications stamp what they write, without Dynomite: their text, and how a server gets it.
//!
//! ```text
//! functions.lua ─┬─▶ one library ──────────────▶ FUNCTION LOAD ─▶ FCALL reknit_set 1 key value
//!                └─▶ one script per function ──▶ SCRIPT LOAD ───▶ EVALSHA sha 1 key value
//! ```
//!
//! Each server gets a text of its own, for it holds the name under which the server counts.
//!
//! Deliberately absent: what follows from stamps and counts, which is `crdt`'s business.

use super::resp::{Frame, Frames, unexpected};
use super::server_info::refusal;
use super::wire::{Wire, WireError};
use crate::model::{DbIndex, ReplicaName};

/// Library and scripts in one; its head says what they do.
const TEXT: &str = include_str!("functions.lua");

/// The library's name, with the version of the layout.
pub const FUNCTION_LIBRARY: &str = "reknit_1";

/// Libraries of any version.
const ANY_VERSION: &[u8] = b"reknit_*";

/// The functions, each `reknit_` and this.
pub const FUNCTIONS: [&str; 10] = [
    "set", "del", "hset", "hdel", "sadd", "srem", "zadd", "zrem", "incrby", "version",
];

/// Why a cluster cannot have them.
pub(crate) const CLUSTERED: &str = "the stamps of all keys stand in one key, ._add-set, which a cluster keeps in one slot \
     only, so no function could write data and stamp together: install them on single servers";

/// How the line begins that holds the name.
const NAMING: &str = "local REPLICA = '";

/// The line before which library and scripts are alike.
const FORK: &str = "--@ELSEWHERE@ ";

/// What is to be loaded.
#[derive(Debug, Clone)]
pub struct FunctionOrder {
    /// The name under which the server counts.
    pub replica: ReplicaName,
    /// Whether another library of this name, or of another version, is replaced.
    pub replace: bool,
    /// Look only.
    pub dry_run: bool,
    /// Scripts, although the server has functions.
    pub scripts: bool,
}

/// What became of it, or would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installed {
    /// The server has this library.
    There,
    /// It has been loaded; there was none.
    Loaded,
    /// It has been loaded in place of these.
    Replaced(Vec<Library>),
    /// There are others, which were left as they are.
    Differs(Vec<Library>),
    /// The server has no functions, or was not to use them: scripts, each with its digest.
    Scripts(Vec<(&'static str, String)>),
}

/// A library of reknit's as a server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// Its name.
    pub name: String,
    /// The name under which the server counts with it; nothing where it says none.
    pub counts_as: Option<String>,
}

/// The library as the server gets it that counts under this name.
pub fn function_library(replica: &ReplicaName) -> String {
    let lines = TEXT.lines().filter(|line| !line.starts_with(FORK));
    named(lines, replica)
}

/// One function as a script for EVAL; nothing where there is none of this name.
pub fn function_script(function: &str, replica: &ReplicaName) -> Option<String> {
    let function = FUNCTIONS.iter().find(|one| **one == function)?;
    let body = TEXT
        .lines()
        .skip(1)
        .take_while(|line| !line.starts_with(FORK));
    let call = TEXT.lines().find_map(|line| line.strip_prefix(FORK));
    let call = call.unwrap_or_default().replace("@COMMAND@", function);
    Some(named(body.chain([call.as_str()]), replica))
}

fn named<'a>(lines: impl Iterator<Item = &'a str>, replica: &ReplicaName) -> String {
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    text.replace("@REPLICA@", &quoted(&replica.0))
}

/// As it stands between quotes in Lua.
fn quoted(name: &str) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._:-".contains(byte);
    let one = |byte: u8| match is_plain(&byte) {
        true => char::from(byte).to_string(),
        false => format!("\\{byte:03}"),
    };
    name.bytes().map(one).collect()
}

/// The name in the text of a library, as [`quoted`] wrote it there.
fn name_in(code: &str) -> Option<String> {
    let line = code.lines().find_map(|line| line.strip_prefix(NAMING))?;
    let mut rest = line.strip_suffix('\'')?;
    let mut name = Vec::with_capacity(rest.len());
    while let Some(first) = rest.bytes().next() {
        let (byte, length) = match first {
            b'\\' => (rest.get(1..4)?.parse().ok()?, 4),
            plain => (plain, 1),
        };
        name.push(byte);
        rest = rest.get(length..)?;
    }
    String::from_utf8(name).ok()
}

/// Loads what a server lacks.
pub(crate) async fn install(
    wire: &mut Wire,
    order: &FunctionOrder,
) -> Result<Installed, WireError> {
    let facts = super::server_info::facts(wire, DbIndex(0)).await?;
    if facts.clustered {
        return Err(refusal("FUNCTION", CLUSTERED.as_bytes()));
    }
    let libraries = match order.scripts {
        true => None,
        false => libraries(wire).await?,
    };
    let Some(libraries) = libraries else {
        return scripts(wire, order).await;
    };
    let text = function_library(&order.replica);
    let is_ours =
        |(library, code): &&(Library, String)| library.name == FUNCTION_LIBRARY && *code == text;
    let others = libraries.iter().filter(|one| !is_ours(one));
    let others: Vec<Library> = others.map(|(library, _)| library.clone()).collect();
    if others.is_empty() && !libraries.is_empty() {
        return Ok(Installed::There);
    }
    if !others.is_empty() && !order.replace {
        return Ok(Installed::Differs(others));
    }
    if !order.dry_run {
        for old in others.iter().filter(|one| one.name != FUNCTION_LIBRARY) {
            tell(wire, &[b"FUNCTION", b"DELETE", old.name.as_bytes()]).await?;
        }
        tell(wire, &[b"FUNCTION", b"LOAD", b"REPLACE", text.as_bytes()]).await?;
    }
    Ok(match others.is_empty() {
        true => Installed::Loaded,
        false => Installed::Replaced(others),
    })
}

/// The names under which a server's functions count.
pub(crate) async fn counting_names(wire: &mut Wire) -> Result<Vec<String>, WireError> {
    let libraries = libraries(wire).await?.unwrap_or_default();
    Ok(libraries
        .into_iter()
        .filter_map(|(library, _)| library.counts_as)
        .collect())
}

/// The libraries of reknit's that a server has, with their text; nothing where it knows no functions.
async fn libraries(wire: &mut Wire) -> Result<Option<Vec<(Library, String)>>, WireError> {
    let list: [&[u8]; 5] = [
        b"FUNCTION",
        b"LIST",
        b"LIBRARYNAME",
        ANY_VERSION,
        b"WITHCODE",
    ];
    let reply = wire.ask(&list).await?;
    let mut frames = Frames::new(&reply);
    let count = match frames.next()? {
        Frame::Array(count) => count,
        Frame::Error(words) if is_unknown(words) => return Ok(None),
        Frame::Error(words) => return Err(refusal("FUNCTION", words)),
        other => return Err(unexpected("a list of libraries", &other).into()),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let (mut name, mut code) = (String::new(), String::new());
        for _ in 0..frames.array()? / 2 {
            match frames.bytes()? {
                b"library_name" => name = text(frames.bytes()?),
                b"library_code" => code = text(frames.bytes()?),
                _ => frames.skip()?,
            }
        }
        let counts_as = name_in(&code);
        all.push((Library { name, counts_as }, code));
    }
    Ok(Some(all))
}

fn is_unknown(words: &[u8]) -> bool {
    let words = String::from_utf8_lossy(words);
    words.to_lowercase().contains("unknown command")
}

async fn scripts(wire: &mut Wire, order: &FunctionOrder) -> Result<Installed, WireError> {
    let mut all = Vec::with_capacity(FUNCTIONS.len());
    for function in FUNCTIONS {
        let script = function_script(function, &order.replica).unwrap_or_default();
        let sha = match order.dry_run {
            true => String::new(),
            false => tell(wire, &[b"SCRIPT", b"LOAD", script.as_bytes()]).await?,
        };
        all.push((function, sha));
    }
    Ok(Installed::Scripts(all))
}

async fn tell(wire: &mut Wire, command: &[&[u8]]) -> Result<String, WireError> {
    let reply = wire.ask(command).await?;
    match Frames::new(&reply).next()? {
        Frame::Error(words) => Err(refusal(&String::from_utf8_lossy(command[0]), words)),
        Frame::Simple(words) | Frame::Bulk(words) => {
            Ok(String::from_utf8_lossy(words).into_owned())
        }
        other => Err(unexpected("the name of what was loaded", &other).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn library_and_scripts_hold_every_function_and_the_name_alone() {
        let us = ReplicaName("us\"'\\".into());
        let library = function_library(&us);
        assert!(library.starts_with(&format!("#!lua name={FUNCTION_LIBRARY}\n")));
        assert!(library.contains("local REPLICA = 'us\\034\\039\\092'"));
        assert_eq!(name_in(&library), Some(us.0.clone()));
        assert_eq!(name_in("local REPLICA = 'us\\03'"), None);
        let far = ReplicaName("Zürich 2".into());
        assert_eq!(name_in(&function_library(&far)), Some(far.0));
        for function in FUNCTIONS {
            assert!(library.contains(&format!("'{function}'")) || library.contains(function));
            let script = function_script(function, &us).expect("it is one");
            let call = format!("return commands['{function}'](KEYS, ARGV)\n");
            assert!(script.ends_with(&call));
        }
        assert!(!library.contains('@'));
        assert_eq!(function_script("get", &us), None);
    }
}
