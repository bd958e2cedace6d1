//! Holds the arrows of the house: which room may use which, what a pure room must not know, how long a file may be.
//!
//! ```text
//! model  <-  merkle, crdt, store, state, clock, config  <-  repair  <-  report, app  <-  daemon  <-  cli  <-  main
//! ```
//!
//! Reads the source as text. Comments and `#[cfg(test)]` modules do not count: a test may use what it likes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The most lines a file may have.
const MOST_LINES: usize = 500;

/// What each room may use beside itself. A room that is not named here may not exist.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("merkle", &["model"]),
    ("crdt", &["model"]),
    ("store", &["model"]),
    ("state", &["model"]),
    ("clock", &["model"]),
    ("config", &["model"]),
    (
        "repair",
        &["model", "merkle", "crdt", "store", "state", "clock"],
    ),
    (
        "app",
        &[
            "model", "merkle", "crdt", "store", "state", "clock", "config", "repair", "report",
        ],
    ),
    // The report shows what the rooms below worked out, so it may name their nouns: findings and summaries of
    // `repair`, outcomes and usage of `store`. From `cli` it takes the chosen format and nothing else.
    ("report", &["model", "store", "config", "repair", "cli"]),
    (
        "daemon",
        &[
            "model", "merkle", "crdt", "store", "state", "clock", "config", "repair", "report",
            "app",
        ],
    ),
    (
        "cli",
        &[
            "model", "merkle", "crdt", "store", "state", "clock", "config", "repair", "report",
            "app", "daemon",
        ],
    ),
    ("lib", &[]),
    ("main", &["cli"]),
];

/// Rooms and files without async, clock, logging and I/O. `repair` is pure only in part.
const PURE: &[&str] = &[
    "model/",
    "merkle/",
    "crdt/",
    "repair/look.rs",
    "repair/ops.rs",
    "repair/resolve.rs",
    "repair/details.rs",
    "repair/loss.rs",
    "repair/guard.rs",
    "repair/pacing/budget.rs",
    "repair/pacing/judge.rs",
    "repair/spool/codec.rs",
    "repair/spool/record.rs",
    "daemon/calendar.rs",
    "daemon/planner.rs",
    "daemon/planner/",
    "daemon/segments.rs",
];

/// What pure code must not mention.
const IMPURE: &[&str] = &[
    "tokio",
    "async fn",
    "SystemTime",
    "Instant",
    "tracing",
    "std::fs",
    "std::net",
];

/// A file of the source, by its path below `src/`.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The room: the first folder, or the file itself.
    fn room(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    fn is_pure(&self) -> bool {
        PURE.iter().any(|pure| self.path.starts_with(pure))
    }

    /// Files that hold only tests.
    fn is_test(&self) -> bool {
        let mut parts = self.path.split('/');
        parts.any(|part| matches!(part, "tests" | "tests.rs" | "fixture.rs" | "arbitrary.rs"))
    }
}

/// Every room's arrows and every pure room's purity that a source breaks, in words.
fn violations(source: &Source) -> Vec<String> {
    if source.is_test() {
        return Vec::new();
    }
    let code = code(&source.text);
    let mut found = forbidden_arrows(source, &code);
    if source.is_pure() {
        let words = IMPURE.iter().filter(|word| mentions(&code, word));
        found.extend(words.map(|word| format!("{}: pure, and mentions {word}", source.path)));
    }
    found
}

/// What to say of a file that is too long.
fn too_long(source: &Source) -> Option<String> {
    let lines = source.text.lines().count();
    let path = &source.path;
    (lines > MOST_LINES).then(|| format!("{path}: {lines} lines, more than {MOST_LINES}"))
}

fn forbidden_arrows(source: &Source, code: &str) -> Vec<String> {
    let room = source.room();
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == room) else {
        return vec![format!("{}: a room without arrows: {room}", source.path)];
    };
    used_rooms(code)
        .into_iter()
        .filter(|used| used != room && !allowed.contains(&used.as_str()))
        .map(|used| format!("{}: {room} must not use {used}", source.path))
        .collect()
}

/// The rooms that `crate::X`, or `crate::{X, Y}`, name; of the binary, `reknit::X`.
fn used_rooms(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for root in ["crate::", "reknit::"] {
        for (at, _) in code.match_indices(root) {
            let rest = &code[at + root.len()..];
            match rest.strip_prefix('{') {
                Some(group) => rooms.extend(group_heads(group)),
                None => rooms.extend(head(rest)),
            }
        }
    }
    rooms
}

