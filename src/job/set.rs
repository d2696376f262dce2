//! What does the command line change in a job? `--set key.path=value`, applied before the job is read.

use std::str::FromStr;

use serde_yaml::{Mapping, Value};

use super::{Mistakes, yaml};
use crate::limits;

/// The value of a key path, from the command line.
#[derive(Clone, Debug)]
pub struct Set {
    key: String,
    value: Value,
}

impl FromStr for Set {
    type Err = String;

    fn from_str(text: &str) -> Result<Set, String> {
        let Some((key, value)) = text.split_once('=') else {
            return Err("is not KEY=VALUE, such as sink.milvus.mode=skip".to_owned());
        };
        let names = key.split('.').count();
        if names > limits::JOB_DEPTH_MAX || key.split('.').any(str::is_empty) {
            return Err(format!(
                "`{key}` is not a key path, such as sink.milvus.mode"
            ));
        }
        let value = match value {
            "" => Value::String(String::new()),
            value => yaml::read(value).map_err(|(_, what, _)| format!("the value {what}"))?,
        };
        Ok(Set {
            key: key.to_owned(),
            value,
        })
    }
}

impl Set {
    /// This value of this key path.
    pub fn of(key: &str, value: impl Into<Value>) -> Set {
        Set {
            key: key.to_owned(),
            value: value.into(),
        }
    }

    /// Whether a key path is this one or below it.
    pub fn covers(&self, key: &str) -> bool {
        let below = key.strip_prefix(self.key.as_str());
        below.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// The name directly below a key on the way to this one.
    pub fn below(&self, key: &str) -> Option<&str> {
        let rest = self.key.strip_prefix(key)?.strip_prefix('.')?;
        rest.split('.').next()
    }

    /// Whether it is below this key.
    pub fn is_below(&self, key: &str) -> bool {
        self.key.split('.').next() == Some(key)
    }

    /// Sets the value, creating maps on the way.
    pub fn put(&self, root: &mut Mapping, mistakes: &Mistakes) {
        let mut names: Vec<&str> = self.key.split('.').collect();
        let last = names.pop().unwrap_or_default();
        let mut map = root;
        let mut path = String::new();
        for name in names {
            path = format!("{path}{}{name}", if path.is_empty() { "" } else { "." });
            let entry = map.entry(name.into()).or_insert(Value::Null);
            if super::legacy::is_absent(entry) {
                *entry = Value::Mapping(Mapping::new());
            }
            match entry {
                Value::Mapping(inner) => map = inner,
                _ => {
                    return mistakes.add(
                        &self.key,
                        format!("`{path}` is not a map of settings"),
                        None,
                    );
                }
            }
        }
        map.insert(last.into(), self.value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::super::Job;
    use super::*;
    use std::path::Path;

    fn job(text: &str, sets: &[&str]) -> Job {
        let sets: Vec<Set> = sets.iter().map(|set| set.parse().unwrap()).collect();
        Job::parse_with(Path::new("job.yaml"), text.to_owned(), &sets).unwrap()
    }

    const GENERAL: &str = "source: {faiss: {path: a}}\nsink:\n  milvus:\n    address: h:1\n";

    #[test]
    fn values_are_put_in_and_maps_are_made() {
        let job = job(
            GENERAL,
            &[
                "sink.milvus.collection=c=d",
                "sink.milvus.index={type: FLAT}",
                "run.batch=1MiB",
                "source.faiss.path=b",
            ],
        );
        job.check().unwrap();
        assert_eq!(job.sink.settings["collection"], "c=d");
        assert_eq!(job.sink.settings["index"]["type"], "FLAT");
        assert_eq!(job.run.batch_bytes, 1 << 20);
        assert_eq!(job.source.settings["path"], "b");
    }

    #[test]
    fn classic_jobs_take_their_own_keys_and_general_ones() {
        let text = "F2M: {data_path: a, dest_host: h, mode: skip}";
        let job = job(
            text,
            &[
                "F2M.data_path=b",
                "sink.milvus.mode=append",
                "run.verify=off",
            ],
        );
        job.check().unwrap();
        assert_eq!(job.source.settings["path"], "b");
        assert_eq!(job.sink.settings["mode"], "append");
        assert_eq!(job.run.verify.word(), "off");
    }

    #[test]
    fn mistakes_name_the_option() {
        let job = job(
            GENERAL,
            &["run.batch=huge", "rum.batch=1", "source.faiss.path.x=1"],
        );
        let said = job.check().unwrap_err().to_string();
        for part in [
            "--set: run.batch: `huge` is not a size",
            "--set: rum: unknown key (did you mean `run`?)",
            "--set: source.faiss.path.x: `source.faiss.path` is not a map of settings",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        for (set, part) in [
            (
                "source=abc",
                "--set: source: needs exactly one kind of source under it: found `abc`",
            ),
            (
                "source.faiss=abc",
                "--set: source.faiss: must be a map of settings, not `abc`",
            ),
            (
                "source.faiss=[1]",
                "--set: source.faiss: must be a map of settings, not a list",
            ),
            (
                "source.x=abc",
                "--set: source: needs exactly one kind of source under it: there are `faiss`, `x`",
            ),
            (
                "sink.hdf5.path=o.h5",
                "--set: sink: needs exactly one kind of sink under it",
            ),
            ("run=5", "--set: run: must be a map of settings, not `5`"),
            (
                "run.batch={a: 1}",
                "--set: run.batch: must be a single value, not a map",
            ),
        ] {
            let said = self::job(GENERAL, &[set]).check().unwrap_err().to_string();
            assert!(said.starts_with(part), "{part}: {said}");
        }
        // What the file says wrong stays the file's.
        let said = self::job("source: {}\nsink: {hdf5: 3}\n", &["run.batch=1MiB"]);
        let said = said.check().unwrap_err().to_string();
        for part in ["line 1: source: ", "line 2: sink.hdf5: must be a map"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        for (text, part) in [
            ("run.batch", "is not KEY=VALUE"),
            ("a..b=1", "not a key path"),
            ("=1", "not a key path"),
            ("a=[1", "is not YAML"),
        ] {
            let said = text.parse::<Set>().unwrap_err();
            assert!(said.contains(part), "{said}");
        }
    }
}
