//! HTTP response bodies: bencoded dictionaries with sorted keys.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::bencode::Writer;
use super::{Counts, InfoHash, PeerForm, PeerId, Peers};

/// The answer to an announce (BEP 3, 7, 23, 24).
#[derive(Clone, Copy, Debug)]
pub struct AnnounceAnswer<'a> {
    /// The counts of the swarm.
    pub counts: Counts,
    /// In seconds.
    pub interval: u32,
    /// In seconds.
    pub min_interval: u32,
    /// The peers that are given.
    pub peers: &'a Peers,
    /// How the peers are written.
    pub form: PeerForm,
    /// The client's address as the tracker sees it (BEP 24).
    pub external_ip: Option<IpAddr>,
    /// The `warning message`.
    pub warning: Option<&'a str>,
}

/// When a refused client may try again (BEP 31).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// After so many minutes.
    Minutes(u32),
    /// Not at all.
    Never,
}

impl AnnounceAnswer<'_> {
    /// Appends the answer. `peers` is always written: some clients treat an answer without it as a
    /// failure.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut body = Writer::new(out);
        body.begin_dictionary();
        body.string("complete");
        body.integer(self.counts.seeders);
        body.string("downloaded");
        body.integer(self.counts.completed);
        match self.external_ip {
            Some(IpAddr::V4(ip)) => {
                body.string("external ip");
                body.string(ip.octets());
            }
            Some(IpAddr::V6(ip)) => {
                body.string("external ip");
                body.string(ip.octets());
            }
            None => {}
        }
        body.string("incomplete");
        body.integer(self.counts.leechers);
        body.string("interval");
        body.integer(self.interval);
        body.string("min interval");
        body.integer(self.min_interval);
        body.string("peers");
        match self.form {
            PeerForm::Compact => {
                body.string(&self.peers.ipv4);
                if !self.peers.ipv6.is_empty() {
                    body.string("peers6");
                    body.string(&self.peers.ipv6);
                }
            }
            PeerForm::Dictionary => write_list(&mut body, self.peers, true),
            PeerForm::DictionaryWithoutId => write_list(&mut body, self.peers, false),
        }
        if let Some(warning) = self.warning {
            body.string("warning message");
            body.string(warning);
        }
        body.end();
    }
}

/// Appends the answer to a failed request. It is sent with status 200, because clients show the
/// reason only then. A time to wait is in `interval` and `min interval` (in seconds), too: many clients
/// that do not know BEP 31 obey those of a failure.
pub fn write_failure(out: &mut Vec<u8>, reason: &str, retry: Option<Retry>) {
    let mut body = Writer::new(out);
    body.begin_dictionary();
    body.string("failure reason");
    body.string(reason);
    if let Some(Retry::Minutes(minutes)) = retry {
        let seconds = u64::from(minutes) * 60;
        body.string("interval");
        body.integer(seconds);
        body.string("min interval");
        body.integer(seconds);
    }
    if let Some(retry) = retry {
        body.string("retry in");
        match retry {
            Retry::Minutes(minutes) => body.integer(minutes),
            Retry::Never => body.string("never"),
        }
    }
    body.end();
}

/// Appends the answer to a scrape (BEP 48; `downloaders` is BEP 21). Sorts `files`, and writes a
/// repeated info-hash once.
pub fn write_scrape(out: &mut Vec<u8>, files: &mut [(InfoHash, Counts)]) {
    files.sort_unstable_by_key(|file| file.0);
    let mut body = Writer::new(out);
    body.begin_dictionary();
    body.string("files");
    body.begin_dictionary();
    for same in files.chunk_by(|a, b| a.0 == b.0) {
        let (info_hash, counts) = same[0];
        body.string(info_hash.0);
        body.begin_dictionary();
        body.string("complete");
        body.integer(counts.seeders);
        body.string("downloaded");
        body.integer(counts.completed);
        body.string("downloaders");
        body.integer(counts.leechers.saturating_sub(counts.partial_seeds));
        body.string("incomplete");
        body.integer(counts.leechers);
        body.end();
    }
    body.end();
    body.end();
}

