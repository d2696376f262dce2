//! What does an answer mean? Sorts every failure by what happens next.
//! The one place that decides whether an answer was a refusal, a "later", or silence.

use crate::call::{Failure, describe, tls_failed};
use crate::error::{Error, Kind};

use super::proto::Status;

/// What Milvus says if a collection does not exist: `Status.code`, and before 2.2.9 `Status.error_code`.
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

/// The error for a status other than OK.
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
        // A limit of 2.4 and later (internal/proxy/task_insert.go), checked before anything is done.
        _ if status.reason.contains("exceeds maxInsertSize") => Kind::TooBig,
        // Not ready, or too many requests: nothing was begun.
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
        .hint("another program may have dropped or renamed it while the job ran");
    }
    match (kind, status.code) {
        (Kind::Refused, 200) => Error::new(
            Kind::Refused,
            format!("the partition is not there (any more): {reason}"),
        )
        .hint("somebody may have dropped it while the job ran"),
        (Kind::Refused, 800) => error.hint("`sink.milvus.db` names the database"),
        (Kind::Full, _) => error.hint(
            "a quota of the server is used up: free or raise it; the same command then continues",
        ),
        _ => error,
    }
}

/// Codes of a query's refusal while a server balances load, restarts or loses a node: try again later.
const PASSING: [i32; 24] = [
    1, 2, 4, 12, 103, 106, 110, 202, 305, 400, 401, 502, 503, 600, 601, 604, 901, 902, 903, 904,
    905, 906, 2200, 11,
];
/// The same, as messages of servers without such codes.
const PASSING_WORDS: [&str; 4] = [
    "node not match",
    "no available shard delegator",
    "channel not available",
    "Timestamp lag too large",
];
/// What servers say of an answer that would be longer than they allow.
const TOO_LONG: [&str; 2] = ["exceed the limit size", "exceed the maxOutputSize"];

/// The error for a query's status other than OK: a query changes nothing, and may be repeated.
pub fn query_refusal(status: &Status) -> Error {
    let says = |words: &[&str]| words.iter().any(|word| status.reason.contains(word));
    let kind = match status.code {
        _ if says(&TOO_LONG) => Kind::TooBig,
        code if PASSING.contains(&code) || says(&PASSING_WORDS) => Kind::Busy,
        _ => return refusal(status),
    };
    Error::new(kind, format!("the server said: {}", status.reason.trim()))
}

/// The error for a call without an answer message; its request was a message of this many bytes.
pub fn failure(failure: Failure, sent: usize) -> Error {
    match failure {
        Failure::Unsent(words) => Error::new(
            Kind::Unreachable,
            format!("the server cannot be reached: {words}"),
        ),
        Failure::Silent(words) => Error::new(
            Kind::Lost,
            format!("no answer, so that the request may or may not have arrived: {words}"),
        ),
        Failure::Slow(words) => Error::new(
            Kind::Slow,
            format!("no answer, so that the request may or may not have arrived: {words}"),
        )
        .hint("if the line is slow, `run: {batch: 256KiB}` sends less at a time"),
        Failure::Tls(words) => tls_failed(&words),
        Failure::Foreign(words) => Error::new(Kind::Refused, words)
            .hint("is the address that of a Milvus server's gRPC port, such as 19530?"),
        Failure::Status {
            code,
            message,
            whole,
        } => match (code, whole) {
            (8 | 11, _) => exhausted(code, &message, whole, sent),
            _ => grpc(code, &message, whole),
        },
    }
}

/// What Milvus 2.1 says before it does anything (internal/proxy/rate_limit_interceptor.go); later versions use a
/// status.
const RATE_LIMITER: &str = "is rejected by grpc RateLimiter middleware";

