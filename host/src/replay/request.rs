//! Reads a recorded request as a frontend reads one that comes.

use std::net::SocketAddr;

use karuta_bittorrent::{Family, InfoHash, Invalid, Transport, query, udp};

use crate::exchange::{Exchange, Request};
use crate::frontend::Routes;
use crate::metrics::Action;
use crate::recording::Record;

/// A listener, as far as requests are read by it.
pub struct Site {
    pub transport: Transport,
    pub routes: Routes,
    /// Whether an announce may set its address with the parameter `ip`.
    pub allow_address_override: bool,
}

/// Why a request cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    #[error("{0}")]
    Invalid(#[from] Invalid),
    #[error("malformed record: {0}")]
    Malformed(&'static str),
    #[error("no listener of this kind")]
    NoListener,
    #[error("no route for this path")]
    NoRoute,
}

/// Buffers for requests.
#[derive(Default)]
pub struct Buffers {
    url: Vec<u8>,
    path: String,
    /// Those of a scrape.
    pub info_hashes: Vec<InfoHash>,
}

/// Fills in a request. Returns how many peers an answer can carry.
pub fn read(
    record: &Record,
    sites: &[Site],
    max_scrape: usize,
    exchange: &mut Exchange,
    buffers: &mut Buffers,
) -> Result<u32, Unread> {
    let request = &mut exchange.request;
    let is_udp = record.transport == Transport::Udp;
    let of_kind = |site: &&Site| (site.transport == Transport::Udp) == is_udp;
    let own = sites.get(usize::from(record.listener)).filter(of_kind);
    let site = own.or_else(|| sites.iter().find(of_kind)).ok_or(Unread::NoListener)?;
    request.transport = record.transport;
    request.listener = record.listener;
    request.client = record.client;
    request.address = record.client;
    request.socket = SocketAddr::new(record.client, 0);
    request.proxied = record.proxied;
    request.overridden = false;
    request.route = None;
    request.account = record.account;
    match is_udp {
        true => read_udp(record, site, max_scrape, request, buffers),
        false => read_http(record, site, max_scrape, request, buffers),
    }
}

fn read_udp(
    record: &Record,
    site: &Site,
    max_scrape: usize,
    request: &mut Request,
    buffers: &mut Buffers,
) -> Result<u32, Unread> {
    let Buffers { url, info_hashes, .. } = buffers;
    let family = Family::of(record.client);
    request.target.clear();
    if record.is_scrape {
        info_hashes.clear();
        let most = max_scrape.min(udp::max_scrape(family));
        info_hashes.extend(udp::scrape(record.request)?.take(most));
        return Ok(0);
    }
    request.announce = udp::announce(record.request, url)?;
    if !url.is_empty() {
        let path = std::str::from_utf8(query::split(url).0).unwrap_or_default();
        if let Some(found) = site.routes.find(path, &mut request.target.make().path) {
            request.route = Some(found.route);
            request.target.make().over_udp(url);
        }
    }
    Ok(udp::max_peers(family) as u32)
}

fn read_http(
    record: &Record,
    site: &Site,
    max_scrape: usize,
    request: &mut Request,
    buffers: &mut Buffers,
) -> Result<u32, Unread> {
    let Buffers { path, info_hashes, .. } = buffers;
    let target = request.target.make();
    target.read(record.request).map_err(Unread::Malformed)?;
    path.clear();
    path.push_str(target.uri_path());
    let found = site.routes.find(path, &mut target.path).ok_or(Unread::NoRoute)?;
    if (found.action == Action::Scrape) != record.is_scrape {
        return Err(Unread::NoRoute);
    }
    request.route = Some(found.route);
    let (text, parameters) = target.query();
    if record.is_scrape {
        query::scrape(text, parameters, max_scrape, info_hashes)?;
        return Ok(0);
    }
    request.announce = query::announce(text, parameters)?;
    if site.allow_address_override
        && let Some(address) = request.announce.ip
    {
        request.address = address;
        request.overridden = true;
    }
    Ok(u32::MAX)
}
