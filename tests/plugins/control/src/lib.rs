//! A policy whose control instance does what its configuration says. Only tests load it.
//!
//! It writes what its observer and its ticks see into key-values. An announce with `show=KEY` gets
//! the value as its warning.

use std::time::{Duration, SystemTime};

use karuta_plugin::{
    Announce, AnnounceFilter, Context, DataSink, Error, Observer, Outcome, Policy, Role, Ticker,
    Verdict, http, keyvalue, metrics, publisher, request, response,
};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The actions of a tick, in this order.
    #[serde(default)]
    tick: Vec<Do>,
    /// What the observer does besides writing key-values.
    #[serde(default)]
    observe: Option<Do>,
}

#[derive(Clone, serde::Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Do {
    Fail,
    /// Fails with this many bytes of text.
    FailLong(usize),
    Trap,
    Loop,
    /// Sleeps for an hour.
    Sleep,
    Fetch {
        url: String,
    },
    /// Waits an hour for an answer.
    Await {
        url: String,
    },
    Post {
        url: String,
        body: String,
    },
    Env(String),
    Read(String),
    Write {
        path: String,
        text: String,
    },
    /// Writes a file of `bytes` and reads it, `times` times.
    Rewrite {
        path: String,
        bytes: usize,
        times: u32,
    },
    Random,
    Publish {
        name: String,
        text: String,
    },
    /// Publishes this many bytes.
    PublishLong(usize),
    /// Posts a body of `bytes`.
    PostLong {
        url: String,
        bytes: usize,
    },
    /// Publishes the number of the tick, this many times.
    Storm(u32),
}

struct Control {
    config: Config,
    published: String,
    ticks: u32,
    counter: metrics::Counter,
}

impl Policy for Control {
    type Config = Config;

    fn init(config: Config, context: &Context) -> Result<Self, Error> {
        let counter = metrics::Counter::new("ticks_total", "Ticks.")?;
        if context.role() == Role::Control {
            let _ = keyvalue::increment(b"instances", 1, None);
        }
        Ok(Self { config, published: String::new(), ticks: 0, counter })
    }
}

fn text(key: &[u8]) -> String {
    keyvalue::get(key).map(|value| String::from_utf8_lossy(&value).into_owned()).unwrap_or_default()
}

fn shown<T>(result: Result<T, Error>) -> String {
    format!("{:?}", result.err().map(String::from))
}

impl AnnounceFilter for Control {
    fn on_announce(&mut self, _: &Announce) -> Verdict {
        let answer = match request::query_param("show").as_deref() {
            Some("published") => self.published.clone(),
            Some("fetch") => shown(http::get("http://127.0.0.1/", Duration::ZERO)),
            Some("publish") => shown(publisher::publish("a", b"")),
            Some("env") => format!("{:?}", std::env::vars().collect::<Vec<_>>()),
            Some(key) => text(key.as_bytes()),
            None => {
                if let Some(value) = request::query_param("leave") {
                    response::set_attribute("left", &value);
                }
                return match request::query_param("verdict").as_deref() {
                    Some("reject") => response::reject("no"),
                    Some("accept") => Verdict::Accept,
                    _ => Verdict::Next,
                };
            }
        };
        response::warn(&answer);
        Verdict::Next
    }
}

impl DataSink for Control {
    fn on_data(&mut self, name: &str, version: u64, data: &[u8]) -> Result<(), Error> {
        let text = String::from_utf8_lossy(data);
        if text == "bad" {
            return Err(Error::new("it is bad"));
        }
        let start: String = text.chars().take(100).collect();
        self.published = format!("{name} {version} {start}");
        Ok(())
    }
}

