//! The host functions, with the signatures of the contract's bindings.

pub(crate) mod locality {
    pub(crate) use super::super::locality_types::Plan;
    use super::super::{IS_INIT, Locality, PLANS, change};

    pub(crate) fn define(plan: &Plan) -> Result<u32, String> {
        define_with_gateways(plan, 0)
    }

    pub(crate) fn define_with_gateways(plan: &Plan, gateways: u8) -> Result<u32, String> {
        if !IS_INIT.get() {
            return Err("plans can only be defined in `init`".into());
        }
        if PLANS.with_borrow(Vec::len) == 64 {
            return Err("a policy may define at most 64 plans".into());
        }
        if plan.prefixes.len() > 8 {
            return Err("a plan has at most 8 prefixes".into());
        }
        if plan.prefixes.iter().any(|&bits| bits > 64) {
            return Err("a prefix is longer than the 64 bits of a label".into());
        }
        if !plan.prefixes.is_sorted_by(|longer, shorter| longer > shorter) {
            return Err("prefixes must get shorter: nearest first".into());
        }
        if plan.far_percent > 100 {
            return Err("a far share is at most 100 percent".into());
        }
        PLANS.with_borrow_mut(|plans| {
            plans.push((plan.clone(), gateways));
            Ok(plans.len() as u32 - 1)
        })
    }

    pub(crate) fn assign(label: u64, plan: u32) {
        let plan = PLANS.with_borrow(|plans| plans.get(plan as usize).cloned());
        change(|answer| {
            if let Some((Plan { prefixes, order, far_percent }, gateways)) = plan {
                answer.locality = Some(Locality { label, prefixes, order, far_percent, gateways });
            }
        });
    }
}

pub(crate) mod account {
    use super::super::{Member, Torrent, ask, change};
    use crate::bindings::imports::account::{MemberRecord, TorrentRecord};

    /// The most that is credited, in percent.
    const MOST: u32 = 10_000;

    pub(crate) fn member() -> Option<MemberRecord> {
        let Member { id, rights, group, slots, seeding, leeching, here } =
            ask(|exchange| exchange.request.member)?;
        Some(MemberRecord { id, rights, group, slots, seeding, leeching, here })
    }
    pub(crate) fn torrent() -> Option<TorrentRecord> {
        let Torrent { id, marks, status, reason, upload_percent, download_percent } =
            ask(|exchange| exchange.request.torrent)?;
        Some(TorrentRecord { id, marks, status, reason, upload_percent, download_percent })
    }
    pub(crate) fn credit(upload: u32, download: u32) {
        change(|answer| answer.credit = Some((upload.min(MOST), download.min(MOST))));
    }
    pub(crate) fn hide_peer() {
        change(|answer| answer.hides_peer = true);
    }
}

pub(crate) mod request {
    use super::super::{ask, to_words, types};

    type Pairs = [(String, String)];

    fn last(pairs: &Pairs, name: &str) -> Option<String> {
        pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }

    pub(crate) fn peer_id() -> Vec<u8> {
        ask(|exchange| exchange.request.peer_id.to_vec())
    }
    pub(crate) fn left() -> u64 {
        ask(|exchange| exchange.request.left.unwrap_or(u64::MAX))
    }
    pub(crate) fn uploaded() -> u64 {
        ask(|exchange| exchange.request.uploaded)
    }
    pub(crate) fn downloaded() -> u64 {
        ask(|exchange| exchange.request.downloaded)
    }
    pub(crate) fn query_param(name: &str) -> Option<String> {
        ask(|exchange| last(&exchange.request.query, name))
    }
    pub(crate) fn path_param(name: &str) -> Option<String> {
        ask(|exchange| last(&exchange.request.path, name))
    }
    pub(crate) fn header(name: &str) -> Option<String> {
        ask(|exchange| {
            let mut headers = exchange.request.headers.iter();
            headers.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, text)| text.clone())
        })
    }
    pub(crate) fn credential() -> Option<String> {
        ask(|exchange| exchange.request.credential.clone())
    }
    pub(crate) fn client_address() -> types::Address {
        ask(|exchange| to_words(exchange.request.asker()))
    }
    pub(crate) fn socket_address() -> (types::Address, u16) {
        ask(|exchange| match exchange.request.proxy {
            Some(proxy) => (to_words(proxy.ip()), proxy.port()),
            None => (to_words(exchange.request.asker()), exchange.request.port),
        })
    }
    pub(crate) fn attribute(name: &str) -> Option<String> {
        ask(|exchange| last(&exchange.request.attributes, name))
    }
}

