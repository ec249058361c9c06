//! Checks of the configuration that involve several keys, or the system.

use std::{
    collections::{HashMap, HashSet},
    fs,
    net::SocketAddr,
    path::Path,
    time::Duration,
};

use super::{
    accounts::Accounts,
    data,
    decision_log::DecisionLog,
    doors,
    export::{self, FullScrape},
    problem::{Problem, problem},
    record::Record,
    schema::{Config, DataFormat, Fifo, Http, Policy, Tracker},
    share::Share,
    tls::Tls,
    values::{CredentialRule, is_header_name, is_name, show_duration, unreadable},
    written,
};

const SECOND: Duration = Duration::from_secs(1);
const MAX_SCRAPE: usize = 10_000;
/// The most workers of a tracker.
pub const MAX_WORKERS: usize = 1024;
/// hyper's smallest buffer.
const MIN_REQUEST: usize = 8 << 10;
const MAX_REQUEST: usize = 1 << 20;
/// A page of linear memory.
const MIN_MEMORY: u64 = 64 << 10;
/// The limit of 32-bit addresses.
const MAX_MEMORY: u64 = 4 << 30;
const MIN_SNAPSHOT: Duration = Duration::from_secs(10);
const MIN_TICK: Duration = Duration::from_millis(100);
const MAX_STORAGE: u64 = 64 << 30;

/// Checks the configuration by itself, without the system.
pub(super) fn check(config: &Config) -> Result<(), Problem> {
    tracker(&config.tracker)?;
    // Swarms count whole seconds.
    let keep_downloads = config.swarms.keep_downloads;
    if !keep_downloads.is_zero() && keep_downloads < SECOND {
        return problem(
            "swarms.keep_downloads",
            format!(
                "{} is too short, expected at least 1s, or 0s for none",
                show_duration(keep_downloads)
            ),
        );
    }
    if let Some(snapshot) = &config.swarms.snapshot
        && snapshot.every < MIN_SNAPSHOT
    {
        let every = show_duration(snapshot.every);
        return problem(
            "swarms.snapshot.every",
            format!("{every} is too short, expected at least 10s"),
        );
    }
    config.swarms.full_scrape.as_ref().map_or(Ok(()), FullScrape::check)?;
    config.swarms.share.as_ref().map_or(Ok(()), Share::check)?;
    config.accounts.as_ref().map_or(Ok(()), Accounts::check)?;
    config.record.as_ref().map_or(Ok(()), Record::check)?;
    for (at, http) in config.http.iter().enumerate() {
        let path = format!("http[{at}]");
        only_v6(&path, http.listen, http.only_v6)?;
        if http.announce.is_empty() {
            return problem(path + ".announce", "empty, expected at least one route");
        }
        routes(&path, &[("announce", &http.announce), ("scrape", &http.scrape)])?;
        positive(&path, "keep_alive", http.keep_alive)?;
        positive(&path, "header_timeout", http.header_timeout)?;
        if !(MIN_REQUEST..=MAX_REQUEST).contains(&http.max_request) {
            return problem(path + ".max_request", "out of range, expected 8KiB to 1MiB");
        }
        if let Some(tls) = &http.tls {
            certificates(&path, tls)?;
        }
        if let Some(real_ip) = &http.real_ip {
            if !is_header_name(&real_ip.header) {
                let message = format!(
                    "invalid header name `{}`, expected one such as x-forwarded-for",
                    real_ip.header
                );
                return problem(path + ".real_ip.header", message);
            }
            if real_ip.trusted.is_empty() {
                return problem(
                    path + ".real_ip.trusted",
                    "empty, expected at least one address range such as 10.0.0.0/8",
                );
            }
        }
    }
    for (at, udp) in config.udp.iter().enumerate() {
        let path = format!("udp[{at}]");
        only_v6(&path, udp.listen, udp.only_v6)?;
        routes(&path, &[("announce", &udp.announce)])?;
        if udp.connection_id_lifetime < SECOND {
            return problem(path + ".connection_id_lifetime", "too short, expected at least 1s");
        }
        let budget = udp.error_budget;
        prefixes(&format!("{path}.error_budget"), budget.ipv4_prefix, budget.ipv6_prefix)?;
    }
    if let Some(path) = &config.stats.public {
        stats(path, &config.http)?;
    }
    config.admin.check()?;
    if let Some(tls) = &config.admin.tls {
        certificates("admin", tls)?;
    }
    listeners(config)?;
    if config.run_as.is_some() && config.state_dir.is_none() {
        return problem(
            "run_as",
            "expected a `state_dir` as well, because the user cannot use root's",
        );
    }
    policies(config)?;
    if let Some(door) = &config.admin.torrust {
        doors::torrust(door, &config.policies)?;
    }
    if let Some(door) = &config.admin.gazelle {
        if config.accounts.is_none() {
            return problem("admin.gazelle", "expected `accounts` as well");
        }
        doors::gazelle(door, &config.policies)?;
    }
    if let Some(door) = &config.admin.unit3d {
        if config.accounts.is_none() {
            return problem("admin.unit3d", "expected `accounts` as well");
        }
        doors::unit3d(door, &config.policies)?;
    }
    let is_policy = |name: &str| config.policies.iter().any(|policy| policy.name == name);
    config.log.check(is_policy)?;
    config.decision_log.as_ref().map_or(Ok(()), DecisionLog::check)?;
    export::check(&config.export)
}

