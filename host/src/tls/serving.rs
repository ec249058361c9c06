//! The certificates of the listeners: loaded, chosen by name, renewed when their files change.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;

use super::certificate::{Certificate, Problem};
use super::files::Files;
use super::provider;
use crate::config::{self, Config, Tls, TlsVersion};
use crate::metrics::{self, Metrics, Renewal};
use crate::watch::POLL;

/// The certificates of all listeners that have some.
#[derive(Default)]
pub struct Certificates {
    /// In the order of the configuration; `None` for plain HTTP.
    pub http: Vec<Option<Arc<Listener>>>,
    pub admin: Option<Arc<Listener>>,
}

/// The certificates of one listener.
pub struct Listener {
    address: SocketAddr,
    /// As it was configured.
    tls: Tls,
    in_use: Arc<InUse>,
    /// In the order of the configuration.
    files: Mutex<Vec<Files>>,
    pub(super) config: Arc<ServerConfig>,
}

/// The certificates that a listener serves, in the order of the configuration.
#[derive(Debug)]
struct InUse(ArcSwap<Vec<Arc<Certificate>>>);

impl Certificates {
    /// Loads all certificates. If one and its key do not belong together, they may be in the middle
    /// of being replaced: they are read again for as long as `patience`.
    ///
    /// # Errors
    ///
    /// What is wrong, at its key.
    pub fn load(config: &Config, patience: Duration) -> Result<Self, config::Error> {
        let deadline = Instant::now() + patience;
        let load = |path: &str, address, tls: &Option<Tls>| {
            let listener = |tls| Listener::load(config, path, address, tls, deadline);
            tls.as_ref().map(listener).transpose().map(|loaded| loaded.map(Arc::new))
        };
        let http = config.http.iter().enumerate();
        let http = http.map(|(at, http)| load(&format!("http[{at}]"), http.listen, &http.tls));
        Ok(Self {
            http: http.collect::<Result<_, _>>()?,
            admin: match config.admin.addresses().next() {
                Some(address) => load("admin", address, &config.admin.tls)?,
                None => None,
            },
        })
    }

    pub fn is_empty(&self) -> bool {
        self.listeners().next().is_none()
    }

    /// Returns what is unusual about the certificates, each with its path in the configuration.
    pub fn warnings(&self) -> Vec<(String, String)> {
        let now = SystemTime::now();
        let mut warnings = Vec::new();
        for listener in self.listeners() {
            let files = listener.files.lock();
            for (files, certificate) in files.iter().zip(&**listener.in_use.0.load()) {
                let path = format!("{}.certificate", files.path);
                let said = certificate.warnings(now).into_iter();
                warnings.extend(said.map(|warning| (path.clone(), warning)));
            }
        }
        warnings
    }

    /// Shows the certificates in the metrics.
    pub fn show(&self, metrics: &Metrics) {
        metrics.set_certificates(self.shown());
    }

    /// Returns the certificates in use.
    pub fn shown(&self) -> Vec<metrics::ShownCertificate> {
        let mut shown = Vec::new();
        for listener in self.listeners() {
            let in_use = listener.in_use.0.load();
            let pairs = listener.tls.certificates.iter().zip(&**in_use);
            shown.extend(pairs.map(|(files, certificate)| metrics::ShownCertificate {
                listener: listener.address.to_string(),
                file: files.certificate.display().to_string(),
                names: certificate.names(),
                end: certificate.end(),
                read: certificate.read(),
            }));
        }
        shown
    }

    /// Renews the certificates whose files have changed, and have been stable since.
    pub fn look(&self, metrics: &Metrics) {
        let mut renewed = false;
        for listener in self.listeners() {
            for (at, files) in listener.files.lock().iter_mut().enumerate() {
                match files.look(Instant::now()) {
                    None => {}
                    Some(Ok(certificate)) => {
                        let is_new = listener.put(at, certificate.into(), files);
                        if is_new {
                            metrics.renewal(Renewal::Applied);
                        }
                        renewed |= is_new;
                    }
                    Some(Err(problem)) => {
                        metrics.renewal(Renewal::Refused);
                        let key = format!("{}.{}", files.path, problem.key());
                        tracing::error!(%key, "cannot use new certificate; the old one keeps serving: {problem}");
                    }
                }
            }
        }
        if renewed {
            self.show(metrics);
        }
    }

