//! How does one talk to a Postgres server? Messages in both directions, a login, answers in text, and bytes of COPY.
//! Knows nothing of tables. Blocking: everything is read into one buffer, so that a row of COPY can be parsed in place.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use rustix::net::sockopt;

use super::address::{Address, TlsMode};
use super::answers::{self, Described, failed};
use super::tls;
use crate::error::{Error, Kind, Place, Result};
use crate::limits;

/// A row of text.
pub type Row = Vec<Option<String>>;

/// A connection that has logged in.
pub struct Connection {
    stream: Stream,
    address: String,
    buffer: Vec<u8>,
    /// What was read but not yet parsed.
    unread: Range<usize>,
    /// Whether the server waits for a request.
    is_idle: bool,
}

enum Stream {
    Tcp(TcpStream),
    Tls(Box<tls::Line>),
    Unix(UnixStream),
}

impl Stream {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match self {
                Stream::Tcp(line) => line.read(to),
                Stream::Tls(line) => line.read(to),
                Stream::Unix(line) => line.read(to),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Tcp(line) => line.write_all(bytes),
            Stream::Tls(line) => line.write_all(bytes).and_then(|()| line.flush()),
            Stream::Unix(line) => line.write_all(bytes),
        }
    }

    fn wait_at_most(&self, time: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Tcp(line) => line.set_read_timeout(time),
            Stream::Tls(line) => line.sock.set_read_timeout(time),
            Stream::Unix(line) => line.set_read_timeout(time),
        }
    }
}

impl Connection {
    /// Connects and logs in.
    pub fn open(address: &Address) -> Result<Connection> {
        let place = |error: Error| {
            error.at(Place::Remote {
                address: address.to_string(),
                call: "login",
            })
        };
        let stream = connect(address).map_err(place)?;
        let mut connection = Connection {
            stream,
            address: address.to_string(),
            buffer: vec![0; limits::POSTGRES_BUFFER_BYTES],
            unread: 0..0,
            is_idle: false,
        };
        let limit = Some(address.connect_timeout);
        let timed = connection.stream.wait_at_most(limit);
        timed.map_err(|e| place(silent(&e)))?;
        connection.log_in(address).map_err(place)?;
        // A query may take long before its first row: keep-alive detects a peer that is gone.
        let timed = connection.stream.wait_at_most(None);
        timed.map_err(|e| place(silent(&e)))?;
        Ok(connection)
    }

    fn log_in(&mut self, address: &Address) -> Result<()> {
        let mut out = BytesMut::new();
        let parameters = [
            ("user", address.user.as_str()),
            ("database", address.database.as_str()),
            ("client_encoding", "UTF8"),
            ("application_name", "milvusdm"),
        ];
        let written = frontend::startup_message(parameters, &mut out);
        written.map_err(|e| odd(&e.to_string()))?;
        self.send(&out)?;
        let mut scram = None;
        loop {
            let (tag, body) = self.message()?;
            match tag {
                b'R' => {
                    let body = self.buffer[body].to_vec();
                    self.authenticate(address, &body, &mut scram)?;
                }
                b'E' => return Err(failed(&self.buffer[body])),
                b'S' | b'K' | b'N' | b'v' => {}
                b'Z' => break,
                tag => return Err(unexpected(tag)),
            }
        }
        self.is_idle = true;
        Ok(())
    }

    /// Answers the server's authentication requests.
    fn authenticate(
        &mut self,
        address: &Address,
        body: &[u8],
        scram: &mut Option<ScramSha256>,
    ) -> Result<()> {
        let (code, data) = body
            .split_first_chunk::<4>()
            .ok_or_else(|| odd("a login message ends early"))?;
        let code = u32::from_be_bytes(*code);
        let password = || {
            let missing = || {
                let what = "the server asks for a password, but the job has none";
                Error::new(Kind::Refused, what)
                    .hint("`password: \"${PGPASSWORD}\"` takes it from the environment")
            };
            address.password.as_ref().ok_or_else(missing)
        };
        let wrong = |error: io::Error| {
            let what = format!("the login failed: {error}");
            Error::new(Kind::Refused, what)
        };
        let mut out = BytesMut::new();
        match code {
            0 => return Ok(()),
            3 => frontend::password_message(password()?.as_bytes(), &mut out),
            5 => {
                let salt = *data.first_chunk::<4>().ok_or_else(|| odd("a login message ends early"))?;
                let hash = md5_hash(address.user.as_bytes(), password()?.as_bytes(), salt);
                frontend::password_message(hash.as_bytes(), &mut out)
            }
            10 => {
                let mut names = data.split(|byte| *byte == 0);
                if !names.any(|name| name == SCRAM_SHA_256.as_bytes()) {
                    return Err(Error::new(
                        Kind::Unsupported,
                        "the server asks for a SASL login other than SCRAM-SHA-256",
                    ));
                }
                let begun = ScramSha256::new(password()?.as_bytes(), ChannelBinding::unsupported());
                let begun = scram.insert(begun);
                frontend::sasl_initial_response(SCRAM_SHA_256, begun.message(), &mut out)
            }
            11 => {
                let begun = scram.as_mut().ok_or_else(|| odd("SASL continues before it has started"))?;
                begun.update(data).map_err(wrong)?;
                frontend::sasl_response(begun.message(), &mut out)
            }
            12 => {
                let begun = scram.as_mut().ok_or_else(|| odd("SASL continues before it has started"))?;
                return begun.finish(data).map_err(wrong);
            }
            code => {
                let what = format!(
                    "the server asks for login method {code}; SCRAM-SHA-256, MD5 and plain passwords are supported"
                );
                return Err(Error::new(Kind::Unsupported, what));
            }
        }
        .map_err(|e| odd(&e.to_string()))?;
        self.send(&out)
    }