fn certificates(listener: &str, tls: &Tls) -> Result<(), Problem> {
    if tls.certificates.is_empty() {
        return problem(format!("{listener}.tls"), "empty, expected at least one certificate");
    }
    let later = tls.certificates.iter().enumerate().skip(1);
    match later.filter_map(|(at, files)| files.min_version.and(Some(at))).next() {
        Some(at) => problem(
            tls.path(listener, at) + ".min_version",
            "holds for the whole listener, expected only in the first of the list",
        ),
        None => Ok(()),
    }
}

fn tracker(tracker: &Tracker) -> Result<(), Problem> {
    let Tracker { announce_interval, min_announce_interval, max_interval, peer_lifetime, .. } =
        *tracker;
    // Intervals are whole seconds in BEP 3 and BEP 15.
    if min_announce_interval < SECOND {
        return problem(
            "tracker.min_announce_interval",
            format!("{} is too short, expected at least 1s", show_duration(min_announce_interval)),
        );
    }
    let not_below = |name: &str, value, floor_name: &str, floor| {
        if value >= floor {
            return Ok(());
        }
        problem(
            format!("tracker.{name}"),
            format!(
                "{} is too short, expected at least {floor_name} ({})",
                show_duration(value),
                show_duration(floor)
            ),
        )
    };
    not_below(
        "announce_interval",
        announce_interval,
        "min_announce_interval",
        min_announce_interval,
    )?;
    not_below("max_interval", max_interval, "announce_interval", announce_interval)?;
    if peer_lifetime <= max_interval {
        return problem(
            "tracker.peer_lifetime",
            format!(
                "{} is too short, expected more than max_interval ({})",
                show_duration(peer_lifetime),
                show_duration(max_interval)
            ),
        );
    }
    let num_want = tracker.num_want;
    if num_want.default > num_want.max {
        return problem(
            "tracker.num_want.default",
            format!("{} is too many, expected at most max ({})", num_want.default, num_want.max),
        );
    }
    if !(1..=MAX_SCRAPE).contains(&tracker.max_scrape) {
        return problem(
            "tracker.max_scrape",
            format!("{} is out of range, expected 1 to {MAX_SCRAPE}", tracker.max_scrape),
        );
    }
    if tracker.workers > MAX_WORKERS {
        return problem(
            "tracker.workers",
            format!("{} is too many, expected at most {MAX_WORKERS}", tracker.workers),
        );
    }
    let limits = tracker.limits;
    if limits.burst > 0 && limits.per_second == 0 {
        return problem(
            "tracker.limits.burst",
            "a burst without a rate, expected per_second as well",
        );
    }
    prefixes("tracker.limits", limits.ipv4_prefix, limits.ipv6_prefix)
}

fn positive(path: &str, key: &str, value: Duration) -> Result<(), Problem> {
    if value.is_zero() {
        return problem(format!("{path}.{key}"), "0s is too short, expected more than 0s");
    }
    Ok(())
}

fn prefixes(path: &str, ipv4: u8, ipv6: u8) -> Result<(), Problem> {
    for (key, bits, most) in [("ipv4_prefix", ipv4, 32), ("ipv6_prefix", ipv6, 128)] {
        if bits > most {
            return problem(
                format!("{path}.{key}"),
                format!("{bits} is too long, expected at most {most}"),
            );
        }
    }
    Ok(())
}

fn only_v6(path: &str, listen: SocketAddr, only_v6: bool) -> Result<(), Problem> {
    if only_v6 && listen.is_ipv4() {
        return problem(
            format!("{path}.only_v6"),
            format!("`{listen}` is an IPv4 address, expected an IPv6 one"),
        );
    }
    Ok(())
}

/// A socket of the configuration.
struct Socket {
    path: String,
    address: SocketAddr,
    tcp: bool,
    /// Does not accept IPv4 on `[::]`.
    only_v6: bool,
}