pub(crate) mod response {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::super::{Place, Scope, ask, change, seconds_down, types};
    use crate::values::address as ip;

    /// Bytes of a text that a client is shown.
    const TEXT: usize = 1024;
    /// Peers of each place that one call may add, and attributes that it may set.
    const ITEMS: usize = 256;

    fn cut(text: &str) -> String {
        text[..text.floor_char_boundary(TEXT)].to_owned()
    }
    fn seconds(seconds: u32) -> Duration {
        Duration::from_secs(seconds.into())
    }
    pub(crate) fn fail(reason: &str) {
        change(|answer| answer.failure = Some(cut(reason)));
    }
    pub(crate) fn retry_in(minutes: Option<u32>) {
        let time = minutes.map(|minutes| Duration::from_mins(minutes.into()));
        change(|answer| answer.retry_in = Some(time));
    }
    pub(crate) fn warn(message: &str) {
        change(|answer| answer.warning = Some(cut(message)));
    }
    pub(crate) fn interval() -> u32 {
        ask(|exchange| seconds_down(exchange.request.interval))
    }
    pub(crate) fn min_interval() -> u32 {
        ask(|exchange| seconds_down(exchange.request.min_interval))
    }
    pub(crate) fn set_interval(time: u32) {
        change(|answer| answer.interval = seconds(time.max(1)));
    }
    pub(crate) fn set_min_interval(time: u32) {
        change(|answer| answer.min_interval = seconds(time.max(1)));
    }
    pub(crate) fn set_num_want(count: u32) {
        change(|answer| answer.num_want = count);
    }
    pub(crate) fn set_attribute(name: &str, value: &str) {
        let set =
            ask(|exchange| exchange.answer.attributes.len() - exchange.request.attributes.len());
        if set < ITEMS {
            change(|answer| answer.attributes.push((cut(name), cut(value))));
        }
    }
    pub(crate) fn add_peer(address: types::Address, port: u16, place: Place) {
        let peer = SocketAddr::new(ip(address), port);
        change(|answer| {
            if answer.added.iter().filter(|(_, of)| *of == place).count() < ITEMS {
                answer.added.push((peer, place));
            }
        });
    }
    pub(crate) fn remember(scope: Scope, time: u32) {
        change(|answer| {
            answer.remember = (!scope.is_empty()).then(|| (scope, seconds(time)));
        });
    }
    pub(crate) fn hide() {
        change(|answer| answer.hidden = true);
    }
}

pub(crate) mod sets {
    use std::net::IpAddr;

    use super::super::{DATA, Data, InfoHash, REFRESHED, types};
    use crate::values;

