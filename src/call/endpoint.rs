//! How is a connection set up? Address, TLS, pings.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustix::net::sockopt::set_tcp_congestion;
use tokio::net::{TcpSocket, lookup_host};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Uri};
use tower_service::Service;

use super::Tls;
use super::socket::Socket;
use crate::error::{Error, Kind, Result};
use crate::limits;

/// Sets up connections to the server at this address; a ping has to be answered within `ping`. An error if certificates
/// cannot be used.
pub fn endpoint(address: &str, tls: Option<&Tls>, ping: Duration) -> Result<Endpoint> {
    let wrong = |what: String| Error::new(Kind::Job, what);
    let endpoint = Endpoint::from_shared(address.to_owned())
        .map_err(|e| wrong(format!("`{address}` is not an address: {e}")))?
        .user_agent(concat!("milvusdm/", env!("CARGO_PKG_VERSION")))
        .expect("a plain user agent")
        .connect_timeout(Duration::from_secs(limits::CONNECT_DEADLINE_S))
        .http2_keep_alive_interval(Duration::from_secs(limits::PING_EVERY_S))
        .keep_alive_timeout(ping)
        // Measured: without TCP_NODELAY 0.3 GB/s, with it 1.2 to 1.5.
        .tcp_nodelay(true);
    if !address.starts_with("https://") {
        return Ok(endpoint);
    }
    let tls = tls.cloned().unwrap_or_default();
    let mut config = ClientTlsConfig::new()
        // Some servers and proxies speak HTTP/2 without announcing it in the handshake.
        .assume_http2(true)
        .timeout(Duration::from_secs(limits::CONNECT_DEADLINE_S));
    config = match tls.ca {
        Some(ca) => config.ca_certificate(Certificate::from_pem(ca)),
        None => config.with_native_roots(),
    };
    if let Some((cert, key)) = tls.identity {
        config = config.identity(Identity::from_pem(cert, key));
    }
    if let Some(name) = tls.server_name {
        config = config.domain_name(name);
    }
    endpoint.tls_config(config).map_err(|e| {
        let cause = std::error::Error::source(&e).map(ToString::to_string);
        wrong(format!(
            "the certificates cannot be used: {}",
            cause.unwrap_or_else(|| e.to_string())
        ))
        .hint("`tls:` expects PEM files: ca, cert and key")
    })
}

/// A channel to an endpoint; connects when first used.
pub fn channel(endpoint: &Endpoint) -> Channel {
    match Here::of(endpoint.uri()) {
        Some(here) => endpoint.connect_with_connector_lazy(here),
        None => endpoint.connect_lazy(),
    }
}

/// Connects to this very host, without the host's congestion control: many set BBR, which paces what it sends by
/// timers, and on a loopback there is nothing to pace for (benches/README.md has the cost). The kernel's probes are not
/// needed either: when a process here dies, its connections end. Sending mapped bytes uncopied pays only without BBR,
/// which splits them so that a receiver takes three times as long as for a write.
#[derive(Clone)]
struct Here {
    host: String,
    port: u16,
}

impl Here {
    /// `None`: the address does not name this host.
    fn of(address: &Uri) -> Option<Here> {
        let host = address.host()?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = |ip: IpAddr| ip.is_loopback();
        let is_here = host == "localhost" || host.parse().is_ok_and(is_loopback);
        is_here.then_some(Here {
            host: host.to_owned(),
            port: address.port_u16()?,
        })
    }

    async fn connect(self) -> io::Result<TokioIo<Socket>> {
        let mut refused = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in lookup_host((self.host, self.port)).await? {
            let socket = match address.is_ipv4() {
                true => TcpSocket::new_v4()?,
                false => TcpSocket::new_v6()?,
            };
            // Every Linux has Reno. Set before connecting: BBR would leave its timers running.
            let _ = set_tcp_congestion(&socket, "reno");
            match socket.connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(TokioIo::new(Socket::new(stream)));
                }
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }
}

impl Service<Uri> for Here {
    type Response = TokioIo<Socket>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Socket>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_name_this_host() {
        for (address, here) in [
            ("http://127.0.0.1:19530", true),
            ("https://[::1]:19530", true),
            ("http://localhost:19530", true),
            ("http://10.0.0.1:19530", false),
            ("http://localhost.example:19530", false),
        ] {
            let found = Here::of(&Uri::from_static(address));
            assert_eq!(found.is_some(), here, "{address}");
            assert!(found.is_none_or(|here| here.port == 19530));
        }
    }
}