/// RESOURCE_EXHAUSTED and OUT_OF_RANGE mean that a request is too big, and name its exact size, from servers in Go and
/// C++ ("received message larger than max (67108914 vs. 67108864)") and in Rust ("found 67108914 bytes"). A gateway
/// says the same, with another size, about an answer that is too big for it: by then the request has been carried out.
fn exhausted(code: i32, message: &str, whole: bool, sent: usize) -> Error {
    let lower = message.to_lowercase();
    let is_rate = ["rate", "quota", "too many"]
        .iter()
        .any(|word| lower.contains(word));
    let said = describe(code, message);
    let too_big = |kind| {
        Error::new(
            kind,
            format!("the request was too big for the server: {said}"),
        )
        .hint("`run.batch` sets how much is sent together")
    };
    let doubtful = |kind| {
        let what = format!(
            "refused after everything was sent, so the request may have been carried out: {said}"
        );
        Error::new(kind, what)
    };
    match whole {
        _ if speaks_of(message, sent) => too_big(Kind::TooBig),
        _ if message.contains(RATE_LIMITER) => {
            Error::new(Kind::Busy, format!("the server said: {said}"))
        }
        false if is_rate => Error::new(Kind::Busy, format!("the server said: {said}")),
        false => too_big(Kind::TooBig),
        true if is_rate => doubtful(Kind::Lost),
        true => doubtful(Kind::TooMuch).hint(
            "a proxy may limit the size of answers: `run.batch` sets how much is sent together",
        ),
    }
}

/// Whether a message names this number.
fn speaks_of(message: &str, number: usize) -> bool {
    let mut numbers = message.split(|c: char| !c.is_ascii_digit());
    numbers.any(|digits| digits.parse() == Ok(number))
}

/// By the gRPC status code, see https://grpc.github.io/grpc/core/md_doc_statuscodes.html.
fn grpc(code: i32, message: &str, whole: bool) -> Error {
    let said = describe(code, message);
    match code {
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
        // From a proxy, or a server that is shutting down; what had been sent by then may have been accepted.
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
            let refused = Failure::Status {
                code,
                message: "m".into(),
                whole,
            };
            failure(refused, 70_000_000).kind()
        };
        assert_eq!(status(14, true), Kind::Lost);
        assert_eq!(status(14, false), Kind::Unreachable);
        assert_eq!(status(4, true), Kind::Lost);
        assert_eq!(status(8, false), Kind::TooBig);
        assert_eq!(status(8, true), Kind::TooMuch);
        assert_eq!(status(16, true), Kind::Refused);
        assert_eq!(status(13, true), Kind::Refused);
        assert_eq!(
            failure(Failure::Unsent("x".into()), 1).kind(),
            Kind::Unreachable
        );
        assert_eq!(failure(Failure::Silent("x".into()), 1).kind(), Kind::Lost);
        assert_eq!(failure(Failure::Tls("x".into()), 1).kind(), Kind::Refused);
    }

    #[test]
    fn a_refusal_of_what_was_whole_is_believed_only_where_it_names_the_requests_size() {
        let sent = 67_108_914;
        let table = [
            (
                8,
                "grpc: received message larger than max (67108914 vs. 67108864)",
                Kind::TooBig,
            ),
            // C++, as of Milvus Lite and 1.x.
            (
                8,
                "Received message larger than max (67108914 vs. 67108864)",
                Kind::TooBig,
            ),
            // Rust.
            (
                11,
                "Error, decoded message length too large: found 67108914 bytes, the limit is: 4194304 bytes",
                Kind::TooBig,
            ),
            // A gateway, of the answer.
            (
                8,
                "grpc: received message larger than max (16777300 vs. 4194304)",
                Kind::TooMuch,
            ),
            (8, "out of buffers", Kind::TooMuch),
            (8, "HTTP status 413 Payload Too Large", Kind::TooMuch),
            (8, "rate limit exceeded", Kind::Lost),
            (
                8,
                "/milvus.proto.milvus.MilvusService/Insert is rejected by grpc RateLimiter middleware, please retry later.",
                Kind::Busy,
            ),
        ];
        for (code, message, expected) in table {
            let refused = |whole| Failure::Status {
                code,
                message: message.to_owned(),
                whole,
            };
            let error = failure(refused(true), sent);
            assert_eq!(error.kind(), expected, "{error}");
            // What was not whole was not carried out.
            let kind = failure(refused(false), sent).kind();
            assert!(
                matches!(kind, Kind::TooBig | Kind::Busy),
                "{message}: {kind:?}"
            );
        }
    }
}
