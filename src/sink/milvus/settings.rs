//! What can a job configure for a Milvus 2.x sink? Reads `sink.milvus`, noting every mistake.
//! Opens nothing: certificates are read when the sink is opened.

use serde_yaml::Value;

use crate::call::{self, TlsFiles};
use crate::error::Result;
use crate::job::{self, Form, Mode, Setting, Takes};
use crate::milvus::access;
use crate::milvus::{self, Login};
use crate::schema::{Consistency, Index, Metric};

use super::bulk::{BULK, BulkSettings};
use super::fit;
use super::foresee::swapped;

/// The settings.
pub const SETTINGS: &[Setting] = &[
    access::ADDRESS,
    access::USER,
    access::PASSWORD,
    access::TOKEN,
    access::DB,
    call::TLS,
    COLLECTION,
    PARTITION,
    MODE,
    Setting::choice(
        "metric",
        &job::METRICS,
        "how distances are measured; kept with the index",
    )
    .example("L2"),
    Setting::number("shards", (1, 1024), "shards of a new collection; left out: as in the source, else 1"),
    AUTO_ID,
    Setting::choice(
        "consistency",
        &["Strong", "Session", "Bounded", "Eventually", "Customized"],
        "default consistency level of a new collection; left out: as in the source, else Strong",
    ),
    INDEX,
    LOAD,
    Setting::flag(
        "aliases",
        "true: once all rows are in, this collection takes over the aliases of the source's collection",
    ),
    Setting::number(
        "index_file_size",
        INDEX_FILE_SIZES,
        "for Milvus 1.x only; ignored",
    ),
    Setting::choice(
        "unsupported",
        &["fail", "drop"],
        "what to do with parts of the source's schema that the server lacks: functions, clustering keys, defaults, properties",
    )
    .or("fail"),
    Setting::map("bulk", BULK, "have the server import files, instead of inserting rows"),
    Setting::text(
        "version_hint",
        "the server version that the job expects; the server is asked anyway",
    ),
];

/// The collection.
pub const COLLECTION: Setting = Setting::text(
    "collection",
    "the collection; left out: the name in the source",
)
.example("my_collection");
/// The partition.
pub const PARTITION: Setting = Setting::text(
    "partition",
    "the partition; left out: the default one, or as in the source if the collection is left out too",
);
/// What to do with what exists.
pub const MODE: Setting =
    Setting::choice("mode", Mode::WORDS, "what to do with what exists").or("append");
/// Who generates ids.
pub const AUTO_ID: Setting = Setting::flag("auto_id", "true: the server generates new ids");
/// Which index to create.
pub const INDEX: Setting = Setting::new(
    "index",
    Takes::Any(&[Takes::Choice(&["source"]), Takes::Map(job::INDEX)]),
    "the index to create; source: the same as in the source; left out: none",
)
.example("{ type: HNSW, params: { M: 16, efConstruction: 200 } }");
/// Whether to load.
pub const LOAD: Setting = Setting::flag("load", "true: load the collection once all rows are in");
/// Megabytes of a segment of Milvus 1.x.
pub const INDEX_FILE_SIZES: (u64, u64) = (1, 131_072);
/// `sink.milvus` of a job.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Scheme, host and port.
    pub address: String,
    /// How to log in.
    pub login: Login,
    /// The database; empty: the default one.
    pub db: String,
    /// Certificates.
    pub tls: Option<TlsFiles>,
    /// The collection, if the job names one.
    pub collection: Option<String>,
    /// The partition, if the job names one.
    pub partition: Option<String>,
    /// What to do with what exists.
    pub mode: Mode,
    /// The metric, if the job names one.
    pub metric: Option<Metric>,
    /// Shards of a new collection.
    pub shards: Option<u32>,
    /// Whether the server generates the ids.
    pub auto_id: bool,
    /// The default consistency level of a new collection.
    pub consistency: Option<Consistency>,
    /// The index to create.
    pub index: IndexWanted,
    /// Whether to load at the end.
    pub load: bool,
    /// Whether the source's aliases are taken over.
    pub aliases: bool,
    /// For Milvus 1.x: megabytes of a segment before it is indexed.
    pub index_file_size: Option<u64>,
    /// Whether to leave out parts of the source's schema that the server lacks.
    pub drops_unsupported: bool,
    /// How rows get there as files, if the job wants that.
    pub bulk: Option<BulkSettings>,
    /// The version the job expects the server to have.
    pub version_hint: Option<String>,
}

/// Which index to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexWanted {
    /// None.
    None,
    /// The one the source had.
    Source,
    /// This one.
    This(Index),
}

