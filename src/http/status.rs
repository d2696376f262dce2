//! What does a status mean, and what if there is none? Sorted by what happens next.

use std::io::ErrorKind;

use serde_json::Value;
use ureq::Timeout;

use crate::error::{Error, Kind};
use crate::limits;

/// The error for an answer with a status other than 2xx.
pub fn refusal(status: u16, words: &str) -> Error {
    let said = match words {
        "" => format!("HTTP status {status}"),
        words => format!("{words} (HTTP status {status})"),
    };
    let refused = |what: &str| Error::new(Kind::Refused, format!("{what}: {said}"));
    match status {
        401 => refused("the server refused the login")
            .hint("check the login or the API key in the job"),
        403 => refused("not allowed")
            .hint("the login in the job lacks a permission that this call needs"),
        407 => refused("a proxy in front of the server requires a login"),
        404 => refused("the server did not find what was requested"),
        // Request timeout, too early, too many requests, and what gateways answer if a server is temporarily
        // unavailable.
        408 | 425 | 429 | 502 | 503 | 504 => {
            Error::new(Kind::Busy, format!("the server said: {said}"))
        }
        413 => Error::new(
            Kind::TooBig,
            format!("the request was too long for the server: {said}"),
        ),
        300..=399 => refused("the server redirects to another address")
            .hint("put that address into the job: logins are not sent on to other servers"),
        _ => refused("the server said"),
    }
}

/// The message in an answer's body, in one line: from JSON, the value under the usual names; otherwise its beginning.
pub fn words(body: &[u8]) -> String {
    fn find(value: &Value) -> Option<String> {
        match value {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Object(map) => ["reason", "message", "detail", "msg", "error", "status"]
                .iter()
                .find_map(|key| map.get(*key).and_then(find)),
            Value::Array(list) => list.first().and_then(find),
            _ => None,
        }
    }
    let json: Option<Value> = serde_json::from_slice(body).ok();
    json.as_ref().and_then(find).unwrap_or_else(|| {
        let beginning = &body[..body.len().min(limits::SHOWN_CHARS_MAX)];
        String::from_utf8_lossy(beginning).trim().to_owned()
    })
}

/// The error for a request without an answer.
pub fn failure(error: ureq::Error, address: &str) -> Error {
    let unreachable = |words: String| {
        let what = format!("the server cannot be reached: {words}");
        Error::new(Kind::Unreachable, what)
    };
    let silent = |kind, words: String| {
        let what = format!("no answer, so the request may or may not have arrived: {words}");
        Error::new(kind, what)
    };
    match error {
        ureq::Error::Io(io) => match io.kind() {
            ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::AddrNotAvailable => unreachable(io.to_string()),
            // TLS errors arrive as invalid data.
            ErrorKind::InvalidData => tls(&io.to_string(), address),
            ErrorKind::TimedOut | ErrorKind::WouldBlock => silent(Kind::Slow, io.to_string()),
            _ => silent(Kind::Lost, io.to_string()),
        },
        ureq::Error::HostNotFound => unreachable("there is no such host".to_owned()),
        ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
            unreachable(format!("no answer within {} s", limits::CONNECT_DEADLINE_S))
        }
        ureq::Error::ConnectionFailed => unreachable("the connection failed".to_owned()),
        ureq::Error::ConnectProxyFailed(words) => unreachable(format!("the proxy said: {words}")),
        ureq::Error::Timeout(_) => silent(Kind::Slow, "nothing came in time".to_owned()),
        ureq::Error::Rustls(error) => tls(&error.to_string(), address),
        ureq::Error::Tls(words) => tls(words, address),
        ureq::Error::Protocol(error) => Error::new(
            Kind::Refused,
            format!("the answer is not HTTP/1.1: {error}"),
        )
        .hint("is this the port of an HTTP server, and does it use http:// rather than https://?"),
        other => silent(Kind::Lost, other.to_string()),
    }
}

fn tls(words: &str, address: &str) -> Error {
    let error = Error::new(Kind::Refused, format!("TLS with {address} failed: {words}"));
    if words.contains("corrupt message") || words.contains("InvalidContentType") {
        return error
            .hint("the server does not seem to speak TLS: try http:// instead of https://");
    }
    error.hint("`tls: {ca: …}` names the authority that signed the server's certificate")
}
