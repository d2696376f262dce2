//! Reads settings field by field, so that all mistakes of a job are found at once.
//! Touches nothing except the text it was given and the environment.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde_yaml::{Mapping, Value};

use super::place::{from_home, is_glob};
use super::settings::{self, Setting, Takes};
use super::words;

/// A mistake in a job: the key path it is about, what is wrong, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key path, such as `sink.milvus.metric`.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What would be right, if anything is known.
    pub hint: Option<String>,
    /// Keys that exclude each other, this one among them: any of them may be the one too many.
    pub rivals: Vec<String>,
}

/// Mistakes found so far, shared by all forms of a job.
#[derive(Clone, Default, Debug)]
pub struct Mistakes(Rc<RefCell<Vec<Mistake>>>);

impl Mistakes {
    /// Adds one.
    pub fn add(&self, key: impl Into<String>, what: impl Into<String>, hint: Option<String>) {
        self.0.borrow_mut().push(Mistake {
            key: key.into(),
            what: what.into(),
            hint,
            rivals: Vec::new(),
        });
    }

    /// All, in the order they were found.
    pub fn all(&self) -> Vec<Mistake> {
        self.0.borrow().clone()
    }
}

/// A map of settings. Each getter takes a key; keys that the map's list of settings does not have are mistakes when
/// it is done.
///
/// Getters return `None` for what is absent, null, `''`, or wrong; what is wrong is noted.
pub struct Form {
    path: String,
    map: Mapping,
    settings: &'static [Setting],
    mistakes: Mistakes,
    before: usize,
}

impl Form {
    /// A form over the map at this key path, which may hold these settings.
    pub fn new(
        path: impl Into<String>,
        map: Mapping,
        settings: &'static [Setting],
        mistakes: &Mistakes,
    ) -> Form {
        Form {
            path: path.into(),
            map,
            settings,
            mistakes: mistakes.clone(),
            before: mistakes.0.borrow().len(),
        }
    }

    /// The key path of this map.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Notes a mistake about a key of this map.
    pub fn mistake(&self, key: &str, what: impl Into<String>) {
        self.mistakes.add(self.key(key), what, None);
    }

    /// Notes a mistake and what would be right.
    pub fn mistake_hint(&self, key: &str, what: impl Into<String>, hint: impl Into<String>) {
        self.mistakes.add(self.key(key), what, Some(hint.into()));
    }

