//! Which keys the command line means: names resolved against the configuration, key files read.
//!
//! A selection that no keyspace can meet is an error and not an empty run that would count as in sync.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::args::{SelectionArgs, parse_key};
use crate::config::suggestion;
use crate::model::{DbIndex, Glob, Key, Keyspace, KeyspaceName, Keyspaces, Selection};

/// How many keys can be selected by name.
pub const MAX_KEYS: usize = 1_000_000;

/// Why a selection means nothing.
#[derive(Debug, Error)]
pub enum SelectionError {
    /// A keyspace that is not configured.
    #[error("there is no keyspace `{name}`, {advice}")]
    NoSuchKeyspace {
        /// The name.
        name: String,
        /// The nearest name, or all.
        advice: String,
    },
    /// No keyspace is left to work on.
    #[error("the selection matches no keyspace: {0}")]
    NoKeyspace(&'static str),
    /// A range without keys.
    #[error("the range from `{from}` to `{to}` is empty, --from must come before --to by bytes")]
    EmptyRange {
        /// Its start.
        from: Key,
        /// Its end.
        to: Key,
    },
    /// A pattern that matches only the empty key.
    #[error("the pattern of --match is empty, write '*' for all keys")]
    EmptyPattern,
    /// The file of keys cannot be read.
    #[error("cannot read keys from {path}, check that it exists and is readable")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line that is no key.
    #[error("{path} line {line}: {why}")]
    BadLine {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong and what to do.
        why: String,
    },
    /// Too many keys.
    #[error("more than {MAX_KEYS} keys, select them with --match, --from and --to or --slots")]
    TooManyKeys,
    /// A file of keys without a key.
    #[error("there is no key in {0}, write one escaped key per line")]
    NoKeys(PathBuf),
}

/// Resolves a selection against the keyspaces; `stdin` is read where `--keys-from -` asks for it.
///
/// # Errors
/// What is wrong and what to do.
pub fn resolve(
    args: &SelectionArgs,
    db: Option<DbIndex>,
    keyspaces: &Keyspaces,
    stdin: impl Read,
) -> Result<Selection, SelectionError> {
    if args.pattern.as_deref() == Some("") {
        return Err(SelectionError::EmptyPattern);
    }
    if let (Some(from), Some(to)) = (&args.from, &args.to)
        && from >= to
    {
        let (from, to) = (from.clone(), to.clone());
        return Err(SelectionError::EmptyRange { from, to });
    }
    let mut selection = Selection {
        keyspaces: Vec::new(),
        pattern: args.pattern.as_deref().map(Glob::new),
        keys: keys(args, stdin)?,
        from: args.from.clone(),
        to: args.to.clone(),
        slots: args.slots,
        kinds: (!args.kind.is_empty()).then(|| args.kind.iter().copied().collect()),
        db,
    };
    selection.keyspaces = keyspaces_of(args, &selection, keyspaces)?;
    Ok(selection)
}

/// The keyspaces that are named, not skipped, of the database, and can own a selected key.
fn keyspaces_of(
    args: &SelectionArgs,
    selection: &Selection,
    keyspaces: &Keyspaces,
) -> Result<Vec<KeyspaceName>, SelectionError> {
    let known: Vec<&str> = keyspaces.iter().map(|k| k.name.0.as_str()).collect();
    let unknown = |name: &&String| !known.contains(&name.as_str());
    if let Some(name) = args.keyspace.iter().find(unknown) {
        return Err(SelectionError::NoSuchKeyspace {
            name: name.clone(),
            advice: suggestion(name, &known),
        });
    }
    let named = |k: &&Keyspace| args.keyspace.is_empty() || args.keyspace.contains(&k.name.0);
    let mut left: Vec<&Keyspace> = keyspaces.iter().filter(named).collect();
    left.retain(|keyspace| !keyspace.skip);
    refuse_none(&left, "those that are left say skip: true")?;
    // A keyspace of the replicas' default database names none: see `Config::keyspaces`.
    left.retain(|keyspace| selection.db.is_none() || keyspace.db.is_none());
    refuse_none(&left, "none has this database, check --db")?;
    left.retain(|keyspace| may_own(keyspace, selection, keyspaces));
    let why = "no key that is selected can belong to one, check --match, --key, --from and --to";
    refuse_none(&left, why)?;
    Ok(left
        .into_iter()
        .map(|keyspace| keyspace.name.clone())
        .collect())
}

fn refuse_none(left: &[&Keyspace], why: &'static str) -> Result<(), SelectionError> {
    match left {
        [] => Err(SelectionError::NoKeyspace(why)),
        _ => Ok(()),
    }
}

/// Whether the keyspace can own a selected key. Exact for named keys; for patterns and ranges it compares how they
/// start, and may say yes where no such key exists.
fn may_own(keyspace: &Keyspace, selection: &Selection, keyspaces: &Keyspaces) -> bool {
    if let Some(keys) = &selection.keys {
        let owner = |key: &Key| keyspaces.owner(keyspace.db, key.as_bytes());
        return keys
            .iter()
            .any(|key| owner(key).is_some_and(|owner| owner.name == keyspace.name));
    }
    let prefix = literal_prefix(&keyspace.pattern);
    let fits_pattern = selection.pattern.as_ref().is_none_or(|pattern| {
        let selected = literal_prefix(pattern);
        selected.starts_with(&prefix) || prefix.starts_with(&selected)
    });
    // All keys with the prefix lie at or behind it, and before `from` if the prefix itself differs below it.
    let before_end = selection
        .to
        .as_ref()
        .is_none_or(|to| prefix.as_slice() < to.as_bytes());
    let behind_start = selection.from.as_ref().is_none_or(|from| {
        prefix.as_slice() >= from.as_bytes() || from.as_bytes().starts_with(&prefix)
    });
    fits_pattern && before_end && behind_start
}

/// The bytes that every key of a pattern starts with.
fn literal_prefix(pattern: &Glob) -> Vec<u8> {
    let mut prefix = Vec::new();
    let mut bytes = pattern.as_bytes().iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'*' | b'?' | b'[' => break,
            b'\\' => prefix.push(bytes.next().copied().unwrap_or(b'\\')),
            literal => prefix.push(literal),
        }
    }
    prefix
}

