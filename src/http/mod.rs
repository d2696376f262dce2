//! How does one ask an HTTP server? One request, one answer, over connections that are kept alive.
//! Interprets statuses, which mean the same for every server; the caller interprets the body. Never retries.
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

/// A header that is sent with every request; its value is never printed.
#[derive(Clone, Debug)]
pub struct Header(HeaderName, HeaderValue);

impl Header {
    /// Makes a header; if it is invalid, returns a sentence that does not repeat the value.
    pub fn new(name: &str, value: &str) -> std::result::Result<Header, String> {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("`{name}` is not the name of a header"))?;
        let mut value = HeaderValue::from_str(value).map_err(|_| {
            format!("the value of `{name}` has characters that are not allowed in a header")
        })?;
        value.set_sensitive(true);
        Ok(Header(name, value))
    }

    /// `Authorization: Basic …`.
    pub fn basic(user: &str, password: &str) -> std::result::Result<Header, String> {
        let login = base64::encode(format!("{user}:{password}").as_bytes());
        Header::new("authorization", &format!("Basic {login}"))
    }
}

/// Where a server is, and how to log in.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `http://host:port` or `https://host:port`, and a path if the server is behind one; see [`access::address`].
    pub address: String,
    /// Headers of every request: logins, API keys.
    pub headers: Vec<Header>,
    /// Whom to trust, for `https://`.
    pub tls: Tls,
    /// How long the server may stay silent: before it answers, and between two pieces of an answer.
    pub deadline: Duration,
    /// Idle connections that are kept.
    pub connections: usize,
}

/// What a request does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// Reads.
    Get,
    /// Asks with a body, or creates something.
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
    /// Path and query, from `/` on, after the server's address; names in it went through [`encoded`].
    pub path: &'a str,
    /// JSON, if the request has a body.
    pub body: Option<&'a [u8]>,
    /// A header of this request only.
    pub header: Option<&'a Header>,
    /// Its name in errors: `search`.
    pub call: &'static str,
    /// The longest accepted answer, in bytes.
    pub most: usize,
}

impl<'a> Ask<'a> {
    /// A request without a body, with an answer of a few kilobytes.
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

/// A server, and the connections to it. Shared by threads; each request uses a connection of its own.
pub struct Server {
    agent: Agent,
    address: String,
    headers: Vec<Header>,
}

impl Server {
    /// A server at this address. Nothing is sent yet, unless its authority is known only by a fingerprint: then it is
    /// asked for its certificates.
    pub fn open(settings: &Settings) -> Result<Server> {
        let deadline = Some(settings.deadline);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A login must not follow a redirect to another place.
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

    /// The place of an error in a call.
    pub fn place(&self, call: &'static str) -> Place {
        Place::Remote {
            address: self.address.clone(),
            call,
        }
    }

    /// Sends a request, and replaces the content of `answer` with the body, whatever the status, which is returned.
    ///
    /// Errors: `Unreachable` if nothing was sent, `Lost` and `Slow` if the request may have arrived, `TooBig` for an
    /// answer longer than `ask.most`.
    pub fn ask(&self, ask: &Ask<'_>, answer: &mut Vec<u8>) -> Result<u16> {
        answer.clear();
        let asked = self.asked(ask, answer);
        asked.map_err(|error| error.at(self.place(ask.call)))
    }

    /// The same, but any status except 2xx is an error, see [`Server::refusal`].
    pub fn tell(&self, ask: &Ask<'_>, answer: &mut Vec<u8>) -> Result<()> {
        match self.ask(ask, answer)? {
            200..=299 => Ok(()),
            status => Err(self.refusal(ask.call, status, &words(answer))),
        }
    }

    /// The error for an answer with this status and body: `Busy` for "later", `TooBig` for a request that is too long,
    /// otherwise `Refused`.
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
            // Methods that create something send an empty body instead of none.
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

/// Percent-encodes a name for a path or query: everything except ASCII letters, digits and `-._~`.
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