impl Observer for Control {
    fn observe(&mut self, batch: &[Outcome]) -> Result<(), Error> {
        let _ = keyvalue::increment(b"offers", 1, None);
        let _ = keyvalue::increment(b"outcomes", batch.len() as i64, None);
        if let Some(action) = self.config.observe.clone() {
            self.act(&action)?;
        }
        for outcome in batch {
            let line = serde_json::json!({
                "port": outcome.announce().port(),
                "verdict": format!("{:?}", outcome.verdict()).trim_start_matches("Verdict::"),
                "decided_by": outcome.decided_by(),
                "credential": outcome.credential(),
                "attributes": outcome.attributes(),
                "up": outcome.uploaded_delta(),
                "down": outcome.downloaded_delta(),
                "known": outcome.since_previous().is_some(),
            });
            let port = outcome.announce().port();
            let _ =
                keyvalue::put(format!("port-{port}").as_bytes(), line.to_string().as_bytes(), None);
        }
        Ok(())
    }
}

impl Ticker for Control {
    fn tick(&mut self, _: SystemTime) -> Result<(), Error> {
        self.ticks += 1;
        self.counter.add(1);
        let mut found = Vec::new();
        for action in self.config.tick.clone() {
            found.push(self.act(&action).unwrap_or_else(|error| format!("error: {error}")));
        }
        let _ = keyvalue::put(b"found", found.join("|").as_bytes(), None);
        Ok(())
    }
}

impl Control {
    fn act(&mut self, action: &Do) -> Result<String, Error> {
        const SECOND: Duration = Duration::from_secs(1);
        const HOUR: Duration = Duration::from_hours(1);
        let of_file =
            |result: std::io::Result<String>| result.map_err(|error| Error::new(error.kind()));
        match action {
            Do::Fail => Err("it fails".into()),
            Do::FailLong(bytes) => Err("x".repeat(*bytes).into()),
            Do::Sleep => {
                std::thread::sleep(HOUR);
                Ok("slept".to_owned())
            }
            Do::Await { url } => http::get(url, HOUR).map(|answer| answer.status().to_string()),
            Do::Trap => panic!("it traps"),
            Do::Loop => loop {
                std::hint::black_box(());
            },
            Do::Fetch { url } => {
                let answer = http::get(url, SECOND)?;
                Ok(format!("{} {}", answer.status(), String::from_utf8_lossy(answer.body())))
            }
            Do::Post { url, body } => {
                let headers = [("content-type", "text/plain")];
                let answer = http::fetch("POST", url, &headers, body.as_bytes(), SECOND)?;
                Ok(answer.status().to_string())
            }
            Do::Env(name) => Ok(format!("{:?}", std::env::var(name).ok())),
            Do::Read(path) => of_file(std::fs::read_to_string(path)),
            Do::Write { path, text } => {
                of_file(std::fs::write(path, text).map(|()| "written".to_owned()))
            }
            Do::Rewrite { path, bytes, times } => {
                let content = vec![b'x'; *bytes];
                let rewrite = || {
                    std::fs::write(path, &content)?;
                    std::fs::read(path)
                };
                let whole = (0..*times).filter(|_| rewrite().is_ok_and(|read| read == content));
                Ok(format!("{} times", whole.count()))
            }
            Do::Random => Ok(random()),
            Do::Publish { name, text } => {
                publisher::publish(name, text.as_bytes()).map(|()| "published".to_owned())
            }
            Do::PublishLong(bytes) => {
                publisher::publish("long", &vec![b'x'; *bytes]).map(|()| "published".to_owned())
            }
            Do::PostLong { url, bytes } => {
                let answer = http::fetch("POST", url, &[], &vec![b'x'; *bytes], SECOND)?;
                Ok(answer.status().to_string())
            }
            Do::Storm(count) => {
                for _ in 0..*count {
                    publisher::publish("storm", self.ticks.to_string().as_bytes())?;
                }
                Ok("published".to_owned())
            }
        }
    }
}

/// Returns a random number, which is the same in two instances if randomness is fixed.
fn random() -> String {
    use std::hash::{BuildHasher, Hasher};
    let hasher = std::collections::hash_map::RandomState::new().build_hasher();
    format!("{:016x}", hasher.finish())
}

karuta_plugin::export!(Control: announce, data, observe, tick);