impl Socket {
    fn overlaps(&self, other: &Self) -> bool {
        self.tcp == other.tcp
            && self.address.port() == other.address.port()
            && self.address.port() != 0
            && (self.takes(other) || other.takes(self))
    }

    /// Returns whether packets to the address of `other` may arrive here.
    fn takes(&self, other: &Self) -> bool {
        let [own, others] = [self, other].map(|socket| socket.address.ip().to_canonical());
        let any = own.is_unspecified()
            && (own.is_ipv4() == others.is_ipv4() || (own.is_ipv6() && !self.only_v6));
        any || (own == others && self.interface() == other.interface())
    }

    /// Returns the interface of an address that every interface has.
    fn interface(&self) -> u32 {
        match self.address {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(address) => address.scope_id(),
        }
    }
}

fn listeners(config: &Config) -> Result<(), Problem> {
    if config.http.is_empty() && config.udp.is_empty() {
        return problem("", "no listener, expected at least one in http or udp");
    }
    let http = config.http.iter().enumerate().map(|(at, http)| Socket {
        path: format!("http[{at}].listen"),
        address: http.listen,
        tcp: true,
        only_v6: http.only_v6,
    });
    let udp = config.udp.iter().enumerate().map(|(at, udp)| Socket {
        path: format!("udp[{at}].listen"),
        address: udp.listen,
        tcp: false,
        only_v6: udp.only_v6,
    });
    let admin = config.admin.addresses().enumerate().map(|(number, address)| Socket {
        path: config.admin.path_of_address(number),
        address,
        tcp: true,
        // It never accepts both.
        only_v6: true,
    });
    let doors = config.admin.site_doors().into_iter().map(|(door, address)| Socket {
        path: format!("admin.{}.listen", door.name()),
        address,
        tcp: true,
        only_v6: true,
    });
    let mut sockets: Vec<Socket> = Vec::new();
    for socket in http.chain(udp).chain(admin).chain(doors) {
        if let Some(taken) = sockets.iter().find(|taken| taken.overlaps(&socket)) {
            let Socket { path, address, .. } = socket;
            let by = match taken.address {
                same if same == address => taken.path.clone(),
                other => format!("{} (`{other}`)", taken.path),
            };
            return problem(path, format!("`{address}` is taken by {by}, expected another"));
        }
        sockets.push(socket);
    }
    Ok(())
}

fn routes(path: &str, lists: &[(&str, &Vec<String>)]) -> Result<(), Problem> {
    let mut router = matchit::Router::new();
    let mut seen: HashMap<&str, String> = HashMap::new();
    for (key, list) in lists {
        for (at, route) in list.iter().enumerate() {
            let path = format!("{path}.{key}[{at}]");
            if let Err(expected) = parameters(route) {
                return problem(path, format!("invalid route `{route}`, expected {expected}"));
            }
            if let Some(before) = seen.get(route.as_str()) {
                return problem(path, format!("the route `{route}` is already {before}"));
            }
            if let Err(error) = router.insert(route.as_str(), ()) {
                let message = match error {
                    matchit::InsertError::Conflict { with } => {
                        format!("the route `{route}` conflicts with `{with}`")
                    }
                    error => format!("invalid route `{route}`: {error}"),
                };
                return problem(path, message);
            }
            seen.insert(route, path);
        }
    }
    Ok(())
}

/// Checks the path of public statistics, which no route may take.
fn stats(path: &str, listeners: &[Http]) -> Result<(), Problem> {
    const KEY: &str = "stats.public";
    let expected = match parameters(path) {
        Ok(names) if names.is_empty() => None,
        Ok(_) => Some("one without parameters"),
        Err(expected) => Some(expected),
    };
    if let Some(expected) = expected {
        return problem(KEY, format!("invalid path `{path}`, expected {expected}"));
    }
    for (at, http) in listeners.iter().enumerate() {
        for route in http.announce.iter().chain(&http.scrape) {
            let mut router = matchit::Router::new();
            if router.insert(route.as_str(), ()).is_ok() && router.at(path).is_ok() {
                let message =
                    format!("`{path}` is of the route `{route}` of http[{at}], expected another");
                return problem(KEY, message);
            }
        }
    }
    Ok(())
}

