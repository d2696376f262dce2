//! What do documents hold? The keys of a sample, their types, frequency and length, and the `columns:` that a job could
//! have for them.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;

use super::scan::{Read, Scan};
use crate::batch::{Limits, Shard};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::source::{Reader, Source};

/// How a shard is opened for [`sample`].
pub const SAMPLE: Limits = Limits {
    batch_bytes: u64::MAX,
    batch_rows: limits::PROFILE_DOCUMENTS as u64,
};

/// What the first rows of a shard hold besides vectors, in the format of a job.
pub fn profile(source: &dyn Source, shard: &Shard) -> Result<Vec<String>> {
    let mut reader = source.open(shard, shard.start.clone(), SAMPLE)?;
    Ok(sample(&mut *reader)?.lines())
}

/// Records what the first rows hold in their last column, the dynamic field.
pub fn sample(reader: &mut dyn Reader) -> Result<Profile> {
    let mut profile = Profile::default();
    let mut left = limits::PROFILE_DOCUMENTS;
    while left > 0
        && let Some(cut) = reader.next()?
    {
        for part in cut.parts {
            let rest = part.column(part.columns().all().len() - 1);
            for text in rest.as_string::<i32>().iter().flatten().take(left) {
                let noted = profile.note(text);
                noted.map_err(|what| Error::path(Kind::Refused, &part.file, what))?;
            }
            left = left.saturating_sub(part.len());
        }
    }
    Ok(profile)
}

/// What a sample of documents holds besides vectors.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    documents: u64,
    keys: BTreeMap<String, Seen>,
    /// Whether there are keys beyond those that are counted.
    others: bool,
}

/// What was seen under a key.
#[derive(Clone, Debug, Default)]
struct Seen {
    there: u64,
    values: Values,
    /// Elements of lists.
    lists: u64,
    longest_list: u64,
    listed: Values,
}

#[derive(Clone, Debug, Default)]
struct Values {
    bools: u64,
    whole: u64,
    numbers: u64,
    texts: u64,
    others: u64,
    longest_text: usize,
}

impl Values {
    fn note(&mut self, value: &str) -> Read<()> {
        match value.as_bytes().first() {
            Some(b't' | b'f') => self.bools += 1,
            Some(b'"') => {
                self.texts += 1;
                let text = Scan::new(value).string()?;
                self.longest_text = self.longest_text.max(text.len());
            }
            Some(b'-' | b'0'..=b'9') => match value.parse::<i64>() {
                Ok(_) => self.whole += 1,
                Err(_) => self.numbers += 1,
            },
            _ => self.others += 1,
        }
        Ok(())
    }

    /// The type that holds all of them.
    fn word(&self) -> Option<&'static str> {
        match (
            self.bools,
            self.whole,
            self.numbers,
            self.texts,
            self.others,
        ) {
            (1.., 0, 0, 0, 0) => Some("bool"),
            (0, 1.., 0, 0, 0) => Some("int64"),
            (0, _, 1.., 0, 0) => Some("double"),
            (0, 0, 0, 1.., 0) => Some("varchar"),
            _ => None,
        }
    }

    /// A length in bytes that leaves room for longer texts than those in the sample.
    fn max_length(&self) -> usize {
        let roomy = (self.longest_text * 2).next_power_of_two().max(64);
        roomy.min(limits::MILVUS_TEXT_BYTES_MAX)
    }
}

impl Profile {
    /// Records the contents of an object, which is a document without its vectors.
    pub fn note(&mut self, object: &str) -> Read<()> {
        self.documents += 1;
        Scan::new(object).members(|key, _, scan| {
            let value = scan.value()?;
            let is_known = self.keys.contains_key(key);
            if value == "null" || !is_known && self.keys.len() == limits::PROFILE_KEYS_MAX {
                self.others |= value != "null";
                return Ok(());
            }
            let seen = self.keys.entry(key.to_owned()).or_default();
            seen.there += 1;
            if !value.starts_with('[') {
                return seen.values.note(value);
            }
            seen.lists += 1;
            let mut length = 0;
            Scan::new(value).elements(|scan| {
                length += 1;
                seen.listed.note(scan.value()?)
            })?;
            seen.longest_list = seen.longest_list.max(length);
            Ok(())
        })
    }

    /// Lines of YAML: a `fields:` block with all keys of the sample, ready to be put into a job.
    pub fn lines(&self) -> Vec<String> {
        if self.keys.is_empty() {
            return Vec::new();
        }
        let mut lines = vec!["fields:".to_owned(), "  columns:".to_owned()];
        for (key, seen) in &self.keys {
            // A job cannot name such a key: its dot would lead into objects.
            if key.contains('.') || key.is_empty() {
                lines.push(format!(
                    "    # {} stays in the dynamic field",
                    crate::json::quoted(key)
                ));
                continue;
            }
            let name = name(key);
            let from = match name == *key {
                true => String::new(),
                false => format!("from: {}, ", crate::json::quoted(key)),
            };
            let (what, note) = seen.column();
            lines.push(format!(
                "    {name}: {{{from}{what}}}  # in {} of {} rows{note}",
                seen.there, self.documents
            ));
        }
        if self.others {
            lines.push(format!(
                "    # and keys beyond the first {}",
                limits::PROFILE_KEYS_MAX
            ));
        }
        lines
    }
}

impl Seen {
    /// The column that these values could have, and a remark about it.
    fn column(&self) -> (String, String) {
        let longest = |values: &Values| match values.texts {
            0 => String::new(),
            _ => format!(", texts of up to {} bytes", values.longest_text),
        };
        let alone = self.there - self.lists;
        if self.lists > 0
            && alone == 0
            && let Some(word) = self.listed.word()
        {
            let capacity = (self.longest_list * 2).next_power_of_two().max(16);
            let capacity = capacity.min(limits::MILVUS_ARRAY_MAX as u64);
            let length = match word {
                "varchar" => format!(", max_length: {}", self.listed.max_length()),
                _ => String::new(),
            };
            let note = format!(
                ", lists of up to {}{}",
                self.longest_list,
                longest(&self.listed)
            );
            return (
                format!("type: array<{word}>, max_capacity: {capacity}{length}"),
                note,
            );
        }
        match self.values.word() {
            Some("varchar") if self.lists == 0 => (
                format!("type: varchar, max_length: {}", self.values.max_length()),
                longest(&self.values),
            ),
            Some(word) if self.lists == 0 => (format!("type: {word}"), String::new()),
            _ if self.lists > 0 && alone > 0 => (
                "type: json".to_owned(),
                format!(", {} of them lists", self.lists),
            ),
            _ => ("type: json".to_owned(), String::new()),
        }
    }
}

/// A name that Milvus accepts for a field.
fn name(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut name: String = key
        .chars()
        .map(|c| if plain(c) { c } else { '_' })
        .collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        name.insert(0, '_');
    }
    name
}
