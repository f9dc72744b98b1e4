//! Metadata as a tree.

use serde_json::Value;

/// A node of a file's metadata: a value, or named or numbered nodes below it.
///
/// ```
/// use exitwave::io::Meta;
/// let mut tree = Meta::map();
/// tree.set("beam/energy_keV", Meta::Number(300.0));
/// assert_eq!(tree.number("beam/energy_keV"), Some(300.0));
/// assert_eq!(tree.to_json(), r#"{"beam":{"energy_keV":300.0}}"#);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Meta {
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// True or false.
    Bool(bool),
    /// Numbers in a row.
    Numbers(Vec<f64>),
    /// Numbered nodes.
    List(Vec<Meta>),
    /// Named nodes, in the order of the file. A name may occur several times; the first counts.
    Map(Vec<(String, Meta)>),
}

/// An empty map.
impl Default for Meta {
    fn default() -> Self {
        Meta::map()
    }
}

impl Meta {
    /// An empty map.
    pub fn map() -> Meta {
        Meta::Map(Vec::new())
    }

    /// The node that `path` leads to: names, or numbers in lists, separated by `/`.
    pub fn get(&self, path: &str) -> Option<&Meta> {
        path.split('/').try_fold(self, |node, key| match node {
            Meta::Map(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, v)| v),
            Meta::List(items) => items.get(key.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// The number at `path`; text that is a number counts.
    pub fn number(&self, path: &str) -> Option<f64> {
        self.get(path)?.as_number()
    }

    /// The text at `path`.
    pub fn text(&self, path: &str) -> Option<&str> {
        match self.get(path)? {
            Meta::Text(t) => Some(t),
            _ => None,
        }
    }

    /// The value as a number, if it is one or its text says one.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Meta::Integer(i) => Some(*i as f64),
            Meta::Number(v) => Some(*v),
            Meta::Bool(b) => Some(f64::from(u8::from(*b))),
            Meta::Numbers(v) if v.len() == 1 => Some(v[0]),
            Meta::Text(t) => t.trim().parse().ok(),
            _ => None,
        }
    }

    /// Sets the node at `path`, making maps on the way; a node of another kind on the way is replaced.
    pub fn set(&mut self, path: &str, value: Meta) {
        let (key, rest) = match path.split_once('/') {
            Some((key, rest)) => (key, Some(rest)),
            None => (path, None),
        };
        if !matches!(self, Meta::Map(_)) {
            *self = Meta::map();
        }
        let Meta::Map(entries) = self else { return };
        let at = entries.iter().position(|(name, _)| name == key).unwrap_or_else(|| {
            entries.push((key.to_string(), Meta::map()));
            entries.len() - 1
        });
        match rest {
            Some(rest) => entries[at].1.set(rest, value),
            None => entries[at].1 = value,
        }
    }

    /// The tree as JSON. Numbers that are not finite become null.
    pub fn to_json(&self) -> String {
        self.value().to_string()
    }

    fn value(&self) -> Value {
        match self {
            Meta::Text(t) => Value::from(t.as_str()),
            Meta::Integer(i) => Value::from(*i),
            Meta::Number(v) => Value::from(*v),
            Meta::Bool(b) => Value::from(*b),
            Meta::Numbers(v) => Value::from(v.as_slice()),
            Meta::List(items) => Value::Array(items.iter().map(Meta::value).collect()),
            Meta::Map(entries) => {
                let mut map = serde_json::Map::new();
                for (name, node) in entries {
                    map.entry(name.as_str()).or_insert_with(|| node.value());
                }
                Value::Object(map)
            }
        }
    }

    /// A JSON text as a tree; the text itself when it is none.
    pub(crate) fn from_json(text: &str) -> Meta {
        match serde_json::from_str::<Value>(text) {
            Ok(value) => Meta::of(value),
            Err(_) => Meta::Text(text.to_string()),
        }
    }

    fn of(value: Value) -> Meta {
        match value {
            Value::Null => Meta::Text(String::new()),
            Value::Bool(b) => Meta::Bool(b),
            Value::Number(n) => n.as_i64().map_or_else(|| Meta::Number(n.as_f64().unwrap_or(f64::NAN)), Meta::Integer),
            Value::String(s) => Meta::Text(s),
            Value::Array(items) => Meta::List(items.into_iter().map(Meta::of).collect()),
            Value::Object(map) => Meta::Map(map.into_iter().map(|(k, v)| (k, Meta::of(v))).collect()),
        }
    }

    /// A text as a number where it is one.
    pub(crate) fn guess_number(text: &str) -> Meta {
        let t = text.trim();
        if let Ok(i) = t.parse::<i64>() {
            return Meta::Integer(i);
        }
        match t.parse::<f64>() {
            Ok(v) if v.is_finite() => Meta::Number(v),
            _ => Meta::Text(t.to_string()),
        }
    }
}

impl From<&str> for Meta {
    fn from(text: &str) -> Meta {
        Meta::Text(text.to_string())
    }
}

impl From<f64> for Meta {
    fn from(value: f64) -> Meta {
        Meta::Number(value)
    }
}

impl From<i64> for Meta {
    fn from(value: i64) -> Meta {
        Meta::Integer(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_through_maps_and_lists() {
        let tree = Meta::from_json(r#"{"a": [{"b": "1.5"}, {"b": 2}], "c": null}"#);
        assert_eq!(tree.number("a/0/b"), Some(1.5));
        assert_eq!(tree.number("a/1/b"), Some(2.0));
        assert_eq!(tree.get("a/2/b"), None);
        assert_eq!(tree.text("c"), Some(""));
        assert_eq!(Meta::from_json("{broken"), Meta::Text("{broken".into()));
        assert_eq!(Meta::Number(f64::NAN).to_json(), "null");
    }
}
