//! The admin API: where it listens, and who may use it.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use karuta_bittorrent::canonical_socket;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, SeqAccess, Visitor},
};

use super::{
    gazelle::{self, GAZELLE, Gazelle},
    problem::{Problem, problem},
    secret::Secret,
    site_door::SiteDoor,
    tls::Tls,
    torrust::Torrust,
    unit3d::{self, UNIT3D, Unit3d},
    values::is_name,
};

/// The admin API.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    pub listen: AdminListen,
    /// The group of the socket files, by name or number. If `None`, that of the process.
    pub socket_group: Option<String>,
    /// The bearer token of [`OWNER`], who may do everything. At least 1 byte.
    pub token: Option<Secret>,
    /// More bearer tokens, with names and values of their own.
    pub tokens: Vec<AdminToken>,
    /// If set, it speaks HTTPS on its addresses.
    pub tls: Option<Tls>,
    pub torrust: Option<Torrust>,
    pub gazelle: Option<Gazelle>,
    pub unit3d: Option<Unit3d>,
}

/// A bearer token that allows some things.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AdminToken {
    /// Of 1 to 40 of `a` to `z`, `0` to `9` and `-`, and not [`OWNER`].
    pub name: String,
    /// At least 16 bytes.
    pub token: Secret,
    /// Never empty.
    pub may: Vec<Right>,
}

/// What the caller of an endpoint must be allowed to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    /// Look at metrics, status, swarms, the configuration and the log.
    Read,
    /// See the addresses of peers, and export all torrents.
    Peers,
    /// Ask how a request would be answered.
    Explain,
    /// Read and edit lists.
    Lists,
    /// Read and change members, torrents and what they have moved.
    Accounts,
    /// Reload, and write snapshots.
    Reload,
}

/// The name of `admin.token`.
pub const OWNER: &str = "admin";
/// The name of `admin.torrust.token`.
pub const TORRUST: &str = "torrust";

/// Where the admin API listens: never nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminListen {
    places: Vec<AdminPlace>,
    is_list: bool,
}

/// A place to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminPlace {
    /// Port 0 selects any free port. Must be a loopback address if there is no token.
    Address(SocketAddr),
    /// A socket file, whose mode says who may connect.
    Socket(PathBuf),
}

const EXPECTED: &str = "an address with a port such as 127.0.0.1:6880, or unix:/PATH";
/// What begins the path of a socket file.
const UNIX: &str = "unix:";
/// The longest path of a socket file, in bytes (unix(7)).
const MAX_PATH: usize = 107;
/// The shortest token that cannot be guessed, in bytes.
pub(super) const MIN_TOKEN: usize = 16;

impl Right {
    pub const ALL: [Self; 6] =
        [Self::Read, Self::Peers, Self::Explain, Self::Lists, Self::Accounts, Self::Reload];

    /// Returns the name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Peers => "peers",
            Self::Explain => "explain",
            Self::Lists => "lists",
            Self::Accounts => "accounts",
            Self::Reload => "reload",
        }
    }
}

impl Default for AdminListen {
    fn default() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 6880));
        Self { places: vec![AdminPlace::Address(address)], is_list: false }
    }
}

