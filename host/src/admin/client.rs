//! The command line's client for the admin API of a running daemon.

use std::fmt;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use url::{Host, Position, Url};

use super::accounts;
use super::{
    ChangedAccounts, Imported, Question, RecordQuestion, Refusal, Report, SnapshotReport,
    TapQuestion, WantedReload,
};
use crate::config::Secret;
use crate::tls::Trust;

/// Where a daemon's admin API is, and the token for it.
pub struct Client {
    pub place: Place,
    pub token: Option<Secret>,
    /// Where it was not, as a part of errors.
    pub tried: Option<String>,
}

/// Where an admin API is.
pub enum Place {
    /// A socket file.
    Socket(PathBuf),
    Network {
        /// With `http` or `https`, and without a path.
        url: Url,
        /// For `https`.
        trust: Trust,
    },
}

/// A reload compiles plugins, which takes seconds in some languages.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the next part of a download may take.
const STALL: Duration = Duration::from_secs(60);
/// The maximum size of a response that is kept, in bytes.
const ANSWER: usize = 16 * 1024 * 1024;

impl Client {
    pub fn new(place: Place, token: Option<Secret>) -> Self {
        Self { place, token, tried: None }
    }

    /// Returns the answer to a path, as JSON.
    pub fn get(&self, path: &str) -> Result<serde_json::Value, String> {
        let (status, body) = self.ask(Method::GET, path, Vec::new())?;
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(|error| error.to_string()),
            _ => Err(self.refused(status, &body)),
        }
    }

    /// Writes the answer to a path as it comes, however large it is.
    pub fn download(&self, path: &str, to: &mut dyn Write) -> Result<(), String> {
        self.follow(Method::GET, path, Vec::new(), &mut |bytes| to.write_all(bytes))?;
        to.flush().map_err(|error| error.to_string())
    }

    /// Writes decisions as they are made, a line for each.
    pub fn tap(&self, question: &TapQuestion, to: &mut dyn Write) -> Result<(), String> {
        let question = serde_json::to_vec(question).map_err(|error| error.to_string())?;
        let mut begins = true;
        self.follow(Method::POST, "/api/tap", question, &mut |bytes| {
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                // Empty lines are signs of life.
                if !(begins && line == b"\n") {
                    to.write_all(line)?;
                }
                begins = line.ends_with(b"\n");
            }
            to.flush()
        })
    }

    /// Writes a recording while it is made.
    pub fn record(&self, question: &RecordQuestion, to: &mut dyn Write) -> Result<(), String> {
        let question = serde_json::to_vec(question).map_err(|error| error.to_string())?;
        self.follow(Method::POST, "/api/record", question, &mut |bytes| to.write_all(bytes))
    }

    /// Passes on the answer to a request as it comes.
    fn follow(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), String> {
        let stalled = |_| self.failed(&format_args!("nothing more within {} s", STALL.as_secs()));
        runtime()?.block_on(async {
            let begun = timeout(PATIENCE, self.send(method, path, body)).await;
            let mut answer = begun.map_err(stalled)??;
            let status = answer.status();
            if status != StatusCode::OK {
                let body = Limited::new(answer.into_body(), ANSWER).collect().await;
                let body = body.map_err(|error| self.failed(&error))?.to_bytes();
                return Err(self.refused(status, &body));
            }
            while let Some(frame) = timeout(STALL, answer.frame()).await.map_err(stalled)? {
                let frame = frame.map_err(|error| self.failed(&error))?;
                if let Some(data) = frame.data_ref() {
                    take(data).map_err(|error| error.to_string())?;
                }
            }
            Ok(())
        })
    }

    /// Changes what is at a path, and returns the answer.
    pub fn change(
        &self,
        method: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<serde_json::Value, String> {
        let method = method.parse().map_err(|_| format!("invalid method {method}"))?;
        let (status, body) = self.ask(method, path, body.to_string().into_bytes())?;
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(|error| error.to_string()),
            _ => Err(self.refused(status, &body)),
        }
    }

    /// Sends lines of torrents to a path, as [`crate::import`] reads them.
    pub fn import(&self, path: &str, lines: Vec<u8>) -> Result<Imported, String> {
        let (status, body) = self.ask(Method::POST, path, lines)?;
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(|error| error.to_string()),
            StatusCode::UNPROCESSABLE_ENTITY => {
                Err(String::from_utf8_lossy(&body).trim().to_owned())
            }
            _ => Err(self.refused(status, &body)),
        }
    }

    /// Has the rows that the site's database has refused played again, and returns how many there are.
    pub fn play_again(&self) -> Result<u64, String> {
        let (status, body) = self.ask(Method::POST, accounts::REJECTED, Vec::new())?;
        match status {
            StatusCode::OK => {
                let rows = serde_json::from_slice::<serde_json::Value>(&body);
                Ok(rows.ok().and_then(|body| body["rows"].as_u64()).unwrap_or(0))
            }
            StatusCode::INSUFFICIENT_STORAGE => {
                Err(String::from_utf8_lossy(&body).trim().to_owned())
            }
            _ => Err(self.refused(status, &body)),
        }
    }

    /// Makes changes of members, torrents and tokens, a JSON object on each line.
    pub fn change_accounts(&self, lines: Vec<u8>) -> Result<ChangedAccounts, String> {
        let (status, body) = self.ask(Method::POST, accounts::ALL, lines)?;
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(|error| error.to_string()),
            StatusCode::UNPROCESSABLE_ENTITY
            | StatusCode::INSUFFICIENT_STORAGE
            | StatusCode::CONFLICT => Err(String::from_utf8_lossy(&body).trim().to_owned()),
            _ => Err(self.refused(status, &body)),
        }
    }

    /// Makes the daemon reload its configuration.
    pub fn reload(&self) -> Result<Report, String> {
        self.change_served("/api/reload", &WantedReload::default())
    }

    /// Changes what the daemon serves, or asks what would change.
    pub fn change_served<T: DeserializeOwned>(
        &self,
        path: &str,
        wanted: &impl Serialize,
    ) -> Result<T, String> {
        let wanted = serde_json::to_vec(wanted).map_err(|error| error.to_string())?;
        let (status, body) = self.ask(Method::POST, path, wanted)?;
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(|error| error.to_string()),
            StatusCode::CONFLICT => Err(serde_json::from_slice::<Refusal>(&body)
                .map_or_else(|error| error.to_string(), |refusal| refusal.to_string())),
            _ => Err(self.refused(status, &body)),
        }
    }

    /// Makes the daemon write a snapshot.
    pub fn snapshot(&self) -> Result<SnapshotReport, String> {
        let (status, body) = self.ask(Method::POST, "/api/snapshot", Vec::new())?;
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(|error| error.to_string()),
            _ => Err(self.refused(status, &body)),
        }
    }

    /// Returns, as JSON, what the policies would do with a request.
    pub fn explain(&self, question: &Question) -> Result<serde_json::Value, String> {
        let question = serde_json::to_vec(question).map_err(|error| error.to_string())?;
        let (status, body) = self.ask(Method::POST, "/api/explain", question)?;
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(|error| error.to_string()),
            StatusCode::BAD_REQUEST => Err(String::from_utf8_lossy(&body).trim().to_owned()),
            _ => Err(self.refused(status, &body)),
        }
    }

    fn ask(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), String> {
        let exchange = async {
            let answer = self.send(method, path, body).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER).collect().await;
            Ok((status, body.map_err(|error| self.failed(&error))?.to_bytes()))
        };
        runtime()?.block_on(async { timeout(PATIENCE, exchange).await }).map_err(|_| {
            self.failed(&format_args!("no response within {} s", PATIENCE.as_secs()))
        })?
    }

    /// Sends a request, and returns the head of the answer. The rest of it comes on the same runtime.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, String> {
        let fail = |error: &dyn fmt::Display| self.failed(error);
        let (url, trust) = match &self.place {
            Place::Socket(file) => {
                let stream = UnixStream::connect(file).await.map_err(|error| fail(&error))?;
                return self.send_over(stream, method, path, body).await;
            }
            Place::Network { url, trust } => (url, trust),
        };
        let addresses = url.socket_addrs(|| None).map_err(|error| fail(&error))?;
        let stream = TcpStream::connect(&*addresses).await.map_err(|error| fail(&error))?;
        if url.scheme() != "https" {
            return self.send_over(stream, method, path, body).await;
        }
        let connector = trust.clone().connector().map_err(|error| fail(&error))?;
        let host = self.host(url, trust)?;
        let stream = connector.connect(host, stream).await.map_err(|error| fail(&error))?;
        self.send_over(stream, method, path, body).await
    }

    /// Returns the host whose certificate the daemon must show.
    fn host(&self, url: &Url, trust: &Trust) -> Result<ServerName<'static>, String> {
        let host = match (trust.host(), url.host()) {
            (Some(known), _) => ServerName::try_from(known.to_owned()),
            (None, Some(Host::Domain(name))) => ServerName::try_from(name.to_owned()),
            (None, Some(Host::Ipv4(address))) => return Ok(ServerName::from(IpAddr::V4(address))),
            (None, Some(Host::Ipv6(address))) => return Ok(ServerName::from(IpAddr::V6(address))),
            (None, None) => return Err(self.failed(&"no host")),
        };
        host.map_err(|error| self.failed(&error))
    }

    async fn send_over(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, String> {
        let fail = |error: &dyn fmt::Display| self.failed(error);
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| fail(&error))?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.place.host())
            .header(CONTENT_TYPE, super::body_of(path));
        if let Some(token) = &self.token {
            let bearer = [b"Bearer ", token.expose()].concat();
            request = request.header(AUTHORIZATION, bearer);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| fail(&error))?;
        sender.send_request(request).await.map_err(|error| fail(&error))
    }

    fn failed(&self, error: &dyn fmt::Display) -> String {
        self.with_tried(format!("{}: {error}", self.place))
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> String {
        let fault: Option<serde_json::Value> = serde_json::from_slice(body).ok();
        let detail = fault.as_ref().and_then(|fault| fault["detail"].as_str());
        let said = String::from_utf8_lossy(body);
        self.with_tried(format!("{status}: {}", detail.unwrap_or(said.trim())))
    }

    fn with_tried(&self, error: String) -> String {
        match &self.tried {
            Some(tried) => format!("{error}; {tried}"),
            None => error,
        }
    }
}

fn runtime() -> Result<Runtime, String> {
    Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())
}

impl Place {
    /// Returns what a request says about where it goes.
    fn host(&self) -> &str {
        match self {
            Self::Socket(_) => "localhost",
            Self::Network { url, .. } => &url[Position::BeforeHost..Position::AfterPort],
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(file) => write!(f, "unix:{}", file.display()),
            Self::Network { .. } => f.write_str(self.host()),
        }
    }
}
