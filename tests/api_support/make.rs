//! Documents that are what a schema says, and such that are not.

use serde_json::{Map, Value, json};

use super::dice::Dice;
use super::schema::{faults, resolve};

/// Texts that mean something somewhere, and texts that mean nothing anywhere.
const TEXTS: &[&str] = &[
    "all",
    "key:1",
    "key:*",
    "0-8191",
    "5-2",
    "string",
    "us",
    "",
    "\\x",
    "\\x00",
    "é\u{0}\n",
    "a/b?c#d",
    "7-7",
    "-",
];

/// How often something that fits is sought before what stands in its way is held to be for ever.
const ATTEMPTS: usize = 1_000;

/// Something that the schema allows.
pub(crate) fn fitting(document: &Value, schema: &Value, dice: &mut Dice) -> Value {
    let fits = |made: &Value| faults(document, schema, made, "").is_empty();
    let mut made = (0..ATTEMPTS).map(|_| likely(document, schema, dice));
    let found = made.find(fits);
    found.unwrap_or_else(|| panic!("nothing was found that fits {schema}"))
}

/// Something that the schema allows but for what lies in several of its parts together.
fn likely(document: &Value, schema: &Value, dice: &mut Dice) -> Value {
    let schema = resolve(document, schema);
    if let Some(values) = schema["enum"].as_array() {
        return dice.pick(values).clone();
    }
    if let Some(ways) = schema["oneOf"].as_array() {
        let way = dice.pick(ways).clone();
        return fitting(document, &way, dice);
    }
    let types = match &schema["type"] {
        Value::Array(types) => dice.pick(types).clone(),
        one => one.clone(),
    };
    match types.as_str().unwrap_or("null") {
        "boolean" => json!(dice.one_in(2)),
        "integer" => json!(integer(schema, dice)),
        "number" => json!(*dice.pick(&[0.001, 0.25, 1.0])),
        "string" => json!(*dice.pick(TEXTS)),
        "array" => (0..dice.below(3))
            .map(|_| fitting(document, &schema["items"], dice))
            .collect(),
        "object" => {
            let mut made = Map::new();
            for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
                if dice.one_in(3) {
                    made.insert(name.clone(), fitting(document, schema, dice));
                }
            }
            made.into()
        }
        _ => Value::Null,
    }
}

fn integer(schema: &Value, dice: &mut Dice) -> u64 {
    let least = schema["minimum"].as_u64().unwrap_or(0);
    let most = schema["maximum"].as_u64().unwrap_or(i64::MAX as u64);
    *dice.pick(&[least, least + 1, most.min(100), most])
}

/// Text that the schema forbids, where it does not take every one.
pub(crate) fn forbidden_text(document: &Value, schema: &Value, dice: &mut Dice) -> Option<String> {
    let is_wrong = |text: &&&str| !faults(document, schema, &json!(text), "").is_empty();
    let wrong: Vec<&&str> = TEXTS.iter().filter(is_wrong).collect();
    (!wrong.is_empty()).then(|| (**dice.pick(&wrong)).to_owned())
}

/// Something that the schema forbids.
pub(crate) fn forbidden(document: &Value, schema: &Value, dice: &mut Dice) -> Value {
    loop {
        let mut made = fitting(document, schema, dice);
        let odd = [
            json!(null),
            json!(-1),
            json!(1.5),
            json!(1e300),
            json!("x"),
            json!([[]]),
            json!({ "a": {} }),
            json!(true),
        ];
        let odd = dice.pick(&odd).clone();
        let properties = resolve(document, schema)["properties"].as_object();
        match (made.as_object_mut(), properties) {
            (Some(members), Some(properties)) if !properties.is_empty() && !dice.one_in(4) => {
                let names: Vec<&String> = properties.keys().collect();
                let name = match dice.one_in(3) {
                    true => "nobody_knows_this".to_owned(),
                    false => (*dice.pick(&names)).clone(),
                };
                members.insert(name, odd);
            }
            _ => made = odd,
        }
        if !faults(document, schema, &made, "").is_empty() {
            return made;
        }
    }
}