/// The keys that are named one by one, if any way to name them was used.
pub(super) fn keys(
    args: &SelectionArgs,
    stdin: impl Read,
) -> Result<Option<BTreeSet<Key>>, SelectionError> {
    let mut keys: BTreeSet<Key> = args.key.iter().cloned().collect();
    if let Some(path) = &args.keys_from {
        if path == Path::new("-") {
            tracing::debug!("reading keys from standard input");
            read_keys(stdin, Path::new("standard input"), &mut keys)?;
        } else {
            let file = std::fs::File::open(path).map_err(|source| unreadable(path, source))?;
            read_keys(file, path, &mut keys)?;
        }
        if keys.is_empty() {
            let named = match path == Path::new("-") {
                true => PathBuf::from("standard input"),
                false => path.clone(),
            };
            return Err(SelectionError::NoKeys(named));
        }
    }
    Ok((!keys.is_empty()).then_some(keys))
}

fn unreadable(path: &Path, source: std::io::Error) -> SelectionError {
    SelectionError::Unreadable {
        path: path.to_owned(),
        source,
    }
}

/// Reads one escaped key per line; empty lines are left out (the empty key is `--key ''`).
fn read_keys(
    input: impl Read,
    path: &Path,
    keys: &mut BTreeSet<Key>,
) -> Result<(), SelectionError> {
    for (index, line) in BufReader::new(input).split(b'\n').enumerate() {
        let line = line.map_err(|source| unreadable(path, source))?;
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        if line.is_empty() {
            continue;
        }
        let key = read_key(line).map_err(|why| SelectionError::BadLine {
            path: path.to_owned(),
            line: index + 1,
            why,
        })?;
        keys.insert(key);
        if keys.len() > MAX_KEYS {
            return Err(SelectionError::TooManyKeys);
        }
    }
    Ok(())
}

