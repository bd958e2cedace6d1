//! Stories: tests/scenarios/*.story, told in memory.
//!
//! `REKNIT_UPDATE=1` rewrites the expected lines; the difference is then to be read before it is committed.

mod story_support;

use std::fs;
use std::path::PathBuf;

use story_support::memory::Memory;
use story_support::story::{Item, parse, print};
use story_support::world::{Engine, tell};

/// What compares and repairs. Without one, stories are told up to the first step that needs it.
fn engine() -> Option<Box<dyn Engine>> {
    None
}

fn stories() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios");
    let files = fs::read_dir(folder).expect("the folder of stories");
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "story")
    });
    paths.sort();
    assert!(!paths.is_empty(), "there is no story in {folder}");
    paths
}

fn told(source: &str, seed: u64) -> Result<String, String> {
    let (engine, ground) = (engine(), Memory { seed });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let telling = tell(parse(source)?, &ground, engine.as_deref());
    let told = runtime.expect("a runtime").block_on(telling)?;
    Ok(print(&told))
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

#[test]
fn every_story_ends_as_it_is_told() {
    let update = std::env::var_os("REKNIT_UPDATE").is_some();
    let mut wrong = String::new();
    for path in stories() {
        let source = fs::read_to_string(&path).expect("a story in UTF-8");
        match told(&source, 1) {
            Err(reason) => wrong += &format!("{}: {reason}\n", path.display()),
            Ok(seen) if seen == source => {}
            Ok(seen) if update => fs::write(&path, seen).expect("a story that can be written"),
            Ok(seen) => wrong += &format!("{}\n{}", path.display(), difference(&source, &seen)),
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn a_story_does_not_depend_on_the_order_of_scans() {
    for path in stories() {
        let source = fs::read_to_string(&path).expect("a story in UTF-8");
        let first = told(&source, 1);
        for seed in [2, 3] {
            assert_eq!(told(&source, seed), first, "{}", path.display());
        }
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
    for path in stories() {
        let source = fs::read_to_string(&path).expect("a story in UTF-8");
        let items: Vec<Item> = parse(&source).expect("a story");
        assert_eq!(print(&items), source, "{}", path.display());
    }
}
