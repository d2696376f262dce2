//! Which bucket does a job mean, and which keys in it? `s3://bucket/some/prefix`.

use std::path::Path;

use crate::error::{Error, Kind, Result};

const SCHEME: &str = "s3://";

/// A place in a bucket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Address {
    /// The bucket's name.
    pub bucket: String,
    /// A key, or a prefix of keys; neither begins nor ends with `/`, and may be empty.
    pub key: String,
}

/// Whether a job's path is an address of any kind.
pub fn is_address(path: &Path) -> bool {
    path.to_string_lossy().contains("://")
}

impl Address {
    /// Parses a job's path; `None`: it is a path in the file system.
    pub fn of(path: &Path) -> Result<Option<Address>> {
        if !is_address(path) {
            return Ok(None);
        }
        let wrong = |what: &str| Err(Error::path(Kind::Job, path, what));
        let Some(text) = path.to_str() else {
            return wrong("is not an address: it is not UTF-8");
        };
        let Some(rest) = text.strip_prefix(SCHEME) else {
            return wrong("is an address of a kind that cannot hold files")
                .map_err(|e: Error| e.hint("use `s3://bucket/prefix`, or a path"));
        };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let key = key.trim_matches('/');
        if bucket.len() < 3 || bucket.contains(['@', ':', '?']) {
            return wrong("does not name a bucket: names have at least 3 characters");
        }
        if key
            .split('/')
            .any(|part| part.is_empty() || part == "." || part == "..")
            && !key.is_empty()
        {
            return wrong("has a part between slashes that is empty, . or ..");
        }
        Ok(Some(Address {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
        }))
    }

    /// The key of something below this place.
    pub fn below(&self, name: &str) -> String {
        match self.key.is_empty() {
            true => name.to_owned(),
            false => format!("{}/{name}", self.key),
        }
    }

    /// A key of a bucket, spelt as in a job.
    pub fn spelt(bucket: &str, key: &str) -> String {
        format!("{SCHEME}{bucket}/{key}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_paths() {
        let check = |text: &str| Address::of(Path::new(text));
        assert_eq!(check("/var/lib/milvus").unwrap(), None);
        for (text, key) in [
            ("s3://bucket", ""),
            ("s3://bucket/", ""),
            ("s3://bucket/files/", "files"),
            ("s3://bucket/a/b", "a/b"),
        ] {
            let address = check(text).unwrap().unwrap();
            assert_eq!((&*address.bucket, &*address.key), ("bucket", key), "{text}");
        }
        for text in [
            "s3://",
            "s3://b/x",
            "http://h:9000/bucket",
            "s3://key:secret@bucket/x",
            "s3://bucket/a//b",
            "s3://bucket/../b",
        ] {
            assert_eq!(check(text).unwrap_err().kind(), Kind::Job, "{text}");
        }
    }
}