    /// Takes over the certificates of a later configuration, for the listeners that are as they
    /// were. Returns the files of those that have changed.
    pub fn adopt(&self, later: &Self, metrics: &Metrics) -> Vec<String> {
        let mut renewed = Vec::new();
        for listener in self.listeners() {
            let is_same = |later: &&Arc<Listener>| {
                later.address == listener.address && later.tls == listener.tls
            };
            let Some(later) = later.listeners().find(is_same) else { continue };
            let mut files = listener.files.lock();
            *files = std::mem::take(&mut *later.files.lock());
            for (at, certificate) in later.in_use.0.load().iter().enumerate() {
                if listener.put(at, certificate.clone(), &files[at]) {
                    metrics.renewal(Renewal::Applied);
                    renewed.push(listener.tls.certificates[at].certificate.display().to_string());
                }
            }
        }
        self.show(metrics);
        renewed
    }

    fn listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.http.iter().chain([&self.admin]).flatten()
    }
}

impl Listener {
    /// Loads its certificates, at `path` in the configuration.
    fn load(
        config: &Config,
        path: &str,
        address: SocketAddr,
        tls: &Tls,
        deadline: Instant,
    ) -> Result<Self, config::Error> {
        let mut certificates = Vec::new();
        let mut files = Vec::new();
        for (at, named) in tls.certificates.iter().enumerate() {
            let path = tls.path(path, at);
            let read = loop {
                match Files::read(path.clone(), named) {
                    Err(Problem::Mismatch) if Instant::now() < deadline => sleep(POLL),
                    result => break result,
                }
            };
            let (one, watched) = read.map_err(|problem| {
                config.source.error(&format!("{path}.{}", problem.key()), problem.to_string())
            })?;
            certificates.push(Arc::new(one));
            files.push(watched);
        }
        let in_use = Arc::new(InUse(ArcSwap::from_pointee(certificates)));
        let server = server(in_use.clone(), tls.min_version())
            .map_err(|error| config.source.error(&format!("{path}.tls"), error.to_string()))?;
        let files = Mutex::new(files);
        Ok(Self { address, tls: tls.clone(), in_use, files, config: Arc::new(server) })
    }

    /// Replaces a certificate. Returns whether it is another one.
    fn put(&self, at: usize, certificate: Arc<Certificate>, files: &Files) -> bool {
        let mut all = Vec::clone(&self.in_use.0.load());
        if all[at].key.cert == certificate.key.cert {
            return false;
        }
        let key = format!("{}.certificate", files.path);
        tracing::info!(%key, end = certificate.end_text(), "renewed certificate");
        for warning in certificate.warnings(SystemTime::now()) {
            tracing::warn!(%key, "unusual certificate: {warning}");
        }
        all[at] = certificate;
        self.in_use.0.store(Arc::new(all));
        true
    }
}

/// Makes what all connections of a listener share.
fn server(in_use: Arc<InUse>, min_version: TlsVersion) -> Result<ServerConfig, rustls::Error> {
    let versions = match min_version {
        TlsVersion::V1_2 => rustls::ALL_VERSIONS,
        TlsVersion::V1_3 => &[&rustls::version::TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(in_use);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Clients keep their own sessions, so that a million of them need no memory and no lock here.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(config)
}

impl ResolvesServerCert for InUse {
    /// Returns the first certificate for the client's host, or else the first of all; in either
    /// case one that the client can verify, if there is one.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let all = self.0.load();
        let can_sign = |one: &&Arc<Certificate>| {
            one.key.key.choose_scheme(hello.signature_schemes()).is_some()
        };
        let host = hello.server_name();
        let named = host.and_then(|host| all.iter().filter(|one| one.is_for(host)).find(can_sign));
        let chosen = named.or_else(|| all.iter().find(can_sign)).or_else(|| all.first());
        chosen.map(|one| one.key.clone())
    }
}
