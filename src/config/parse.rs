//! YAML text to its raw form, with the parser's complaints put into the words of an operator.
//!
//! Whatever the parser says is taken apart and said again: unknown keys get a suggestion, tabs and unquoted stars
//! their remedy, and texts that may hold a password are left out.

use super::error::suggestion;
use super::raw::RawConfig;
use super::{Location, Problem};

/// Reads the text into its raw form.
pub(super) fn parse(text: &str) -> Result<RawConfig, Problem> {
    // An empty file is an empty map: what is missing is said by whoever misses it.
    serde_yaml::from_str::<Option<RawConfig>>(text)
        .map(Option::unwrap_or_default)
        .map_err(|error| explain(text, &error))
}

fn explain(text: &str, error: &serde_yaml::Error) -> Problem {
    let at = error.location().map(|at| Location {
        line: at.line(),
        column: at.column(),
    });
    let message = strip_location(&error.to_string(), at);
    let (path, message) = split_path(&message);
    let at = at.filter(|_| !text.is_empty());
    if let Some(tab) = tab_line(text, at).filter(|_| is_syntax(message)) {
        return tabs_not_allowed(tab);
    }
    let (what, advice) = say_again(message, line_of(text, at));
    Problem {
        path: path.to_owned(),
        what: redact(&what),
        at,
        advice,
    }
}

fn tabs_not_allowed(at: Location) -> Problem {
    Problem {
        path: String::new(),
        what: "tabs are not allowed for indentation".into(),
        at: Some(at),
        advice: Some("use spaces".into()),
    }
}

/// The message without its ` at line L column C`, which is told apart.
fn strip_location(message: &str, at: Option<Location>) -> String {
    let Some(Location { line, column }) = at else {
        return message.to_owned();
    };
    message.replacen(&format!(" at line {line} column {column}"), "", 1)
}

/// `keyspaces[0].rules: what` into its path and what is wrong there.
fn split_path(message: &str) -> (&str, &str) {
    match message.split_once(": ") {
        Some((path, rest)) if is_path(path) => (path, rest),
        _ => ("", message),
    }
}

fn is_path(text: &str) -> bool {
    let part_of_path = |c: char| c.is_ascii_alphanumeric() || "_.[]-".contains(c);
    !text.is_empty() && text.chars().all(part_of_path)
}

/// What is wrong and what to do, from the parser's message.
fn say_again(message: &str, line: &str) -> (String, Option<String>) {
    if let Some((unknown, known)) = quoted_after(message, "unknown field ") {
        return (
            format!("unknown key `{unknown}`"),
            Some(suggest_key(unknown, known)),
        );
    }
    if let Some((key, _)) = quoted_after(message, "missing field ") {
        return (
            format!("missing key `{key}`"),
            Some(format!("add `{key}:`")),
        );
    }
    if let Some((key, _)) = quoted_after(message, "duplicate field ") {
        let advice = "keep one of them".to_owned();
        return (format!("the key `{key}` stands there twice"), Some(advice));
    }
    if message.contains("more than one document") {
        let advice = "remove the line `---` and what follows it".to_owned();
        return ("this is more than one document".into(), Some(advice));
    }
    if let Some(found) = wrong_type(message) {
        return (found, None);
    }
    if is_syntax(message) && unquoted_star(line) {
        let advice = "put a pattern into quotes, as in match: \"*\"";
        return (
            "a value starts with `*` without quotes".into(),
            Some(advice.into()),
        );
    }
    match message.split_once(", ") {
        Some((what, advice)) if !is_syntax(message) => (what.to_owned(), Some(advice.to_owned())),
        _ => (message.to_owned(), None),
    }
}

fn suggest_key(unknown: &str, known: &str) -> String {
    let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    if unknown == "password" && known.contains(&"password_file") {
        return "write `password_file` or `password_env`, a password does not belong into the file"
            .into();
    }
    suggestion(unknown, &known)
}

/// The name in backquotes behind a start of the message, and what follows it.
fn quoted_after<'a>(message: &'a str, start: &str) -> Option<(&'a str, &'a str)> {
    message
        .strip_prefix(start)?
        .strip_prefix('`')?
        .split_once('`')
}

/// `invalid type: string "...", expected a map` without the string: it may be a URL with a password.
fn wrong_type(message: &str) -> Option<String> {
    let rest = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))?;
    let (found, expected) = rest.rsplit_once(", expected ")?;
    let found = match found.split_once(' ') {
        Some(("string", _)) => "a text",
        _ if found == "sequence" => "a list",
        _ if found == "unit value" => "nothing",
        _ => found,
    };
    let expected = match expected {
        "a string" => "a text",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        "u32" | "u64" | "usize" => "a whole number, 0 or more",
        other => other,
    };
    Some(format!("expected {expected}, found {found}"))
}

/// Whether the message is of the YAML scanner or parser rather than of a value's form.
fn is_syntax(message: &str) -> bool {
    [
        "found ",
        "did not find",
        "mapping values are not allowed",
        "block ",
        "could not find",
        "while ",
    ]
    .iter()
    .any(|start| message.starts_with(start))
}

/// The last line up to the error that is indented with a tab.
fn tab_line(text: &str, at: Option<Location>) -> Option<Location> {
    let lines: Vec<&str> = text.lines().take(at?.line).collect();
    lines.iter().enumerate().rev().find_map(|(index, line)| {
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        let column = line[..indent].find('\t')? + 1;
        let line = index + 1;
        Some(Location { line, column })
    })
}

fn line_of(text: &str, at: Option<Location>) -> &str {
    at.and_then(|at| text.lines().nth(at.line - 1))
        .unwrap_or_default()
}

fn unquoted_star(line: &str) -> bool {
    line.split([':', '-', ',', '['])
        .skip(1)
        .any(|value| value.trim_start().starts_with('*'))
}

/// The text with whatever stands between `://` and the last `@` of its line replaced, also where it is no URL: rather
/// too much than a password with a space in it.
pub(crate) fn redact(text: &str) -> String {
    text.split_inclusive('\n').map(redact_line).collect()
}

fn redact_line(line: &str) -> String {
    let hidden = line
        .split_once("://")
        .and_then(|(before, after)| Some((before, after.rsplit_once('@')?.1)));
    match hidden {
        Some((before, after)) => format!("{before}://***@{after}"),
        None => line.to_owned(),
    }
}
