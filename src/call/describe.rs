//! How are failures of calls described to people, whatever the kind of server?

use crate::error::{Error, Kind};

/// The error if the two sides do not agree on TLS, with what can be done about it.
pub fn tls_failed(words: &str) -> Error {
    let error = Error::new(Kind::Refused, format!("TLS failed: {words}"));
    if words.contains("corrupt message") {
        error.hint("the server does not seem to speak TLS: try http:// instead of https://")
    } else if words.contains("fatal alert") {
        error.hint("the server may want a client certificate (`tls: {cert: …, key: …}`) that its authority signed")
    } else if words.contains("CaUsedAsEndEntity") {
        error.hint(
            "the server's certificate is marked as an authority's (CA:TRUE), as `openssl req -x509` creates it, and so \
             cannot be a server's: create it with `-addext basicConstraints=critical,CA:FALSE`, or have an authority sign it",
        )
    } else {
        error.hint("`tls: {ca: …}` names the authority that signed the server's certificate, `tls: {server_name: …}` the name in it")
    }
}

/// The name of a gRPC status code, and its message.
pub fn describe(code: i32, message: &str) -> String {
    let name = match code {
        1 => "CANCELLED",
        3 => "INVALID_ARGUMENT",
        4 => "DEADLINE_EXCEEDED",
        7 => "PERMISSION_DENIED",
        8 => "RESOURCE_EXHAUSTED",
        11 => "OUT_OF_RANGE",
        12 => "UNIMPLEMENTED",
        13 => "INTERNAL",
        14 => "UNAVAILABLE",
        16 => "UNAUTHENTICATED",
        _ => "an error",
    };
    match message {
        "" => format!("{name} (gRPC code {code})"),
        message => format!("{name}: {message}"),
    }
}