/// Returns the names of a route's parameters. The error is what was expected.
fn parameters(route: &str) -> Result<Vec<&str>, &'static str> {
    let segments = route.strip_prefix('/').ok_or("it to begin with /")?;
    let mut names = Vec::new();
    for segment in segments.split('/') {
        if let Some(name) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
            if name.is_empty() || !name.bytes().all(word) {
                return Err("a parameter name of letters, digits, _ and -");
            }
            if names.contains(&name) {
                return Err("each parameter once");
            }
            names.push(name);
        } else if segment.contains(['{', '}']) {
            return Err("a parameter to fill the whole segment, as in /announce/{passkey}");
        } else if !segment.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#%".contains(&byte)) {
            return Err("visible ASCII without ?, # and %");
        }
    }
    Ok(names)
}

/// Checks that each parameter of a path that has the credential is one of a route.
fn credential(path: &str, rules: &[CredentialRule], known: &HashSet<&str>) -> Result<(), Problem> {
    for (at, rule) in rules.iter().enumerate() {
        if let CredentialRule::Path(name) = rule
            && !known.contains(name.as_str())
        {
            return problem(
                format!("{path}.credential[{at}]"),
                format!("no route has the parameter `{{{name}}}`"),
            );
        }
    }
    Ok(())
}

fn policies(config: &Config) -> Result<(), Problem> {
    let http = config.http.iter().flat_map(|http| http.announce.iter().chain(&http.scrape));
    let declared: HashSet<&str> =
        http.chain(config.udp.iter().flat_map(|udp| &udp.announce)).map(String::as_str).collect();
    let known: HashSet<&str> =
        declared.iter().filter_map(|route| parameters(route).ok()).flatten().collect();
    if let Some(accounts) = &config.accounts {
        credential("accounts", &accounts.credential, &known)?;
    }
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut fifos: HashMap<&Path, String> = HashMap::new();
    let mut sites: HashMap<&str, DataFormat> = HashMap::new();
    for (at, policy) in config.policies.iter().enumerate() {
        let path = format!("policies[{at}]");
        let name = policy.name.as_str();
        if !is_name(name) {
            return problem(
                path + ".name",
                format!("invalid name `{name}`, expected 1 to 40 of a-z, 0-9 and -"),
            );
        }
        if let Some(other) = names.insert(name, at) {
            return problem(
                path + ".name",
                format!("`{name}` is already the name of policies[{other}], expected another"),
            );
        }
        credential(&path, &policy.credential, &known)?;
        // What is in `config` is the plugin's own affair, which cannot see whether there are any.
        if config.accounts.is_none()
            && policy.plugin.file_stem().is_some_and(|plugin| plugin == "passkey")
            && policy.config.get("accounts") == Some(&true.into())
        {
            return problem(path + ".config.accounts", "expected a section `accounts` as well");
        }
        for (route_at, route) in policy.when.routes.iter().enumerate() {
            if !declared.contains(route.as_str()) {
                return problem(
                    format!("{path}.when.routes[{route_at}]"),
                    format!("no listener has the route `{route}`"),
                );
            }
        }
        for (name, source) in &policy.data {
            let path = format!("{path}.data.{name}");
            data::check(&path, name, source, config.accounts.as_ref())?;
            if let Some(site) = &source.site
                && let Some(other) = sites.insert(site, source.format)
                && other != source.format
            {
                let message = format!("`{site}` has the format {} elsewhere", other.name());
                return problem(format!("{path}.format"), message);
            }
            for (way, fifo) in source.fifo.iter().flat_map(Fifo::paths) {
                let path = format!("{path}.fifo.{way}");
                if let Some(other) = fifos.insert(fifo, path.clone()) {
                    let message = format!("the same as `{other}`, expected another path");
                    return problem(path, message);
                }
            }
        }
        policy_limits(&format!("{path}.limits"), policy)?;
        if policy.tick < MIN_TICK {
            let message =
                format!("{} is too short, expected at least 100ms", show_duration(policy.tick));
            return problem(path + ".tick", message);
        }
        for (env_at, name) in policy.allow.env.iter().enumerate() {
            if name.is_empty() || name.contains(['=', '\0']) {
                let path = format!("{path}.allow.env[{env_at}]");
                return problem(
                    path,
                    format!("invalid name `{name}`, expected that of an environment variable"),
                );
            }
        }
    }
    Ok(())
}

fn policy_limits(path: &str, policy: &Policy) -> Result<(), Problem> {
    let limits = policy.limits;
    if !(MIN_MEMORY..=MAX_MEMORY).contains(&limits.memory) {
        return problem(format!("{path}.memory"), "out of range, expected 64KiB to 4GiB");
    }
    if !(MIN_MEMORY..=MAX_STORAGE).contains(&limits.storage) {
        return problem(format!("{path}.storage"), "out of range, expected 64KiB to 64GiB");
    }
    positive(path, "deadline", limits.deadline)?;
    positive(path, "init", limits.init)?;
    positive(path, "data", limits.data)?;
    positive(path, "control", limits.control)
}

