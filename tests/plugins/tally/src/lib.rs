//! A policy that counts announces in key-values and in its own series, and checks signatures that
//! they carry. The answer's warning has the result. Only tests load it.

use karuta_plugin::metrics::{Counter, Gauge};
use karuta_plugin::signatures::Key;
use karuta_plugin::{
    Announce, AnnounceFilter, Context, Error, Policy, Verdict, account, keyvalue, request, response,
};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The name of the gauge.
    #[serde(default = "port")]
    gauge: String,
    /// A public key, as a JWK.
    key: Option<String>,
}

fn port() -> String {
    "port".to_owned()
}

struct Tally {
    announces: Counter,
    port: Gauge,
    key: Option<Key>,
}

impl Policy for Tally {
    type Config = Config;

    fn init(config: Config, _: &Context) -> Result<Self, Error> {
        let announces = Counter::new("announces", "Announces that were counted.")?;
        let port = Gauge::new(&config.gauge, "The port of the last one.")?;
        let key = config.key.map(|jwk| Key::from_jwk(&jwk)).transpose();
        let key = key.map_err(|wrong| Error::at("key", wrong))?;
        // Counts the instances that serve: the host must discard what a trial counts.
        announces.add(1000);
        let inits = keyvalue::increment(b"inits", 1, None)?;
        keyvalue::put(format!("init {inits}").as_bytes(), b"", None)?;
        Ok(Self { announces, port, key })
    }
}

impl AnnounceFilter for Tally {
    fn on_announce(&mut self, announce: &Announce) -> Verdict {
        self.announces.add(1);
        self.port.set(announce.port().into());
        let warning = match request::query_param("ask").as_deref() {
            Some("inits") => text(keyvalue::get(b"inits")),
            Some("flood") => flood(),
            Some("signature") => self.signature(),
            Some("account") => credit(),
            Some("hide") => {
                account::hide_peer();
                "hidden".to_owned()
            }
            _ => keyvalue::increment(b"announces", 1, None)
                .map_or_else(String::from, |n| n.to_string()),
        };
        response::warn(&warning);
        Verdict::Next
    }
}

impl Tally {
    /// Checks the parameter `signature`, in hexadecimal, of the parameter `message`.
    fn signature(&self) -> String {
        let [algorithm, message, signature] = ["algorithm", "message", "signature"]
            .map(|name| request::query_param(name).unwrap_or_default());
        let digits = signature.as_bytes().chunks(2);
        let byte = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok();
        let signature: Vec<u8> = digits.filter_map(byte).collect();
        let right = |key: &Key| key.verify(&algorithm, message.as_bytes(), &signature);
        self.key.as_ref().is_some_and(right).to_string()
    }
}

/// Credits uploads twice and downloads by half, and says whose they are.
fn credit() -> String {
    account::credit(200, 50);
    let member = account::member().map(|member| (member.id(), member.here(), member.rights()));
    let torrent = account::torrent().map(|torrent| (torrent.id(), torrent.marks()));
    format!("{member:?} {torrent:?}")
}

/// Puts values until no more fit. Returns how many did, and the error of the next.
fn flood() -> String {
    for n in 0_u32.. {
        if let Err(reason) = keyvalue::put(&n.to_be_bytes(), &[0; 1020], None) {
            return format!("{n}: {reason}");
        }
    }
    unreachable!("the storage is bounded")
}

fn text(value: Option<Vec<u8>>) -> String {
    value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

karuta_plugin::export!(Tally: announce);