/// The first names of the parts of a `{...}` group, nested groups left out.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut starts) = (0_usize, vec![0]);
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => starts.push(at + 1),
            _ => {}
        }
    }
    let parts = starts.into_iter();
    parts
        .filter_map(|start| head(group[start..].trim_start()))
        .collect()
}

/// The name that a path begins with, if it is a module's.
fn head(path: &str) -> Option<String> {
    let name: String = path
        .chars()
        .take_while(|letter| letter.is_ascii_lowercase() || *letter == '_')
        .collect();
    (!name.is_empty()).then_some(name)
}

/// Whether the code has the word, not as a part of a longer one.
fn mentions(code: &str, word: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back().is_some_and(is_part);
        let after = code[at + word.len()..].chars().next().is_some_and(is_part);
        !before && !after
    })
}

/// The text without comments, and without what stands below `#[cfg(test)] mod name {`: tests come last.
fn code(text: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default();
        let opens_tests = line.starts_with("mod ") && line.ends_with('{');
        if opens_tests && kept.last() == Some(&"#[cfg(test)]") {
            break;
        }
        kept.push(line.trim_end());
    }
    kept.join("\n")
}

fn sources(root: &Path) -> Vec<Source> {
    let (mut waiting, mut found) = (vec![root.to_path_buf()], Vec::new());
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).expect("src can be listed") {
            let path: PathBuf = entry.expect("src can be listed").path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let below = path.strip_prefix(root).expect("it was found below src");
                found.push(Source {
                    path: below.to_string_lossy().replace('\\', "/"),
                    text: fs::read_to_string(&path).expect("a source file is text"),
                });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn made_up(path: &str, text: &str) -> Source {
    Source {
        path: path.into(),
        text: text.into(),
    }
}

fn broken(path: &str, text: &str) -> Vec<String> {
    violations(&made_up(path, text))
}

#[test]
fn every_source_file_keeps_the_arrows_and_the_purity() {
    let sources = sources(&source_folder());
    assert!(sources.len() > 50, "the source was found");
    let found: Vec<String> = sources.iter().flat_map(violations).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn no_source_file_is_too_long() {
    let found: Vec<String> = sources(&source_folder())
        .iter()
        .filter_map(too_long)
        .collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn every_pure_path_exists() {
    for path in PURE {
        assert!(source_folder().join(path).exists(), "{path}");
    }
}

#[test]
fn an_arrow_that_points_back_is_found() {
    let told = ["crdt/set.rs: crdt must not use merkle"];
    assert_eq!(broken("crdt/set.rs", "use crate::merkle::Tree;"), told);
    let group = "use crate::{\n    model::{Key, Kind},\n    merkle::Tree,\n};";
    assert_eq!(broken("crdt/set.rs", group), told);
    let inline = "fn tree() -> crate::merkle::Tree {}";
    assert_eq!(broken("crdt/set.rs", inline), told);
}

#[test]
fn an_allowed_arrow_a_comment_and_a_test_are_no_violations() {
    let text = "//! See crate::merkle.\nuse crate::model::Key; // crate::store\nfn a() {}\n\n\
                #[cfg(test)]\nmod tests {\n    use crate::merkle::Tree;\n    use tokio::test;\n}\n";
    assert!(broken("crdt/set.rs", text).is_empty());
    assert!(broken("crdt/tests/laws.rs", "use crate::merkle::Tree;").is_empty());
}

#[test]
fn what_a_pure_room_must_not_mention_is_found() {
    for word in IMPURE {
        let text = format!("use {word};");
        let told = format!("model/key.rs: pure, and mentions {word}");
        assert_eq!(broken("model/key.rs", &text), [told]);
        assert!(broken("store/wire.rs", &text).is_empty());
    }
    assert!(broken("model/key.rs", "struct Instantly; // Instant").is_empty());
}

#[test]
fn a_file_that_is_too_long_and_a_room_without_arrows_are_found() {
    let long = "\n".repeat(MOST_LINES + 1);
    let told = "store/wire.rs: 501 lines, more than 500";
    assert_eq!(
        too_long(&made_up("store/wire.rs", &long)).as_deref(),
        Some(told)
    );
    assert_eq!(too_long(&made_up("store/wire.rs", &long[1..])), None);
    let told = ["attic/old.rs: a room without arrows: attic"];
    assert_eq!(broken("attic/old.rs", "fn a() {}"), told);
}