impl Settings {
    /// Reads them; `None` when there are mistakes.
    pub fn read(form: &mut Form) -> Option<Settings> {
        let address = form.required("address", "where the server is");
        let tls = TlsFiles::in_form(form);
        let login = access::read_login(form);
        let with_tls = tls.is_some();
        let settings = Settings {
            address: String::new(),
            login,
            db: form.text("db").unwrap_or_default(),
            tls,
            collection: form.text("collection"),
            partition: form.text("partition"),
            mode: form
                .choice("mode")
                .and_then(Mode::of)
                .unwrap_or(Mode::Append),
            metric: job::read_metric(form),
            shards: form.number("shards").map(|n| n as u32),
            auto_id: form.flag("auto_id").unwrap_or(false),
            consistency: form.choice("consistency").and_then(Consistency::named),
            index: read_index(form),
            load: form.flag("load").unwrap_or(false),
            aliases: form.flag("aliases").unwrap_or(false),
            index_file_size: form.number("index_file_size"),
            drops_unsupported: form.choice("unsupported") == Some("drop"),
            bulk: form
                .form("bulk")
                .and_then(|bulk| BulkSettings::read(bulk, with_tls)),
            version_hint: form.text("version_hint"),
        };
        let names = [
            ("collection", &settings.collection, true),
            ("partition", &settings.partition, false),
        ];
        for (key, name, letter_first) in names {
            let Some(name) = name.as_deref().filter(|name| !name.is_empty()) else {
                continue;
            };
            if let Err(error) = fit::name(key, name, letter_first) {
                let hint = error.hint_text().unwrap_or_default();
                form.mistake_hint(key, error.what(), hint);
            }
        }
        match call::address(&address?, settings.tls.is_some(), milvus::PORTS) {
            Ok(address) => Some(Settings {
                address,
                ..settings
            }),
            Err(what) => {
                form.mistake("address", what);
                None
            }
        }
    }

    /// What the client needs, certificates read.
    pub fn client(&self) -> Result<milvus::Settings> {
        Ok(milvus::Settings {
            address: self.address.clone(),
            login: self.login.clone(),
            db: self.db.clone(),
            tls: self.tls.as_ref().map(TlsFiles::read).transpose()?,
            deadlines: milvus::Deadlines::default(),
        })
    }
}

/// The index to create.
pub fn read_index(form: &mut Form) -> IndexWanted {
    match form.value("index") {
        None => IndexWanted::None,
        Some(Value::String(word)) if word == "source" => IndexWanted::Source,
        Some(Value::Mapping(_)) => {
            let index = form.form("index").and_then(job::read_index);
            let kind = index.as_ref().map(|index| index.kind.as_str());
            if let Some((kind, meant)) = kind.and_then(|k| Some((k, swapped(k)?))) {
                let what = format!("`{kind}` is not a type of index in Milvus");
                form.mistake_hint("index.type", what, format!("did you mean `{meant}`?"));
            }
            index.map_or(IndexWanted::None, IndexWanted::This)
        }
        Some(_) => {
            form.mistake(
                "index",
                "expects a map {type: …, params: …} or the word `source`",
            );
            IndexWanted::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::job::Mistakes;

    fn read(yaml: &str) -> (Option<Settings>, Vec<String>) {
        let mistakes = Mistakes::default();
        let mut form = Form::new(
            "sink.milvus",
            serde_yaml::from_str(yaml).unwrap(),
            SETTINGS,
            &mistakes,
        );
        let settings = Settings::read(&mut form);
        form.done();
        let said = mistakes.all();
        let said = said.iter().map(|m| format!("{}: {}", m.key, m.what));
        (settings, said.collect())
    }

    #[test]
    fn the_settings_of_the_interface_are_read() {
        let (settings, said) = read(
            "{address: 'http://127.0.0.1:19530', user: root, password: pw, db: default,
              collection: products, partition: '', mode: append, metric: l2, shards: 2, auto_id: false,
              index: {type: hnsw, params: {M: 16, efConstruction: 200}}, load: true, index_file_size: 1024}",
        );
        assert_eq!(said, Vec::<String>::new());
        let settings = settings.unwrap();
        assert_eq!(settings.address, "http://127.0.0.1:19530");
        assert_eq!(settings.metric, Some(Metric::L2));
        assert_eq!(settings.partition, None);
        let IndexWanted::This(index) = &settings.index else {
            panic!("{:?}", settings.index)
        };
        assert_eq!(index.kind, "HNSW");
        assert_eq!(index.params[0], ("M".to_owned(), "16".to_owned()));
        assert!(!format!("{settings:?}").contains("pw"), "{settings:?}");
    }

    #[test]
    fn every_mistake_is_noted_with_its_key() {
        let (_, said) = read(
            "{address: 'http://h:1', tls: {cert: c}, user: root, mode: apend, metric: L7, index: HNSW, shard: 1}",
        );
        let keys: Vec<&str> = said.iter().map(|s| s.split(": ").next().unwrap()).collect();
        assert_eq!(
            keys,
            [
                "sink.milvus.tls.key",
                "sink.milvus.password",
                "sink.milvus.mode",
                "sink.milvus.metric",
                "sink.milvus.index",
                "sink.milvus.address",
                "sink.milvus.shard",
            ]
        );
    }

    #[test]
    fn a_missing_certificate_is_named_with_its_key() {
        let (settings, _) = read("{address: 'https://h:1', tls: {ca: /nowhere/ca.pem}}");
        let error = settings.unwrap().client().unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (
                Kind::Job,
                "/nowhere/ca.pem: sink.milvus.tls.ca: there is no such file"
            )
        );
    }
}
