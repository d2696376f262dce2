//! Against sockets that give prepared answers.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use super::*;

/// A server that gives each request the next answer, and keeps the requests.
fn server(answers: &[&str]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (kept, answers): (_, Vec<String>) = (
        asked.clone(),
        answers.iter().map(|a| (*a).to_owned()).collect(),
    );
    std::thread::spawn(move || {
        let mut answers = answers.into_iter().peekable();
        while answers.peek().is_some() {
            let mut stream = listener.accept().unwrap().0;
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            loop {
                let (mut head, mut length) = (String::new(), 0);
                loop {
                    let before = head.len();
                    if reader.read_line(&mut head).unwrap_or(0) == 0 {
                        break;
                    }
                    let line = head[before..].to_lowercase();
                    if let Some(bytes) = line.strip_prefix("content-length:") {
                        length = bytes.trim().parse().unwrap();
                    }
                    if line == "\r\n" {
                        break;
                    }
                }
                if head.is_empty() {
                    break;
                }
                let mut body = vec![0; length];
                std::io::Read::read_exact(&mut reader, &mut body).unwrap();
                kept.lock()
                    .unwrap()
                    .push(head + &String::from_utf8(body).unwrap());
                let Some(answer) = answers.next() else { break };
                stream.write_all(answer.as_bytes()).unwrap();
                if answer.contains("close") || answer.is_empty() {
                    break;
                }
            }
        }
    });
    (address, asked)
}

fn open(address: &str) -> Server {
    Server::open(&Settings {
        address: address.to_owned(),
        headers: vec![Header::basic("elastic", "hunter2").unwrap()],
        tls: Tls::default(),
        deadline: Duration::from_millis(500),
        connections: 2,
    })
    .unwrap()
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn one_connection_carries_requests_one_after_another_with_the_login() {
    let (address, asked) = server(&[
        &ok("{\"a\":1}"),
        &ok(""),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxy\r\n0\r\n\r\n",
    ]);
    let server = open(&address);
    let mut answer = b"before".to_vec();
    let get = Ask::new(Method::Get, "/x?y=z", "look");
    assert_eq!(server.ask(&get, &mut answer).unwrap(), 200);
    assert_eq!(answer, b"{\"a\":1}");
    let post = Ask {
        body: Some(b"{}"),
        ..Ask::new(Method::Post, "/y", "search")
    };
    server.tell(&post, &mut answer).unwrap();
    assert_eq!(answer, b"");
    server.tell(&get, &mut answer).unwrap();
    assert_eq!(answer, b"xy");
    let asked = asked.lock().unwrap();
    // One connection: a second one would not have been accepted by then.
    assert_eq!(asked.len(), 3);
    assert!(
        asked[0].starts_with("GET /x?y=z HTTP/1.1\r\n"),
        "{}",
        asked[0]
    );
    assert!(
        asked[0].contains("Basic ZWxhc3RpYzpodW50ZXIy"),
        "{}",
        asked[0]
    );
    assert!(asked[1].starts_with("POST /y") && asked[1].ends_with("\r\n\r\n{}"));
    assert!(
        asked[1]
            .to_lowercase()
            .contains("content-type: application/json")
    );
}

#[test]
fn answers_are_sorted_by_what_happens_next() {
    let reply = |status: &str, body: &str| {
        format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    for (answer, kind, expected) in [
        (
            reply("401 No", "{\"error\":{\"reason\":\"bad password\"}}"),
            Kind::Refused,
            "refused the login: bad password (HTTP status 401)",
        ),
        (
            reply("403 No", ""),
            Kind::Refused,
            "not allowed: HTTP status 403",
        ),
        (
            reply("404 No", "{\"message\":\"no such index\"}"),
            Kind::Refused,
            "no such index",
        ),
        (
            reply("429 Later", "{\"status\":{\"error\":\"slow down\"}}"),
            Kind::Busy,
            "slow down",
        ),
        (
            reply("503 Later", "<html>gateway</html>"),
            Kind::Busy,
            "<html>gateway</html>",
        ),
        (reply("413 Long", ""), Kind::TooBig, "too long"),
        (
            reply("302 There", ""),
            Kind::Refused,
            "redirects to another address",
        ),
        (reply("500 Oh", "{\"error\":\"oh\"}"), Kind::Refused, "oh"),
        (String::new(), Kind::Lost, "may or may not have arrived"),
        (
            "nonsense\r\n\r\nclose".to_owned(),
            Kind::Refused,
            "not HTTP",
        ),
    ] {
        let (address, _) = server(&[&answer]);
        let error = open(&address)
            .tell(&Ask::new(Method::Get, "/", "look"), &mut Vec::new())
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{answer}: {error}");
        let words = error.to_string();
        assert!(
            words.contains(expected) && words.contains("look:"),
            "{words}"
        );
        assert!(
            !words.contains("hunter2") && !words.contains("ZWxhc3"),
            "{words}"
        );
    }
}

#[test]
fn long_and_slow_answers_are_told_apart() {
    let long = ok(&"x".repeat(100));
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n{}\r\n0\r\n\r\n",
        "x".repeat(100)
    );
    let slow = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc";
    for (answer, most, kind) in [
        (&*long, 99, Some(Kind::TooBig)),
        (&*chunked, 99, Some(Kind::TooBig)),
        (&*long, 100, None),
        (&*chunked, 100, None),
        (slow, 100, Some(Kind::Slow)),
    ] {
        let (address, _) = server(&[answer]);
        let ask = Ask {
            most,
            ..Ask::new(Method::Get, "/", "look")
        };
        let asked = open(&address).ask(&ask, &mut Vec::new());
        assert_eq!(asked.map_err(|e| e.kind()).err(), kind, "{answer}");
    }
    // Nothing listens there.
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = open(&format!("http://{gone}"))
        .ask(&Ask::new(Method::Get, "/", "look"), &mut Vec::new())
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
}

#[test]
fn names_are_spelt_out_in_paths() {
    assert_eq!(encoded("a-b_c.d~"), "a-b_c.d~");
    assert_eq!(encoded("a/b?c #ü%"), "a%2Fb%3Fc%20%23%C3%BC%25");
}

#[test]
fn headers_never_show_their_values() {
    let header = Header::new("x-chroma-token", "hunter2").unwrap();
    assert!(!format!("{header:?}").contains("hunter2"));
    let wrong = Header::new("x-token", "hunter2\n").unwrap_err();
    assert!(!wrong.contains("hunter2"), "{wrong}");
    assert!(Header::new("a b", "").is_err());
}
