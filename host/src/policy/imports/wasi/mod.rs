//! WASI 0.2 for policies. Everything is linked, because languages' runtimes import it by
//! themselves, but almost nothing is granted.
//!
//! wasmtime's synchronous shims wait on a tokio runtime, which panics on a thread that already runs
//! one, and an epoch deadline does not interrupt a host call. So streams, polls, clocks to wait
//! for, files and sockets have their own implementations. None of them waits longer than the
//! deadline of the call, and on workers none enters a runtime. Control instances may wait for
//! files.

mod files;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::filesystem::WasiFilesystemCtxView;
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::bindings::io::{poll as async_poll, streams as async_streams};
use wasmtime_wasi::p2::bindings::sockets;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily, Network};
use wasmtime_wasi::p2::bindings::sync::filesystem;
use wasmtime_wasi::p2::bindings::sync::io::{poll, streams};
use wasmtime_wasi::p2::bindings::sync::sockets::udp_create_socket;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, DynPollable, OutputStream, Pollable, SocketError,
    SocketResult, StreamError, StreamResult, TcpSocket, UdpSocket, subscribe,
};
use wasmtime_wasi::random::Deterministic;
use wasmtime_wasi::runtime::in_tokio;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};

pub use self::files::Files;
use super::call::Call;
use super::log::Sink;
use crate::config::{Allow, Folder};
use crate::policy::contract::Role;
use crate::policy::contract::bindings::imports::log::Level;
use crate::policy::shared::clock::Clock;
use crate::policy::shared::shutdown::Shutdown;

/// The most bytes of randomness per call.
const RANDOM: u64 = 64 * 1024;

/// What the configuration grants a policy.
pub struct Granted<'a> {
    pub policy: &'a str,
    pub allow: &'a Allow,
    pub clock: &'a Clock,
    /// The seed of the fixed sequence of a policy without randomness; 0: the default sequence. Any
    /// other one takes randomness from all policies.
    pub seed: u64,
    /// Where the lines of its standard output go.
    pub log: &'a Sink,
}

/// An instance's WASI state.
pub struct Wasi {
    context: WasiCtx,
    table: ResourceTable,
    start: Instant,
}

impl Wasi {
    /// Creates the state: no arguments and no network. The environment and folders are for control
    /// instances only, as the configuration grants them. Standard output goes into the log, line by
    /// line.
    pub fn new(granted: &Granted<'_>, role: Role) -> wasmtime::Result<Self> {
        let Granted { policy, allow, clock, seed, log } = *granted;
        let mut builder = WasiCtx::builder();
        builder
            .max_random_size(RANDOM)
            .stdout(Lines::new(log.clone(), Level::Info))
            .stderr(Lines::new(log.clone(), Level::Warn));
        if role == Role::Control {
            for name in &allow.env {
                if let Ok(value) = std::env::var(name) {
                    builder.env(name, value);
                }
            }
            for Folder { path, at, write } in &allow.folders {
                let permissions = if *write { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
                builder.preopened_dir(path, at, permissions)?;
            }
        }
        if !allow.random || seed != 0 {
            let sequence = || Deterministic::new(fixed(policy, seed));
            builder.secure_random(sequence()).insecure_random(sequence());
            builder.insecure_random_seed(seed.into());
        }
        let mut table = ResourceTable::new();
        table.set_max_capacity(1024);
        Ok(Self { context: builder.build(), table, start: clock.now() })
    }

    /// Returns the view for wasmtime's own implementations.
    pub fn context(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.context, table: &mut self.table }
    }

    pub fn view<'a>(
        &'a mut self,
        clock: &'a Clock,
        call: &'a mut Call,
        role: Role,
        shutdown: &'a Shutdown,
    ) -> View<'a> {
        let time = Time::of(call, role, shutdown);
        View { table: &mut self.table, clock, start: self.start, time }
    }

    pub fn files<'a>(
        &'a mut self,
        call: &'a mut Call,
        role: Role,
        shutdown: &'a Shutdown,
    ) -> Files<'a> {
        let files =
            WasiFilesystemCtxView { ctx: self.context.filesystem(), table: &mut self.table };
        Files::new(files, Time::of(call, role, shutdown))
    }
}

