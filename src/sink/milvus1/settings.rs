//! What can a job configure for a Milvus 1.x sink? Reads `sink.milvus1`, noting every mistake; or takes over the
//! settings of a `milvus` sink whose server turns out to be a 1.x one. Opens nothing.

use tracing::warn;

use crate::call;
use crate::error::{Error, Kind, Result};
use crate::job::{self, Form, Mode, Setting};
use crate::milvus::{self, Login};
use crate::schema::Metric;
use crate::sink::milvus::settings::{self as v2, IndexWanted};

/// The settings.
pub const SETTINGS: &[Setting] = &[
    Setting::text("address", "where the server is: host:port")
        .required()
        .example("\"127.0.0.1:19530\""),
    v2::COLLECTION,
    v2::PARTITION,
    v2::MODE,
    Setting::choice(
        "metric",
        &job::METRICS,
        "how distances are measured; left out: as in the source, else L2",
    )
    .example("L2"),
    Setting::number(
        "index_file_size",
        v2::INDEX_FILE_SIZES,
        "megabytes of a segment before it is indexed",
    )
    .or("1024"),
    v2::AUTO_ID,
    v2::INDEX,
    v2::LOAD,
];

/// Megabytes of a segment before it is indexed, by default: the default of Milvus.
const INDEX_FILE_SIZE: u64 = 1024;

/// `sink.milvus1` of a job.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Scheme, host and port.
    pub address: String,
    /// The collection, if the job names one.
    pub collection: Option<String>,
    /// The partition, if the job names one.
    pub partition: Option<String>,
    /// What to do with what exists.
    pub mode: Mode,
    /// The metric, if the job names one.
    pub metric: Option<Metric>,
    /// Megabytes of a segment before it is indexed.
    pub index_file_size: u64,
    /// Whether the server generates the ids.
    pub auto_id: bool,
    /// The index to create.
    pub index: IndexWanted,
    /// Whether to load at the end.
    pub load: bool,
}

impl Settings {
    /// Reads them; `None` when there are mistakes.
    pub fn read(form: &mut Form) -> Option<Settings> {
        let address = form.required("address", "where the server is");
        let settings = Settings {
            address: String::new(),
            collection: form.text("collection"),
            partition: form.text("partition"),
            mode: form
                .choice("mode")
                .and_then(Mode::of)
                .unwrap_or(Mode::Append),
            metric: job::read_metric(form),
            index_file_size: form.number("index_file_size").unwrap_or(INDEX_FILE_SIZE),
            auto_id: form.flag("auto_id").unwrap_or(false),
            index: v2::read_index(form),
            load: form.flag("load").unwrap_or(false),
        };
        let address = address?;
        if address.starts_with("https://") {
            form.mistake("address", "uses https://, but Milvus 1.x has no TLS");
            return None;
        }
        match call::address(&address, false, milvus::PORTS) {
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

    /// The settings of a `milvus` sink, for the 1.x server that was found there. Names of fields and numbers of shards
    /// have no meaning in 1.x, but settings that keep others out must not be ignored silently.
    pub fn taken_over(said: &v2::Settings, server: &str) -> Result<Settings> {
        let lacks = [
            (said.address.starts_with("https://"), "TLS", "https://"),
            (said.tls.is_some(), "TLS", "`tls`"),
            (
                matches!(said.login, Login::User(..)),
                "logins",
                "`user` and `password`",
            ),
            (matches!(said.login, Login::Token(_)), "logins", "`token`"),
            (
                !matches!(said.db.as_str(), "" | "default"),
                "databases",
                "`db`",
            ),
        ];
        if let Some((_, lack, key)) = lacks.iter().find(|(said, ..)| *said) {
            return Err(Error::new(
                Kind::Job,
                format!("the server is {server}, which has no {lack}: {key} has no meaning there"),
            )
            .hint(format!("is it the right server? If so, leave {key} out")));
        }
        if let Some(hint) = &said.version_hint
            && hint.trim_start_matches(['v', 'V']).starts_with('2')
        {
            warn!("the job expects Milvus {hint}, but the server is {server}");
        }
        Ok(Settings {
            address: said.address.clone(),
            collection: said.collection.clone(),
            partition: said.partition.clone(),
            mode: said.mode,
            metric: said.metric.clone(),
            index_file_size: said.index_file_size.unwrap_or(INDEX_FILE_SIZE),
            auto_id: said.auto_id,
            index: said.index.clone(),
            load: said.load,
        })
    }

    /// What the client needs.
    pub fn client(&self) -> milvus::Settings {
        milvus::Settings {
            address: self.address.clone(),
            login: Login::None,
            db: String::new(),
            tls: None,
            deadlines: milvus::Deadlines::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Mistakes;

    fn form(path: &str, yaml: &str, mistakes: &Mistakes) -> Form {
        let settings = match path {
            "sink.milvus" => v2::SETTINGS,
            _ => SETTINGS,
        };
        let map = serde_yaml::from_str(yaml).unwrap();
        Form::new(path, map, settings, mistakes)
    }

    #[test]
    fn the_settings_of_the_interface_are_read() {
        let mistakes = Mistakes::default();
        let yaml = "{address: '127.0.0.1:19530', collection: products, partition: '', mode: append, metric: L2,
                     index_file_size: 512}";
        let mut form = form("sink.milvus1", yaml, &mistakes);
        let settings = Settings::read(&mut form).unwrap();
        assert!(form.done());
        assert_eq!(settings.address, "http://127.0.0.1:19530");
        assert_eq!((settings.index_file_size, settings.partition), (512, None));
    }

    #[test]
    fn what_1x_does_not_have_is_a_mistake_or_refused() {
        let mistakes = Mistakes::default();
        let yaml = "{address: 'https://h:1', user: root, password: pw}";
        let mut own = form("sink.milvus1", yaml, &mistakes);
        assert!(Settings::read(&mut own).is_none());
        own.done();
        let keys: Vec<String> = mistakes.all().into_iter().map(|m| m.key).collect();
        let expected = ["address", "user", "password"].map(|k| format!("sink.milvus1.{k}"));
        assert_eq!(keys, expected);

        let taken = |yaml: &str| {
            let said = v2::Settings::read(&mut form("sink.milvus", yaml, &Mistakes::default()));
            Settings::taken_over(&said.unwrap(), "Milvus 1.1.1")
        };
        for (yaml, lack) in [
            ("{address: 'https://h:1'}", "https://"),
            ("{address: 'h:1', user: root, password: pw}", "`user`"),
            ("{address: 'h:1', token: t}", "`token`"),
            ("{address: 'h:1', db: other}", "`db`"),
        ] {
            let error = taken(yaml).unwrap_err();
            assert!(
                error.kind() == Kind::Job && error.what().contains(lack),
                "{error}"
            );
        }
        let taken = taken(
            "{address: 'h:1', db: default, shards: 2, index_file_size: 2048, version_hint: 2.0}",
        );
        assert_eq!(taken.unwrap().index_file_size, 2048);
    }
}
