//! S3 itself: requests to a bucket, and what their failures mean.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{Certificate, HttpError, HttpErrorKind};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as Key;
use object_store::{
    ClientOptions, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, RetryConfig,
};

use super::{Address, Bucket, Found, Listing, Login};
use crate::call::Reactor;
use crate::error::{Error, Kind, Place, Result};
use crate::limits;

/// A bucket of S3.
pub struct S3 {
    client: AmazonS3,
    reactor: Reactor,
    /// `s3://bucket`, and the endpoint if it is not Amazon's.
    name: String,
}

impl S3 {
    /// A bucket; no request is sent yet.
    pub fn open(address: &Address, login: &Login) -> Result<S3> {
        // If another crate in this process has installed a provider, it is the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut options = ClientOptions::new()
            .with_allow_http(true)
            .with_connect_timeout(Duration::from_secs(limits::CONNECT_DEADLINE_S))
            .with_timeout_disabled()
            .with_read_timeout(Duration::from_secs(limits::STORE_SILENCE_S));
        if let Some(pem) = login.authority()? {
            let all = Certificate::from_pem_bundle(&pem);
            let all = all.map_err(|e| login.wrong(format!("ca cannot be used: {e}")))?;
            options = all
                .into_iter()
                .fold(options, ClientOptions::with_root_certificate);
        }
        let retry = RetryConfig {
            max_retries: limits::STORE_RETRIES,
            retry_timeout: Duration::from_secs(limits::STORE_RETRY_S),
            ..RetryConfig::default()
        };
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(&address.bucket)
            .with_client_options(options)
            .with_retry(retry);
        if let Some(endpoint) = &login.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(region) = &login.region {
            builder = builder.with_region(region);
        }
        if let Some((key, secret)) = &login.keys {
            builder = builder
                .with_access_key_id(key)
                .with_secret_access_key(&secret.0);
            builder = match &login.session_token {
                Some(token) => builder.with_token(&token.0),
                None => builder,
            };
        }
        if let Some(is_virtual) = login.virtual_host {
            builder = builder.with_virtual_hosted_style_request(is_virtual);
        }
        let client = builder.build();
        let endpoint = login.endpoint.as_deref();
        Ok(S3 {
            client: client.map_err(|e| login.wrong(words(&e.to_string())))?,
            reactor: Reactor::new()?,
            name: match endpoint {
                Some(endpoint) => format!("s3://{} at {endpoint}", address.bucket),
                None => format!("s3://{}", address.bucket),
            },
        })
    }

    fn failed(&self, call: &'static str, key: &str, error: &object_store::Error) -> Error {
        let place = Place::Remote {
            address: self.name.clone(),
            call,
        };
        meaning(key, error).at(place)
    }

    fn parts(&self, key: &Key, file: &File, path: &Path, len: u64) -> Result<()> {
        let failed = |e: &object_store::Error| self.failed("upload", key.as_ref(), e);
        let client = &self.client;
        let id = self.reactor.wait(client.create_multipart(key));
        let id = id.map_err(|e| failed(&e))?;
        // No more parts than S3 accepts, however long the file is.
        let size = limits::STORE_PART_BYTES.max(len.div_ceil(limits::STORE_PARTS_MAX));
        let count = len.div_ceil(size) as usize;
        let (next, done) = (AtomicUsize::new(0), Mutex::new(vec![None; count]));
        let wrong = Mutex::new(None);
        let carry = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                let at = number as u64 * size;
                let sent = piece(file, path, at, size.min(len - at)).and_then(|bytes| {
                    let put = client.put_part(key, &id, number, bytes.into());
                    self.reactor.wait(put).map_err(|e| failed(&e))
                });
                match sent {
                    Ok(part) => {
                        done.lock().unwrap_or_else(PoisonError::into_inner)[number] = Some(part);
                    }
                    Err(error) => {
                        next.store(count, Ordering::Relaxed);
                        wrong
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .get_or_insert(error);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..limits::STORE_PARTS_AT_ONCE.min(count) {
                scope.spawn(carry);
            }
            carry();
        });
        let wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
        let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        let ended = match wrong {
            Some(error) => Err(error),
            None => {
                let parts: Vec<PartId> = done.into_iter().flatten().collect();
                let all = client.complete_multipart(key, &id, parts);
                self.reactor.wait(all).map(drop).map_err(|e| failed(&e))
            }
        };
        if ended.is_err() {
            // If aborting fails, the bucket's own rules eventually remove the parts.
            let _ = self.reactor.wait(client.abort_multipart(key, &id));
        }
        ended
    }
}