/// Returns the bytes that a policy without randomness gets, over and over.
fn fixed(policy: &str, seed: u64) -> Vec<u8> {
    let seed = if seed == 0 { String::new() } else { format!("/{seed}") };
    let block = |number: u8| {
        Sha256::new().chain_update([number]).chain_update(policy).chain_update(&seed).finalize()
    };
    (0..=u8::MAX).flat_map(|number| block(number).to_vec()).collect()
}

/// Links WASI 0.2, with the part of a store's data that it works on.
pub fn link<T: WasiView>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> View<'_>,
    files: fn(&mut T) -> Files<'_>,
) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    linker.allow_shadowing(true);
    poll::add_to_linker::<_, View>(linker, view)?;
    streams::add_to_linker::<_, View>(linker, view)?;
    monotonic_clock::add_to_linker::<_, View>(linker, view)?;
    wall_clock::add_to_linker::<_, View>(linker, view)?;
    sockets::tcp_create_socket::add_to_linker::<_, View>(linker, view)?;
    udp_create_socket::add_to_linker::<_, View>(linker, view)?;
    sockets::ip_name_lookup::add_to_linker::<_, View>(linker, view)?;
    filesystem::types::add_to_linker::<_, Files>(linker, files)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The view for the host's own implementations.
pub struct View<'a> {
    table: &'a mut ResourceTable,
    clock: &'a Clock,
    start: Instant,
    time: Time<'a>,
}

/// The time that a call may wait.
pub struct Time<'a> {
    call: &'a mut Call,
    /// Only on control instances, which may wait for more than polls.
    shutdown: Option<&'a Shutdown>,
}

/// How often a waiting call checks whether it may go on.
const LOOK: Duration = Duration::from_millis(100);
/// The pause between two polls.
const ASK: Duration = Duration::from_micros(200);

impl HasData for View<'static> {
    type Data<'a> = View<'a>;
}

impl<'a> Time<'a> {
    fn of(call: &'a mut Call, role: Role, shutdown: &'a Shutdown) -> Self {
        Self { call, shutdown: (role == Role::Control).then_some(shutdown) }
    }

    /// Returns the result of a future that does not wait or, on a control instance, waits no longer
    /// than the deadline.
    fn settle<T>(&mut self, future: impl Future<Output = T>) -> wasmtime::Result<T> {
        let mut future = std::pin::pin!(future);
        if let Some(result) = future.as_mut().now_or_never() {
            return Ok(result);
        }
        if self.shutdown.is_none() {
            wasmtime::bail!("a policy must not wait here");
        }
        loop {
            let step = self.left()?.min(LOOK);
            let start = Instant::now();
            let result = in_tokio(async { tokio::time::timeout(step, future.as_mut()).await });
            self.call.waited += start.elapsed();
            if let Ok(result) = result {
                return Ok(result);
            }
        }
    }

    /// Like [`Time::settle`], but returns a stream's error.
    fn settle_stream<T>(
        &mut self,
        future: impl Future<Output = StreamResult<T>>,
    ) -> StreamResult<T> {
        self.settle(future).map_err(StreamError::Trap)?
    }

    /// Asks repeatedly until there is an answer, at most until the deadline.
    fn wait<T>(
        &mut self,
        mut ask: impl FnMut() -> wasmtime::Result<Option<T>>,
    ) -> wasmtime::Result<T> {
        loop {
            if let Some(answer) = ask()? {
                return Ok(answer);
            }
            let step = self.left()?.min(ASK);
            let start = Instant::now();
            std::thread::sleep(step);
            self.call.waited += start.elapsed();
        }
    }

    /// Returns how much longer the call may wait.
    fn left(&mut self) -> wasmtime::Result<Duration> {
        let left = self.call.patience(self.shutdown);
        if left.is_zero() {
            self.call.overdue = true;
            wasmtime::bail!("a policy must not wait longer than its deadline");
        }
        Ok(left)
    }
}

