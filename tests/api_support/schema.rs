//! Whether a document is what a schema of an OpenAPI document says: the part of JSON Schema that occurs there. A word
//! that it does not know fails the test, so that nothing is let through unseen.

use regex_automata::dfa::regex::Regex;
use serde_json::Value;

/// Words that allow or forbid nothing.
const REMARKS: &[&str] = &[
    "description",
    "title",
    "default",
    "example",
    "examples",
    "format",
    "propertyNames",
];

/// A reference's schema, else the schema itself.
pub(crate) fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => {
            let found = document.pointer(reference.trim_start_matches('#'));
            resolve(
                document,
                found.unwrap_or_else(|| panic!("{reference} leads nowhere")),
            )
        }
        None => schema,
    }
}

/// What is wrong with a value.
pub(crate) fn faults(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let schema = resolve(document, schema);
    let Some(words) = schema.as_object() else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    for (word, means) in words {
        match word.as_str() {
            "type" if !is_of(means, value) => faults.push(format!("{at}: {value} is no {means}")),
            "enum" if !means.as_array().unwrap().contains(value) => {
                faults.push(format!("{at}: {value} is none of {means}"));
            }
            "type" | "enum" => {}
            "properties" | "required" | "additionalProperties" => {
                faults.extend(members(document, schema, word, value, at));
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    faults.extend(self::faults(
                        document,
                        means,
                        item,
                        &format!("{at}[{index}]"),
                    ));
                }
            }
            "oneOf" | "anyOf" => {
                let fits = |one: &&Value| self::faults(document, one, value, at).is_empty();
                let fitting = means.as_array().unwrap().iter().filter(fits).count();
                if fitting == 0 || (word == "oneOf" && fitting > 1) {
                    faults.push(format!("{at}: {value} fits {fitting} of {means}"));
                }
            }
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => {
                faults.extend(bound(word, means, value, at));
            }
            "minItems" | "maxItems" => {
                let length = value.as_array().map(|items| items.len() as u64);
                faults.extend(length.and_then(|length| bound(word, means, &length.into(), at)));
            }
            "pattern" => {
                let pattern = Regex::new(means.as_str().unwrap()).unwrap();
                if value.as_str().is_some_and(|text| !pattern.is_match(text)) {
                    faults.push(format!("{at}: {value} is not {means}"));
                }
            }
            "maxLength" => {
                let length = value.as_str().map_or(0, |text| text.chars().count()) as u64;
                if length > means.as_u64().unwrap() {
                    faults.push(format!("{at}: {length} characters"));
                }
            }
            remark if REMARKS.contains(&remark) => {}
            unknown => panic!("the validator does not know `{unknown}` in {schema}"),
        }
    }
    faults
}

fn is_of(types: &Value, value: &Value) -> bool {
    match types {
        Value::Array(types) => types.iter().any(|one| is_of(one, value)),
        one => match one.as_str().unwrap() {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
            "number" => value.is_number(),
            "string" => value.is_string(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            unknown => panic!("there is no type {unknown}"),
        },
    }
}

fn members(document: &Value, schema: &Value, word: &str, value: &Value, at: &str) -> Vec<String> {
    let Some(members) = value.as_object() else {
        return Vec::new();
    };
    let known = |name: &str| &schema["properties"][name];
    match word {
        "properties" => members
            .iter()
            .filter(|(name, _)| !known(name).is_null())
            .flat_map(|(name, value)| faults(document, known(name), value, &format!("{at}.{name}")))
            .collect(),
        "required" => {
            let names = schema["required"].as_array().unwrap().iter();
            let names = names.map(|name| name.as_str().unwrap());
            let missing = names.filter(|name| !members.contains_key(*name));
            missing
                .map(|name| format!("{at}.{name} is missing"))
                .collect()
        }
        _ => {
            let more = members.iter().filter(|(name, _)| known(name).is_null());
            more.flat_map(|(name, value)| match &schema["additionalProperties"] {
                Value::Bool(false) => vec![format!("{at}.{name} is not known")],
                Value::Bool(true) => Vec::new(),
                schema => faults(document, schema, value, &format!("{at}.{name}")),
            })
            .collect()
        }
    }
}

fn bound(word: &str, bound: &Value, value: &Value, at: &str) -> Option<String> {
    use std::cmp::Ordering::{Greater, Less};
    // The last of 64 bits and the number behind it are one as floats.
    let order = match (whole(value), whole(bound)) {
        (Some(value), Some(bound)) => value.cmp(&bound),
        _ => value.as_f64()?.total_cmp(&bound.as_f64().unwrap()),
    };
    let holds = match word {
        "minimum" | "minItems" => order != Less,
        "maximum" | "maxItems" => order != Greater,
        "exclusiveMinimum" => order == Greater,
        _ => order == Less,
    };
    (!holds).then(|| format!("{at}: {value} breaks {word} {bound}"))
}

/// A number without a fraction, whatever it is written as.
fn whole(value: &Value) -> Option<i128> {
    let written = value.to_string().parse().ok();
    let digits = || {
        let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
        format!("{number:.0}").parse().ok()
    };
    written.or_else(digits)
}
