//! The connection to the engine, which is replaced when it does not serve.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ErrorKind,
    IntoConnectionInfo as _, RedisConnectionInfo, RedisError, RedisResult, TlsCertificates, Value,
};
use tokio::sync::Mutex;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::engine::Failure;
use super::settings::Settings;
use crate::config::{Server, Topology};

/// The way to the engine, for all requests.
#[derive(Clone)]
pub struct Link(Rc<Shared>);

struct Shared {
    way: Way,
    /// The way to one server, without authentication, and what would authenticate.
    knock: Option<(Client, Cmd)>,
    timeout: Duration,
    current: RefCell<Option<Current>>,
    /// Held while the first connection, or the next after a lost one, is made.
    connecting: Mutex<()>,
    /// Why the last attempt failed, and when the next may be made.
    failed: RefCell<Option<Failed>>,
    /// When a request has last succeeded.
    succeeded: Cell<Option<Instant>>,
    /// How long a cluster's connection may fail without a success until it is given up.
    patience: Duration,
    /// A fresh connection is being made beside the old one.
    is_renewing: Cell<bool>,
}

enum Way {
    Cluster(ClusterClient),
    Single(Client, Server),
}

struct Failed {
    failure: Failure,
    /// How long the next attempt waits, and until when.
    pause: Duration,
    until: Instant,
}

struct Current {
    connection: Connection,
    made: Instant,
}

#[derive(Clone)]
enum Connection {
    Cluster(ClusterConnection),
    Single(MultiplexedConnection),
}

/// Which server a command is for.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// The one that has a key.
    Key(&'a str),
    Any,
}

/// How long a connection may be without a success.
pub const SILENCE: Duration = Duration::from_secs(3);
/// The least time between two attempts to connect: at first, and after several that have failed.
const PAUSE: Duration = Duration::from_millis(250);
const LONG_PAUSE: Duration = Duration::from_secs(1);
/// How long a cluster may fail, and twice the time between two requests.
const PATIENCE: Duration = Duration::from_secs(1);
/// A cluster asks a server that it has connected to for the others, and connects to them.
const STEPS: u32 = 3;

impl Link {
    /// # Errors
    ///
    /// The crate refuses the settings.
    pub fn new(settings: &Settings) -> Result<Self, Failure> {
        let way = Way::new(settings).map_err(|error| failure(&error))?;
        let knock = knock(settings).map_err(|error| failure(&error))?;
        Ok(Self(Rc::new(Shared {
            way,
            knock,
            timeout: settings.timeout,
            current: RefCell::default(),
            connecting: Mutex::default(),
            failed: RefCell::default(),
            succeeded: Cell::default(),
            patience: PATIENCE + settings.every * 2,
            is_renewing: Cell::default(),
        })))
    }

    /// Sends a command, on a new connection if there is none.
    pub async fn ask(&self, place: Place<'_>, command: Cmd) -> Result<Value, Failure> {
        let (mut connection, made) = self.connection().await?;
        let answer = timeout(self.0.timeout * 2, connection.ask(place, command)).await;
        let answer = answer.unwrap_or_else(|_| Err(timed_out()));
        if answer.is_ok() {
            self.0.succeeded.set(Some(Instant::now()));
        }
        answer.map_err(|error| {
            if self.is_broken(&connection, made, &error) {
                self.forget(made);
            }
            self.0.way.failure(&error)
        })
    }

    /// A cluster's connection mends those to its servers, and serves others while one is away. With
    /// none there, the crate tries again without a pause until it is dropped.
    fn is_broken(&self, connection: &Connection, made: Instant, error: &RedisError) -> bool {
        match connection {
            Connection::Single(_) => error.is_unrecoverable_error(),
            Connection::Cluster(_) => {
                let since = self.0.succeeded.get().map_or(made, |at| at.max(made));
                !error.is_timeout() && since.elapsed() >= self.0.patience
            }
        }
    }