impl poll::Host for View<'_> {
    fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        self.time.wait(|| {
            let borrowed = pollables.iter().map(|one| Resource::new_borrow(one.rep())).collect();
            async_poll::Host::poll(self.table, borrowed).now_or_never().transpose()
        })
    }
}

impl poll::HostPollable for View<'_> {
    fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        self.time.settle(async_poll::HostPollable::ready(self.table, pollable))?
    }

    fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        self.time.wait(|| {
            let borrowed = Resource::new_borrow(pollable.rep());
            async_poll::HostPollable::block(self.table, borrowed).now_or_never().transpose()
        })
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        async_poll::HostPollable::drop(self.table, pollable)
    }
}

impl streams::Host for View<'_> {
    fn convert_stream_error(
        &mut self,
        error: StreamError,
    ) -> wasmtime::Result<streams::StreamError> {
        streams::Host::convert_stream_error(self.table, error)
    }
}

impl streams::HostOutputStream for View<'_> {
    fn drop(&mut self, stream: Resource<DynOutputStream>) -> wasmtime::Result<()> {
        self.time.settle(async_streams::HostOutputStream::drop(self.table, stream))?
    }

    fn check_write(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<u64> {
        async_streams::HostOutputStream::check_write(self.table, stream)
    }

    fn write(&mut self, stream: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        async_streams::HostOutputStream::write(self.table, stream, bytes)
    }

    fn blocking_write_and_flush(
        &mut self,
        stream: Resource<DynOutputStream>,
        bytes: Vec<u8>,
    ) -> StreamResult<()> {
        self.time.settle_stream(async_streams::HostOutputStream::blocking_write_and_flush(
            self.table, stream, bytes,
        ))
    }

    fn blocking_write_zeroes_and_flush(
        &mut self,
        stream: Resource<DynOutputStream>,
        len: u64,
    ) -> StreamResult<()> {
        self.time.settle_stream(async_streams::HostOutputStream::blocking_write_zeroes_and_flush(
            self.table, stream, len,
        ))
    }

    fn subscribe(
        &mut self,
        stream: Resource<DynOutputStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        async_streams::HostOutputStream::subscribe(self.table, stream)
    }

    fn write_zeroes(&mut self, stream: Resource<DynOutputStream>, len: u64) -> StreamResult<()> {
        async_streams::HostOutputStream::write_zeroes(self.table, stream, len)
    }

    fn flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        async_streams::HostOutputStream::flush(self.table, stream)
    }

    fn blocking_flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        self.time.settle_stream(async_streams::HostOutputStream::blocking_flush(self.table, stream))
    }

    fn splice(
        &mut self,
        to: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        len: u64,
    ) -> StreamResult<u64> {
        async_streams::HostOutputStream::splice(self.table, to, from, len)
    }

    fn blocking_splice(
        &mut self,
        to: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        len: u64,
    ) -> StreamResult<u64> {
        self.time.settle_stream(async_streams::HostOutputStream::blocking_splice(
            self.table, to, from, len,
        ))
    }
}

impl streams::HostInputStream for View<'_> {
    fn drop(&mut self, stream: Resource<DynInputStream>) -> wasmtime::Result<()> {
        self.time.settle(async_streams::HostInputStream::drop(self.table, stream))?
    }

    fn read(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<Vec<u8>> {
        async_streams::HostInputStream::read(self.table, stream, len)
    }

    fn blocking_read(
        &mut self,
        stream: Resource<DynInputStream>,
        len: u64,
    ) -> StreamResult<Vec<u8>> {
        self.time
            .settle_stream(async_streams::HostInputStream::blocking_read(self.table, stream, len))
    }

    fn skip(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        async_streams::HostInputStream::skip(self.table, stream, len)
    }

    fn blocking_skip(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        self.time
            .settle_stream(async_streams::HostInputStream::blocking_skip(self.table, stream, len))
    }

    fn subscribe(
        &mut self,
        stream: Resource<DynInputStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        async_streams::HostInputStream::subscribe(self.table, stream)
    }
}

/// A time to poll for.
struct Moment(Instant);