    /// Runs one or more statements, and returns the rows of all as text.
    pub fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        self.answered("query", |connection| {
            let mut out = BytesMut::new();
            frontend::query(sql, &mut out).map_err(|e| Error::new(Kind::Job, e.to_string()))?;
            connection.send(&out)?;
            let (mut rows, mut bytes) = (Vec::new(), 0);
            connection.until_ready(|tag, body| {
                if tag == b'D' {
                    bytes += body.len();
                    if bytes > limits::POSTGRES_ANSWER_BYTES_MAX {
                        return Err(odd("an answer that does not end"));
                    }
                    rows.push(answers::row(body)?);
                }
                Ok(())
            })?;
            Ok(rows)
        })
    }

    /// The columns of a statement's result; it must be a single one, and is not run.
    pub fn describe(&mut self, sql: &str) -> Result<Vec<Described>> {
        self.answered("describe", |connection| {
            let mut out = BytesMut::new();
            let written = frontend::parse("", sql, [], &mut out)
                .and_then(|()| frontend::describe(b'S', "", &mut out));
            written.map_err(|e| Error::new(Kind::Job, e.to_string()))?;
            frontend::sync(&mut out);
            connection.send(&out)?;
            let mut columns = Vec::new();
            connection.until_ready(|tag, body| {
                if tag == b'T' {
                    columns = answers::columns(body)?;
                }
                Ok(())
            })?;
            Ok(columns)
        })
    }

    /// Begins a COPY … TO STDOUT.
    pub fn copy(&mut self, sql: &str) -> Result<()> {
        self.is_idle = false;
        let mut out = BytesMut::new();
        let begun = frontend::query(sql, &mut out)
            .map_err(|e| Error::new(Kind::Job, e.to_string()))
            .and_then(|()| self.send(&out))
            .and_then(|()| {
                loop {
                    let (tag, body) = self.message()?;
                    match tag {
                        b'H' => return Ok(()),
                        b'N' | b'S' => {}
                        b'E' => return Err(failed(&self.buffer[body])),
                        tag => return Err(unexpected(tag)),
                    }
                }
            });
        begun.map_err(|e| self.placed(e, "copy"))
    }

    /// The next bytes of a COPY; `None` at its end, when the server waits for another request.
    pub fn copied(&mut self) -> Result<Option<Range<usize>>> {
        let next = self.message().and_then(|(tag, body)| match tag {
            b'd' => Ok(Some(body)),
            b'c' => self.until_ready(|_, _| Ok(())).map(|()| None),
            b'N' | b'S' => Ok(Some(0..0)),
            b'E' => Err(failed(&self.buffer[body])),
            tag => Err(unexpected(tag)),
        });
        match next {
            Ok(None) => self.is_idle = true,
            Ok(Some(_)) => {}
            Err(error) => return Err(self.placed(error, "copy")),
        }
        next
    }

    /// The bytes that [`Connection::copied`] returned last.
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    /// Whether the server waits for a request.
    pub fn is_idle(&self) -> bool {
        self.is_idle
    }

    fn placed(&self, error: Error, call: &'static str) -> Error {
        error.at(Place::Remote {
            address: self.address.clone(),
            call,
        })
    }

    /// Runs an exchange that ends when the server is ready again.
    fn answered<T>(
        &mut self,
        call: &'static str,
        deed: impl FnOnce(&mut Connection) -> Result<T>,
    ) -> Result<T> {
        let done = deed(self);
        done.map_err(|e| self.placed(e, call))
    }

    /// Handles messages until the server waits for the next request; the first error it sends is the result.
    fn until_ready(&mut self, mut look: impl FnMut(u8, &[u8]) -> Result<()>) -> Result<()> {
        self.is_idle = false;
        let mut outcome = Ok(());
        loop {
            let (tag, body) = self.message()?;
            match tag {
                b'Z' => {
                    self.is_idle = true;
                    return outcome;
                }
                b'E' if outcome.is_ok() => outcome = Err(failed(&self.buffer[body])),
                b'T' | b'D' if outcome.is_ok() => look(tag, &self.buffer[body])?,
                b'T' | b'D' | b'E' | b'C' | b'I' | b'N' | b'S' | b'A' | b'1' | b't' | b'n' => {}
                tag => return Err(unexpected(tag)),
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).map_err(|e| silent(&e))
    }

    /// The next message: its tag, and where its body is in the buffer until the next call.
    fn message(&mut self) -> Result<(u8, Range<usize>)> {
        loop {
            let there = &self.buffer[self.unread.clone()];
            if let Some([tag, len @ ..]) = there.first_chunk::<5>() {
                let len = u32::from_be_bytes(*len) as usize;
                if !(4..=limits::POSTGRES_MESSAGE_BYTES_MAX).contains(&len) {
                    return Err(odd(&format!("a message of {len} bytes")));
                }
                if there.len() > len {
                    let body = self.unread.start + 5..self.unread.start + 1 + len;
                    self.unread.start = body.end;
                    return Ok((*tag, body));
                }
            }
            self.fill()?;
        }
    }

    /// Reads more. The buffer grows only by what has arrived.
    fn fill(&mut self) -> Result<()> {
        if self.unread.is_empty() {
            self.unread = 0..0;
        }
        if self.unread.end == self.buffer.len() {
            match self.unread.start {
                0 => self.buffer.resize(self.buffer.len() * 2, 0),
                start => {
                    self.buffer.copy_within(start.., 0);
                    self.unread = 0..self.unread.end - start;
                }
            }
        }
        match self.stream.read(&mut self.buffer[self.unread.end..]) {
            Ok(0) => Err(Error::new(Kind::Lost, "the server closed the connection")),
            Ok(read) => {
                self.unread.end += read;
                Ok(())
            }
            Err(error) => Err(silent(&error)),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.is_idle {
            let mut out = BytesMut::new();
            frontend::terminate(&mut out);
            // The server would notice the closed connection anyway.
            let _ = self.stream.write_all(&out);
        }
    }
}

fn connect(address: &Address) -> Result<Stream> {
    let away = |error: &io::Error| {
        let what = format!("cannot connect: {error}");
        Error::new(Kind::Unreachable, what)
    };
    if address.is_local() {
        let path = format!("{}/.s.PGSQL.{}", address.host, address.port);
        return UnixStream::connect(path)
            .map(Stream::Unix)
            .map_err(|e| away(&e));
    }
    let all = (address.host.as_str(), address.port).to_socket_addrs();
    let mut last = io::Error::other("the host name has no address");
    for at in all.map_err(|e| away(&e))? {
        match TcpStream::connect_timeout(&at, address.connect_timeout) {
            Ok(line) => return encrypted(address, line),
            Err(error) => last = error,
        }
    }
    Err(away(&last))
}

fn encrypted(address: &Address, mut line: TcpStream) -> Result<Stream> {
    let set = || -> io::Result<()> {
        line.set_nodelay(true)?;
        line.set_read_timeout(Some(address.connect_timeout))?;
        sockopt::set_socket_keepalive(&line, true)?;
        let seconds = |seconds| Duration::from_secs(seconds);
        sockopt::set_tcp_keepidle(&line, seconds(limits::POSTGRES_KEEPALIVE_S))?;
        sockopt::set_tcp_keepintvl(&line, seconds(limits::POSTGRES_KEEPALIVE_S))?;
        Ok(sockopt::set_tcp_keepcnt(&line, 3)?)
    };
    set().map_err(|e| silent(&e))?;
    if address.tls == TlsMode::Disable {
        return Ok(Stream::Tcp(line));
    }
    let mut out = BytesMut::new();
    frontend::ssl_request(&mut out);
    let mut answer = [0];
    line.write_all(&out)
        .and_then(|()| line.read_exact(&mut answer))
        .map_err(|e| silent(&e))?;
    match (answer[0], address.tls) {
        (b'S', _) => tls::encrypt(address, line).map(|line| Stream::Tls(Box::new(line))),
        (b'N', TlsMode::Prefer) => Ok(Stream::Tcp(line)),
        (b'N', _) => Err(Error::new(
            Kind::Refused,
            "the server does not offer TLS, but the job requires it",
        )
        .hint("`sslmode=disable` in the URL connects without TLS")),
        _ => Err(odd("no answer to a request for TLS")),
    }
}

fn silent(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            Error::new(Kind::Lost, "the server did not answer in time")
        }
        _ => Error::new(Kind::Lost, format!("the connection broke: {error}")),
    }
}

fn odd(what: &str) -> Error {
    let what = format!("the server does not speak the protocol of Postgres: {what}");
    Error::new(Kind::Refused, what)
}

fn unexpected(tag: u8) -> Error {
    odd(&format!("a message `{}`", char::from(tag).escape_default()))
}
