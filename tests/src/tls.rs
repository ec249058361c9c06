//! Certificates for tests, and a client that verifies them.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use crate::{Connection, SOON};

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

/// A certificate with its key.
pub struct Issued {
    /// PEM.
    pub certificate: String,
    /// PEM.
    pub key: String,
    pub der: CertificateDer<'static>,
}

/// A client that trusts one authority.
#[derive(Clone)]
pub struct Client {
    config: ClientConfig,
}

/// A connection whose handshake is complete.
pub type Stream = StreamOwned<ClientConnection, TcpStream>;

impl Authority {
    pub fn new() -> Self {
        Self::named("Karuta tests")
    }

    pub fn named(name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        Self { issuer: Issuer::new(parameters, key), certificate }
    }

    /// Returns its own certificate, in PEM.
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// Issues a certificate for hosts or addresses.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_with(names, |_| {})
    }

    /// Issues a certificate with other dates, or whatever else `change` sets.
    pub fn issue_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).expect("valid names");
        change(&mut parameters);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        let der = certificate.der().clone();
        Issued { certificate: certificate.pem(), key: key.serialize_pem(), der }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Issued {
    /// Writes `NAME.pem` and `NAME.key`, each in one step.
    pub fn write(&self, folder: &Path, name: &str) {
        self.write_key(folder, name);
        self.write_certificate(folder, name);
    }

    pub fn write_certificate(&self, folder: &Path, name: &str) {
        replace(&folder.join(format!("{name}.pem")), self.certificate.as_bytes());
    }

    pub fn write_key(&self, folder: &Path, name: &str) {
        replace(&folder.join(format!("{name}.key")), self.key.as_bytes());
    }
}

/// Replaces a file in one step.
pub fn replace(path: &Path, bytes: &[u8]) {
    let new = path.with_added_extension("new");
    fs::write(&new, bytes).expect("the new file is written");
    fs::rename(&new, path).expect("the file is replaced");
}

impl Client {
    pub fn new(authority: &Authority) -> Self {
        Self::speaking(rustls::ALL_VERSIONS, authority)
    }

    /// Creates a client that speaks only some versions.
    pub fn speaking(versions: &[&'static SupportedProtocolVersion], authority: &Authority) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate.der().clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("known versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { config }
    }

    /// Offers application protocols.
    pub fn offering(mut self, protocols: &[&str]) -> Self {
        self.config.alpn_protocols =
            protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// Does not resume sessions, so that every handshake shows a certificate.
    pub fn forgetful(mut self) -> Self {
        self.config.resumption = rustls::client::Resumption::disabled();
        self
    }

    /// Connects, and verifies that the certificate is for `host`.
    pub fn connect(&self, address: SocketAddr, host: &str) -> io::Result<Stream> {
        let host = ServerName::try_from(host.to_owned()).expect("a valid host");
        let session = ClientConnection::new(Arc::new(self.config.clone()), host);
        let mut session = session.map_err(io::Error::other)?;
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(SOON))?;
        stream.set_nodelay(true)?;
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(StreamOwned::new(session, stream))
    }

    /// Connects for several requests.
    pub fn open(&self, address: SocketAddr, host: &str) -> Connection<Stream> {
        Connection::over(self.connect(address, host).expect("a handshake"))
    }

    /// Returns the certificate that a server shows to a client that asks for `host`.
    pub fn sees(&self, address: SocketAddr, host: &str) -> CertificateDer<'static> {
        let stream = self.connect(address, host).expect("a handshake");
        let shown = stream.conn.peer_certificates().expect("certificates");
        shown[0].clone().into_owned()
    }
}
