//! The page about Dynomite is followed command by command, over racks of a recorded cluster.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::process::Command;

use support::racks::{Racks, fixtures};

const PAGE: &str = include_str!("../docs/dynomite.md");

/// The fenced blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fenced = PAGE.split("```").skip(1).step_by(2);
    let of = |block: &'static str| block.strip_prefix(language)?.strip_prefix('\n');
    fenced.filter_map(of).collect()
}

#[test]
fn the_page_about_dynomite_is_followed_word_by_word() {
    // Of the last two racks there is no recording: they are like their neighbour.
    let racks = Racks::load("exp3-1-diverged", &[1, 2, 3, 4, 4, 4]);
    let dir = racks.dir.path();
    std::fs::create_dir(dir.join("nodes")).unwrap();
    for file in std::fs::read_dir(fixtures().join("configs")).unwrap() {
        let file = file.unwrap();
        let name = file.file_name();
        if name.to_str().unwrap().starts_with("b231") {
            std::fs::copy(file.path(), dir.join("nodes").join(name)).unwrap();
        }
    }
    let mut printed = Vec::new();
    for line in blocks("sh")[0].lines() {
        let script = format!(
            "reknit() {{ {} \"$@\"; }}; {line}",
            env!("CARGO_BIN_EXE_reknit")
        );
        let mut bash = Command::new("bash");
        let output = bash
            .args(["-c", &script])
            .current_dir(dir)
            .env("XDG_STATE_HOME", dir)
            .output()
            .unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        printed.push(String::from_utf8(output.stdout).unwrap());
        if line.starts_with("reknit import") {
            // The servers of this test, and no limits that a recording outgrows.
            let path = dir.join("reknit.yaml");
            let mut text = std::fs::read_to_string(&path).unwrap();
            for (index, server) in racks.servers.iter().enumerate() {
                text = text.replace(
                    &format!("redis://127.0.20.{}:24379", index + 1),
                    &server.url(),
                );
            }
            text.push_str("clock: { max_skew: 36500d }\ndynomite: { tombstone_grace: 36500d }\n");
            std::fs::write(path, text).unwrap();
        }
    }
    let explained = printed
        .iter()
        .find(|text| text.contains("evidence"))
        .unwrap();
    for line in blocks("text")[0].lines() {
        assert!(explained.contains(line), "{line}\n{explained}");
    }
    assert!(
        printed.last().unwrap().contains("all verified"),
        "{printed:?}"
    );
}

#[test]
fn the_configuration_of_the_page_is_one() {
    let rack = blocks("yaml")[0];
    let other = rack.split_once("replicas:\n").unwrap().1;
    let other = other
        .replace("dc1-rack1", "dc2-rack1")
        .replace("10.0.0.", "10.1.0.");
    let text = format!("{rack}{other}");
    let config =
        reknit::config::Config::from_yaml(&text, std::path::Path::new("reknit.yaml"), None);
    let config = config.unwrap_or_else(|error| panic!("{error}\n{text}"));
    for hash in reknit::model::TokenHash::ALL {
        assert!(rack.contains(hash.name()));
    }
    assert_eq!(config.replicas.len(), 2);
}
