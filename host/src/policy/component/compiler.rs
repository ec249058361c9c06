//! Compiles untrusted components, in a separate process with a budget.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, send};

use super::settings::settings;
use crate::policy::component::artifact::Artifact;
use crate::policy::component::footprint::Sizes;
use crate::process;

/// Where components are compiled.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// In this process, without a budget: for tests and benchmarks with known components.
    InProcess,
    /// In a child process of this program, which runs [`CompileJob::carry_out`] for the command
    /// [`CompileJob::COMMAND`].
    Child(PathBuf),
}

/// A child's job: compile the component on standard input to standard output.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct CompileJob {
    /// The memory limit, in bytes.
    #[arg(long)]
    memory: u64,
    /// The limit of processor time, in seconds.
    #[arg(long)]
    seconds: u64,
    /// Generate code that counts fuel.
    #[arg(long)]
    fuel: bool,
}

/// Why a component was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum Uncompiled {
    /// The compiler's message about the component.
    #[error("{0}")]
    Invalid(String),
    #[error(
        "takes more than {seconds} s of processor time to compile, too much for {} KiB of code",
        code.div_ceil(1024)
    )]
    Time { seconds: u64, code: u64 },
    #[error(
        "takes more than {} MiB of memory to compile, too much for {} KiB of code",
        memory >> 20,
        code.div_ceil(1024)
    )]
    Memory { memory: u64, code: u64 },
    /// The compiler did not exit normally.
    #[error("crashes the compiler: {0}")]
    Crash(String),
    #[error("cannot be compiled on this system: {0}")]
    System(#[from] io::Error),
}

/// The exit code for an invalid component.
const INVALID: u8 = 1;
/// The exit code if input, output or the budget is not available (`EX_OSERR` of sysexits.h).
const BROKEN: u8 = 71;
const MIB: u64 = 1 << 20;
/// How much of a child's output is shown, in bytes.
const SAID: usize = 4096;

impl Compiler {
    /// Compiles a component with the [`engine::settings`].
    pub fn compile(&self, wasm: &[u8], sizes: &Sizes, fuel: bool) -> Result<Artifact, Uncompiled> {
        match self {
            Self::InProcess => compile(wasm, fuel),
            Self::Child(program) => {
                CompileJob::of(sizes, wasm.len(), fuel).give(program, wasm, sizes.code)
            }
        }
    }
}

impl CompileJob {
    /// The hidden command of `karuta`.
    pub const COMMAND: &str = "compile";

    /// Returns the budget of a component: several times what real ones take. A debug build takes
    /// 4 s and 34 MiB for each MiB of code, a release build a third of the time.
    fn of(sizes: &Sizes, length: usize, fuel: bool) -> Self {
        let for_code = 96 * MIB + 48 * sizes.code;
        // Everything else in the component is copied a few times.
        let memory = (for_code + 4 * length as u64).min(for_code.max(512 * MIB));
        let seconds = 5 + (10 * sizes.code).div_ceil(MIB);
        Self { memory, seconds, fuel }
    }

    /// Compiles in a child process, and waits for it.
    fn give(&self, program: &Path, wasm: &[u8], code: u64) -> Result<Artifact, Uncompiled> {
        let (ours, theirs) = UnixStream::pair()?;
        let Self { memory, seconds, fuel } = self;
        let child = Command::new(program)
            .arg(Self::COMMAND)
            .args([format!("--memory={memory}"), format!("--seconds={seconds}")])
            .args(fuel.then_some("--fuel"))
            // The compiler needs none of it, and some of it may be secret.
            .env_clear()
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // The child reads everything before it writes. If it has exited, its status says why.
        let _ = send_all(&ours, wasm);
        drop(ours);
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(Artifact::of_child(output.stdout));
        }
        let said = &output.stderr[..output.stderr.len().min(SAID)];
        Err(self.failure(output.status, String::from_utf8_lossy(said).trim(), code))
    }

    fn failure(&self, status: ExitStatus, said: &str, code: u64) -> Uncompiled {
        // The messages of Rust's allocator and of the kernel.
        let short = ["memory allocation of", "Cannot allocate memory"];
        if short.iter().any(|text| said.contains(text)) {
            return Uncompiled::Memory { memory: self.memory, code };
        }
        let signal = status.signal().map(Signal::try_from);
        match (status.code().map(u8::try_from), signal) {
            (Some(Ok(INVALID)), _) => Uncompiled::Invalid(said.to_owned()),
            (Some(Ok(BROKEN)), _) => Uncompiled::System(io::Error::other(said.to_owned())),
            (_, Some(Ok(Signal::SIGXCPU))) => Uncompiled::Time { seconds: self.seconds, code },
            _ => {
                let line = said.lines().next().unwrap_or_default();
                Uncompiled::Crash(format!("{status} {line}").trim().to_owned())
            }
        }
    }

    /// Compiles, in the child process.
    pub fn carry_out(&self) -> ExitCode {
        match self.compile() {
            Ok(()) => ExitCode::SUCCESS,
            Err(Uncompiled::Invalid(text)) => {
                eprintln!("{text}");
                ExitCode::from(INVALID)
            }
            Err(error) => {
                eprintln!("{error}");
                ExitCode::from(BROKEN)
            }
        }
    }

    fn compile(&self) -> Result<(), Uncompiled> {
        process::stand_back();
        process::confine(self.memory, self.seconds).map_err(io::Error::from)?;
        let mut wasm = Vec::new();
        io::stdin().read_to_end(&mut wasm)?;
        let artifact = compile(&wasm, self.fuel)?;
        io::stdout().write_all(artifact.bytes())?;
        Ok(())
    }
}

