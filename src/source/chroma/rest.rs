//! What becomes of a row's metadata, document and URI? One JSON object, in which each value is as it was written;
//! metadata is in key order.

use crate::json::quoted;
use crate::source::documents::{Read, Scan};

/// The names of documents and URIs among metadata.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Names {
    document: String,
    uri: String,
}

impl Names {
    /// These names; `None` if they are the same.
    pub fn new(document: String, uri: String) -> Option<Names> {
        (document != uri).then_some(Names { document, uri })
    }

    /// An object of these, each as JSON: `null` if there is none.
    pub fn join(&self, metadata: &str, document: &str, uri: &str) -> Read<String> {
        let mut out = String::with_capacity(metadata.len() + document.len() + uri.len() + 32);
        out.push('{');
        let both = [(&self.document, document), (&self.uri, uri)];
        for (name, value) in &both {
            if *value != "null" {
                add(&mut out, &quoted(name), value);
            }
        }
        if metadata != "null" {
            let mut members = Vec::new();
            Scan::new(metadata).members(|key, raw, scan| {
                let taken = (both.iter()).find(|(name, value)| *name == key && *value != "null");
                if let Some((name, _)) = taken {
                    return Err(format!(
                        "has metadata `{name}`, which is also the key for its {}",
                        match *name == &self.document {
                            true => "document",
                            false => "uri",
                        }
                    ));
                }
                members.push((raw, scan.value()?));
                Ok(())
            })?;
            // Servers return them in a different order each time.
            members.sort_unstable();
            for (name, value) in members {
                add(&mut out, name, value);
            }
        }
        out.push('}');
        Ok(out)
    }
}

fn add(out: &mut String, name: &str, value: &str) {
    if out.len() > 1 {
        out.push(',');
    }
    out.push_str(name);
    out.push(':');
    out.push_str(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_as_they_are_written_and_names_must_differ() {
        let names = Names::new("document".into(), "uri".into()).unwrap();
        for ([metadata, document, uri], expected) in [
            (["null", "null", "null"], "{}"),
            (["{}", "\"a\\n\"", "null"], r#"{"document":"a\n"}"#),
            (
                [r#"{"x": 1.50, "l": [ 1 ]}"#, "\"d\"", "\"u\""],
                r#"{"document":"d","uri":"u","l":[ 1 ],"x":1.50}"#,
            ),
            ([r#"{"document": 1}"#, "null", "null"], r#"{"document":1}"#),
        ] {
            assert_eq!(names.join(metadata, document, uri).unwrap(), expected);
        }
        let said = names.join(r#"{"uri": 1}"#, "null", "\"u\"").unwrap_err();
        assert!(said.contains("metadata `uri`"), "{said}");
        assert!(names.join("[1]", "null", "null").is_err());
        assert!(Names::new("a".into(), "a".into()).is_none());
    }
}
