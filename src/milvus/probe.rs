//! What is at this address, if it does not answer like Milvus? Connects once more, begins like HTTP/2, and looks at
//! what comes back. Only for error messages: nothing depends on it.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::limits;

/// What is at an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// It speaks HTTP/2, as gRPC servers do.
    Http2,
    /// It speaks HTTP/1.
    Http1,
    /// It speaks TLS.
    Tls,
    /// It accepts connections but sends nothing.
    Silent,
    /// It closes connections, sends something else, or cannot be reached.
    Other,
}

/// Finds out what is at `http://host:port`.
pub fn probe(address: &str) -> Found {
    const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    const HTTP1: &[u8] = b"GET / HTTP/1.1\r\nHost: milvus\r\nConnection: close\r\n\r\n";
    match answer(address, HTTP2) {
        // A server that knows only HTTP/1 may wait for more, or hang up.
        Found::Silent => match answer(address, HTTP1) {
            Found::Other => Found::Silent,
            found => found,
        },
        Found::Other => answer(address, HTTP1),
        found => found,
    }
}

fn answer(address: &str, hello: &[u8]) -> Found {
    let wait = Duration::from_secs(limits::PROBE_S);
    let place = address
        .split_once("://")
        .map_or(address, |(_, place)| place);
    let first = place.to_socket_addrs().ok().and_then(|mut all| all.next());
    let Some(Ok(mut stream)) = first.map(|to| TcpStream::connect_timeout(&to, wait)) else {
        return Found::Other;
    };
    let _ = stream.set_read_timeout(Some(wait));
    let _ = stream.set_write_timeout(Some(wait));
    if stream.write_all(hello).is_err() {
        return Found::Other;
    }
    let mut answer = [0; 256];
    match stream.read(&mut answer) {
        Ok(0) => Found::Other,
        Ok(count) => recognised(&answer[..count]),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Found::Silent,
        Err(_) => Found::Other,
    }
}

fn recognised(answer: &[u8]) -> Found {
    match answer {
        // A frame of settings, as every HTTP/2 server sends first.
        [_, _, _, 4, ..] => Found::Http2,
        [0x15, 3, ..] => Found::Tls,
        // Go's servers say so in plain text.
        text if contains(text, b"HTTPS server") => Found::Tls,
        text if text.starts_with(b"HTTP/")
            || contains(text, b"<!DOCTYPE")
            || contains(text, b"<html") =>
        {
            Found::Http1
        }
        _ => Found::Other,
    }
}

fn contains(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len())
        .any(|w| w.eq_ignore_ascii_case(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        for (answer, found) in [
            (&b"\0\0\x18\x04\0\0\0\0\0\0\x04"[..], Found::Http2),
            (b"HTTP/1.1 404 Not Found\r\n", Found::Http1),
            (b"<!doctype html>\n<html>", Found::Http1),
            (
                b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.",
                Found::Tls,
            ),
            (b"\x15\x03\x01\0\x02\x02F", Found::Tls),
            (b"220 mail.example ESMTP\r\n", Found::Other),
        ] {
            assert_eq!(recognised(answer), found);
        }
        assert_eq!(probe("http://127.0.0.1:1"), Found::Other);
    }
}
