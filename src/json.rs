//! What is under the keys of a JSON object? Takes texts apart and joins them, but never reformats them: numbers of any
//! length, escapes and white space stay as they are.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object, in its order.
struct Members<'t>(Vec<(String, &'t RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reading;
        impl<'de> Visitor<'de> for Reading {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Reading)
    }
}

/// The text at a path into an object; `None`: there is nothing, or it is no object. The last of repeated keys counts.
pub fn get<'t>(text: &'t str, path: &[String]) -> Option<&'t str> {
    let mut text = text;
    for name in path {
        let Members(members) = serde_json::from_str(text).ok()?;
        let (_, value) = members.into_iter().rfind(|(key, _)| key == name)?;
        text = value.get();
    }
    Some(text)
}

/// Whether a text is JSON, of any kind.
pub fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// An object without some keys, and with other members appended, whose values are JSON; a sentence if it is no object.
pub fn changed(
    text: &str,
    without: &[String],
    with: &[(String, String)],
) -> Result<String, String> {
    let members: Members = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let kept = members.0.iter();
    let kept = kept.filter(|(key, _)| !without.contains(key));
    let kept = kept.map(|(key, value)| (key, value.get()));
    let all = kept.chain(with.iter().map(|(key, value)| (key, &**value)));
    let mut out = String::with_capacity(text.len());
    out.push('{');
    for (number, (key, value)) in all.enumerate() {
        if number > 0 {
            out.push(',');
        }
        out.push_str(&quoted(key));
        out.push(':');
        out.push_str(value);
    }
    out.push('}');
    Ok(out)
}

/// A text as a JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> Vec<String> {
        path.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn values_are_found_as_they_are_written() {
        let text = r#"{"a": {"b": [1, 2.50]}, "a\"": 12345678901234567890123, "x": 1, "x": null}"#;
        assert_eq!(get(text, &path("a.b")), Some("[1, 2.50]"));
        assert_eq!(get(text, &path("a\"")), Some("12345678901234567890123"));
        assert_eq!(get(text, &path("x")), Some("null"));
        for none in ["b", "x.y", "a.b.c"] {
            assert_eq!(get(text, &path(none)), None, "{none}");
        }
        assert_eq!(get("[1]", &path("a")), None);
        assert_eq!(get("{", &path("a")), None);
        assert!(is_json(" [1] ") && !is_json("{") && !is_json("x"));
    }

    #[test]
    fn members_go_and_come_and_the_rest_stays() {
        let text = "{\"a\":1e400, \"\\u00fc\": [ 1 ], \"b\": {}}";
        let with = [("n\"".to_owned(), "\"v\"".to_owned())];
        assert_eq!(
            changed(text, &path("b"), &with).unwrap(),
            "{\"a\":1e400,\"ü\":[ 1 ],\"n\\\"\":\"v\"}"
        );
        assert_eq!(changed("{}", &[], &[]).unwrap(), "{}");
        assert!(changed("[]", &[], &[]).is_err());
    }
}
