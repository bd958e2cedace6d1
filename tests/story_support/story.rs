//! A story file: comments, steps, and the lines expected behind each step.

use super::step::Step;

/// What stands in front of an expected line.
const EXPECTED: &str = "> ";

/// A line of the file, or a step with the lines behind it.
#[derive(Debug, PartialEq)]
pub(crate) enum Item {
    /// A comment or an empty line, kept as it is.
    Text(String),
    /// A step.
    Step {
        /// Its line number, counted from 1.
        line: usize,
        /// The line as it was written.
        text: String,
        /// What is done.
        step: Step,
        /// What should be seen.
        expected: Vec<String>,
    },
}

/// Reads a story.
///
/// # Errors
/// The line that cannot be read, by number, and why.
pub(crate) fn parse(source: &str) -> Result<Vec<Item>, String> {
    let mut items = Vec::new();
    for (at, text) in source.lines().enumerate() {
        let line = at + 1;
        let seen = text.strip_prefix(EXPECTED).or((text == ">").then_some(""));
        match (seen, items.last_mut()) {
            (Some(seen), Some(Item::Step { expected, .. })) => expected.push(seen.into()),
            (Some(_), _) => return Err(format!("line {line}: no step stands before this")),
            (None, _) => items.push(item(line, text)?),
        }
    }
    Ok(items)
}

/// Writes a story as it is read.
pub(crate) fn print(items: &[Item]) -> String {
    let mut out = String::new();
    for item in items {
        match item {
            Item::Text(text) => out.push_str(&format!("{text}\n")),
            Item::Step { text, expected, .. } => {
                out.push_str(&format!("{text}\n"));
                for seen in expected {
                    out.push_str(format!("{EXPECTED}{seen}").trim_end());
                    out.push('\n');
                }
            }
        }
    }
    out
}

fn item(line: usize, text: &str) -> Result<Item, String> {
    if text.trim().is_empty() || text.starts_with('#') {
        return Ok(Item::Text(text.into()));
    }
    Ok(Item::Step {
        line,
        text: text.into(),
        step: Step::parse(text).map_err(|reason| format!("line {line}: {reason}"))?,
        expected: Vec::new(),
    })
}
