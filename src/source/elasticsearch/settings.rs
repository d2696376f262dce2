//! Which settings does a job have for Elasticsearch or OpenSearch? Reads them, and reports every mistake.

use std::time::Duration;

use serde_json::Value as Json;
use serde_yaml::Value;

use crate::http::access::{self, TlsSettings};
use crate::http::{Header, base64};
use crate::job::{Form, Setting, Takes};
use crate::limits;
use crate::source::Spec;

/// The default port of servers.
const PORT: u16 = 9200;

/// The settings.
pub const SETTINGS: &[Setting] = &[
    Setting::texts(
        "urls",
        "where the server is, or several nodes of a cluster: http://host:port, or https:// for TLS",
    )
    .one_of()
    .example("\"http://127.0.0.1:9200\""),
    Setting::text("cloud_id", "where it is in Elastic's cloud, in place of urls").one_of(),
    Setting::texts("index", "index, alias or pattern such as logs-*, or several")
        .required()
        .example("products"),
    access::USER,
    access::PASSWORD,
    Setting::secret("api_key", "how to log in, in place of user: as the server prints it, or id:key")
        .example("\"${ELASTIC_API_KEY}\""),
    Setting::secret("service_token", "how to log in, in place of user: a service account's token"),
    access::HEADERS,
    access::TLS,
    Setting::new(
        "query",
        Takes::Any(&[Takes::Names(&Takes::Any(ANYTHING)), Takes::Text]),
        "a query in the server's language, as a map or as JSON: only documents that match it are migrated",
    )
    .example("{term: {lang: en}}"),
    Setting::texts(
        "columns",
        "fields that become columns of the type in their mapping: names or globs, with a trailing [] for lists",
    )
    .example("[price, \"tags[]\"]"),
    Setting::choice(
        "missing_vector",
        &["fail", "skip", "null"],
        "documents without their vector: refused, left out, or rows without one if the target supports them",
    )
    .or("fail"),
    Setting::duration("keep_alive", "how long the server keeps the state between two requests").or("5m"),
    Setting::number_or_auto(
        "page",
        (1, limits::SEARCH_PAGE_ROWS_MAX),
        "the most documents per request",
    ),
    Setting::number_or_auto("connections", (1, 64), "shards to read at a time").or("2"),
    Setting::number(
        "rows_per_s",
        (1, u64::MAX),
        "documents read a second, at most, to spare the server",
    ),
];

const ANYTHING: &[Takes] = &[
    Takes::Text,
    Takes::Texts,
    Takes::Names(&Takes::Any(&[
        Takes::Text,
        Takes::Texts,
        Takes::Names(&Takes::Any(&[
            Takes::Text,
            Takes::Texts,
            Takes::Names(&Takes::Text),
        ])),
    ])),
];

/// What becomes of documents that lack a vector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missing {
    /// They fail the job.
    Fail,
    /// They are skipped and counted.
    Skip,
    /// They become rows without one.
    Null,
}

/// The parsed settings.
#[derive(Clone, Debug)]
pub struct Settings {
    pub addresses: Vec<String>,
    pub headers: Vec<Header>,
    pub tls: TlsSettings,
    pub index: Vec<String>,
    pub query: Option<Json>,
    /// Fields that become columns; a trailing `[]` marks lists.
    pub columns: Vec<String>,
    pub missing: Missing,
    pub keep_alive: Duration,
    pub page: u64,
    pub connections: usize,
    pub rows_per_s: Option<u64>,
}

/// Reads them; `None` if there are mistakes.
pub fn read(form: &mut Form) -> Option<Box<dyn Spec>> {
    let addresses = addresses(form);
    let mut headers = access::read_headers(form);
    headers.extend(login(form));
    let index = form.list("index");
    if index.as_ref().is_none_or(Vec::is_empty) {
        form.mistake("index", "is missing: the index to read");
    }
    let settings = Settings {
        addresses: addresses?,
        headers,
        tls: access::read_tls(form),
        index: index?,
        query: query(form),
        columns: form.list("columns").unwrap_or_default(),
        missing: match form.choice("missing_vector") {
            Some("skip") => Missing::Skip,
            Some("null") => Missing::Null,
            _ => Missing::Fail,
        },
        keep_alive: form
            .duration("keep_alive")
            .unwrap_or(Duration::from_secs(300)),
        page: form
            .number_or_auto("page")
            .unwrap_or(limits::SEARCH_PAGE_ROWS_MAX),
        connections: form
            .number_or_auto("connections")
            .map_or(limits::CONNECTIONS_DEFAULT, |n| n as usize),
        rows_per_s: form.number("rows_per_s"),
    };
    (!settings.index.is_empty()).then(|| Box::new(settings) as Box<dyn Spec>)
}

fn addresses(form: &mut Form) -> Option<Vec<String>> {
    let (urls, cloud) = (form.list("urls"), form.text("cloud_id"));
    let urls = match (urls, cloud) {
        (Some(urls), None) if !urls.is_empty() => urls,
        (None, Some(cloud)) => match cloud_address(&cloud) {
            Some(address) => vec![address],
            None => {
                form.mistake("cloud_id", "does not have the form name:base64(host$id$id)");
                return None;
            }
        },
        (Some(_), Some(_)) => {
            form.mistake("cloud_id", "replaces urls: set only one of them");
            return None;
        }
        _ => {
            form.mistake("urls", "is missing: where the server is");
            return None;
        }
    };
    let mut all = Vec::new();
    for url in urls {
        match access::address(&url, PORT) {
            Ok(address) => all.push(address),
            Err(what) => {
                form.mistake("urls", what);
                return None;
            }
        }
    }
    Some(all)
}