impl Admin {
    /// Returns its network addresses.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.listen.places.iter().filter_map(|place| match place {
            AdminPlace::Address(address) => Some(*address),
            AdminPlace::Socket(_) => None,
        })
    }

    /// Returns the addresses of the doors that have one of their own.
    pub fn site_doors(&self) -> Vec<(SiteDoor, SocketAddr)> {
        let gazelle = self.gazelle.iter().map(|door| (SiteDoor::Gazelle, door.listen));
        let unit3d = self.unit3d.iter().map(|door| (SiteDoor::Unit3d, door.listen));
        gazelle.chain(unit3d).collect()
    }

    /// Returns its socket files.
    pub fn sockets(&self) -> impl Iterator<Item = &Path> {
        self.listen.places.iter().filter_map(|place| match place {
            AdminPlace::Address(_) => None,
            AdminPlace::Socket(path) => Some(path.as_path()),
        })
    }

    /// Returns whether callers need a token, except over socket files.
    pub fn has_tokens(&self) -> bool {
        self.token.is_some() || !self.tokens.is_empty()
    }

    /// Returns whether only this machine reaches it.
    pub fn is_local(&self) -> bool {
        self.addresses().all(|address| address.ip().to_canonical().is_loopback())
    }

    /// Returns the path of an address in the configuration, of those that [`Self::addresses`] lists.
    pub(super) fn path_of_address(&self, number: usize) -> String {
        let is_address = |place: &AdminPlace| matches!(place, AdminPlace::Address(_));
        let mut addresses = self.listen.places.iter().enumerate().filter(|(_, it)| is_address(it));
        self.listen.path(addresses.nth(number).map_or(0, |(at, _)| at))
    }

    /// Checks its keys by themselves.
    pub(super) fn check(&self) -> Result<(), Problem> {
        if self.listen.places.is_empty() {
            return problem("admin.listen", format!("empty, expected {EXPECTED}"));
        }
        for (at, place) in self.listen.places.iter().enumerate() {
            if let AdminPlace::Socket(path) = place
                && let Some(other) = self.listen.places[..at].iter().position(|it| it == place)
            {
                let message = format!(
                    "`{}` is already {}, expected another",
                    path.display(),
                    self.listen.path(other)
                );
                return problem(self.listen.path(at), message);
            }
            if let AdminPlace::Address(address) = place
                && !self.has_tokens()
                && !address.ip().to_canonical().is_loopback()
            {
                return problem(
                    self.listen.path(at),
                    format!("`{address}` is not a loopback address, expected one, or a token"),
                );
            }
        }
        self.check_tokens()?;
        self.gazelle.as_ref().map_or(Ok(()), Gazelle::check)?;
        self.unit3d.as_ref().map_or(Ok(()), Unit3d::check)?;
        if self.tls.is_some() && self.addresses().next().is_none() {
            return problem("admin.tls", "only valid with an address in admin.listen");
        }
        Ok(())
    }

    fn check_tokens(&self) -> Result<(), Problem> {
        for (at, AdminToken { name, may, .. }) in self.tokens.iter().enumerate() {
            let path = |key| format!("admin.tokens[{at}].{key}");
            if !is_name(name) {
                let message = format!("invalid name `{name}`, expected 1 to 40 of a-z, 0-9 and -");
                return problem(path("name"), message);
            }
            let earlier = self.tokens[..at].iter().position(|other| other.name == *name);
            let taken = match earlier {
                _ if name == OWNER => Some("that of admin.token".to_owned()),
                _ if name == TORRUST && self.torrust.is_some() => {
                    Some("that of admin.torrust.token".to_owned())
                }
                _ if name == GAZELLE && self.gazelle.is_some() => {
                    Some("that of admin.gazelle.password".to_owned())
                }
                _ if name == UNIT3D && self.unit3d.is_some() => {
                    Some("that of admin.unit3d.key".to_owned())
                }
                other => other.map(|other| format!("the name of admin.tokens[{other}]")),
            };
            if let Some(taken) = taken {
                let message = format!("`{name}` is already {taken}, expected another");
                return problem(path("name"), message);
            }
            if may.is_empty() {
                let rights = Right::ALL.map(Right::name).join(", ");
                return problem(path("may"), format!("empty, expected at least one of {rights}"));
            }
        }
        Ok(())
    }

    /// Reads the tokens; relative files are relative to `folder`.
    pub(super) fn fetch_secrets(&mut self, folder: &Path) -> Result<(), Problem> {
        if let Some(token) = &mut self.token {
            token.fetch_for_header(folder).or_else(|message| problem("admin.token", message))?;
        }
        let mut known: Vec<(String, Secret)> = Vec::new();
        known.extend(self.token.clone().map(|token| ("admin.token".to_owned(), token)));
        let tokens = self.tokens.iter_mut().enumerate();
        let tokens = tokens.map(|(at, one)| (format!("admin.tokens[{at}].token"), &mut one.token));
        let torrust = self.torrust.iter_mut();
        let torrust = torrust.map(|door| ("admin.torrust.token".to_owned(), &mut door.token));
        let passwords = self.gazelle.iter_mut().flat_map(|door| {
            let report = door.report_password.iter_mut();
            let report = report.map(|password| ("admin.gazelle.report_password", password));
            [("admin.gazelle.password", &mut door.password)].into_iter().chain(report)
        });
        let passwords = passwords.map(|(path, password)| (path.to_owned(), password));
        let unit3d = self.unit3d.iter_mut();
        let unit3d = unit3d.map(|door| ("admin.unit3d.key".to_owned(), &mut door.key));
        for (path, token) in tokens.chain(torrust).chain(passwords).chain(unit3d) {
            token.fetch_for_header(folder).or_else(|message| problem(&*path, message))?;
            let checked = if path.starts_with("admin.gazelle.") {
                gazelle::check_password(token.expose())
            } else if path.starts_with("admin.unit3d.") {
                unit3d::check_key(token.expose())
            } else {
                Ok(())
            };
            checked.or_else(|message| problem(&*path, message))?;
            if token.expose().len() < MIN_TOKEN {
                let message = format!("too short, expected at least {MIN_TOKEN} bytes");
                return problem(path, message);
            }
            let same = known.iter().find(|(_, other)| other.expose() == token.expose());
            if let Some((other, _)) = same {
                return problem(path, format!("the same token as {other}, expected another"));
            }
            known.push((path, token.clone()));
        }
        Ok(())
    }

    /// Makes the paths of socket files relative to `folder`.
    pub(super) fn resolve(&mut self, folder: &Path) -> Result<(), Problem> {
        let AdminListen { places, is_list } = &mut self.listen;
        for (at, place) in places.iter_mut().enumerate() {
            let AdminPlace::Socket(path) = place else { continue };
            *path = folder.join(&*path);
            let length = path.as_os_str().len();
            if length > MAX_PATH {
                let message = format!(
                    "`{}` has {length} bytes, expected a path of at most {MAX_PATH}",
                    path.display()
                );
                return problem(listen_path(*is_list, at), message);
            }
        }
        Ok(())
    }
}

