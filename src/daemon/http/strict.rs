//! JSON in which no object names a member twice: readers differ in which of the two counts. And in which an integer is
//! one however it is written.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A value without duplicate members, however deep.
pub(super) struct Strict(pub(super) Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, it: bool) -> Result<Value, E> {
        Ok(Value::Bool(it))
    }

    fn visit_i64<E: Error>(self, it: i64) -> Result<Value, E> {
        Ok(Value::Number(it.into()))
    }

    fn visit_u64<E: Error>(self, it: u64) -> Result<Value, E> {
        Ok(Value::Number(it.into()))
    }

    /// To JSON, 436.0 is as much an integer as 436: who writes numbers in one way alone is understood.
    fn visit_f64<E: Error>(self, it: f64) -> Result<Value, E> {
        // All its digits; nought has no sign here.
        let whole = (it.fract() == 0.0).then(|| format!("{:.0}", it + 0.0));
        let whole = whole.and_then(|digits| digits.parse::<u64>().ok());
        let number = whole.map(Number::from).or_else(|| Number::from_f64(it));
        let number = number.ok_or_else(|| E::custom("a number is out of range"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E: Error>(self, it: &str) -> Result<Value, E> {
        Ok(Value::String(it.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut read = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            read.push(item);
        }
        Ok(Value::Array(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut read = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if read.contains_key(&name) {
                return Err(A::Error::custom(format!("`{name}` is there twice")));
            }
            let Strict(value) = members.next_value()?;
            read.insert(name, value);
        }
        Ok(Value::Object(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_twice_is_refused_however_deep() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"b":[{"a":1,"\u0061":2}]}"#] {
            let error = serde_json::from_str::<Strict>(text).err().unwrap();
            assert!(error.to_string().contains("`a` is there twice"), "{error}");
        }
        let text = r#"{"a":[1,-1,0.5,null,true,"x"],"b":{"a":1}}"#;
        let Strict(read) = serde_json::from_str(text).unwrap();
        assert_eq!(read, serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn an_integer_is_one_however_it_is_written() {
        let read = |text: &str| serde_json::from_str::<Strict>(text).unwrap().0.as_u64();
        assert_eq!(read("436.0"), Some(436));
        assert_eq!(read("4.36e2"), Some(436));
        assert_eq!(read("-0.0"), Some(0));
        assert_eq!(
            read("18446744073709549568.0"),
            Some(18_446_744_073_709_549_568)
        );
        for text in ["436.5", "-1.0", "18446744073709551616.0", "1e300"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