    /// Notes that exactly one of these keys has to be given, and which of them are. If just one is, its value is wrong
    /// and was noted by the getter that returned `None`.
    pub fn needs_one(&self, keys: &[&str]) {
        let is_given = |key: &&&str| match self.map.get(**key) {
            None | Some(Value::Null) => false,
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Sequence(items)) => !items.is_empty(),
            Some(_) => true,
        };
        let given: Vec<&str> = keys.iter().filter(is_given).copied().collect();
        if given.len() == 1 {
            return;
        }
        let (last, others) = keys.split_last().expect("there are keys to choose from");
        let mut what = format!("needs exactly one of {} and {last}", others.join(", "));
        if !given.is_empty() {
            what.push_str(&format!(": there are {}", given.join(", ")));
        }
        self.mistakes.0.borrow_mut().push(Mistake {
            key: self.key(given.last().unwrap_or(&keys[0])),
            what,
            hint: None,
            rivals: given.iter().map(|key| self.key(key)).collect(),
        });
    }

    /// The entry for a key in the list of settings.
    fn setting(&self, key: &str) -> Option<&'static Setting> {
        let found = settings::find(self.settings, key);
        debug_assert!(found.is_some(), "{} is in no list", self.key(key));
        found
    }

    /// The value as it stands; `None` for absent, null and `''`.
    pub fn value(&mut self, key: &'static str) -> Option<Value> {
        self.setting(key);
        match self.map.get(key) {
            None | Some(Value::Null) => None,
            Some(Value::String(s)) if s.is_empty() => None,
            Some(value) => Some(value.clone()),
        }
    }

    /// Whether the value is `''`, for keys where that differs from nothing.
    pub fn is_empty_text(&self, key: &str) -> bool {
        matches!(self.map.get(key), Some(Value::String(s)) if s.is_empty())
    }

    /// Whether the key is present, even if empty.
    pub fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// Text; numbers and booleans are taken as written. `${NAME}` is replaced from the environment.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        let value = self.value(key)?;
        self.scalar(key, &value)
    }

    /// Text that must be there.
    pub fn required(&mut self, key: &'static str, what: &str) -> Option<String> {
        let before = self.mistakes.0.borrow().len();
        let text = self.text(key);
        if text.is_none() && self.mistakes.0.borrow().len() == before {
            self.mistake(key, format!("is missing: {what}"));
        }
        text
    }

    /// A whole number between the setting's bounds.
    pub fn number(&mut self, key: &'static str) -> Option<u64> {
        let text = self.text(key)?;
        let bounds = self.setting(key).and_then(|s| s.takes.bounds());
        let (min, max) = bounds.unwrap_or((0, u64::MAX));
        match text.parse::<u64>() {
            Ok(n) if (min..=max).contains(&n) => Some(n),
            _ => {
                self.mistake(
                    key,
                    format!("`{text}` is not a whole number between {min} and {max}"),
                );
                None
            }
        }
    }

    /// A whole number between the setting's bounds, or `auto`, which is `None`.
    pub fn number_or_auto(&mut self, key: &'static str) -> Option<u64> {
        match self.value(key) {
            Some(Value::String(s)) if s == "auto" => None,
            _ => self.number(key),
        }
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        let text = self.text(key)?;
        match text.as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => {
                self.mistake(key, format!("`{text}` is neither true nor false"));
                None
            }
        }
    }

    /// One of the setting's words. A bare `off` or `no` of the YAML arrives as false, and is taken as `off`.
    pub fn choice(&mut self, key: &'static str) -> Option<&'static str> {
        let choices = self.setting(key).map_or(&[][..], |s| s.takes.words());
        let text = match self.value(key)? {
            Value::Bool(false) => "off".to_owned(),
            value => self.scalar(key, &value)?,
        };
        let found = choices.iter().find(|c| c.eq_ignore_ascii_case(&text));
        if found.is_none() {
            let hint = did_you_mean(&text, choices);
            let what = format!("`{text}` is not one of {}", choices.join(", "));
            self.mistakes.add(self.key(key), what, hint);
        }
        found.copied()
    }

    /// A size in bytes: `4MiB`, `512 KiB`, `1000000`.
    pub fn size(&mut self, key: &'static str) -> Option<u64> {
        let text = self.text(key)?;
        let size = parse_size(&text);
        if size.is_none() {
            self.mistake(
                key,
                format!("`{text}` is not a size such as 4MiB, 512KiB or 1000000"),
            );
        }
        size
    }

    /// A length of time: `10m`, `90s`, `1h30m`.
    pub fn duration(&mut self, key: &'static str) -> Option<Duration> {
        let text = self.text(key)?;
        let duration = parse_duration(&text);
        if duration.is_none() {
            self.mistake(
                key,
                format!("`{text}` is not a length of time such as 90s, 10m or 1h30m"),
            );
        }
        duration
    }

    /// A list of texts; a single text is a list of one.
    pub fn list(&mut self, key: &'static str) -> Option<Vec<String>> {
        match self.value(key)? {
            Value::Sequence(items) => {
                let texts = items.iter().map(|item| self.scalar(key, item));
                texts.collect::<Option<Vec<_>>>()
            }
            value => Some(vec![self.scalar(key, &value)?]),
        }
    }

    /// A map of settings within this one.
    pub fn form(&mut self, key: &'static str) -> Option<Form> {
        match self.value(key)? {
            Value::Mapping(map) => {
                let settings = self.setting(key).and_then(|s| s.takes.settings());
                let settings = settings.unwrap_or_default();
                Some(Form::new(self.key(key), map, settings, &self.mistakes))
            }
            other => {
                let found = words::found(&other);
                self.mistake(key, format!("must be a map of settings, not {found}"));
                None
            }
        }
    }

    /// The entries of a map whose keys are names of the operator's choice.
    pub fn entries(&mut self, key: &'static str) -> Vec<(String, Value)> {
        match self.value(key) {
            None => Vec::new(),
            Some(Value::Mapping(map)) => {
                let entries = map.into_iter().filter_map(|(name, value)| {
                    let name = self.scalar(key, &name)?;
                    Some((name, value))
                });
                entries.collect()
            }
            Some(other) => {
                self.mistake(key, format!("must be a map, not {}", words::found(&other)));
                Vec::new()
            }
        }
    }

    /// A form over a map somewhere under this one.
    pub fn inner(&self, key: &str, map: Mapping, settings: &'static [Setting]) -> Form {
        Form::new(self.key(key), map, settings, &self.mistakes)
    }

    /// A scalar of this form as text, with environment variables replaced.
    pub fn scalar(&self, key: &str, value: &Value) -> Option<String> {
        let text = match value {
            Value::String(s) => s.clone(),
            Value::Number(n) => n.to_string(),
            Value::Bool(b) => b.to_string(),
            other => {
                let found = words::found(other);
                self.mistake(key, format!("must be a single value, not {found}"));
                return None;
            }
        };
        let takes = self.setting(key).map(|s| &s.takes);
        let is_path = takes.is_some_and(Takes::is_path);
        let is_one = matches!(takes, Some(Takes::Path)) && key != "glob";
        let expanded = expand(&text).and_then(|text| match is_path {
            true => from_home(text),
            false => Ok(text),
        });
        match expanded {
            Ok(text) if is_one && is_glob(&text) => {
                self.mistake_hint(
                    key,
                    format!("`{text}` stands for several paths, but one is needed"),
                    "write it out: globs are for `path`, `paths` and `glob` of sources that read several files",
                );
                None
            }
            Ok(text) => Some(text),
            Err(what) => {
                self.mistake(key, what);
                None
            }
        }
    }

    /// Notes keys that are in no list as mistakes. True if this form has no mistakes.
    pub fn done(self) -> bool {
        let names: Vec<&str> = self.settings.iter().map(|setting| setting.name).collect();
        for key in self.map.keys() {
            let name = match key {
                Value::String(s) => s.clone(),
                Value::Number(n) => n.to_string(),
                Value::Bool(b) => b.to_string(),
                other => words::found(other),
            };
            if !names.contains(&name.as_str()) {
                let hint = did_you_mean(&name, &names).or_else(|| {
                    let mut known = names.clone();
                    known.sort_unstable();
                    (!known.is_empty()).then(|| format!("known here: {}", known.join(", ")))
                });
                self.mistakes.add(self.key(&name), "unknown key", hint);
            }
        }
        self.mistakes.0.borrow().len() == self.before
    }

    fn key(&self, key: &str) -> String {
        match (self.path.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (_, true) => self.path.clone(),
            _ => format!("{}.{key}", self.path),
        }
    }
}