impl AdminListen {
    /// Returns the path of a place in the configuration.
    fn path(&self, at: usize) -> String {
        listen_path(self.is_list, at)
    }
}

fn listen_path(is_list: bool, at: usize) -> String {
    if is_list { format!("admin.listen[{at}]") } else { "admin.listen".to_owned() }
}

impl AdminPlace {
    fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix(UNIX) {
            None => text.parse().ok().map(|address| Self::Address(canonical_socket(address))),
            // A name that begins with @ would be mistaken for one without a file, and so without a mode.
            Some(path) if path.contains('\0') || path.starts_with('@') || path.ends_with('/') => {
                None
            }
            Some(path) => Path::new(path).file_name().map(|_| Self::Socket(path.into())),
        }
    }
}

impl<'de> Deserialize<'de> for AdminPlace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = AdminPlace;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<AdminPlace, E> {
                AdminPlace::parse(text).ok_or_else(|| {
                    E::custom(format!("invalid address `{text}`, expected {EXPECTED}"))
                })
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl Serialize for AdminPlace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Address(address) => serializer.collect_str(address),
            Self::Socket(path) => serializer.collect_str(&format_args!("{UNIX}{}", path.display())),
        }
    }
}

impl Serialize for AdminListen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &*self.places {
            [one] if !self.is_list => one.serialize(serializer),
            many => many.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for AdminListen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = AdminListen;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{EXPECTED}, or a list of them")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<AdminListen, E> {
                let one = AdminPlace::deserialize(de::value::StrDeserializer::new(text))?;
                Ok(AdminListen { places: vec![one], is_list: false })
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<AdminListen, A::Error> {
                let mut places = Vec::new();
                while let Some(one) = list.next_element()? {
                    places.push(one);
                }
                Ok(AdminListen { places, is_list: true })
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}
