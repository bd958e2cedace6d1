//! Paths into a YAML text, as in `keyspaces[1].prefer[0]`, and the line and column they stand at.
//!
//! serde forgets where a value stood. A contradiction between two values is found after it, so its place is looked
//! up by reading the text once more along the path and failing on purpose at its end: the parser then says where.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Location;

/// One step into a YAML text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The value behind a key.
    Key(&'static str),
    /// The item of a list, from 0.
    Index(usize),
}

/// A path into a YAML text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct YamlPath(Vec<Step>);

impl YamlPath {
    /// The path of a top-level key.
    pub(super) fn of(key: &'static str) -> Self {
        Self(vec![Step::Key(key)])
    }

    /// The path of a key below this one.
    pub(super) fn key(&self, key: &'static str) -> Self {
        self.with(Step::Key(key))
    }

    /// The path of an item below this one.
    pub(super) fn item(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    /// The steps, outermost first.
    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Where the value stands in the text; for a value that is not written, the nearest one around it that is.
    pub(super) fn locate(&self, text: &str) -> Option<Location> {
        (1..=self.0.len())
            .rev()
            .find_map(|length| locate(text, &self.0[..length]))
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl fmt::Display for YamlPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if at == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// The message by which the search tells that it arrived.
const FOUND: &str = "the value that was looked for";

fn locate(text: &str, steps: &[Step]) -> Option<Location> {
    let error = Seek(steps)
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .err()?;
    if !error.to_string().contains(FOUND) {
        return None;
    }
    error.location().map(|at| Location {
        line: at.line(),
        column: at.column(),
    })
}

/// Reads along the remaining steps and fails where they end.
struct Seek<'a>(&'a [Step]);

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.0.is_empty() {
            // A visitor that takes nothing: the deserializer marks the error with this value's place.
            return deserializer.deserialize_any(Arrived);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map or a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match self.0 {
                [Step::Key(wanted), rest @ ..] if *wanted == key => {
                    map.next_value_seed(Seek(rest))?
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        if let [Step::Index(wanted), rest @ ..] = self.0 {
            for _ in 0..*wanted {
                items.next_element::<IgnoredAny>()?;
            }
            items.next_element_seed(Seek(rest))?;
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// Takes nothing, whatever stands there.
struct Arrived;

impl<'de> Visitor<'de> for Arrived {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FOUND)
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(A::Error::custom(FOUND))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(A::Error::custom(FOUND))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "replicas:\n  - name: us\n    url: a\n  - { name: eu, url: b }\nlimits:\n  pipeline: 3\n";

    fn at(path: &YamlPath) -> Option<(usize, usize)> {
        path.locate(TEXT).map(|found| (found.line, found.column))
    }

    #[test]
    fn a_path_is_shown_as_it_is_written() {
        let path = YamlPath::of("keyspaces").item(1).key("prefer").item(0);
        assert_eq!(path.to_string(), "keyspaces[1].prefer[0]");
    }

    #[test]
    fn a_value_is_found_where_it_stands() {
        let replicas = YamlPath::of("replicas");
        assert_eq!(at(&replicas.item(0).key("name")), Some((2, 11)));
        assert_eq!(at(&replicas.item(1).key("url")), Some((4, 22)));
        assert_eq!(at(&replicas.item(1)), Some((4, 5)));
        assert_eq!(at(&YamlPath::of("limits").key("pipeline")), Some((6, 13)));
    }

    #[test]
    fn for_a_value_that_is_not_written_the_place_around_it_is_named() {
        assert_eq!(at(&YamlPath::of("limits").key("memory")), Some((6, 3)));
        assert_eq!(at(&YamlPath::of("guards")), None);
    }
}