fn write_list(body: &mut Writer, peers: &Peers, with_ids: bool) {
    let id_of = |ids: &[PeerId], at: usize| {
        ids.get(at).copied().filter(|id| with_ids && *id != PeerId::UNKNOWN)
    };
    body.begin_list();
    for (at, peer) in peers.ipv4.as_chunks().0.iter().enumerate() {
        let [a, b, c, d, port @ ..]: [u8; 6] = *peer;
        write_peer(body, Ipv4Addr::new(a, b, c, d).into(), id_of(&peers.ipv4_ids, at), port);
    }
    for (at, peer) in peers.ipv6.as_chunks().0.iter().enumerate() {
        let [address @ .., high, low]: [u8; 18] = *peer;
        let address = Ipv6Addr::from(address).into();
        write_peer(body, address, id_of(&peers.ipv6_ids, at), [high, low]);
    }
    body.end();
}

fn write_peer(body: &mut Writer, address: IpAddr, id: Option<PeerId>, port: [u8; 2]) {
    body.begin_dictionary();
    body.string("ip");
    // The longest address has 45 characters, so the text always fits.
    let mut buffer = [0; 45];
    let mut rest = &mut buffer[..];
    let _ = write!(rest, "{address}");
    let length = 45 - rest.len();
    body.string(&buffer[..length]);
    if let Some(id) = id {
        body.string("peer id");
        body.string(id.0);
    }
    body.string("port");
    body.integer(u16::from_be_bytes(port));
    body.end();
}

#[cfg(test)]
mod tests {
    use super::super::bencode::reader::{Value, read};
    use super::*;
    use proptest::prelude::*;

    const COUNTS: Counts = Counts { seeders: 3, leechers: 2, partial_seeds: 0, completed: 7 };

    fn some_peers() -> Peers {
        let mut peers = Peers::default();
        peers.ipv4.extend([192, 0, 2, 1, 0x1a, 0xe1]);
        peers.ipv4.extend([192, 0, 2, 2, 0, 80]);
        peers.ipv6.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        peers.ipv6.extend([0xff, 0xff]);
        peers
    }

    fn answer(peers: &Peers, form: PeerForm) -> String {
        let mut out = Vec::new();
        AnnounceAnswer {
            counts: COUNTS,
            interval: 1800,
            min_interval: 900,
            peers,
            form,
            external_ip: None,
            warning: None,
        }
        .write(&mut out);
        out.escape_ascii().to_string()
    }

    #[test]
    fn compact_answers_are_right_to_the_byte() {
        let head =
            "d8:completei3e10:downloadedi7e10:incompletei2e8:intervali1800e12:min intervali900e";
        assert_eq!(answer(&Peers::default(), PeerForm::Compact), format!("{head}5:peers0:e"));
        assert_eq!(
            answer(&some_peers(), PeerForm::Compact),
            format!(
                r"{head}5:peers12:\xc0\x00\x02\x01\x1a\xe1\xc0\x00\x02\x02\x00P6:peers618: \x01\r\xb8"
            ) + &r"\x00".repeat(11)
                + r"\x01\xff\xffe"
        );
    }

    #[test]
    fn dictionaries_have_ids_only_if_wanted_and_known() {
        let list = |form, peers: &Peers| {
            let answer = answer(peers, form);
            answer.split_once("5:peers").unwrap().1.to_owned()
        };
        assert_eq!(list(PeerForm::Dictionary, &Peers::default()), "lee");
        let mut peers = some_peers();
        let without_ids = "ld2:ip9:192.0.2.14:porti6881eed2:ip9:192.0.2.24:porti80ee\
            d2:ip11:2001:db8::14:porti65535eeee";
        assert_eq!(list(PeerForm::Dictionary, &peers), without_ids);
        peers.ipv4_ids = vec![PeerId([b'a'; 20]), PeerId([b'b'; 20])];
        peers.ipv6_ids = vec![PeerId([b'c'; 20])];
        assert_eq!(list(PeerForm::DictionaryWithoutId, &peers), without_ids);
        assert_eq!(
            list(PeerForm::Dictionary, &peers),
            "ld2:ip9:192.0.2.17:peer id20:aaaaaaaaaaaaaaaaaaaa4:porti6881ee\
            d2:ip9:192.0.2.27:peer id20:bbbbbbbbbbbbbbbbbbbb4:porti80ee\
            d2:ip11:2001:db8::17:peer id20:cccccccccccccccccccc4:porti65535eeee"
        );
    }

    #[test]
    fn failures_have_their_reason_and_retry() {
        for (retry, tail) in [
            (None, "e"),
            (Some(Retry::Minutes(1)), "8:intervali60e12:min intervali60e8:retry ini1ee"),
            (Some(Retry::Never), "8:retry in5:nevere"),
        ] {
            let mut out = Vec::new();
            write_failure(&mut out, "unapproved client", retry);
            let expected = format!("d14:failure reason17:unapproved client{tail}");
            assert_eq!(out, expected.as_bytes());
        }
    }

