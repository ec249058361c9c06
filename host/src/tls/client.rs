//! The client's side: which servers it trusts.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::{certificate, provider};
use crate::config::Tls;
use crate::file;

/// Whom a client trusts.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Certificates that are trusted as they are.
    known: Vec<CertificateDer<'static>>,
    /// The host that the server is configured for.
    host: Option<String>,
    /// Issuers, instead of those that the system trusts.
    issuers: Option<Arc<RootCertStore>>,
}

/// The maximum size of a file, in bytes.
const MAX: u64 = 1 << 20;

impl Trust {
    /// Trusts what a server on this machine is configured with, as far as it can be read.
    pub fn configured(tls: &Tls) -> Self {
        let read = |path: &Path| -> Option<CertificateDer<'static>> {
            let bytes = file::read(path, MAX).ok()?;
            CertificateDer::from_pem_slice(&bytes).ok()
        };
        let files = tls.certificates.iter();
        let known: Vec<_> = files.filter_map(|files| read(&files.certificate)).collect();
        let host = known.iter().find_map(|known| certificate::host(known));
        Self { known, host, issuers: None }
    }

    /// Returns the host that the server is configured for, if it is known.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Trusts the certificates in a PEM file: as issuers, and as they are.
    ///
    /// # Errors
    ///
    /// There are none, or the file cannot be read.
    pub fn with_file(mut self, path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let bytes = file::read(path, MAX).map_err(|unread| format!("{shown}: {unread}"))?;
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&bytes) {
            let certificate = certificate.map_err(|error| format!("{shown}: {error}"))?;
            store.add(certificate.clone()).map_err(|error| format!("{shown}: {error}"))?;
            self.known.push(certificate);
        }
        match store.is_empty() {
            true => Err(format!("{shown}: no certificate in it, expected PEM")),
            false => Ok(Self { issuers: Some(Arc::new(store)), ..self }),
        }
    }

    /// Returns what makes a connection secure.
    ///
    /// # Errors
    ///
    /// The system trusts nobody, and nobody else is trusted.
    pub fn connector(self) -> Result<TlsConnector, String> {
        let provider = provider();
        let by_issuer: Result<Arc<dyn ServerCertVerifier>, _> = match self.issuers {
            Some(issuers) => WebPkiServerVerifier::builder_with_provider(issuers, provider.clone())
                .build()
                .map(|verifier| verifier as _)
                .map_err(|error| error.to_string()),
            None => rustls_platform_verifier::Verifier::new(provider.clone())
                .map(|verifier| Arc::new(verifier) as _)
                .map_err(|error| error.to_string()),
        };
        let by_issuer = match by_issuer {
            Err(error) if self.known.is_empty() => return Err(error),
            other => other.ok(),
        };
        let verifier = Verifier { known: self.known, by_issuer, provider: provider.clone() };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

/// Trusts known certificates, and those of known issuers for the host.
#[derive(Debug)]
struct Verifier {
    known: Vec<CertificateDer<'static>>,
    by_issuer: Option<Arc<dyn ServerCertVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.known.iter().any(|known| known == certificate) {
            return Ok(ServerCertVerified::assertion());
        }
        match &self.by_issuer {
            Some(verifier) => verifier.verify_server_cert(certificate, issuers, host, ocsp, now),
            None => Err(Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
