//! What does an answer mean? Sorts every failure by what happens next.
//! The one place that decides whether an answer was a refusal, a "later", or silence.

use crate::error::{Error, Kind};

use super::call::Failure;
use super::proto::Status;

/// What Milvus says when a collection is not there: `Status.code`, and before 2.2.9 `Status.error_code`.
const COLLECTION_MISSING: (i32, i32) = (100, 4);
/// When an index is not there.
const INDEX_MISSING: (i32, i32) = (700, 25);

/// Whether it went well. Milvus Lite 2.5 sets only `code`, old servers only `error_code`.
pub fn is_ok(status: &Status) -> bool {
    status.code == 0 && status.error_code == 0
}

fn is(status: &Status, (code, error_code): (i32, i32)) -> bool {
    status.code == code || status.code == 0 && status.error_code == error_code
}

/// Whether it says that the collection is not there.
pub fn collection_missing(status: &Status) -> bool {
    is(status, COLLECTION_MISSING)
}

/// Whether it says that the index is not there.
pub fn index_missing(status: &Status) -> bool {
    is(status, INDEX_MISSING)
}

/// The error that a status other than OK is.
pub fn refusal(status: &Status) -> Error {
    let reason = status.reason.trim();
    let reason = match reason.is_empty() {
        true => format!("error code {}", status.code.max(status.error_code)),
        false => reason.to_owned(),
    };
    let kind = match (status.code, status.error_code) {
        (8, _) | (0, 49) => Kind::Busy,
        // Quotas: forced denial, memory and disk limits.
        (3 | 7 | 9, _) | (0, 48) => Kind::Full,
        // Not ready, too many requests: nothing was begun.
        (1 | 4, _) => Kind::Busy,
        (2, _) if status.retriable => Kind::Busy,
        _ => Kind::Refused,
    };
    let error = Error::new(kind, format!("the server said: {reason}"));
    if collection_missing(status) {
        return Error::new(
            Kind::Refused,
            format!("the collection is not there (any more): {reason}"),
        )
        .hint("somebody may have dropped or renamed it while the job ran");
    }
    match (kind, status.code) {
        (Kind::Refused, 200) => Error::new(
            Kind::Refused,
            format!("the partition is not there (any more): {reason}"),
        )
        .hint("somebody may have dropped it while the job ran"),
        (Kind::Refused, 800) => error.hint("`sink.milvus.db` names the database"),
        (Kind::Full, _) => error.hint(
            "a quota of the server is used up: free or raise it; the same command then goes on",
        ),
        _ => error,
    }
}

/// The error that a call without an answer message is.
pub fn failure(failure: Failure) -> Error {
    match failure {
        Failure::Unsent(words) => Error::new(
            Kind::Unreachable,
            format!("the server cannot be reached: {words}"),
        ),
        Failure::Silent(words) => Error::new(
            Kind::Lost,
            format!("no answer, so that the request may or may not have arrived: {words}"),
        ),
        Failure::Tls(words) => tls(&words),
        Failure::Foreign(words) => Error::new(Kind::Refused, words)
            .hint("is the address that of a Milvus server's gRPC port, such as 19530?"),
        Failure::Status {
            code,
            message,
            whole,
        } => grpc(code, &message, whole),
    }
}

fn tls(words: &str) -> Error {
    let error = Error::new(Kind::Refused, format!("TLS failed: {words}"));
    if words.contains("corrupt message") {
        error.hint("the server seems to speak no TLS: try http:// in place of https://")
    } else if words.contains("fatal alert") {
        error.hint("the server may want a client certificate (`tls: {cert: …, key: …}`) that its authority signed")
    } else if words.contains("CaUsedAsEndEntity") {
        error.hint(
            "the server's certificate says that it is an authority (CA:TRUE), as `openssl req -x509` makes it, and may \
             not be a server's: make it with `-addext basicConstraints=critical,CA:FALSE`, or have an authority sign it",
        )
    } else {
        error.hint("`tls: {ca: …}` names the authority that signed the server's certificate, `tls: {server_name: …}` the name in it")
    }
}