    #[test]
    fn scrapes_are_sorted_and_unique() {
        let [a, b] = [InfoHash([b'a'; 20]), InfoHash([b'b'; 20])];
        let mut out = Vec::new();
        let one_partial = Counts { partial_seeds: 1, ..COUNTS };
        write_scrape(&mut out, &mut [(b, one_partial), (a, Counts::default()), (b, one_partial)]);
        assert_eq!(
            out.escape_ascii().to_string(),
            "d5:filesd\
            20:aaaaaaaaaaaaaaaaaaaad8:completei0e10:downloadedi0e11:downloadersi0e10:incompletei0ee\
            20:bbbbbbbbbbbbbbbbbbbbd8:completei3e10:downloadedi7e11:downloadersi1e10:incompletei2eeee"
        );
    }

    fn any_form() -> impl Strategy<Value = PeerForm> {
        prop::sample::select(vec![
            PeerForm::Compact,
            PeerForm::Dictionary,
            PeerForm::DictionaryWithoutId,
        ])
    }

    proptest! {
        #[test]
        fn announce_answers_are_canonical(
            ipv4: Vec<[u8; 6]>, ipv6: Vec<[u8; 18]>, form in any_form(), with_ids: bool,
            external_ip: Option<IpAddr>, warning: Option<String>, interval: u32,
        ) {
            let id = PeerId([0xff; 20]);
            let peers = Peers {
                ipv4_ids: vec![id; if with_ids { ipv4.len() } else { 0 }],
                ipv6_ids: vec![id; if with_ids { ipv6.len() } else { 0 }],
                ipv4: ipv4.concat(),
                ipv6: ipv6.concat(),
            };
            let mut out = Vec::new();
            let answer = AnnounceAnswer {
                counts: COUNTS, interval, min_interval: 1, peers: &peers, form, external_ip,
                warning: warning.as_deref(),
            };
            answer.write(&mut out);
            let value = read(&out).unwrap();
            prop_assert_eq!(value.get("interval"), Some(&Value::Integer(interval.into())));
            let octets = external_ip.map(|ip| match ip {
                IpAddr::V4(ip) => Value::String(ip.octets().to_vec()),
                IpAddr::V6(ip) => Value::String(ip.octets().to_vec()),
            });
            prop_assert_eq!(value.get("external ip"), octets.as_ref());
            let warning = warning.map(|text| Value::String(text.into_bytes()));
            prop_assert_eq!(value.get("warning message"), warning.as_ref());
            match (form, value.get("peers").unwrap()) {
                (PeerForm::Compact, Value::String(string)) => {
                    prop_assert_eq!(string, &peers.ipv4);
                    let peers6 = Value::String(peers.ipv6.clone());
                    let expected = (!peers.ipv6.is_empty()).then_some(&peers6);
                    prop_assert_eq!(value.get("peers6"), expected);
                }
                (PeerForm::Dictionary | PeerForm::DictionaryWithoutId, Value::List(list)) => {
                    prop_assert_eq!(list.len(), peers.len());
                    let ids = form == PeerForm::Dictionary && with_ids;
                    prop_assert!(list.iter().all(|peer| peer.get("peer id").is_some() == ids));
                    prop_assert_eq!(value.get("peers6"), None);
                }
                (form, peers) => prop_assert!(false, "{form:?}: {peers:?}"),
            }
        }

        #[test]
        fn failures_and_scrapes_are_canonical(
            reason: String, minutes: u32, hashes: Vec<[u8; 20]>, few in prop::collection::vec(0u8..3, 0..9),
        ) {
            let mut out = Vec::new();
            write_failure(&mut out, &reason, Some(Retry::Minutes(minutes)));
            let value = read(&out).unwrap();
            prop_assert_eq!(value.get("failure reason"), Some(&Value::String(reason.into_bytes())));

            out.clear();
            let hashes = hashes.into_iter().chain(few.into_iter().map(|byte| [byte; 20]));
            let mut files: Vec<_> = hashes.map(|hash| (InfoHash(hash), COUNTS)).collect();
            write_scrape(&mut out, &mut files);
            let value = read(&out).unwrap();
            let written = value.get("files").unwrap();
            prop_assert!(files.iter().all(|file| written.get(file.0.0).is_some()));
        }
    }
}