/// A range of a file being uploaded.
fn piece(file: &File, path: &Path, at: u64, len: u64) -> Result<Bytes> {
    let mut room = vec![0; len as usize];
    let read = file.read_exact_at(&mut room, at);
    read.map_err(|e| Error::io(path, "read", &e))?;
    Ok(Bytes::from(room))
}

fn found(meta: ObjectMeta) -> Found {
    let seconds = i128::from(meta.last_modified.timestamp());
    Found {
        key: meta.location.into(),
        bytes: meta.size,
        tag: meta.e_tag.unwrap_or_default(),
        modified_ns: seconds * 1_000_000_000
            + i128::from(meta.last_modified.timestamp_subsec_nanos()),
    }
}

fn key(text: &str) -> Result<Key> {
    let wrong = |e| Error::new(Kind::Unsupported, format!("`{text}` cannot be a key: {e}"));
    Key::parse(text).map_err(wrong)
}

impl Bucket for S3 {
    fn list(&self, prefix: &str) -> Result<Listing> {
        let (mut all, mut token) = (Listing::default(), None);
        loop {
            let options = PaginatedListOptions {
                delimiter: Some("/".into()),
                page_token: token,
                ..PaginatedListOptions::default()
            };
            let whole = Some(prefix).filter(|prefix| !prefix.is_empty());
            let page = self.client.list_paginated(whole, options);
            let page = self.reactor.wait(page);
            let page = page.map_err(|e| self.failed("list", prefix, &e))?;
            let folders = page.result.common_prefixes.iter();
            all.folders
                .extend(folders.filter_map(|f| f.filename().map(str::to_owned)));
            all.objects
                .extend(page.result.objects.into_iter().map(found));
            if all.objects.len() + all.folders.len() > limits::STORE_KNOWN_MAX {
                let most = limits::STORE_KNOWN_MAX;
                let what = format!("there are more than {most} objects below `{prefix}`");
                return Err(Error::new(Kind::Unsupported, what));
            }
            token = page.page_token;
            if token.is_none() {
                return Ok(all);
            }
        }
    }

    fn walk(&self, prefix: &str, each: &mut dyn FnMut(Vec<Found>) -> bool) -> Result<()> {
        let mut token = None;
        loop {
            let options = PaginatedListOptions {
                page_token: token,
                ..PaginatedListOptions::default()
            };
            let whole = Some(prefix).filter(|prefix| !prefix.is_empty());
            let page = self
                .reactor
                .wait(self.client.list_paginated(whole, options));
            let page = page.map_err(|e| self.failed("list", prefix, &e))?;
            token = page.page_token;
            let more = each(page.result.objects.into_iter().map(found).collect());
            if token.is_none() || !more {
                return Ok(());
            }
        }
    }

    fn look(&self, text: &str) -> Result<Option<Found>> {
        match self.reactor.wait(self.client.head(&key(text)?)) {
            Ok(meta) => Ok(Some(found(meta))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("look", text, &error)),
        }
    }