    fn look<T>(set: u32, look: impl FnOnce(&Data) -> Option<T>) -> Option<T> {
        DATA.with_borrow(|sources| look(&sources.get(set as usize)?.1))
    }
    pub(crate) fn open(name: &str) -> Result<u32, String> {
        let at = DATA.with_borrow(|all| all.iter().position(|(known, _)| known == name));
        at.map(|at| at as u32).ok_or_else(|| format!("no data source `{name}`"))
    }
    pub(crate) fn has_info_hash(set: u32, info_hash: types::InfoHash) -> bool {
        let info_hash = InfoHash::from_words(info_hash);
        let found = look(set, |data| match data {
            Data::InfoHashes(set) => Some(set.contains(&info_hash)),
            _ => None,
        });
        found.unwrap_or(false)
    }
    pub(crate) fn has_string(set: u32, value: &str) -> bool {
        let found = look(set, |data| match data {
            Data::Strings(set) => Some(set.iter().any(|text| text == value)),
            _ => None,
        });
        found.unwrap_or(false)
    }
    pub(crate) fn match_address(set: u32, words: types::Address) -> Option<u64> {
        let asked = values::address(words);
        let width = if asked.is_ipv4() { 32 } else { 128 };
        let bits = |address: IpAddr| match address {
            IpAddr::V4(address) => address.to_bits().into(),
            IpAddr::V6(address) => address.to_bits(),
        };
        let holds = |(first, prefix, _): &&(IpAddr, u8, u64)| {
            let rest = width - u32::from(*prefix).min(width);
            let differ = bits(*first) ^ bits(asked);
            first.is_ipv4() == asked.is_ipv4() && differ.checked_shr(rest).unwrap_or(0) == 0
        };
        look(set, |data| match data {
            Data::Addresses(ranges) => {
                Some(ranges.iter().filter(holds).max_by_key(|range| range.1)?.2)
            }
            _ => None,
        })
    }
    pub(crate) fn sources() -> Vec<(String, String)> {
        let format = |data: &Data| match data {
            Data::InfoHashes(_) => "info-hashes",
            Data::Addresses(_) => "addresses",
            Data::Strings(_) => "strings",
            Data::Raw => "raw",
        };
        DATA.with_borrow(|sources| {
            let named = sources.iter().map(|(name, data)| (name.clone(), format(data).into()));
            named.collect()
        })
    }
    pub(crate) fn refresh(name: &str) {
        REFRESHED.with_borrow_mut(|names| names.push(name.into()));
    }
}

pub(crate) mod keyvalue {
    use std::time::Duration;

    use super::super::{Entry, STORE, Stored};
    use crate::clock::now;

    const MAX_KEY: usize = 1024;
    const MAX_VALUE: usize = 64 * 1024;

    fn check(key: &[u8], value: &[u8]) -> Result<(), String> {
        if key.len() > MAX_KEY {
            return Err(format!("the key has more than {MAX_KEY} bytes"));
        }
        if value.len() > MAX_VALUE {
            return Err(format!("the value has more than {MAX_VALUE} bytes"));
        }
        Ok(())
    }
    fn entry(stored: Stored, ttl: Option<u32>) -> Entry {
        let expires = ttl.map(|seconds| now() + Duration::from_secs(seconds.into()));
        Entry { stored, expires }
    }
    /// Removes what has expired.
    fn sweep() {
        let now = now();
        STORE.with_borrow_mut(|store| {
            store.retain(|_, entry| entry.expires.is_none_or(|expires| expires > now));
        });
    }
    pub(crate) fn get(key: &[u8]) -> Option<Vec<u8>> {
        sweep();
        STORE.with_borrow(|store| match &store.get(key)?.stored {
            Stored::Bytes(bytes) => Some(bytes.clone()),
            Stored::Counter(count) => Some(count.to_string().into_bytes()),
        })
    }
    pub(crate) fn put(key: &[u8], value: &[u8], ttl: Option<u32>) -> Result<(), String> {
        check(key, value)?;
        let entry = entry(Stored::Bytes(value.into()), ttl);
        STORE.with_borrow_mut(|store| store.insert(key.into(), entry));
        Ok(())
    }
    pub(crate) fn delete(key: &[u8]) {
        STORE.with_borrow_mut(|store| store.remove(key));
    }
    pub(crate) fn increment(key: &[u8], delta: i64, ttl: Option<u32>) -> Result<i64, String> {
        check(key, &[])?;
        sweep();
        STORE.with_borrow_mut(|store| {
            let made = || entry(Stored::Counter(0), ttl);
            let entry = store.entry(key.into()).or_insert_with(made);
            let Stored::Counter(count) = &mut entry.stored else {
                return Err("the key has a value that is not a counter".into());
            };
            let sum = count.checked_add(delta);
            *count = sum.ok_or("the counter would leave the range of 64 bits")?;
            Ok(*count)
        })
    }
}