/// By the gRPC status code, see https://grpc.github.io/grpc/core/md_doc_statuscodes.html.
fn grpc(code: i32, message: &str, whole: bool) -> Error {
    let name = match code {
        1 => "CANCELLED",
        3 => "INVALID_ARGUMENT",
        4 => "DEADLINE_EXCEEDED",
        7 => "PERMISSION_DENIED",
        8 => "RESOURCE_EXHAUSTED",
        12 => "UNIMPLEMENTED",
        13 => "INTERNAL",
        14 => "UNAVAILABLE",
        16 => "UNAUTHENTICATED",
        _ => "an error",
    };
    let said = match message {
        "" => format!("{name} (gRPC code {code})"),
        message => format!("{name}: {message}"),
    };
    let rate = ["rate", "quota", "too many"];
    match code {
        // Said by gateways; gRPC's own says that a message is larger than max.
        8 if rate.iter().any(|w| message.to_lowercase().contains(w)) => {
            Error::new(Kind::Busy, format!("the server said: {said}"))
        }
        8 => Error::new(
            Kind::TooBig,
            format!("the request was too big for the server: {said}"),
        )
        .hint("`run.batch` sets how much travels together"),
        16 => Error::new(
            Kind::Refused,
            format!("the server refused the login: {said}"),
        )
        .hint("check `user` and `password`, or `token`, in the job"),
        7 => Error::new(Kind::Refused, format!("not allowed: {said}"))
            .hint("the user in the job lacks a privilege that this call needs"),
        12 => Error::new(
            Kind::Refused,
            format!("the server does not know this call: {said}"),
        ),
        // Said by a proxy or a server that is going down; what had been sent by then may have been taken.
        1 | 4 | 14 if whole => Error::new(
            Kind::Lost,
            format!("no answer, so that the request may or may not have arrived: {said}"),
        ),
        1 | 4 | 14 => Error::new(
            Kind::Unreachable,
            format!("the server cannot be reached: {said}"),
        ),
        _ => Error::new(Kind::Refused, format!("the server said: {said}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error_code: i32, code: i32, reason: &str, expected: Kind) {
        let status = Status {
            error_code,
            code,
            reason: reason.to_owned(),
            retriable: false,
        };
        assert!(!is_ok(&status));
        let error = refusal(&status);
        assert_eq!(error.kind(), expected, "{error}");
        assert!(error.what().contains(reason), "{error}");
    }

    #[test]
    fn answers_of_real_servers_are_sorted_by_what_happens_next() {
        check(49, 8, "rate limit exceeded[rate=1.048576e+06]", Kind::Busy);
        check(48, 9, "quota exceeded[reason=memory quota]", Kind::Full);
        check(49, 0, "an old server", Kind::Busy);
        check(5, 1100, "invalid parameter", Kind::Refused);
        check(1, 65535, "value 'NaN' is not a number", Kind::Refused);
        check(0, 1100, "Lite 2.5 sets code only", Kind::Refused);
        check(4, 100, "collection not found", Kind::Refused);
        check(15, 200, "partition not found", Kind::Refused);
    }

    #[test]
    fn silence_is_told_apart_from_what_was_never_sent() {
        let status = |code, whole| {
            failure(Failure::Status {
                code,
                message: "m".into(),
                whole,
            })
            .kind()
        };
        assert_eq!(status(14, true), Kind::Lost);
        assert_eq!(status(14, false), Kind::Unreachable);
        assert_eq!(status(4, true), Kind::Lost);
        assert_eq!(status(8, true), Kind::TooBig);
        assert_eq!(status(16, true), Kind::Refused);
        assert_eq!(status(13, true), Kind::Refused);
        assert_eq!(
            failure(Failure::Unsent("x".into())).kind(),
            Kind::Unreachable
        );
        assert_eq!(failure(Failure::Silent("x".into())).kind(), Kind::Lost);
        assert_eq!(failure(Failure::Tls("x".into())).kind(), Kind::Refused);
    }
}
