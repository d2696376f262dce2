//! Is this another tool's job, or one of ours with a misspelt key? Says so in a sentence.

use serde_yaml::{Mapping, Value};

use crate::error::{Error, Kind};

use super::CLASSIC;

/// The error about a map that is not a job of ours but looks like something known.
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

/// Translates a job of milvus-migration that copies a running Milvus, with notes on what has no meaning here. `None`:
/// it is not one.
pub fn living(root: &Mapping) -> Option<(Mapping, Vec<String>)> {
    if text(root, "dumper.worker.workmode")? != "milvus2x" {
        return None;
    }
    let mut notes = Vec::new();
    for key in [
        "dumper.worker.limit",
        "dumper.worker.reader.buffersize",
        "dumper.worker.writer.buffersize",
        "loader.worker.limit",
        "source.milvus2x.grpc",
        "target.milvus2x.grpc",
    ] {
        if at(root, key).is_some() {
            notes.push(format!(
                "`{key}` of milvus-migration is not needed here, and is ignored"
            ));
        }
    }
    let server = |side: &str| {
        let mut map = Mapping::new();
        let said = |key: &str| text(root, &format!("{side}.milvus2x.{key}"));
        let mut put = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                map.insert(key.into(), value.into());
            }
        };
        put("address", said("endpoint"));
        // One without the other is not a login for milvus-migration.
        if let (Some(user), Some(password)) = (said("username"), said("password")) {
            put("user", Some(user));
            put("password", Some(password));
        }
        put("db", said("database"));
        map
    };
    let (mut source, mut sink) = (server("source"), server("target"));
    let collection = text(root, "meta.collection");
    // It copies one collection. If neither the file nor the command line names one, it finds none.
    let one = collection.clone().unwrap_or_default();
    source.insert("collections".into(), Value::Sequence(vec![one.into()]));
    if text(root, "meta.milvus.closedynamicfield").as_deref() == Some("true") {
        source.insert("dynamic".into(), false.into());
    }
    if let Some(Value::Sequence(fields)) = at(root, "meta.fields") {
        let name = |field: &Value| text(field.as_mapping()?, "name").map(Value::String);
        // The source reports a missing name.
        let names = fields.iter().map(|field| name(field).unwrap_or_default());
        source.insert("columns".into(), Value::Sequence(names.collect()));
    }
    let into = text(root, "meta.milvus.collection").or(collection);
    let mut general = Mapping::new();
    let mut into_map = Mapping::new();
    if let Some(name) = into {
        into_map.insert("collection".into(), name.into());
    }
    if let Some(shards) = text(root, "meta.milvus.shardnum").filter(|n| n != "0") {
        sink.insert("shards".into(), shards.into());
    }
    if let Some(level) = text(root, "meta.milvus.consistencylevel") {
        sink.insert("consistency".into(), level.into());
    }
    if let Some(auto_id) = text(root, "meta.milvus.autoid") {
        sink.insert("auto_id".into(), auto_id.into());
    }
    let mut run = Mapping::new();
    if text(root, "target.milvus2x.writemode").as_deref() == Some("upsert") {
        run.insert("existing".into(), "upsert".into());
    }
    let under = |name: &str, map: Mapping| {
        let mut outer = Mapping::new();
        outer.insert(name.into(), map.into());
        Value::Mapping(outer)
    };
    general.insert("source".into(), under("milvus", source));
    general.insert("sink".into(), under("milvus", sink));
    general.insert("into".into(), into_map.into());
    general.insert("run".into(), run.into());
    Some((general, notes))
}

