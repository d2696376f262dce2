//! Was a JSON text altered after it was written? Its last line holds the CRC-32 of everything before it.

use serde_json::Value;

/// What separates the text from its checksum.
const KEY: &str = ",\n  \"sum\": \"";
const END: &str = "\"\n}\n";

/// A JSON object as text, with its checksum.
pub fn sealed(map: &Value) -> String {
    let text = format!("{map:#}");
    let body = text.strip_suffix("\n}").unwrap_or(&text);
    format!("{body}{KEY}{:08x}{END}", sum(body))
}

/// The JSON object, and its checksum if it has one: files of the first version have none.
pub fn unsealed(text: &str) -> Result<(Value, Option<u32>), String> {
    let map: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    if map.get("sum").is_none() {
        return Ok((map, None));
    }
    let said = text
        .strip_suffix(END)
        .and_then(|text| text.rsplit_once(KEY));
    let whole = said.and_then(|(body, said)| {
        let found = sum(body);
        (format!("{found:08x}") == said).then_some(found)
    });
    match whole {
        Some(sum) => Ok((map, Some(sum))),
        None => Err("it was altered: its checksum differs".to_owned()),
    }
}

fn sum(body: &str) -> u32 {
    crc32fast::hash(body.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_byte_that_changes_is_noticed() {
        let text = sealed(
            &serde_json::json!({"version": 2, "name": "a \"sum\"", "list": [1, {"b": null}]}),
        );
        let (map, sum) = unsealed(&text).unwrap();
        assert_eq!((&map["version"], sum.is_some()), (&Value::from(2), true));
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut odd = text.clone().into_bytes();
                odd[at] ^= 1 << bit;
                let Ok(odd) = String::from_utf8(odd) else {
                    continue;
                };
                let read = unsealed(&odd);
                // If its own name is damaged, the text appears to have no checksum: but its version requires one.
                let is_noticed = read.as_ref().map_or(true, |(_, sum)| sum.is_none());
                assert!(is_noticed, "byte {at} bit {bit}: {odd}");
            }
            assert!(unsealed(&text[..at]).is_err(), "{at} bytes");
        }
    }
}
