//! What does a job's text say? YAML with merge keys, bounded in depth and in what its aliases expand to.
//! Knows no setting.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_yaml::{Mapping, Value};

use super::words;
use crate::limits;

/// What is wrong with a text: the line, counted from 1 (0: unknown), what, and what to do about it.
pub type Wrong = (u64, String, Option<&'static str>);

/// Parses a text.
pub fn read(text: &str) -> Result<Value, Wrong> {
    if let Some(line) = too_deep(text) {
        let what = format!(
            "lists and maps are nested more than {} deep",
            limits::JOB_DEPTH_MAX
        );
        return Err((line, what, None));
    }
    let budget = Budget(Cell::new(limits::JOB_UNFOLDED_BYTES_MAX));
    let read = budget.deserialize(serde_yaml::Deserializer::from_str(text));
    let mut value = read.map_err(|e| {
        let line = e.location().map_or(0, |l| l.line());
        let tab = |line: &str| line.trim_start_matches(' ').starts_with('\t');
        let hint = text.lines().nth(line.saturating_sub(1)).is_some_and(tab);
        let tab = hint.then_some("the line is indented with a tab; YAML allows spaces only");
        let (what, hint) = words::plain(&e.to_string(), text, line);
        (line as u64, format!("is not YAML: {what}"), tab.or(hint))
    })?;
    let merged = value.apply_merge();
    merged.map_err(|e| (0, words::merge(&e.to_string()), None))?;
    Ok(value)
}

/// The line on which `[` and `{` are nested too deep: the parser's time grows with the square of their depth.
fn too_deep(text: &str) -> Option<u64> {
    let mut depth = 0usize;
    for (number, line) in text.lines().enumerate() {
        let mut quote: Option<char> = None;
        let mut before = ' ';
        for c in line.chars() {
            match (quote, c) {
                (Some(open), c) if open == c && before != '\\' => quote = None,
                (Some(_), _) => {}
                // Quotes begin a value, or are characters inside one.
                (None, '"' | '\'') if " [{,:-".contains(before) => quote = Some(c),
                (None, '#') if before == ' ' => break,
                (None, '[' | '{') => depth += 1,
                (None, ']' | '}') => depth = depth.saturating_sub(1),
                _ => {}
            }
            before = c;
        }
        if depth > limits::JOB_DEPTH_MAX {
            return Some(number as u64 + 1);
        }
    }
    None
}

/// Reads a value while the budget lasts: an alias counts as much as what it stands for.
struct Budget(Cell<usize>);

impl Budget {
    fn take<E: serde::de::Error>(&self, bytes: usize) -> Result<(), E> {
        // Each value has some size, however short it is.
        match self.0.get().checked_sub(bytes + 32) {
            Some(left) => {
                self.0.set(left);
                Ok(())
            }
            None => Err(E::custom("its aliases expand to more than a job may have")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for &Budget {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &Budget {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a map")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        self.take(0)?;
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        self.take(0)?;
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.take(0)?;
        Ok(Value::Number(value.into()))
    }

    // Longer numbers stay as written: names may look like them.
    fn visit_i128<E: serde::de::Error>(self, value: i128) -> Result<Value, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<Value, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        self.take(0)?;
        Ok(Value::Number(value.into()))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.take(value.len())?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        self.take(0)?;
        Ok(Value::Null)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.take(0)?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Sequence(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.take(0)?;
        let mut map = Mapping::new();
        while let Some(key) = entries.next_key_seed(self)? {
            if map.contains_key(&key) {
                let key = key.as_str().unwrap_or("the same");
                return Err(A::Error::custom(format!("the key `{key}` appears twice")));
            }
            let value = entries.next_value_seed(self)?;
            map.insert(key, value);
        }
        Ok(Value::Mapping(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn merge_keys_are_merged() {
        let value = read("base: &base {a: 1, b: 2}\nmore: {<<: *base, b: 3}\n").unwrap();
        assert_eq!(value["more"]["a"], 1);
        assert_eq!(value["more"]["b"], 3);
        let (_, what, _) = read("more: {<<: 7}").unwrap_err();
        assert!(what.contains("`<<` takes a map"), "{what}");
    }

    #[test]
    fn a_tab_is_called_a_tab() {
        let (line, _, hint) = read("source:\n\tfaiss: {path: x}\n").unwrap_err();
        assert_eq!(line, 2);
        assert!(hint.unwrap().contains("tab"));
    }

    #[test]
    fn keys_that_are_there_twice_are_named() {
        let (_, what, _) = read("run: {batch: 1, batch: 2}").unwrap_err();
        assert!(what.contains("`batch` appears twice"), "{what}");
    }

    #[test]
    fn nests_and_bombs_end_soon() {
        let started = Instant::now();
        for open in ["[", "{a: ", "['x', ", "- [", "[ ']', "] {
            let (_, what, _) = read(&open.repeat(40_000)).unwrap_err();
            assert!(what.contains("deep") || what.contains("not YAML"), "{what}");
        }
        let deep = format!("a: {}{}", "[".repeat(60), "]".repeat(60));
        assert!(read(&deep).is_ok());
        let mut bomb = format!("a0: &a0 '{}'\n", "x".repeat(30_000));
        for level in 1..12 {
            let aliases = format!("*a{}, ", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        let (_, what, _) = read(&bomb).unwrap_err();
        assert!(what.contains("expand"), "{what}");
        let mut flat = format!("a: &a '{}'\nb: [", "x".repeat(1 << 20));
        flat.push_str(&"*a, ".repeat(500_000));
        flat.push(']');
        let (_, what, _) = read(&flat).unwrap_err();
        assert!(what.contains("expand"), "{what}");
        // Far from the minutes that they once took, on any machine.
        assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
    }
}