/// The same for a job of milvus-migration that reads Elasticsearch.
pub fn searched(root: &Mapping) -> Option<(Mapping, Vec<String>)> {
    if text(root, "dumper.worker.workmode")? != "elasticsearch" {
        return None;
    }
    let unused = [
        "dumper.worker.limit",
        "dumper.worker.writer.buffersize",
        "loader.worker.limit",
        "meta.version",
        "meta.milvus.closedynamicfield",
        "target.mode",
        "target.local",
        "target.remote",
        "target.create",
        "target.milvus2x.grpc",
        "target.milvus2x.writemode",
    ];
    let unused = unused.iter().filter(|key| at(root, key).is_some());
    let notes = unused
        .map(|key| format!("`{key}` of milvus-migration is not needed here, and is ignored"))
        .collect();
    let (mut source, mut sink) = (Mapping::new(), Mapping::new());
    let put = |map: &mut Mapping, key: &str, value: Option<String>| {
        if let Some(value) = value {
            map.insert(key.into(), value.into());
        }
    };
    let es = |key: &str| text(root, &format!("source.es.{key}"));
    // There, an API key counts only with a cloud id, and a token replaces everything else.
    let cloud = es("cloudid");
    let mut tls = Mapping::new();
    match (&cloud, es("servicetoken")) {
        (Some(_), _) => {
            put(&mut source, "cloud_id", cloud.clone());
            put(&mut source, "api_key", es("apikey"));
        }
        (None, token) => {
            let urls = at(root, "source.es.urls").cloned().unwrap_or(Value::Null);
            source.insert("urls".into(), urls);
            if token.is_some() {
                put(&mut source, "service_token", token);
            } else {
                if let (Some(user), Some(password)) = (es("username"), es("password")) {
                    put(&mut source, "user", Some(user));
                    put(&mut source, "password", Some(password));
                }
                match es("cert") {
                    Some(cert) => put(&mut tls, "ca", Some(cert)),
                    None => put(&mut tls, "fingerprint", es("fingerprint")),
                }
            }
        }
    }
    if !tls.is_empty() {
        source.insert("tls".into(), tls.into());
    }
    put(&mut source, "index", text(root, "meta.index"));
    put(
        &mut source,
        "page",
        text(root, "dumper.worker.reader.buffersize"),
    );
    put(&mut sink, "address", text(root, "target.milvus2x.endpoint"));
    let login = |key: &str| text(root, &format!("target.milvus2x.{key}"));
    if let (Some(user), Some(password)) = (login("username"), login("password")) {
        put(&mut sink, "user", Some(user));
        put(&mut sink, "password", Some(password));
    }
    put(&mut sink, "db", login("database"));
    let shards = text(root, "meta.milvus.shardnum").filter(|n| n != "0");
    put(
        &mut sink,
        "shards",
        Some(shards.unwrap_or_else(|| "2".to_owned())),
    );
    put(
        &mut sink,
        "consistency",
        text(root, "meta.milvus.consistencylevel"),
    );
    let mut into = Mapping::new();
    let name = text(root, "meta.milvus.collection").or_else(|| text(root, "meta.index"));
    put(&mut into, "collection", name);
    let mut general = Mapping::new();
    let under = |name: &str, map: Mapping| {
        let mut outer = Mapping::new();
        outer.insert(name.into(), map.into());
        Value::Mapping(outer)
    };
    general.insert("source".into(), under("elasticsearch", source));
    general.insert("sink".into(), under("milvus", sink));
    general.insert("into".into(), into.into());
    general.insert("fields".into(), listed(root).into());
    Some((general, notes))
}

/// The fields that such a job lists, as `fields:`; all others stay behind.
fn listed(root: &Mapping) -> Mapping {
    let (mut fields, mut columns) = (Mapping::new(), Mapping::new());
    let list = match at(root, "meta.fields") {
        Some(Value::Sequence(list)) => list.as_slice(),
        _ => &[],
    };
    for field in list.iter().filter_map(Value::as_mapping) {
        let Some(name) = text(field, "name") else {
            continue;
        };
        let kind = text(field, "type").unwrap_or_default();
        let mut column = Mapping::new();
        let kind = match kind.as_str() {
            "long" => "int64",
            "integer" => "int32",
            "short" => "int16",
            "byte" => "int8",
            "boolean" => "bool",
            "double" => "double",
            "float" | "half_float" | "scaled_float" => "float",
            "object" => "json",
            "dense_vector" => "",
            _ => "varchar",
        };
        if !kind.is_empty() {
            column.insert("type".into(), kind.into());
        }
        if kind == "varchar" {
            let longest = text(field, "maxlen").unwrap_or_else(|| "65535".to_owned());
            column.insert("max_length".into(), longest.into());
        }
        if text(field, "pk").as_deref() == Some("true") {
            column.insert("name".into(), name.as_str().into());
            column.insert("from".into(), name.as_str().into());
            fields.insert("id".into(), column.into());
        } else if name != "_id" {
            columns.insert(name.as_str().into(), column.into());
        }
    }
    fields.insert("columns".into(), columns.into());
    fields.insert("rest".into(), "drop".into());
    fields
}