/// `name:base64(host$elasticsearch$kibana)`, the host with or without a port.
fn cloud_address(id: &str) -> Option<String> {
    let (_, code) = id.rsplit_once(':')?;
    let mut bytes = Vec::new();
    let padded = format!("{code}{}", "=".repeat((4 - code.len() % 4) % 4));
    if !base64::decode(padded.as_bytes(), &mut bytes) {
        return None;
    }
    let text = String::from_utf8(bytes).ok()?;
    let mut parts = text.split('$');
    let (host, node) = (parts.next()?, parts.next().filter(|node| !node.is_empty())?);
    let (host, port) = host.split_once(':').unwrap_or((host, "443"));
    let (node, port) = node.split_once(':').unwrap_or((node, port));
    Some(format!("https://{node}.{host}:{port}"))
}

fn login(form: &mut Form) -> Option<Header> {
    let user = access::read_user(form);
    let (key, token) = (form.text("api_key"), form.text("service_token"));
    if [user.is_some(), key.is_some(), token.is_some()]
        .iter()
        .filter(|l| **l)
        .count()
        > 1
    {
        form.mistake(
            "",
            "accepts one login: user with password, api_key or service_token",
        );
        return None;
    }
    if let Some(key) = key {
        // The server prints both parts, and also the two in one.
        let key = match key.contains(':') {
            true => base64::encode(key.as_bytes()),
            false => key,
        };
        let header = Header::new("authorization", &format!("ApiKey {key}"));
        return access::noted(form, "api_key", header);
    }
    if let Some(token) = token {
        let header = Header::new("authorization", &format!("Bearer {token}"));
        return access::noted(form, "service_token", header);
    }
    user
}

fn query(form: &mut Form) -> Option<Json> {
    let value = form.value("query")?;
    let query: Option<Json> = match &value {
        Value::String(text) => serde_json::from_str(text).ok(),
        value => serde_json::to_value(value).ok(),
    };
    let query = query.filter(Json::is_object);
    if query.is_none() {
        form.mistake(
            "query",
            "cannot be read as a query: expected a map such as {term: {lang: en}}, or the same as JSON",
        );
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Mistakes;

    fn read_yaml(yaml: &str) -> (bool, Vec<String>) {
        let mistakes = Mistakes::default();
        let map = serde_yaml::from_str(yaml).unwrap();
        let mut form = Form::new("source.elasticsearch", map, SETTINGS, &mistakes);
        let found = read(&mut form).is_some();
        form.done();
        let said = mistakes
            .all()
            .into_iter()
            .map(|m| format!("{}: {}", m.key, m.what));
        (found, said.collect())
    }

    #[test]
    fn logins_of_all_kinds_are_read_one_at_a_time() {
        for yaml in [
            "{urls: [h], index: a}",
            "{urls: 'https://h:1', index: [a, b-*], user: u, password: p}",
            "{urls: h, index: a, api_key: 'id:key'}",
            "{urls: h, index: a, service_token: t, headers: {x-a: b}}",
            "{cloud_id: 'n:aG9zdC5leGFtcGxlJGFiYyRkZWY=', index: a, query: {term: {a: 1}}}",
            "{urls: h, index: a, query: '{\"match_all\": {}}', missing_vector: skip, keep_alive: 1m}",
        ] {
            assert_eq!(read_yaml(yaml), (true, Vec::new()), "{yaml}");
        }
        for (yaml, expected) in [
            ("{index: a}", "urls: is missing"),
            ("{urls: h}", "index: is missing"),
            ("{urls: h, index: a, user: u}", "password: is missing"),
            (
                "{urls: h, index: a, user: u, password: p, api_key: k}",
                "accepts one login",
            ),
            ("{urls: h, index: a, cloud_id: x}", "replaces urls"),
            ("{cloud_id: 'n:%', index: a}", "does not have the form"),
            (
                "{urls: h, index: a, query: [1]}",
                "cannot be read as a query",
            ),
            ("{urls: 'ftp://h', index: a}", "is not an address"),
            (
                "{urls: h, index: a, tls: {fingerprint: 1f}}",
                "a SHA-256 has",
            ),
        ] {
            let (_, said) = read_yaml(yaml);
            assert!(
                said.iter().any(|s| s.contains(expected)),
                "{yaml}: {said:?}"
            );
        }
    }

    #[test]
    fn a_cloud_id_is_an_address() {
        let id = |text: &str| format!("name:{}", base64::encode(text.as_bytes()));
        assert_eq!(
            cloud_address(&id("c.example$es$kb")).unwrap(),
            "https://es.c.example:443"
        );
        assert_eq!(
            cloud_address(&id("c.example:9243$es$")).unwrap(),
            "https://es.c.example:9243"
        );
        assert_eq!(cloud_address(&id("c.example")), None);
    }
}
