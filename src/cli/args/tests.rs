//! The command line, word by word.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use clap::CommandFactory;

use super::*;

fn read(words: &[&str]) -> Result<Cli, Box<Refusal>> {
    Cli::read(std::iter::once("reknit").chain(words.iter().copied()))
}

fn refused(words: &[&str]) -> String {
    let refusal = read(words).unwrap_err();
    assert_eq!(refusal.exit_code(), 2, "{words:?}");
    refusal.text
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn help_and_version_are_asked_for_and_exit_0() {
    for words in [&["--help"][..], &["--version"], &["diff", "--help"]] {
        assert_eq!(read(words).unwrap_err().exit_code(), 0, "{words:?}");
    }
    assert!(read(&["--help"]).unwrap_err().text.contains("Exit codes:"));
    let diff = read(&["diff", "-h"]).unwrap_err().text;
    assert!(diff.contains("redis://[user@]host"), "{diff}");
}

#[test]
fn keys_are_unescaped() {
    let Command::Explain(args) = read(&["explain", r"a\x00\xff"]).unwrap().command else {
        panic!("explain was asked for");
    };
    assert_eq!(args.key.as_bytes(), b"a\x00\xff");
    assert!(refused(&["explain", r"a\q"]).contains("unreadable escape at byte 1"));
}

#[test]
fn keys_may_stand_in_the_quotes_that_redis_cli_puts_around_them() {
    let table = [
        (r#""a b""#, &b"a b"[..]),
        (r#""end\\""#, b"end\\"),
        (r#""\"""#, b"\""),
        (r#""open\""#, b"\"open\""),
        (r#"""#, b"\""),
        (r#""half"#, b"\"half"),
        ("-x", b"-x"),
    ];
    for (word, expected) in table {
        let Command::Diff(args) = read(&["diff", "--key", word]).unwrap().command else {
            panic!("diff was asked for");
        };
        assert_eq!(args.selection.key[0].as_bytes(), expected, "{word}");
    }
}

#[test]
fn an_argument_that_is_no_utf8_is_to_be_escaped() {
    let word = OsStr::from_bytes(b"bin\xff");
    let words = [OsStr::new("reknit"), OsStr::new("explain"), word];
    let text = Cli::read(words).unwrap_err().text;
    assert!(text.contains(r"escaped, as in '\xff'"), "{text}");
}

#[test]
fn a_file_and_ad_hoc_replicas_exclude_each_other() {
    let text = refused(&["diff", "-c", "f", "--replica", "us=redis://u:hunter2@h"]);
    assert!(text.contains("cannot be used with"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    assert!(refused(&["diff", "--rule", "string=lww"]).contains("--replica"));
}

#[test]
fn no_usage_error_repeats_a_password() {
    for words in [
        &["diff", "us=redis://u:hunter2@h"][..],
        &["us=redis://u:hunter2@h"],
        &["diff", "us=redis://u:hunter2 hunter2@h"],
        &["diff", "--replica=us=redis://u:hunter2@h", "--bad"],
        &["diff", "--slots", "redis://u:hunter2@h"],
        &["diff", "--format", "redis://u:hunter2@h"],
        &["explain", "k", "--replicas=us=redis://u:hunter2@h"],
    ] {
        let text = refused(words);
        assert!(!text.contains("hunter2"), "{words:?}: {text}");
    }
    let cli = read(&["diff", "--replica", "us=redis://u:hunter2@h"]).unwrap();
    assert!(!format!("{cli:?}").contains("hunter2"));
}

#[test]
fn colours_follow_the_terminal_and_no_color() {
    let set = Some(OsStr::new("1"));
    let table = [
        (ColorWhen::Auto, true, None, true),
        (ColorWhen::Auto, true, Some(OsStr::new("")), true),
        (ColorWhen::Auto, true, set, false),
        (ColorWhen::Auto, false, None, false),
        (ColorWhen::Always, false, set, true),
        (ColorWhen::Never, true, None, false),
    ];
    for (when, terminal, no_color, expected) in table {
        assert_eq!(when.enabled(terminal, no_color), expected, "{when:?}");
    }
}

#[test]
fn limits_out_of_range_are_refused() {
    let table = [
        (["--pipeline", "0"], "pipeline 0 is not between 1 and 10000"),
        (["--memory", "0"], "nothing works in no memory"),
        (
            ["--settle", "5"],
            "the duration `5` has no unit, write `5s` for seconds",
        ),
        (["--settle", "-1s"], "the duration `-1s` is negative"),
        (["--settle", "1000y"], "longer than an hour"),
        (["--slots", "9-3"], "slot range `9-3` ends before it starts"),
        (["--type", "blob"], "`blob` is not a type"),
        (["--slots", "-5"], "is not a slot number"),
        (["--slots", "1-2-3"], "is not a slot number"),
        (["--db", "-1"], "`-1` is not the number of a database"),
        (["--show", "many"], "`many` is not a number"),
        (["--keys-per-second", "-3"], "`-3` is not a number"),
    ];
    for (words, expected) in table {
        let text = refused(&["diff", words[0], words[1]]);
        assert!(text.contains(expected), "{words:?}: {text}");
    }
    let nothing = refused(&["repair", "--limit", "0"]);
    assert!(nothing.contains("nothing would be repaired"), "{nothing}");
    let few = refused(&["demo", "--keys", "5"]);
    assert!(few.contains("`5` is not between 100 and 10000000"), "{few}");
}