pub(crate) mod metrics {
    use super::super::SERIES;

    const MAX_NAME: usize = 64;
    const MAX_SERIES: usize = 64;

    fn register(name: &str, counts: bool) -> Result<u32, String> {
        SERIES.with_borrow_mut(|all| {
            if let Some(at) = all.iter().position(|(known, ..)| known == name) {
                return match all[at].1 == counts {
                    true => Ok(at as u32),
                    false => Err("there is a series of another kind of that name".into()),
                };
            }
            let is_named = name.len() <= MAX_NAME
                && name.starts_with(|first: char| first.is_ascii_lowercase())
                && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
            if !is_named {
                let rest = MAX_NAME - 1;
                return Err(format!(
                    "a series name is a lower-case letter followed by up to {rest} of a to z, \
                     0 to 9 and _"
                ));
            }
            if all.len() >= MAX_SERIES {
                return Err(format!("a policy may have at most {MAX_SERIES} series"));
            }
            all.push((name.into(), counts, 0.0));
            Ok(all.len() as u32 - 1)
        })
    }
    pub(crate) fn counter(name: &str, _: &str) -> Result<u32, String> {
        register(name, true)
    }
    pub(crate) fn gauge(name: &str, _: &str) -> Result<u32, String> {
        register(name, false)
    }
    pub(crate) fn add(id: u32, delta: u64) {
        SERIES.with_borrow_mut(|all| {
            if let Some((_, true, value)) = all.get_mut(id as usize) {
                *value += delta as f64;
            }
        });
    }
    pub(crate) fn set(id: u32, new: f64) {
        SERIES.with_borrow_mut(|all| {
            if let Some((_, false, value)) = all.get_mut(id as usize) {
                *value = new;
            }
        });
    }
}

pub(crate) mod signatures {
    use super::super::{KEYS, LOADER};

    const MAX_KEYS: usize = 64;

    pub(crate) fn load_key(jwk: &str) -> Result<u32, String> {
        if KEYS.with_borrow(|keys| keys.iter().flatten().count()) >= MAX_KEYS {
            return Err(format!("an instance may hold {MAX_KEYS} keys; forget some"));
        }
        let verifier = LOADER.with_borrow(|load| match load {
            Some(load) => load(jwk),
            None => Err("a test has no keys except those of `testing::set_keys`".into()),
        })?;
        KEYS.with_borrow_mut(|keys| {
            keys.push(Some(verifier));
            Ok(keys.len() as u32 - 1)
        })
    }
    pub(crate) fn forget_key(key: u32) {
        KEYS.with_borrow_mut(|keys| keys[key as usize] = None);
    }
    pub(crate) fn verify(key: u32, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        KEYS.with_borrow(|keys| {
            let verifier = keys.get(key as usize).and_then(Option::as_ref);
            verifier.is_some_and(|verifier| verifier(algorithm, message, signature))
        })
    }
}

pub(crate) mod swarm {
    use super::super::{InfoHash, Swarm, ask, types};
    use crate::bindings::imports::swarm::Stats;

    const EMPTY: Stats = Stats { seeders: 0, leechers: 0, completed: 0 };

    pub(crate) fn current() -> Stats {
        ask(|exchange| Some(exchange.request.info_hash))
            .and_then(|info_hash| lookup(info_hash.to_words()))
            .unwrap_or(EMPTY)
    }
    pub(crate) fn lookup(info_hash: types::InfoHash) -> Option<Stats> {
        let info_hash = InfoHash::from_words(info_hash);
        ask(|exchange| {
            let mut swarms = exchange.request.swarms.iter();
            let (_, swarm) = swarms.find(|(known, _)| *known == info_hash)?;
            let Swarm { seeders, leechers, completed } = *swarm;
            Some(Stats { seeders, leechers, completed })
        })
    }
}

pub(crate) mod log {
    use super::super::{Level, change};

    pub(crate) fn enabled(_: Level) -> bool {
        true
    }
    pub(crate) fn write(level: Level, message: &str) {
        change(|answer| answer.log.push((level, message.into())));
    }
}
