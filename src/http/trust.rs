//! Which servers are trusted? Certificates of authorities: the system's, those in a file, or one identified by its
//! fingerprint.

use std::fmt;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::error::{Error, Kind, Result};
use crate::limits;

/// Who vouches for a server.
#[derive(Clone, Default)]
pub enum Trust {
    /// The system's authorities.
    #[default]
    System,
    /// The authorities of a PEM file.
    Authorities(Vec<u8>),
    /// An authority whose certificate has this SHA-256, as Elasticsearch prints it when it is installed.
    Fingerprint([u8; 32]),
    /// No one: any certificate is accepted.
    Nobody,
}

/// How a server is verified, and which certificate it is shown.
#[derive(Clone, Default)]
pub struct Tls {
    /// Who vouches for it.
    pub trust: Trust,
    /// Our own certificate and its key, in PEM, for servers that ask for one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls { .. }")
    }
}

impl Tls {
    /// The TLS settings of connections to this address.
    pub(super) fn config(&self, address: &str) -> Result<TlsConfig> {
        if !address.starts_with("https://") {
            return Ok(TlsConfig::default());
        }
        let wrong = |what: &str| {
            Error::new(Kind::Job, what).hint("`tls:` expects PEM files: ca, cert and key")
        };
        let builder = TlsConfig::builder();
        let builder = match &self.trust {
            Trust::System => {
                let found = rustls_native_certs::load_native_certs();
                let certificates = found
                    .certs
                    .iter()
                    .map(|der| Certificate::from_der(der).to_owned());
                builder.root_certs(roots(certificates.collect()))
            }
            Trust::Authorities(pem) => {
                let certificates = certificates(pem)
                    .ok_or_else(|| wrong("the certificate of the authority cannot be read"))?;
                builder.root_certs(roots(certificates))
            }
            Trust::Fingerprint(wanted) => {
                let der = authority(address, wanted)?;
                builder.root_certs(roots(vec![Certificate::from_der(&der).to_owned()]))
            }
            Trust::Nobody => builder.disable_verification(true),
        };
        let identity = match &self.identity {
            None => None,
            Some((cert, key)) => {
                let certificates = certificates(cert)
                    .ok_or_else(|| wrong("the client's certificate cannot be read"))?;
                let key = PrivateKey::from_pem(key)
                    .map_err(|_| wrong("the key of the client's certificate cannot be read"))?;
                Some(ClientCert::new_with_certs(&certificates, key))
            }
        };
        Ok(builder.client_cert(identity).build())
    }
}

fn roots(certificates: Vec<Certificate<'static>>) -> RootCerts {
    RootCerts::from(certificates)
}

/// The certificates of a PEM file; `None` if there are none, or something is wrong with them.
fn certificates(pem: &[u8]) -> Option<Vec<Certificate<'static>>> {
    let mut all = Vec::new();
    for item in parse_pem(pem) {
        if let PemItem::Certificate(certificate) = item.ok()? {
            all.push(certificate);
        }
    }
    (!all.is_empty()).then_some(all)
}

/// The certificate with this fingerprint among those that a server presents.
fn authority(address: &str, wanted: &[u8; 32]) -> Result<Vec<u8>> {
    let rest = address.trim_start_matches("https://");
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "443"));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let unreachable = |e: std::io::Error| {
        Error::new(
            Kind::Unreachable,
            format!("{address} cannot be reached: {e}"),
        )
    };
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| Error::new(Kind::Job, format!("`{host}` is not a host name")))?;
    let seen = Arc::new(Seen {
        wanted: *wanted,
        provider: Arc::new(ring::default_provider()),
        found: Mutex::default(),
    });
    let config = ClientConfig::builder_with_provider(seen.provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring has the usual versions")
        .dangerous()
        .with_custom_certificate_verifier(seen.clone())
        .with_no_client_auth();
    let mut connection = ClientConnection::new(Arc::new(config), name)
        .map_err(|e| Error::new(Kind::Refused, format!("TLS with {address} failed: {e}")))?;
    let port = port.parse().unwrap_or(443);
    let mut socket = TcpStream::connect((host, port)).map_err(unreachable)?;
    let deadline = Some(Duration::from_secs(limits::CONNECT_DEADLINE_S));
    socket.set_read_timeout(deadline).map_err(unreachable)?;
    socket.set_write_timeout(deadline).map_err(unreachable)?;
    let shaken = connection.complete_io(&mut socket);
    if let Some(der) = seen
        .found
        .lock()
        .expect("no one panics with it locked")
        .take()
    {
        return Ok(der);
    }
    match shaken {
        Err(error) if error.kind() != std::io::ErrorKind::InvalidData => Err(unreachable(error)),
        _ => {
            let what = format!("{address} presents no certificate with the fingerprint in the job");
            Err(Error::new(Kind::Refused, what).hint(
                "it is the SHA-256 of the authority's certificate; was the server reinstalled?",
            ))
        }
    }
}

/// Looks for a certificate, and rejects every server without it.
#[derive(Debug)]
struct Seen {
    wanted: [u8; 32],
    provider: Arc<CryptoProvider>,
    found: Mutex<Option<Vec<u8>>>,
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let found = std::iter::once(end)
            .chain(others)
            .find(|der| sha256(der) == self.wanted);
        match found {
            Some(der) => {
                *self.found.lock().expect("no one panics with it locked") = Some(der.to_vec());
                Ok(ServerCertVerified::assertion())
            }
            None => Err(rustls::CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let rustls::SupportedCipherSuite::Tls13(suite) = ring::cipher_suite::TLS13_AES_128_GCM_SHA256
    else {
        unreachable!("TLS 1.3 has this suite");
    };
    let hash = suite.common.hash_provider.hash(bytes);
    hash.as_ref().try_into().expect("a SHA-256 has 32 bytes")
}

/// Parses a SHA-256 in hexadecimal digits, with or without colons between them.
pub fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b':').collect();
    let mut all = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in all.iter_mut().zip(digits.chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        *byte = u8::from_str_radix(pair, 16)
            .ok()
            .filter(|_| !pair.starts_with('+'))?;
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_with_and_without_colons() {
        // NIST's first example of SHA-256.
        let plain = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(fingerprint(plain), Some(sha256(b"abc")));
        let colons: Vec<&str> = (0..32).map(|at| &plain[2 * at..2 * at + 2]).collect();
        assert_eq!(
            fingerprint(&colons.join(":").to_uppercase()),
            Some(sha256(b"abc"))
        );
        for wrong in ["", "ba78", &plain[1..], &format!("+1{}", &plain[2..])] {
            assert_eq!(fingerprint(wrong), None, "{wrong}");
        }
    }
}