/// The value at a path, ignoring the case of keys.
fn at<'m>(root: &'m Mapping, path: &str) -> Option<&'m Value> {
    let mut map = Some(root);
    let mut found = None;
    for name in path.split('.') {
        let said = |key: &Value| {
            key.as_str()
                .is_some_and(|key| key.eq_ignore_ascii_case(name))
        };
        found = map?
            .iter()
            .find(|(key, _)| said(key))
            .map(|(_, value)| value);
        map = found?.as_mapping();
    }
    found.filter(|value| !value.is_null())
}

fn text(root: &Mapping, path: &str) -> Option<String> {
    match at(root, path)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// The error about a job of milvus-migration, with the equivalent job as far as its settings tell.
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
        format!("is a job of milvus-migration (workMode: {mode}), which this program does not run unchanged"),
    )
    .hint(format!(
        "the equivalent here is: `source: {{{source}}}` and `sink: {{milvus: {{address: \"{address}\", collection: {collection}}}}}`"
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
    fn a_job_that_copies_a_running_milvus_is_said_in_our_words() {
        let text = "
dumper: {worker: {limit: 2, workMode: milvus2x, reader: {bufferSize: 500}}}
meta:
  mode: config
  collection: old
  fields: [{name: id}, {Name: vec}]
  milvus: {collection: new, closeDynamicField: true, shardNum: 2, consistencyLevel: Bounded, autoId: \"false\"}
source: {milvus2x: {endpoint: 'a:1', username: u, password: p, database: db1}}
target: {milvus2x: {endpoint: 'b:1', username: u, writeMode: upsert}}
";
        let (job, notes) = living(&serde_yaml::from_str(text).unwrap()).unwrap();
        let expected = "
source: {milvus: {address: 'a:1', user: u, password: p, db: db1, collections: [old], dynamic: false, columns: [id, vec]}}
sink: {milvus: {address: 'b:1', shards: \"2\", consistency: Bounded, auto_id: \"false\"}}
into: {collection: new}
run: {existing: upsert}
";
        assert_eq!(job, serde_yaml::from_str::<Mapping>(expected).unwrap());
        assert_eq!(notes.len(), 2, "{notes:?}");
        let other = "dumper: {worker: {workMode: elasticsearch}}";
        assert!(living(&serde_yaml::from_str(other).unwrap()).is_none());
    }

    #[test]
    fn a_job_that_reads_an_elasticsearch_is_said_in_our_words() {
        let text = "
dumper: {worker: {workMode: elasticsearch, reader: {bufferSize: 2500}}}
meta:
  mode: config
  index: old
  fields:
    - {name: id, pk: true, type: long}
    - {name: data, type: dense_vector, dims: 512}
    - {name: other, maxLen: 60, type: keyword}
  milvus: {collection: new, shardNum: 2, closeDynamicField: false}
source: {es: {urls: ['http://a:9200'], username: u, password: p}}
target:
  mode: remote
  remote: {bucket: b}
  milvus2x: {endpoint: 'b:1', username: u, password: p}
";
        let (job, notes) = searched(&serde_yaml::from_str(text).unwrap()).unwrap();
        let expected = "
source: {elasticsearch: {urls: ['http://a:9200'], user: u, password: p, index: old, page: \"2500\"}}
sink: {milvus: {address: 'b:1', user: u, password: p, shards: \"2\"}}
into: {collection: new}
fields:
  id: {type: int64, name: id, from: id}
  columns: {data: {}, other: {type: varchar, max_length: \"60\"}}
  rest: drop
";
        assert_eq!(job, serde_yaml::from_str::<Mapping>(expected).unwrap());
        assert_eq!(notes.len(), 3, "{notes:?}");
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
