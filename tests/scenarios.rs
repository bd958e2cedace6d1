//! Stories: tests/scenarios/*.story, each told in memory and on real servers, with the same lines expected.
//!
//! `REKNIT_UPDATE=1` rewrites the expected lines as they are seen in memory; the difference is then to be read before
//! it is committed. What servers show never rewrites a story.

mod story_support;
mod support;

use std::fs;
use std::path::PathBuf;

use story_support::engine::RealRun;
use story_support::memory::Memory;
use story_support::servers::Servers;
use story_support::step::{Step, Word};
use story_support::story::{Item, parse, print};
use story_support::world::{Ground, tell};

/// The stories that real servers cannot tell, and why.
const IN_MEMORY_ALONE: [(&str, &str); 2] = [
    (
        "partition",
        "a real server cannot be cut off from reknit alone",
    ),
    (
        "time_passes",
        "a real server's clock cannot be set, and Redis 7.0 has no HPEXPIREAT",
    ),
];

/// One test in memory for each story, one on servers for those behind `both`, and the list of all.
macro_rules! stories {
    (both: [$($both:ident),* $(,)?], in_memory_alone: [$($alone:ident),* $(,)?] $(,)?) => {
        /// The stories that are told, by name.
        const TOLD: &[&str] = &[$(stringify!($both),)* $(stringify!($alone),)*];

        mod in_memory {
            $(#[test] fn $both() { super::ends_as_told_in_memory(stringify!($both)); })*
            $(#[test] fn $alone() { super::ends_as_told_in_memory(stringify!($alone)); })*
        }

        mod on_servers {
            $(#[test] fn $both() { super::ends_as_told_on_servers(stringify!($both)); })*
        }
    };
}

stories! {
    both: [
        any_bytes, bitmap_or, both_written_greatest, both_written_majority, both_written_order, counters,
        emptied_replica, expiry_horizon, expiry_ignored, expiry_longest, expiry_tolerance, keyspace_skip, language,
        list_register, missed_write, own_keys, prefer_skip, scores_max_and_min, stream_conflict, stream_rebuild,
        stream_union, type_conflict, union_of_collections,
    ],
    in_memory_alone: [partition, time_passes],
}

fn path(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios");
    PathBuf::from(folder).join(format!("{name}.story"))
}

fn source(name: &str) -> String {
    fs::read_to_string(path(name)).expect("a story in UTF-8")
}

fn told(source: &str, ground: &dyn Ground) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let telling = tell(parse(source)?, ground, &RealRun);
    let told = runtime.expect("a runtime").block_on(telling)?;
    Ok(print(&told))
}

fn ends_as_told_in_memory(name: &str) {
    let expected = source(name);
    let seen = told(&expected, &Memory { seed: 1 }).expect("a story that can be told");
    if std::env::var_os("REKNIT_UPDATE").is_some() && seen != expected {
        fs::write(path(name), seen).expect("a story that can be written");
        return;
    }
    assert!(seen == expected, "\n{}", difference(&expected, &seen));
    // The order in which a scan lists names changes nothing.
    for seed in [2, 3] {
        let again = told(&expected, &Memory { seed }).expect("a story that can be told");
        assert!(again == seen, "seed {seed}\n{}", difference(&seen, &again));
    }
}

fn ends_as_told_on_servers(name: &str) {
    let expected = source(name);
    let seen = told(&expected, &Servers::new()).expect("a story that can be told");
    assert!(seen == expected, "\n{}", difference(&expected, &seen));
}

/// The lines in which two texts differ, for a person to read.
fn difference(expected: &str, seen: &str) -> String {
    let numbered = |text: &str| -> Vec<String> {
        text.lines()
            .enumerate()
            .map(|(at, line)| format!("{:>4} {line}", at + 1))
            .collect()
    };
    let (expected, seen) = (numbered(expected), numbered(seen));
    let only = |these: &[String], others: &[String], sign: &str| -> String {
        let missing = these.iter().filter(|line| !others.contains(line));
        missing.map(|line| format!("{sign}{line}\n")).collect()
    };
    only(&expected, &seen, "-") + &only(&seen, &expected, "+")
}

fn steps(name: &str) -> Vec<(Step, Vec<String>)> {
    let items = parse(&source(name)).expect("a story");
    let step = |item| match item {
        Item::Step { step, expected, .. } => Some((step, expected)),
        Item::Text(_) => None,
    };
    items.into_iter().filter_map(step).collect()
}

#[test]
fn every_story_file_is_told() {
    let folder = path("any").parent().expect("a folder").to_owned();
    let files = fs::read_dir(folder).expect("the folder of stories");
    let paths = files.map(|file| file.expect("a file").path());
    let names = paths.filter(|path| path.extension().is_some_and(|end| end == "story"));
    let stem = |path: PathBuf| {
        path.file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned()
    };
    let mut found: Vec<String> = names.map(stem).collect();
    let mut told: Vec<&str> = TOLD.to_vec();
    found.sort();
    told.sort_unstable();
    assert_eq!(found, told);
}

#[test]
fn only_what_servers_cannot_do_is_told_in_memory_alone() {
    for name in TOLD {
        let needs_memory = steps(name).iter().any(|(step, _)| match step {
            Step::At(_) | Step::Partition(_) | Step::Heal(_) => true,
            Step::Send { command, .. } => {
                matches!(&command[..], [Word::Bytes(verb), ..] if verb == "HPEXPIREAT")
            }
            _ => false,
        });
        let reason = IN_MEMORY_ALONE.iter().find(|(alone, _)| alone == name);
        assert_eq!(needs_memory, reason.is_some(), "{name}: {reason:?}");
    }
}

#[test]
fn every_diff_and_repair_says_how_it_ended_and_every_show_shows_something() {
    for name in TOLD {
        let steps = steps(name);
        assert!(
            steps.iter().any(|(step, _)| *step == Step::Show),
            "{name} shows nothing"
        );
        for (step, expected) in steps {
            let last = expected.last().map_or("", String::as_str);
            match step {
                Step::Diff(_) | Step::Repair(_) => {
                    assert!(last.starts_with("exit "), "{name}: {expected:?}");
                }
                Step::Show => assert!(!expected.is_empty(), "{name}"),
                _ => {}
            }
        }
    }
}

#[test]
fn what_is_seen_does_not_come_from_what_is_expected() {
    for name in TOLD {
        let source = source(name);
        let bare = source.lines().filter(|line| !line.starts_with('>'));
        let bare: String = bare.map(|line| format!("{line}\n")).collect();
        let seen = told(&bare, &Memory { seed: 1 });
        assert_eq!(seen.as_deref(), Ok(&*source), "{name}");
    }
}

#[test]
fn a_line_that_cannot_be_read_is_named() {
    let error = |source: &str| parse(source).expect_err("no story");
    assert_eq!(
        error("replicas us eu\n\nfly away"),
        "line 3: `fly away` is not a step"
    );
    assert_eq!(
        error("> \"a\" all: absent"),
        "line 1: no step stands before this"
    );
    assert!(error("us: SET \"a").contains("not closed"));
    assert!(error("repair --rule string=best").contains("`string=best`"));
}

#[test]
fn a_story_is_printed_as_it_was_written() {
    for name in TOLD {
        let source = source(name);
        let items: Vec<Item> = parse(&source).expect("a story");
        assert_eq!(print(&items), source, "{name}");
    }
}