    /// Makes a fresh connection beside one that is older than [`SILENCE`], and lets it take the old
    /// one's place.
    pub fn renew(&self) {
        let made = self.0.current.borrow().as_ref().map(|current| current.made);
        let is_old = made.is_some_and(|made| made.elapsed() >= SILENCE);
        if !is_old || self.0.is_renewing.replace(true) {
            return;
        }
        let link = self.clone();
        spawn_local(async move {
            if let Ok(fresh) = link.0.connect().await {
                tracing::info!("made a fresh connection to the engine of shared swarms");
                *link.0.current.borrow_mut() = Some(fresh);
            } else if let Some(current) = &mut *link.0.current.borrow_mut() {
                // The next attempt is as far away.
                current.made = Instant::now();
            }
            link.0.is_renewing.set(false);
        });
    }

    /// Returns the connection, and when it was made.
    async fn connection(&self) -> Result<(Connection, Instant), Failure> {
        let current = || {
            let current = self.0.current.borrow();
            current.as_ref().map(|current| (current.connection.clone(), current.made))
        };
        if let Some(current) = current() {
            return Ok(current);
        }
        let _one = self.0.connecting.lock().await;
        if let Some(current) = current() {
            return Ok(current);
        }
        let pause = match &*self.0.failed.borrow() {
            Some(last) if Instant::now() < last.until => return Err(last.failure.clone()),
            Some(last) => (last.pause * 2).min(LONG_PAUSE),
            None => PAUSE,
        };
        match self.0.connect().await {
            Ok(fresh) => {
                *self.0.failed.borrow_mut() = None;
                let found = (fresh.connection.clone(), fresh.made);
                *self.0.current.borrow_mut() = Some(fresh);
                Ok(found)
            }
            Err(failure) => {
                let (last, until) = (failure.clone(), Instant::now() + pause);
                *self.0.failed.borrow_mut() = Some(Failed { failure: last, pause, until });
                Err(failure)
            }
        }
    }

    /// Forgets a connection that is broken.
    fn forget(&self, made: Instant) {
        self.0.current.borrow_mut().take_if(|current| current.made == made);
    }
}

impl Shared {
    async fn connect(&self) -> Result<Current, Failure> {
        let limit = self.timeout * STEPS;
        let connection = timeout(limit, self.way.connect(self.timeout)).await;
        let error = match connection.unwrap_or_else(|_| Err(timed_out())) {
            Ok(connection) => return Ok(Current { connection, made: Instant::now() }),
            Err(error) => error,
        };
        let error = match &self.knock {
            Some((client, authenticate)) if error.to_string().contains(UNAUTHENTICATED) => {
                let words = timeout(limit, refusal(client, authenticate, self.timeout)).await;
                words.ok().flatten().unwrap_or(error)
            }
            _ => error,
        };
        Err(Failure { is_unconnected: true, ..self.way.failure(&error) })
    }
}

/// In the crate's errors about authentication, which keep the engine's words to themselves.
const UNAUTHENTICATED: &str = "AuthenticationFailed";

/// Returns the engine's words if it refuses the user or the password.
async fn refusal(client: &Client, authenticate: &Cmd, timeout: Duration) -> Option<RedisError> {
    let config = connection_config(timeout);
    let connection = client.get_multiplexed_async_connection_with_config(&config).await;
    authenticate.query_async::<Value>(&mut connection.ok()?).await.err()
}

/// Returns the way to the first server, without authentication, and what would authenticate.
fn knock(settings: &Settings) -> RedisResult<Option<(Client, Cmd)>> {
    let Settings { servers, user, password, .. } = settings;
    let (Some(server), Some(password)) = (servers.first(), password) else { return Ok(None) };
    let mut authenticate = redis::cmd("AUTH");
    if let Some(user) = user {
        authenticate.arg(user);
    }
    authenticate.arg(password.expose());
    let client = client(settings, server, RedisConnectionInfo::default())?;
    Ok(Some((client, authenticate)))
}

fn connection_config(timeout: Duration) -> AsyncConnectionConfig {
    let config = AsyncConnectionConfig::new();
    config.set_connection_timeout(Some(timeout)).set_response_timeout(Some(timeout))
}