fn read_key(line: &[u8]) -> Result<Key, String> {
    let text = std::str::from_utf8(line)
        .map_err(|_| "this is not utf-8, write such bytes escaped, as in \\xff".to_owned())?;
    parse_key(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyspace(name: &str, pattern: &str, db: Option<u32>, skip: bool) -> Keyspace {
        Keyspace {
            name: KeyspaceName(name.into()),
            pattern: Glob::new(pattern),
            db: db.map(DbIndex),
            skip,
            ..Keyspace::everything()
        }
    }

    fn configured() -> Keyspaces {
        Keyspaces::new(vec![
            keyspace("hits", "hits:*", None, false),
            keyspace("scratch", "tmp:*", None, true),
            keyspace("users", "user:*", None, false),
            keyspace("other", "*", Some(3), false),
        ])
    }

    fn resolve_with(args: &SelectionArgs, db: Option<u32>, stdin: &str) -> Result<String, String> {
        resolve(args, db.map(DbIndex), &configured(), stdin.as_bytes())
            .map(|found| {
                found
                    .keyspaces
                    .iter()
                    .map(|n| n.0.as_str())
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .map_err(|error| error.to_string())
    }

    fn args(change: impl FnOnce(&mut SelectionArgs)) -> SelectionArgs {
        let mut args = SelectionArgs::default();
        change(&mut args);
        args
    }

    #[test]
    fn only_keyspaces_that_can_own_a_selected_key_are_worked_on() {
        let table = [
            (args(|_| {}), "hits users other"),
            (args(|a| a.keyspace = vec!["users".into()]), "users"),
            (args(|a| a.pattern = Some("us*".into())), "users other"),
            (args(|a| a.key = vec!["hits:1".into()]), "hits other"),
            (args(|a| a.from = Some("i".into())), "users other"),
            (args(|a| a.from = Some("hits:5".into())), "hits users other"),
            (args(|a| a.to = Some("hits:5".into())), "hits other"),
        ];
        for (args, expected) in table {
            assert_eq!(
                resolve_with(&args, None, "").as_deref(),
                Ok(expected),
                "{args:?}"
            );
        }
        assert_eq!(
            resolve_with(&args(|_| {}), Some(0), "").as_deref(),
            Ok("hits users")
        );
    }

    #[test]
    fn every_selection_that_means_nothing_is_named() {
        let table = [
            (
                args(|a| a.keyspace = vec!["user".into()]),
                None,
                "there is no keyspace `user`, did you mean `users`?",
            ),
            (
                args(|a| a.keyspace = vec!["zzz".into()]),
                None,
                "there is no keyspace `zzz`, the known ones are hits, scratch, users, other",
            ),
            (
                args(|a| a.keyspace = vec!["scratch".into()]),
                None,
                "the selection matches no keyspace: those that are left say skip: true",
            ),
            (
                args(|a| a.keyspace = vec!["other".into()]),
                Some(7),
                "the selection matches no keyspace: none has this database, check --db",
            ),
            (
                args(|a| a.pattern = Some("cart:*".into())),
                Some(0),
                "the selection matches no keyspace: no key that is selected can belong to one, \
                 check --match, --key, --from and --to",
            ),
            (
                args(|a| a.pattern = Some(String::new())),
                None,
                "the pattern of --match is empty, write '*' for all keys",
            ),
            (
                args(|a| (a.from, a.to) = (Some("b".into()), Some("b".into()))),
                None,
                "the range from `b` to `b` is empty, --from must come before --to by bytes",
            ),
            (
                args(|a| a.keys_from = Some("-".into())),
                None,
                "there is no key in standard input, write one escaped key per line",
            ),
            (
                args(|a| a.keys_from = Some("/nowhere".into())),
                None,
                "cannot read keys from /nowhere, check that it exists and is readable",
            ),
        ];
        for (args, db, message) in table {
            assert_eq!(resolve_with(&args, db, ""), Err(message.to_owned()));
        }
    }

    #[test]
    fn keys_are_read_from_lines() {
        let args = args(|a| a.keys_from = Some("-".into()));
        let input = "hits:1\n\"bin\\x00\\xff\"\r\n\nhits:1\n";
        let found = resolve(&args, None, &configured(), input.as_bytes()).unwrap();
        let expected = BTreeSet::from([Key::new(&b"bin\x00\xff"[..]), "hits:1".into()]);
        assert_eq!(found.keys, Some(expected));
    }

    #[test]
    fn a_line_that_is_no_key_is_named() {
        let args = args(|a| a.keys_from = Some("-".into()));
        let error = resolve(&args, None, &configured(), &b"a\n\xff\n"[..]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "standard input line 2: this is not utf-8, write such bytes escaped, as in \\xff"
        );
        let error = resolve(&args, None, &configured(), &b"a\\q\n"[..]).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("standard input line 1: unreadable escape")
        );
    }

    #[test]
    fn escaped_and_open_patterns_give_their_fixed_start() {
        let table = [
            ("user:*", "user:"),
            (r"a\*b?c", "a*b"),
            ("*", ""),
            ("a[bc]", "a"),
            ("ab", "ab"),
        ];
        for (pattern, prefix) in table {
            assert_eq!(
                literal_prefix(&Glob::new(pattern)),
                prefix.as_bytes(),
                "{pattern}"
            );
        }
    }
}