    fn read(&self, found: &Found, range: Range<u64>) -> Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let options = GetOptions {
            if_match: Some(found.tag.clone()).filter(|tag| !tag.is_empty()),
            range: Some(GetRange::Bounded(range.clone())),
            ..GetOptions::default()
        };
        let key = key(&found.key)?;
        let failed = |e: &object_store::Error| self.failed("read", &found.key, e);
        let answer = self.reactor.wait(self.client.get_opts(&key, options));
        let answer = answer.map_err(|e| failed(&e))?;
        let bytes = self.reactor.wait(answer.bytes()).map_err(|e| failed(&e))?;
        match bytes.len() as u64 == range.end - range.start {
            true => Ok(bytes),
            false => {
                let what = format!(
                    "the server returned {} bytes of `{}` for {range:?}",
                    bytes.len(),
                    found.key
                );
                Err(Error::new(Kind::Changed, what))
            }
        }
    }

    fn put(&self, text: &str, bytes: Bytes) -> Result<()> {
        let done = self
            .reactor
            .wait(self.client.put(&key(text)?, bytes.into()));
        done.map(drop).map_err(|e| self.failed("put", text, &e))
    }

    fn upload(&self, text: &str, path: &Path) -> Result<()> {
        let io = |e: std::io::Error| Error::io(path, "read", &e);
        let file = File::open(path).map_err(io)?;
        let len = file.metadata().map_err(io)?.len();
        match len <= limits::STORE_PART_BYTES {
            true => self.put(text, piece(&file, path, 0, len)?),
            false => self.parts(&key(text)?, &file, path, len),
        }
    }

    fn delete(&self, text: &str) -> Result<()> {
        match self.reactor.wait(self.client.delete(&key(text)?)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("delete", text, &error)),
        }
    }
}

/// The error for a failed request.
fn meaning(key: &str, error: &object_store::Error) -> Error {
    use object_store::Error as E;
    let said = words(&error.to_string());
    let status = match error {
        E::NotFound { .. } => Some(404),
        E::Precondition { .. } => Some(412),
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => Some(403),
        other => status(&other.to_string()),
    };
    match (connection(error), status) {
        (_, Some(404)) if said.contains("NoSuchBucket") => {
            Error::new(Kind::Job, "there is no such bucket")
        }
        (_, Some(404 | 412 | 416)) => {
            let what = format!("`{key}` was replaced or removed while it was being read");
            Error::new(Kind::Changed, what).hint("do not change the bucket during the job")
        }
        (_, Some(401 | 403)) => {
            let what = format!("access to `{key}` is denied: {said}");
            Error::new(Kind::Refused, what).hint(
                "keys come from `s3: {access_key, secret_key}`, else from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
                 else from the machine's role",
            )
        }
        (Some(HttpErrorKind::Connect), _) => Error::new(Kind::Unreachable, said),
        (Some(HttpErrorKind::Timeout), _) => Error::new(Kind::Slow, said),
        (Some(_), _) | (None, Some(500..=502 | 504..)) => Error::new(Kind::Lost, said),
        (None, Some(429 | 503)) => Error::new(Kind::Busy, said),
        _ => Error::new(Kind::Refused, said),
    }
}

/// The connection's error, if there was one.
fn connection(error: &object_store::Error) -> Option<HttpErrorKind> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(http) = error.downcast_ref::<HttpError>() {
            return Some(http.kind());
        }
        cause = error.source();
    }
    None
}

/// The status of the server's answer, which the library gives only in text.
fn status(said: &str) -> Option<u16> {
    let (_, rest) = said.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

/// The message in an answer of S3, or else the library's message without its prefix.
fn words(said: &str) -> String {
    let element = |name: &str| {
        let (_, rest) = said.split_once(&format!("<{name}>"))?;
        let (text, _) = rest.split_once(&format!("</{name}>"))?;
        Some(text.to_owned())
    };
    let status = status(said).map_or(String::new(), |status| format!("HTTP {status}, "));
    match (element("Code"), element("Message")) {
        (Some(code), Some(message)) => format!("{status}{code}: {message}"),
        (Some(code), None) => format!("{status}{code}"),
        _ => {
            let said = said.strip_prefix("Generic S3 error: ").unwrap_or(said);
            let said = said.lines().next().unwrap_or_default();
            said.chars().take(limits::STORE_WORDS_MAX).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_s3_says_is_told_without_its_xml() {
        let said = "Generic S3 error: Error performing GET http://h/b in 1ms - Server returned non-2xx status code: 403 \
                    Forbidden: <Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error>";
        assert_eq!(words(said), "HTTP 403, SignatureDoesNotMatch: no");
        assert_eq!(words("Generic S3 error: x\ny"), "x");
    }
}