/// The text with each `${NAME}` replaced from the environment.
pub fn expand(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let Some(len) = rest[start + 2..].find('}') else {
            return Err(format!("`{text}` has a ${{ without its }}"));
        };
        let name = &rest[start + 2..start + 2 + len];
        let value = std::env::var(name)
            .map_err(|_| format!("the environment variable {name} is not set"))?;
        out.push_str(&rest[..start]);
        out.push_str(&value);
        rest = &rest[start + 2 + len + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// The most similar of some words, if it is similar enough to have been meant.
pub fn did_you_mean(word: &str, choices: &[&str]) -> Option<String> {
    let word = word.to_lowercase();
    let near = choices
        .iter()
        .map(|c| (distance(&word, &c.to_lowercase()), c));
    let (d, choice) = near.min_by_key(|(d, _)| *d)?;
    (d <= word.len().max(3) / 3).then(|| format!("did you mean `{choice}`?"))
}

/// Levenshtein's distance, one row at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit: u64 = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return None,
    };
    number.checked_mul(unit)
}

fn parse_duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if let Ok(seconds) = rest.parse::<u32>() {
        return Some(Duration::from_secs(u64::from(seconds)));
    }
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u32 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            "d" => Duration::from_secs(86400),
            _ => return None,
        };
        total += unit.checked_mul(number)?;
        rest = rest[letters..].trim_start();
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: &[Setting] = &[
        Setting::text("address", "where the server is").required(),
        Setting::choice("mode", &["skip", "append", "overwrite"], "what exists"),
        Setting::number("shards", (1, 64), "shards"),
        Setting::choice("verify", &["off", "count"], "what is compared"),
    ];

    fn form(yaml: &str, mistakes: &Mistakes) -> Form {
        let map = serde_yaml::from_str(yaml).unwrap();
        Form::new("sink.milvus", map, SETTINGS, mistakes)
    }

    #[test]
    fn sizes_and_times() {
        assert_eq!(parse_size("4MiB"), Some(4 << 20));
        assert_eq!(parse_size("512 KB"), Some(512_000));
        assert_eq!(parse_size("4 parsecs"), None);
        assert_eq!(parse_size("99999999999999999999"), None);
        assert_eq!(parse_duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(parse_duration("90"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("m"), None);
        assert_eq!(parse_duration("10 fortnights"), None);
    }

    #[test]
    fn all_mistakes_are_found_at_once_each_with_its_key() {
        let mistakes = Mistakes::default();
        let mut form = form("{adress: x, mode: apend, shards: 0}", &mistakes);
        form.required("address", "where the server is");
        form.choice("mode");
        form.number("shards");
        assert!(!form.done());
        let said: Vec<String> = mistakes
            .all()
            .iter()
            .map(|m| {
                format!(
                    "{}: {} {}",
                    m.key,
                    m.what,
                    m.hint.clone().unwrap_or_default()
                )
            })
            .collect();
        assert_eq!(
            said,
            [
                "sink.milvus.address: is missing: where the server is ",
                "sink.milvus.mode: `apend` is not one of skip, append, overwrite did you mean `append`?",
                "sink.milvus.shards: `0` is not a whole number between 1 and 64 ",
                "sink.milvus.adress: unknown key did you mean `address`?",
            ]
        );
    }

    #[test]
    fn the_environment_is_put_in_and_missing_names_are_mistakes() {
        assert_eq!(
            expand("a${PATH_THAT_IS_NOT_SET}").unwrap_err(),
            "the environment variable PATH_THAT_IS_NOT_SET is not set"
        );
        assert_eq!(expand("no variables $ {").unwrap(), "no variables $ {");
        let path = std::env::var("PATH").unwrap();
        assert_eq!(expand("${PATH}!").unwrap(), format!("{path}!"));
    }

    #[test]
    fn a_bare_off_is_the_word_off() {
        let mistakes = Mistakes::default();
        let mut form = form("verify: false", &mistakes);
        assert_eq!(form.choice("verify"), Some("off"));
        assert!(form.done());
    }
}
