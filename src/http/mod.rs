//! How does one ask an HTTP server? One request, one answer, over connections that are kept.
//! Judges what every server means by a status; what an answer's body means, those who asked know. Never tries twice.
//!
//! ```text
//! job ──► access: address, login, TLS ──► Server::open ──► ask(Ask) ──► status, body in the caller's buffer
//!                                                              └► tell(Ask): the same, and an error unless 2xx
//! ```

pub mod access;
pub mod base64;
mod status;
mod trust;

use std::io::Read;
use std::time::Duration;

use ureq::Agent;
use ureq::http::{HeaderName, HeaderValue, Request};

use crate::error::{Error, Kind, Place, Result};
use crate::limits;

pub use status::words;
pub use trust::{Tls, Trust};

/// A header that goes with every request; its value is never printed.
#[derive(Clone, Debug)]
pub struct Header(HeaderName, HeaderValue);

impl Header {
    /// A header; a sentence, which does not repeat the value, where it cannot be one.
    pub fn new(name: &str, value: &str) -> std::result::Result<Header, String> {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("`{name}` is not the name of a header"))?;
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| format!("the value of `{name}` has characters that no header may have"))?;
        value.set_sensitive(true);
        Ok(Header(name, value))
    }

    /// `Authorization: Basic …`.
    pub fn basic(user: &str, password: &str) -> std::result::Result<Header, String> {
        let login = base64::encode(format!("{user}:{password}").as_bytes());
        Header::new("authorization", &format!("Basic {login}"))
    }
}

/// Where a server is, and who asks it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `http://host:port` or `https://host:port`, and a path where the server is behind one; see [`access::address`].
    pub address: String,
    /// What goes with every request: logins, API keys.
    pub headers: Vec<Header>,
    /// Whom to trust, for `https://`.
    pub tls: Tls,
    /// How long the server may stay silent: before it answers, and between two pieces of an answer.
    pub deadline: Duration,
    /// Connections that are kept when they are not in use.
    pub connections: usize,
}

/// What a request does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// Reads.
    Get,
    /// Asks with a body, or makes something.
    Post,
    /// Replaces something.
    Put,
    /// Removes something.
    Delete,
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// What it does.
    pub method: Method,
    /// Path and query, from `/` on, behind the server's address; names in it went through [`encoded`].
    pub path: &'a str,
    /// JSON, where the request has a body.
    pub body: Option<&'a [u8]>,
    /// A header of this request alone.
    pub header: Option<&'a Header>,
    /// What it is called in errors: `search`.
    pub call: &'static str,
    /// The longest answer that is read, in bytes.
    pub most: usize,
}

impl<'a> Ask<'a> {
    /// A request without a body, answered in a few kilobytes.
    pub fn new(method: Method, path: &'a str, call: &'static str) -> Ask<'a> {
        Ask {
            method,
            path,
            body: None,
            header: None,
            call,
            most: limits::HTTP_SHORT_ANSWER_BYTES_MAX,
        }
    }
}

/// A server, and the connections to it. Shared by threads; each request has a connection of its own meanwhile.
pub struct Server {
    agent: Agent,
    address: String,
    headers: Vec<Header>,
}

impl Server {
    /// A server at this address. Nothing is sent yet, but where its authority is known by a fingerprint only: then it
    /// is asked for its certificates.
    pub fn open(settings: &Settings) -> Result<Server> {
        let deadline = Some(settings.deadline);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A login must not follow a redirection to wherever it points.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("milvusdm/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .input_buffer_size(limits::HTTP_READ_BYTES)
            .max_idle_connections(settings.connections)
            .max_idle_connections_per_host(settings.connections)
            .timeout_connect(Some(Duration::from_secs(limits::CONNECT_DEADLINE_S)))
            .timeout_recv_response(deadline)
            .timeout_per_read(deadline)
            .timeout_per_write(deadline)
            .tls_config(settings.tls.config(&settings.address)?)
            .build();
        Ok(Server {
            agent: Agent::new_with_config(config),
            address: settings.address.clone(),
            headers: settings.headers.clone(),
        })
    }

    /// Its address, without a login.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where an error of a call happened.
    pub fn place(&self, call: &'static str) -> Place {
        Place::Remote {
            address: self.address.clone(),
            call,
        }
    }

    /// Asks, and puts the body of the answer in place of what is in `answer`, whatever the status, which is returned.
    ///
    /// Errors: `Unreachable` where nothing was sent, `Lost` and `Slow` where the request may have arrived, `TooBig` for an
    /// answer longer than `ask.most`.
    pub fn ask(&self, ask: &Ask<'_>, answer: &mut Vec<u8>) -> Result<u16> {
        answer.clear();
        let asked = self.asked(ask, answer);
        asked.map_err(|error| error.at(self.place(ask.call)))
    }

    /// The same; every status but 2xx is an error, see [`Server::refusal`].
    pub fn tell(&self, ask: &Ask<'_>, answer: &mut Vec<u8>) -> Result<()> {
        match self.ask(ask, answer)? {
            200..=299 => Ok(()),
            status => Err(self.refusal(ask.call, status, &words(answer))),
        }
    }

    /// The error that an answer with this status is, whose body says so much: `Busy` for "later", `TooBig` for a request
    /// that is too long, else `Refused`.
    pub fn refusal(&self, call: &'static str, status: u16, words: &str) -> Error {
        status::refusal(status, words).at(self.place(call))
    }

    fn asked(&self, ask: &Ask<'_>, answer: &mut Vec<u8>) -> Result<u16> {
        let uri = format!("{}{}", self.address, ask.path);
        let method = match ask.method {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
        };
        let mut request = Request::builder().method(method).uri(&uri);
        for Header(name, value) in self.headers.iter().chain(ask.header) {
            request = request.header(name, value);
        }
        let wrong =
            |e: ureq::http::Error| Error::new(Kind::Job, format!("`{uri}` is not an address: {e}"));
        let sent = match ask.body {
            Some(body) => {
                let request = request.header("content-type", "application/json");
                self.agent.run(request.body(body).map_err(wrong)?)
            }
            // A method that makes something says by an empty body that there is none.
            None if matches!(ask.method, Method::Post | Method::Put) => {
                self.agent.run(request.body(&[][..]).map_err(wrong)?)
            }
            None => self.agent.run(request.body(()).map_err(wrong)?),
        };
        let response = sent.map_err(|e| status::failure(e, &self.address))?;
        let status = response.status().as_u16();
        let body = response.into_body();
        let too_long = || {
            let what = format!("an answer of more than {} bytes", ask.most);
            Error::new(Kind::TooBig, what)
        };
        if let Some(length) = body.content_length() {
            if length > ask.most as u64 {
                return Err(too_long());
            }
            answer.reserve(length as usize);
        }
        let mut reader = body.into_reader().take(ask.most as u64 + 1);
        reader
            .read_to_end(answer)
            .map_err(|e| status::failure(ureq::Error::from(e), &self.address))?;
        match answer.len() > ask.most {
            true => Err(too_long()),
            false => Ok(status),
        }
    }
}

/// A name as a piece of a path or query: what is neither a letter nor a digit of ASCII, nor one of `-._~`, is spelt out.
pub fn encoded(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests;