/// Returns the way to one server.
fn client(settings: &Settings, server: &Server, redis: RedisConnectionInfo) -> RedisResult<Client> {
    // A server that is older than this command would complain, and a user may not be allowed it.
    let redis = redis.set_skip_set_lib_name();
    let info = address(settings, server).into_connection_info()?.set_redis_settings(redis);
    match certificates(settings) {
        Some(certificates) => Client::build_with_tls(info, certificates),
        None => Client::open(info),
    }
}

fn address(settings: &Settings, Server { host, port }: &Server) -> ConnectionAddr {
    let (host, port) = (host.clone(), *port);
    match settings.tls {
        Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        None => ConnectionAddr::Tcp(host, port),
    }
}

fn certificates(settings: &Settings) -> Option<TlsCertificates> {
    let files = settings.tls.clone()?;
    let own = |(client_cert, client_key)| ClientTlsConfig { client_cert, client_key };
    Some(TlsCertificates { client_tls: files.own.map(own), root_cert: files.issuers })
}

impl Way {
    fn new(settings: &Settings) -> RedisResult<Self> {
        let Settings { servers, topology, user, password, timeout, .. } = settings;
        if let (Topology::Single, [server, ..]) = (topology, &**servers) {
            let mut redis = RedisConnectionInfo::default();
            if let Some(user) = user {
                redis = redis.set_username(user);
            }
            if let Some(password) = password {
                redis = redis.set_password(password.expose());
            }
            return Ok(Self::Single(client(settings, server, redis)?, server.clone()));
        }
        let addresses = servers.iter().map(|server| address(settings, server));
        let mut builder = ClusterClientBuilder::new(addresses)
            .retries(1)
            .connection_timeout(*timeout)
            .response_timeout(*timeout);
        if let Some(user) = user {
            builder = builder.username(user);
        }
        if let Some(password) = password {
            builder = builder.password(password.expose());
        }
        if let Some(certificates) = certificates(settings) {
            builder = builder.certs(certificates);
        }
        builder.build().map(Self::Cluster)
    }

    async fn connect(&self, timeout: Duration) -> RedisResult<Connection> {
        match self {
            Self::Cluster(client) => client.get_async_connection().await.map(Connection::Cluster),
            Self::Single(client, _) => {
                let config = connection_config(timeout);
                let connection = client.get_multiplexed_async_connection_with_config(&config);
                connection.await.map(Connection::Single)
            }
        }
    }

    /// Returns the words of an error, with the server if there is only one.
    fn failure(&self, error: &RedisError) -> Failure {
        let Failure { text, is_unconnected } = failure(error);
        match self {
            Self::Cluster(_) if text.contains("cluster support disabled") => {
                let text = format!("{text}; is swarms.share.topology `single`?");
                Failure { text, is_unconnected }
            }
            Self::Cluster(_) => Failure { text, is_unconnected },
            Self::Single(_, server) => {
                let is_moved = text.starts_with("MOVED") || text.starts_with("CROSSSLOT");
                let hint = if is_moved { "; is swarms.share.topology `cluster`?" } else { "" };
                Failure { text: format!("{server}: {text}{hint}"), is_unconnected }
            }
        }
    }
}

impl Connection {
    async fn ask(&mut self, place: Place<'_>, command: Cmd) -> RedisResult<Value> {
        match self {
            Self::Single(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => {
                let place = match place {
                    Place::Key(key) => {
                        let route = Route::with_key(key, SlotAddr::Master);
                        SingleNodeRoutingInfo::SpecificNode(route)
                    }
                    Place::Any => SingleNodeRoutingInfo::Random,
                };
                let answer = connection.route_command(command, RoutingInfo::SingleNode(place));
                answer.await?.extract_error()
            }
        }
    }
}

/// Returns the words of an error: the engine's own, or those of the system.
fn failure(error: &RedisError) -> Failure {
    let text = match (error.kind(), error.code(), error.detail()) {
        (ErrorKind::Server(_) | ErrorKind::Extension, Some(code), Some(detail)) => {
            format!("{code} {detail}")
        }
        // What the crate found out about several servers; the words of one of them.
        (ErrorKind::Io, _, Some(detail)) => detail.to_owned(),
        _ => error.to_string(),
    };
    Failure { text, is_unconnected: false }
}

fn timed_out() -> RedisError {
    RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut))
}