fn compile(wasm: &[u8], fuel: bool) -> Result<Artifact, Uncompiled> {
    let engine = wasmtime::Engine::new(&settings(fuel));
    let artifact = engine.and_then(|engine| Artifact::compile(&engine, wasm));
    artifact.map_err(|error| Uncompiled::Invalid(format!("{error:#}")))
}

/// Sends all bytes. If the receiver has gone, this returns an error and raises no signal.
fn send_all(socket: &UnixStream, mut bytes: &[u8]) -> nix::Result<()> {
    while !bytes.is_empty() {
        match send(socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
            Err(nix::Error::EINTR) => {}
            sent => bytes = &bytes[sent?..],
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: CompileJob = CompileJob { memory: 7 << 20, seconds: 3, fuel: false };

    #[test]
    fn each_end_of_a_child_has_its_error() {
        let said =
            |status, said: &str| JOB.failure(ExitStatus::from_raw(status), said, 2048).to_string();
        let exit = |code: u8| i32::from(code) << 8;
        assert_eq!(said(exit(INVALID), "wrong type"), "wrong type");
        assert_eq!(said(exit(BROKEN), "no limits"), "cannot be compiled on this system: no limits");
        assert_eq!(
            said(Signal::SIGXCPU as i32, ""),
            "takes more than 3 s of processor time to compile, too much for 2 KiB of code"
        );
        assert_eq!(
            said(Signal::SIGABRT as i32, "memory allocation of 80 bytes failed"),
            "takes more than 7 MiB of memory to compile, too much for 2 KiB of code"
        );
        let crash = said(Signal::SIGSEGV as i32, "thread main has overflowed its stack\nnote");
        assert!(crash.starts_with("crashes the compiler: signal: 11"), "{crash}");
        assert!(crash.ends_with("thread main has overflowed its stack"), "{crash}");
    }

    #[test]
    fn a_child_that_does_not_read_its_input_is_a_refusal() {
        // More than a socket buffers.
        let refused = JOB.give(Path::new("/bin/false"), &[0; 4 << 20], 0);
        assert!(matches!(refused, Err(Uncompiled::Invalid(said)) if said.is_empty()));
    }

    #[test]
    fn without_a_program_nothing_is_compiled() {
        let Err(failure) = JOB.give(Path::new("/nonexistent/karuta"), b"", 0) else { panic!() };
        assert!(matches!(failure, Uncompiled::System(_)));
    }

    #[test]
    fn the_budget_follows_the_code() {
        let budget = |mib: u64, code: u64| {
            let sizes = Sizes { code: code * MIB, ..Sizes::default() };
            let CompileJob { memory, seconds, .. } =
                CompileJob::of(&sizes, (mib * MIB) as usize, false);
            (memory / MIB, seconds)
        };
        assert_eq!(budget(0, 0), (96, 5));
        // About the sizes of Python and JavaScript components.
        assert_eq!(budget(18, 6), (456, 65));
        assert_eq!(budget(12, 8), (512, 85));
        // Data is not compiled; beyond a point it does not raise the budget.
        assert_eq!(budget(200, 0), (512, 5));
        assert_eq!(budget(60, 30), (1536, 305));
    }
}
