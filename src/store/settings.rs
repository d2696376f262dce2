//! What does a job say about a bucket? Its location and credentials; the environment supplies what it leaves out.
//! Secrets are never printed.

use std::path::PathBuf;

use crate::call::Secret;
use crate::error::{Error, Kind, Result};
use crate::job::{Form, Setting, read_pem};

/// The setting of sources and sinks that accept `s3://bucket/prefix`.
pub const S3: Setting = Setting::map(
    "s3",
    LOGIN,
    "for s3:// addresses; what is left out is taken from AWS_… variables, or the machine's role",
);

const LOGIN: &[Setting] = &[
    Setting::text(
        "endpoint",
        "http(s)://host:port of an S3 server, such as MinIO; left out: Amazon",
    ),
    Setting::text(
        "region",
        "the bucket's region; left out: AWS_REGION, or us-east-1",
    ),
    Setting::text("access_key", "the access key, with secret_key"),
    Setting::secret("secret_key", "its secret"),
    Setting::secret("session_token", "the token of temporary keys"),
    Setting::flag(
        "virtual_host",
        "true: the bucket's name is part of the endpoint's host",
    ),
    Setting::path(
        "ca",
        "PEM file of the authority that signed the endpoint's certificate; left out: the system's",
    ),
];

/// Where a bucket is, and the credentials for it.
#[derive(Clone, Debug, Default)]
pub struct Login {
    path: String,
    pub(super) endpoint: Option<String>,
    pub(super) region: Option<String>,
    pub(super) keys: Option<(String, Secret)>,
    pub(super) session_token: Option<Secret>,
    pub(super) virtual_host: Option<bool>,
    ca: Option<PathBuf>,
}

impl Login {
    /// Reads `s3`.
    pub fn read(form: &mut Form) -> Login {
        let Some(mut form) = form.form("s3") else {
            return Login::default();
        };
        let endpoint = form.text("endpoint");
        if let Some(text) = &endpoint {
            let rest = ["http://", "https://"]
                .iter()
                .find_map(|s| text.strip_prefix(s));
            if rest.is_none_or(|rest| rest.is_empty() || rest.contains('@')) {
                let what = "needs an address such as http://127.0.0.1:9000, without a login";
                form.mistake("endpoint", what);
            }
        }
        let (key, secret) = (form.text("access_key"), form.text("secret_key"));
        match (&key, &secret) {
            (Some(_), None) => form.mistake("secret_key", "is missing: access_key goes with it"),
            (None, Some(_)) => form.mistake("access_key", "is missing: secret_key goes with it"),
            _ => {}
        }
        let session_token = form.text("session_token").map(Secret);
        if session_token.is_some() && key.is_none() {
            form.mistake("access_key", "is missing: session_token goes with it");
        }
        let login = Login {
            path: form.path().to_owned(),
            endpoint,
            region: form.text("region"),
            keys: key.zip(secret.map(Secret)),
            session_token,
            virtual_host: form.flag("virtual_host"),
            ca: form.text("ca").map(PathBuf::from),
        };
        form.done();
        login
    }

    /// Notes a mistake if nothing in the job is at an address, so that these settings have no effect.
    pub fn check(&self, form: &mut Form, is_needed: bool) {
        if !is_needed && !self.path.is_empty() {
            form.mistake("s3", "is only for s3:// addresses, and there is none");
        }
    }

    /// The certificate of the authority, if one is named.
    pub(super) fn authority(&self) -> Result<Option<Vec<u8>>> {
        let read = self.ca.as_deref().map(|ca| read_pem(&self.path, "ca", ca));
        read.transpose()
    }

    /// A mistake in these settings that is found late.
    pub(super) fn wrong(&self, what: impl Into<String>) -> Error {
        Error::new(Kind::Job, format!("s3: {}", what.into()))
    }
}
