//! A request over HTTP or HTTPS (BEP 3, 48), on a connection of its own.

use std::io;
use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request as HttpRequest, StatusCode};
use hyper_util::rt::TokioIo;
use karuta_bittorrent::client::{
    Answer, http_announce, http_scrape, read_http_announce, read_http_scrape,
};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use url::Host;

use super::target::Target;
use super::{Request, explain};
use crate::tls::Trust;

/// The maximum size of an answer, in bytes.
const ANSWER: usize = 1 << 20;
const AGENT: &str = concat!("karuta-probe/", env!("CARGO_PKG_VERSION"));

/// # Errors
///
/// Why there is no answer.
pub async fn ask(
    address: SocketAddr,
    target: &Target,
    request: &Request,
    trust: Option<&Trust>,
) -> Result<Answer, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| explain(&error))?;
    let query = match request {
        Request::Announce(announce) => http_announce(announce),
        Request::Scrape(info_hash) => http_scrape(*info_hash),
    };
    let path = target.with_query(&query);
    let body = match trust {
        None => exchange(stream, target, &path).await?,
        Some(trust) => {
            let stream = trust.clone().connector()?.connect(host(target)?, stream).await;
            exchange(stream.map_err(|error| untrusted(&error))?, target, &path).await?
        }
    };
    let answer = match request {
        Request::Announce(_) => read_http_announce(&body),
        Request::Scrape(info_hash) => read_http_scrape(&body, *info_hash),
    };
    answer.map_err(|reason| format!("not an answer of a tracker: {reason}"))
}

/// Returns the host whose certificate the tracker must show.
fn host(target: &Target) -> Result<ServerName<'static>, String> {
    match target.url.host() {
        Some(Host::Domain(name)) => {
            ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())
        }
        Some(Host::Ipv4(address)) => Ok(std::net::IpAddr::from(address).into()),
        Some(Host::Ipv6(address)) => Ok(std::net::IpAddr::from(address).into()),
        None => Err("no host".into()),
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    target: &Target,
    path: &str,
) -> Result<Bytes, String> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| words(&error))?;
    tokio::spawn(connection);
    let request = HttpRequest::get(path)
        .header(HOST, target.place())
        .header(USER_AGENT, AGENT)
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(|error| words(&error))?;
    let status = answer.status();
    if status != StatusCode::OK {
        return Err(format!("the status is {status}, expected 200"));
    }
    let body = Limited::new(answer.into_body(), ANSWER).collect().await;
    Ok(body.map_err(|error| error.to_string())?.to_bytes())
}

/// Says what is wrong with a handshake, in words.
fn untrusted(error: &io::Error) -> String {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidMessage(_)) => "what listens there does not speak TLS".into(),
        _ => format!("TLS: {}", explain(error)),
    }
}

/// Says what is wrong with an exchange, in words.
fn words(error: &hyper::Error) -> String {
    let source =
        std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    match source {
        Some(io) => explain(io),
        None if error.is_incomplete_message() => "the connection ended before the answer".into(),
        None if error.is_parse() => "not an answer over HTTP".into(),
        None => error.to_string(),
    }
}
