//! A policy that does what its configuration says, however harmful. Only tests load it.
//!
//! `config: { rules: [{ on: announce, do: trap, info_hash: "6161…", query: bomb }] }`: each call
//! applies the rules of its hook (`init`, `announce`, `scrape`, `data`) in order. A rule with an
//! `info_hash` applies only to that torrent, and a rule with a `query` only to requests with that
//! parameter. `text` and `number` are arguments; see `Act`.

#![cfg(target_family = "wasm")]

use std::cell::RefCell;
use std::hint::black_box;
use std::io::Read;
use std::time::Duration;

use serde::Deserialize;

wit_bindgen::generate!({ path: "../../../wit", world: "data-policy" });

use exports::karuta::policy::{announce_filter, data_sink, lifecycle, scrape_filter};
use karuta::policy::response::Scope;
use karuta::policy::types::{Announce, Scrape, Verdict};
use karuta::policy::{keyvalue, log, metrics, request, response, sets, signatures};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    rules: Vec<Rule>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    on: Hook,
    #[serde(rename = "do")]
    act: Act,
    /// For `init`: the first instance that the rule applies to, counted from 1.
    #[serde(default)]
    from: i64,
    /// 40 lower-case hexadecimal digits.
    info_hash: Option<String>,
    query: Option<String>,
    #[serde(default)]
    text: String,
    #[serde(default)]
    number: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Hook {
    Init,
    Announce,
    Scrape,
    /// Data that contains `text`.
    Data,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Act {
    // Things that no policy should do.
    Loop,
    Trap,
    Recurse,
    EatMemory,
    Exit,
    /// Sleeps for an hour.
    Sleep,
    /// Sleeps for a millisecond, `number` times.
    Naps,
    /// Passes 1 200 000 bytes to the host function named in `text`, which is more than a call may.
    HugeText,
    /// Calls the host forever.
    CallStorm,
    /// Registers ten thousand series; the warning says how many were refused.
    MetricFlood,
    /// Puts a key-value of a thousand bytes ten thousand times; the warning says how many were refused.
    StoreFlood,
    /// Queries the data source named in `text`, and one that does not exist, in every format; the
    /// warning has the results.
    WrongSet,
    /// Writes ten thousand lines to the log.
    LogFlood,
    /// Writes `text` or `number` letters to the log.
    Log,
    // Things that WASI must not grant; the answer's warning has the result.
    OpenFile,
    /// Connects to the address in `text`.
    ConnectTcp,
    BindUdp,
    Resolve,
    ReadStdin,
    Environment,
    // Things that any policy may do.
    Println,
    /// Returns this verdict; later rules do not apply.
    Accept,
    Reject,
    Drop,
    /// Returns an error from `init` or `on-data`: `text` or `number` letters.
    Refuse,
    Fail,
    Warn,
    RetryNever,
    Hide,
    SetInterval,
    SetNumWant,
    /// Remembers the verdict for `number` seconds, by info-hash and event.
    Remember,
    /// Sets the attribute `note` to `text`.
    SetNote,
    // The answer's warning is a value of the request.
    WarnNote,
    WarnCredential,
    WarnPasskey,
    /// The header named in `text`.
    WarnHeader,
    /// The latest data, with its version.
    WarnData,
    /// The query parameter named in `text`.
    WarnQuery,
}

impl Rule {
    /// The rule's text: `number` letters, or `text`.
    fn words(&self) -> String {
        if self.number > 0 { "x".repeat(self.number as usize) } else { self.text.clone() }
    }
}

thread_local! {
    static DATA: RefCell<String> = const { RefCell::new(String::new()) };
    static RULES: RefCell<Vec<Rule>> = const { RefCell::new(Vec::new()) };
}

struct Plugin;
export!(Plugin);

impl lifecycle::Guest for Plugin {
    fn init(context: lifecycle::Context) -> Result<(), String> {
        let config: Config =
            serde_json::from_str(&context.config).map_err(|error| error.to_string())?;
        let instance = keyvalue::increment(b"instances", 1, None)?;
        let rules = config.rules.iter();
        let mut rules = rules.filter(|rule| rule.on == Hook::Init && rule.from <= instance);
        let refusal = rules.find_map(|rule| {
            follow(rule);
            matches!(rule.act, Act::Refuse).then(|| rule.words())
        });
        RULES.set(config.rules);
        refusal.map_or(Ok(()), Err)
    }
}

impl data_sink::Guest for Plugin {
    fn on_data(name: String, version: u64, data: Vec<u8>) -> Result<(), String> {
        let data = String::from_utf8(data).map_err(|error| error.to_string())?;
        RULES.with_borrow(|rules| {
            let mut rules = rules.iter().filter(|rule| rule.on == Hook::Data);
            rules.try_for_each(|rule| {
                if !data.contains(&rule.text) {
                    return Ok(());
                }
                follow(rule);
                if matches!(rule.act, Act::Refuse) { Err(rule.words()) } else { Ok(()) }
            })
        })?;
        DATA.set(format!("{name} {version} {}", data.trim()));
        Ok(())
    }
}

impl announce_filter::Guest for Plugin {
    fn on_announce(announce: Announce) -> Verdict {
        decide(Hook::Announce, announce.info_hash)
    }
}

impl scrape_filter::Guest for Plugin {
    fn on_scrape(scrape: Scrape) -> Verdict {
        decide(Hook::Scrape, scrape.info_hash)
    }
}

fn decide(hook: Hook, (a, b, c, d, e): (u32, u32, u32, u32, u32)) -> Verdict {
    let info_hash = format!("{a:08x}{b:08x}{c:08x}{d:08x}{e:08x}");
    RULES.with_borrow(|rules| {
        let rules = rules.iter().filter(|rule| {
            rule.on == hook
                && rule.info_hash.as_ref().is_none_or(|wanted| *wanted == info_hash)
                && rule.query.as_ref().is_none_or(|name| request::query_param(name).is_some())
        });
        rules.map(follow).find(|verdict| *verdict != Verdict::Next).unwrap_or(Verdict::Next)
    })
}

fn follow(rule: &Rule) -> Verdict {
    let Rule { act, text, number, .. } = rule;
    match act {
        Act::Loop => loop {
            black_box(());
        },
        Act::Trap => std::process::abort(),
        Act::Recurse => {
            black_box(recurse(u64::MAX));
        }
        Act::EatMemory => {
            let mut eaten = Vec::new();
            loop {
                eaten.push(black_box(vec![1_u8; 1024 * 1024]));
            }
        }
        #[allow(clippy::disallowed_methods, reason = "it is hostile")]
        Act::Exit => std::process::exit(0),
        Act::Sleep => std::thread::sleep(Duration::from_hours(1)),
        Act::Naps => (0..*number).for_each(|_| std::thread::sleep(Duration::from_millis(1))),
        Act::HugeText => huge(text),
        Act::CallStorm => loop {
            black_box(response::interval());
        },
        Act::MetricFlood => {
            let refused =
                (0..10_000).filter(|n| metrics::counter(&format!("flood_{n}"), "").is_err());
            warn(refused.count().to_string());
        }
        Act::StoreFlood => {
            let put = |n: &u32| keyvalue::put(&n.to_be_bytes(), &[0; 1000], None);
            warn((0..10_000).filter(|n| put(n).is_err()).count().to_string());
        }
        Act::WrongSet => {
            let ask = |set| {
                let hash = sets::has_info_hash(set, (0, 0, 0, 0, 0));
                let address = sets::match_address(set, (0, 0, 0, 0));
                format!("{hash} {} {address:?} {}", sets::has_string(set, ""), sets::size(set))
            };
            let open = sets::open(text).map(ask).unwrap_or_else(|reason| reason);
            warn(format!("{open}; {}; {:?}", ask(u32::MAX), sets::open("nowhere").err()));
        }
        Act::LogFlood => {
            for line in 0..10_000 {
                log::write(log::Level::Warn, &format!("line {line}"));
            }
        }
        Act::Log => log::write(log::Level::Warn, &rule.words()),
        Act::OpenFile => report(std::fs::File::open("/etc/hostname")),
        Act::ConnectTcp => report(std::net::TcpStream::connect(text)),
        Act::BindUdp => report(std::net::UdpSocket::bind("127.0.0.1:0")),
        Act::Resolve => report(std::net::ToSocketAddrs::to_socket_addrs("localhost:80")),
        Act::ReadStdin => {
            let read = std::io::stdin().read(&mut [0]);
            warn(read.map_or_else(|error| error.to_string(), |read| format!("{read} bytes")));
        }
        Act::Environment => {
            warn(format!("{} and {}", std::env::vars().count(), std::env::args().count()));
        }
        Act::Println => println!("{text}"),
        Act::Accept => return Verdict::Accept,
        Act::Reject => return Verdict::Reject,
        Act::Drop => return Verdict::Drop,
        Act::Refuse => {}
        Act::Fail => response::fail(text),
        Act::Warn => response::warn(text),
        Act::RetryNever => response::retry_in(None),
        Act::Hide => response::hide(),
        Act::SetInterval => response::set_interval(*number),
        Act::SetNumWant => response::set_num_want(*number),
        Act::Remember => {
            response::remember(Scope::INFO_HASH | Scope::EVENT, *number);
        }
        Act::SetNote => response::set_attribute("note", text),
        Act::WarnNote => warn(request::attribute("note").unwrap_or_default()),
        Act::WarnCredential => warn(request::credential().unwrap_or_default()),
        Act::WarnPasskey => warn(request::path_param("passkey").unwrap_or_default()),
        Act::WarnHeader => warn(request::header(text).unwrap_or_default()),
        Act::WarnData => warn(DATA.with_borrow(String::clone)),
        Act::WarnQuery => warn(request::query_param(text).unwrap_or_default()),
    }
    Verdict::Next
}

/// Passes 1 200 000 bytes to a host function.
fn huge(function: &str) {
    let bytes = vec![b'x'; 1_200_000];
    let text = String::from_utf8_lossy(&bytes);
    match function {
        "fail" => response::fail(&text),
        "warn" => response::warn(&text),
        "set-attribute" => response::set_attribute(&text, ""),
        "set-attribute-value" => response::set_attribute("", &text),
        "query-param" => drop(request::query_param(&text)),
        "path-param" => drop(request::path_param(&text)),
        "header" => drop(request::header(&text)),
        "attribute" => drop(request::attribute(&text)),
        "open" => drop(sets::open(&text)),
        "has-string" => drop(black_box(sets::has_string(0, &text))),
        "refresh" => sets::refresh(&text),
        "load-key" => drop(signatures::load_key(&text)),
        "verify" => drop(black_box(signatures::verify(0, &text, &bytes, &bytes))),
        "get" => drop(keyvalue::get(&bytes)),
        "put" => drop(keyvalue::put(b"", &bytes, None)),
        "delete" => keyvalue::delete(&bytes),
        "increment" => drop(keyvalue::increment(&bytes, 1, None)),
        "write" => log::write(log::Level::Info, &text),
        "counter" => drop(metrics::counter(&text, "")),
        "gauge" => drop(metrics::gauge("a", &text)),
        _ => panic!("no function {function}"),
    }
}

fn recurse(depth: u64) -> u64 {
    if depth == 0 { 0 } else { black_box(recurse(black_box(depth - 1))) + 1 }
}

fn report<T>(result: std::io::Result<T>) {
    warn(if result.is_ok() { "granted".to_owned() } else { "refused".to_owned() });
}

fn warn(text: String) {
    response::warn(&text);
}
