//! The rules of the agreement and their tests: those that the table names exist.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

use std::fs;
use std::path::Path;

const TABLE: &str = include_str!("../docs/agreement-rules.md");

/// The words of a cell that stand in backquotes.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_rule_names_a_place_and_a_test_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rows: Vec<Vec<&str>> = TABLE
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| rule"))
        .map(|line| line.trim_matches('|').split('|').collect())
        .collect();
    assert!(rows.len() > 40, "{} rules", rows.len());
    for row in rows {
        let [rule, place, test] = row[..] else {
            panic!("{row:?} is no row");
        };
        for file in place.split([' ', ',']).filter(|word| word.ends_with(".rs")) {
            assert!(root.join(file).exists(), "{rule}: {file}");
        }
        let [file, name] = quoted(test)[..] else {
            panic!("{rule}: no test");
        };
        let text = fs::read_to_string(root.join(file)).unwrap();
        let function = format!("fn {name}(");
        let before = text.split(&function).next().unwrap();
        assert!(before.len() < text.len(), "{rule}: {file} has no {name}");
        let marked = before.trim_end().ends_with("test]") || before.ends_with("async ");
        assert!(
            marked || text.contains("cases!"),
            "{rule}: {name} is no test"
        );
    }
}