#[wasmtime_wasi::async_trait]
impl Pollable for Moment {
    async fn ready(&mut self) {
        if Instant::now() < self.0 {
            // Nothing wakes this future: `Time::wait` polls it again.
            std::future::pending::<()>().await;
        }
    }
}

/// Further away than any deadline.
const NEVER: Duration = Duration::from_secs(86_400);

impl monotonic_clock::Host for View<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(u64::try_from(self.elapsed().as_nanos())?)
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(1)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let wait = Duration::from_nanos(when).saturating_sub(self.elapsed());
        self.moment(wait)
    }

    fn subscribe_duration(&mut self, nanoseconds: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.moment(Duration::from_nanos(nanoseconds))
    }
}

impl wall_clock::Host for View<'_> {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        let now = self.clock.unix_in_call(self.time.call.moment);
        let (seconds, nanoseconds) = (now.as_secs(), now.subsec_nanos());
        Ok(wall_clock::Datetime { seconds, nanoseconds })
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime { seconds: 0, nanoseconds: 1_000 })
    }
}

impl View<'_> {
    /// Returns the monotonic clock's time. Go's runtime takes zero for a broken clock.
    fn elapsed(&self) -> Duration {
        self.clock.now().saturating_duration_since(self.start) + Duration::from_secs(1)
    }

    fn moment(&mut self, wait: Duration) -> wasmtime::Result<Resource<DynPollable>> {
        let moment = self.table.push(Moment(Instant::now() + wait.min(NEVER)))?;
        subscribe(self.table, moment)
    }
}

impl sockets::tcp_create_socket::Host for View<'_> {
    fn create_tcp_socket(&mut self, _: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        Err(ErrorCode::AccessDenied.into())
    }
}

impl udp_create_socket::Host for View<'_> {
    fn create_udp_socket(&mut self, _: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        Err(ErrorCode::AccessDenied.into())
    }
}

impl sockets::ip_name_lookup::Host for View<'_> {
    fn resolve_addresses(
        &mut self,
        _: Resource<Network>,
        _: String,
    ) -> SocketResult<Resource<sockets::ip_name_lookup::ResolveAddressStream>> {
        Err(ErrorCode::AccessDenied.into())
    }
}

impl sockets::ip_name_lookup::HostResolveAddressStream for View<'_> {
    fn resolve_next_address(
        &mut self,
        _: Resource<sockets::ip_name_lookup::ResolveAddressStream>,
    ) -> SocketResult<Option<sockets::network::IpAddress>> {
        Err(ErrorCode::AccessDenied.into())
    }

    fn subscribe(
        &mut self,
        stream: Resource<sockets::ip_name_lookup::ResolveAddressStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, stream)
    }

    fn drop(
        &mut self,
        stream: Resource<sockets::ip_name_lookup::ResolveAddressStream>,
    ) -> wasmtime::Result<()> {
        self.table.delete(stream)?;
        Ok(())
    }
}

impl sockets::network::Host for View<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn network_error_code(
        &mut self,
        _: Resource<wasmtime_wasi::p2::IoError>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        Ok(None)
    }
}

impl sockets::network::HostNetwork for View<'_> {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        self.table.delete(network)?;
        Ok(())
    }
}

/// The standard output or error of an instance.
#[derive(Clone)]
struct Lines(Arc<Mutex<Line>>);

struct Line {
    level: Level,
    sink: Sink,
    text: Vec<u8>,
}

/// A line is cut after this many bytes.
const LINE: usize = 4096;

impl Lines {
    fn new(sink: Sink, level: Level) -> Self {
        Self(Arc::new(Mutex::new(Line { level, sink, text: Vec::new() })))
    }
}

impl Line {
    fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte != b'\n' {
                self.text.push(byte);
            }
            let ended = byte == b'\n' && !self.text.is_empty();
            if ended || self.text.len() >= LINE {
                self.sink.write(self.level, String::from_utf8_lossy(&self.text).into_owned());
                self.text.clear();
            }
        }
    }
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI 0.3 would use it.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Lines {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        self.0.lock().push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 * 1024)
    }
}