/// Reads the secrets; relative files are relative to `folder`.
pub(super) fn fetch_secrets(config: &mut Config, folder: &Path) -> Result<(), Problem> {
    for (at, udp) in config.udp.iter_mut().enumerate() {
        if let Some(secret) = &mut udp.connection_id_secret {
            let path = format!("udp[{at}].connection_id_secret");
            secret.fetch(folder).or_else(|message| problem(path, message))?;
        }
    }
    config.admin.fetch_secrets(folder)?;
    if let Some(share) = &mut config.swarms.share {
        share.fetch_secrets(folder)?;
    }
    if let Some(accounts) = &mut config.accounts {
        accounts.fetch_secrets(folder)?;
    }
    if let Some(log) = &mut config.decision_log {
        log.fetch_secrets(folder)?;
    }
    let database = config.accounts.as_ref().and_then(|accounts| accounts.database.clone());
    for (at, policy) in config.policies.iter_mut().enumerate() {
        for (name, source) in &mut policy.data {
            if source.query.is_some() {
                source.database = database.clone();
            }
            for (header, value) in &mut source.headers {
                let path = format!("policies[{at}].data.{name}.headers.{header}");
                value.fetch_for_header(folder).or_else(|message| problem(path, message))?;
            }
        }
    }
    Ok(())
}

/// Checks that the plugins exist.
pub(super) fn plugins(config: &Config) -> Result<(), Problem> {
    for (at, policy) in config.policies.iter().enumerate() {
        let path = format!("policies[{at}].plugin");
        match fs::metadata(&policy.plugin) {
            Ok(file) if file.is_file() => {}
            Ok(_) => return problem(path, format!("not a file: `{}`", policy.plugin.display())),
            Err(error) => return problem(path, unreadable(&policy.plugin, &error)),
        }
    }
    Ok(())
}

/// Makes relative paths relative to `folder`.
pub(super) fn resolve(config: &mut Config, folder: &Path) -> Result<(), Problem> {
    for (at, http) in config.http.iter_mut().enumerate() {
        if let Some(real_ip) = &mut http.real_ip {
            real_ip.header.make_ascii_lowercase();
        }
        if let Some(webroot) = &mut http.acme_webroot {
            *webroot = folder.join(&*webroot);
            if !webroot.is_dir() {
                let path = format!("http[{at}].acme_webroot");
                return problem(path, format!("not a folder: `{}`", webroot.display()));
            }
        }
    }
    config.admin.resolve(folder)?;
    let listeners = config.http.iter_mut().map(|http| &mut http.tls);
    for tls in listeners.chain([&mut config.admin.tls]).flatten() {
        for files in &mut tls.certificates {
            files.certificate = folder.join(&files.certificate);
            files.key = folder.join(&files.key);
        }
    }
    for (at, policy) in config.policies.iter_mut().enumerate() {
        policy.plugin = folder.join(&policy.plugin);
        for (folder_at, allowed) in policy.allow.folders.iter_mut().enumerate() {
            allowed.path = folder.join(&allowed.path);
            if !allowed.path.is_dir() {
                let path = format!("policies[{at}].allow.folders[{folder_at}].path");
                return problem(path, format!("not a folder: `{}`", allowed.path.display()));
            }
        }
        for (name, source) in &mut policy.data {
            let path = format!("policies[{at}].data.{name}");
            let fifos = source.fifo.iter_mut().flat_map(|fifo| [&mut fifo.add, &mut fifo.delete]);
            fifos.flatten().for_each(|fifo| *fifo = folder.join(&*fifo));
            if let Some(file) = &mut source.file {
                *file = folder.join(&*file);
                if source.required
                    && let Err(error) = fs::metadata(&*file)
                {
                    return problem(path + ".file", unreadable(file, &error));
                }
            }
        }
    }
    config.log.resolve(folder)?;
    if let Some(log) = &mut config.decision_log {
        log.resolve(folder)?;
    }
    export::resolve(&mut config.export, folder)?;
    written::check(config)?;
    if let Some(run_as) = &mut config.run_as {
        run_as.resolve()?;
    }
    if let Some(state_dir) = &mut config.state_dir {
        *state_dir = folder.join(&*state_dir);
    }
    if let Some(share) = &mut config.swarms.share {
        share.resolve(folder);
    }
    if let Some(path) = config.swarms.snapshot.as_mut().and_then(|one| one.path.as_mut()) {
        *path = folder.join(&*path);
    }
    Ok(())
}
