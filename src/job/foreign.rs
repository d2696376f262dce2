//! Is this another tool's job, or one of ours with a misspelt key? Says so in a sentence.

use serde_yaml::{Mapping, Value};

use crate::error::{Error, Kind};

use super::CLASSIC;

/// What to say of a map that is no job of ours but looks like something known.
pub fn recognised(root: &Mapping) -> Option<Error> {
    if root.contains_key("dumper") || root.contains_key("loader") {
        return Some(migration(root));
    }
    let slip = |key: &&str| CLASSIC.iter().any(|c| c.eq_ignore_ascii_case(key));
    let key = root.keys().filter_map(Value::as_str).find(slip)?;
    if CLASSIC.contains(&key) {
        return None;
    }
    let meant = key.to_ascii_uppercase();
    Some(
        Error::new(Kind::Job, format!("unknown key `{key}`"))
            .hint(format!("did you mean `{meant}`?")),
    )
}

/// A job of milvus-migration, and what the same would be here as far as its settings tell.
fn migration(root: &Mapping) -> Error {
    let at = |path: &str| {
        let mut value = root.get(path.split('.').next()?)?;
        for name in path.split('.').skip(1) {
            value = value.get(name)?;
        }
        match value {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    };
    let mode = at("dumper.worker.workMode").unwrap_or_else(|| "?".to_owned());
    let or = |found: Option<String>, otherwise: &str| found.unwrap_or_else(|| otherwise.to_owned());
    let address = or(at("target.milvus2x.endpoint"), "HOST:19530");
    let collection = or(at("target.create.collection.name"), "NAME");
    let source = match mode.as_str() {
        "faiss" => {
            let file = or(at("source.local.faissFile"), "FILE");
            format!("faiss: {{path: {file}}}")
        }
        "milvus1x" => {
            let tables = or(at("source.local.tablesDir"), "DIRECTORY");
            let directory = tables.trim_end_matches('/').trim_end_matches("/tables");
            format!("milvus1: {{path: {directory}}}")
        }
        _ => {
            return Error::new(
                Kind::Job,
                format!("is a job of milvus-migration (workMode: {mode}), which this program does not run"),
            )
            .hint("`milvusdm formats` lists what is read and written here");
        }
    };
    Error::new(
        Kind::Job,
        format!("is a job of milvus-migration (workMode: {mode}), which this program does not run as it stands"),
    )
    .hint(format!(
        "the same here is: `source: {{{source}}}` and `sink: {{milvus: {{address: \"{address}\", collection: {collection}}}}}`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Option<String> {
        recognised(&serde_yaml::from_str(text).unwrap()).map(|e| e.to_string())
    }

    #[test]
    fn a_job_of_milvus_migration_is_told_what_the_same_is_here() {
        let text = "
dumper: {worker: {workMode: faiss, reader: {bufferSize: 1024}}}
loader: {worker: {limit: 2}}
source: {mode: local, local: {faissFile: ./testfiles/faiss/faiss_ivf_flat.index}}
target:
  create: {collection: {name: test1w, dim: 256, metricType: L2}}
  milvus2x: {endpoint: 'localhost:19530'}
";
        let said = said(text).unwrap();
        assert!(
            said.contains("milvus-migration (workMode: faiss)"),
            "{said}"
        );
        assert!(
            said.contains("faiss: {path: ./testfiles/faiss/faiss_ivf_flat.index}"),
            "{said}"
        );
        assert!(
            said.contains("address: \"localhost:19530\", collection: test1w"),
            "{said}"
        );
    }

    #[test]
    fn a_classic_key_in_other_letters_is_known() {
        assert!(
            said("f2m: {data_path: x}")
                .unwrap()
                .contains("did you mean `F2M`?")
        );
        assert_eq!(said("F2M: {data_path: x}"), None);
        assert_eq!(said("source: {}\nsink: {}"), None);
        let other = said("dumper: {worker: {workMode: elasticsearch}}").unwrap();
        assert!(other.contains("workMode: elasticsearch"), "{other}");
    }
}
