//! Is the connection encrypted, and to the right server? As `sslmode` requires.

use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore,
    SignatureScheme, StreamOwned,
};

use super::address::{Address, TlsMode};
use crate::error::{Error, Kind, Result};

/// An encrypted connection.
pub type Line = StreamOwned<ClientConnection, TcpStream>;

/// Encrypts a connection after the server has agreed.
pub fn encrypt(address: &Address, mut line: TcpStream) -> Result<Line> {
    let provider = Arc::new(ring::default_provider());
    let failed = |what: String| Error::new(Kind::Refused, format!("TLS: {what}"));
    let verifier: Arc<dyn ServerCertVerifier> = match address.tls {
        TlsMode::VerifyCa | TlsMode::VerifyFull => {
            let roots = Arc::new(authorities(address)?);
            let full = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
            let full = full.build().map_err(|e| failed(e.to_string()))?;
            match address.tls {
                TlsMode::VerifyFull => full,
                _ => Arc::new(AnyName(full)),
            }
        }
        _ => Arc::new(Anyone(provider.clone())),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| failed(e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match (&address.certificate, &address.key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|e| unread(key, &e))?;
            config
                .with_client_auth_cert(chain, key)
                .map_err(|e| failed(e.to_string()))?
        }
        _ => config.with_no_client_auth(),
    };
    let name = ServerName::try_from(address.host.clone())
        .map_err(|_| failed(format!("`{}` is not a host name", address.host)))?;
    let mut connection =
        ClientConnection::new(Arc::new(config), name).map_err(|e| failed(e.to_string()))?;
    while connection.is_handshaking() {
        connection
            .complete_io(&mut line)
            .map_err(|e| failed(e.to_string()))?;
    }
    Ok(StreamOwned::new(connection, line))
}

/// The authorities that vouch for servers: the job's, or the system's.
fn authorities(address: &Address) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match &address.authority {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|e| {
                    Error::path(
                        Kind::Job,
                        path,
                        format!("has a certificate that cannot serve as an authority: {e}"),
                    )
                })?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    match roots.is_empty() {
        true => Err(Error::new(
            Kind::Job,
            "no certificate authority is available to vouch for the server",
        )
        .hint("`sslrootcert=FILE` in the URL names one")),
        false => Ok(roots),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_file_iter(path).map_err(|e| unread(path, &e))?;
    let all: Vec<_> = all
        .collect::<std::result::Result<_, _>>()
        .map_err(|e| unread(path, &e))?;
    match all.is_empty() {
        true => Err(Error::path(
            Kind::Job,
            path,
            "contains no certificate in PEM form",
        )),
        false => Ok(all),
    }
}

fn unread(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::path(Kind::Job, path, format!("cannot read it: {error}"))
}

/// Accepts any certificate: the connection is encrypted, but not authenticated. This is `sslmode=require` in libpq.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Accepts a certificate that an authority vouches for, regardless of its host.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        let verified = (self.0).verify_server_cert(certificate, between, name, ocsp, now);
        match verified {
            Err(rustls::Error::InvalidCertificate(
                NotValidForName | NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
