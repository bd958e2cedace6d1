//! The fields of JSON documents as paths, printed and documented.

use std::collections::BTreeSet;

use serde_json::Value;

/// A section of the documentation, and a path below it.
pub(crate) type Field = (String, String);

/// Objects whose keys are names, not fields.
const MAPS: [(&str, &str); 5] = [
    ("holdings", "<replica>"),
    ("values", "<replica>"),
    ("verdicts", "<verdict>"),
    ("counts", "<count>"),
    ("fates", "<fate>"),
];

/// Every field of these documents.
pub(crate) fn printed(documents: &[Value]) -> BTreeSet<Field> {
    let mut found = BTreeSet::new();
    for document in documents {
        let schema = document["schema"].as_str().expect("a schema").to_owned();
        walk(&schema, "", document, &mut found);
    }
    found
}

fn walk(section: &str, path: &str, value: &Value, found: &mut BTreeSet<Field>) {
    match value {
        Value::Array(items) => {
            for item in items {
                walk(section, &format!("{path}[]"), item, found);
            }
        }
        Value::Object(object) if !is_bytes(value) => {
            let map = MAPS.iter().find(|(name, _)| path.ends_with(name));
            for (key, value) in object {
                let key = map.map_or(key.as_str(), |(_, name)| name);
                let path = if path.is_empty() {
                    key.to_owned()
                } else {
                    format!("{path}.{key}")
                };
                found.insert((section.to_owned(), path.clone()));
                match (section, path.as_str()) {
                    ("reknit.run/1", "findings") => {
                        for finding in value.as_array().expect("findings") {
                            walk("reknit.finding/1", "", finding, found);
                        }
                    }
                    ("reknit.run/1" | "reknit.summary/1", "summary") => {
                        walk("summary", "", value, found);
                    }
                    ("reknit.runs/1", "runs") => {
                        for run in value.as_array().expect("runs") {
                            walk("run", "", run, found);
                        }
                    }
                    ("reknit.writes/1", "run") => walk("run", "", value, found),
                    ("reknit.writes/1", "writes") => {
                        for write in value.as_array().expect("writes") {
                            walk("reknit.write/1", "", write, found);
                        }
                    }
                    ("reknit.undo/1", "writes") => {
                        for write in value.as_array().expect("writes") {
                            walk("reknit.undone/1", "", write, found);
                        }
                    }
                    _ => walk(section, &path, value, found),
                }
            }
        }
        _ => {}
    }
}

/// Whether this is a byte string, which has a section of its own.
fn is_bytes(value: &Value) -> bool {
    value.as_object().is_some_and(|object| {
        object.contains_key("text") && object.keys().all(|key| key == "text" || key == "base64")
    })
}

/// Every field in the tables of the documentation: the first cell of a row, below a heading that names the section.
pub(crate) fn documented(text: &str) -> BTreeSet<Field> {
    let mut section = None;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.split('`').nth(1).map(ToOwned::to_owned);
        }
        let field = line
            .strip_prefix("| `")
            .and_then(|row| row.split('`').next());
        if let (Some(section), Some(field)) = (&section, field) {
            found.insert((section.clone(), field.to_owned()));
        }
    }
    found
}
