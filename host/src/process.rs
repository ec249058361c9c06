//! Kernel settings for the whole process.

use std::cell::Cell;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};

/// Makes a write beyond the file size limit fail, instead of ending the process.
pub fn outlive_large_files() {
    if let Err(error) = ignore(Signal::SIGXFSZ) {
        tracing::warn!(%error, "cannot ignore SIGXFSZ; writes beyond the file size limit end this process");
    }
}

/// Makes SIGUSR1 harmless until the daemon handles it, when it has started. Before that, it has no log
/// file to reopen.
pub fn outlive_log_rotation() {
    if let Err(error) = ignore(Signal::SIGUSR1) {
        tracing::warn!(%error, "cannot ignore SIGUSR1; it ends this process while it starts");
    }
}

#[allow(unsafe_code, reason = "signal handlers are the caller's responsibility")]
fn ignore(what: Signal) -> nix::Result<()> {
    // SAFETY: no handler is installed, and whoever installs one later asks for nothing back.
    unsafe { signal(what, SigHandler::SigIgn) }.map(drop)
}

/// Limits this process's memory in bytes, and its processor time in seconds. Beyond the limits,
/// allocations fail or SIGXCPU ends the process.
///
/// # Errors
///
/// The limits cannot be set.
pub fn confine(memory: u64, seconds: u64) -> nix::Result<()> {
    lower(Resource::RLIMIT_CPU, seconds, seconds + 1)?;
    lower(Resource::RLIMIT_DATA, memory, memory)?;
    // For kernels whose RLIMIT_DATA covers only the heap. The program itself is mapped too.
    let mapped = memory.saturating_add(1 << 30);
    lower(Resource::RLIMIT_AS, mapped, mapped)?;
    lower(Resource::RLIMIT_CORE, 0, 0)
}

fn lower(resource: Resource, soft: u64, hard: u64) -> nix::Result<()> {
    let (_, most) = getrlimit(resource)?;
    setrlimit(resource, soft.min(most), hard.min(most))
}

/// The nice value of what works beside the workers: control instances and the compiler, which share
/// what the workers leave.
pub const BEHIND: i32 = 10;

/// Gives this process a low priority, for the processor and when memory runs out. It ends with the
/// thread that started it.
pub fn stand_back() {
    // Each helps without the others.
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    lower_priority(BEHIND);
}

/// Raises the nice value of the calling thread to `nice`, at most 19, the lowest priority. A higher one
/// stays.
#[allow(unsafe_code, reason = "neither std nor nix can set priorities")]
pub fn lower_priority(nice: i32) {
    // SAFETY: numbers go in and a number comes out. On Linux 0 is the calling thread.
    unsafe {
        let current = libc::getpriority(libc::PRIO_PROCESS, 0);
        libc::setpriority(libc::PRIO_PROCESS, 0, current.max(nice));
    }
}

/// How long a thread may work beside the workers without a rest: about as long as one of them may wait
/// for it. A rest takes longer, because of the kernel's slack of 50 us.
const STINT: Duration = Duration::from_micros(25);
const REST: Duration = Duration::from_micros(20);

thread_local!(static LAST_REST: Cell<Option<Instant>> = const { Cell::new(None) });
thread_local!(static IS_ALONE: Cell<bool> = const { Cell::new(false) });

/// Lets the workers go first. A thread with long work beside theirs calls it after each small part of
/// it, without a lock.
///
/// It sleeps, because a yield costs too much where all processors are busy: Linux 6.18 then makes a
/// thread of low priority wait for 20 to 50 ms after each one, and the work never ends.
pub fn give_way() {
    let is_due = LAST_REST.get().is_none_or(|rest| rest.elapsed() >= STINT);
    if is_due && !IS_ALONE.get() {
        thread::sleep(REST);
        LAST_REST.set(Some(Instant::now()));
    }
}

/// Notes that the workers have ended: the calling thread need not give way any more.
pub fn work_alone() {
    IS_ALONE.set(true);
}
