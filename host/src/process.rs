//! What the kernel is told of this process as a whole.

use std::fs;

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};

/// Has a write beyond the largest file that this process may make fail, instead of ending the
/// process.
#[allow(unsafe_code, reason = "signals are left to the caller's care")]
pub fn outlive_large_files() {
    // SAFETY: no handler is installed, and nothing else here cares for this signal.
    let ignored = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
    if let Err(error) = ignored {
        tracing::warn!(%error, "a write beyond the limit of file sizes will end this process");
    }
}

/// Gives this process a budget of memory, in bytes, and of time on the processor, in seconds. Beyond
/// it allocations fail, or SIGXCPU ends the process.
///
/// # Errors
///
/// It has none.
pub fn confine(memory: u64, seconds: u64) -> nix::Result<()> {
    lower(Resource::RLIMIT_CPU, seconds, seconds + 1)?;
    lower(Resource::RLIMIT_DATA, memory, memory)?;
    // For kernels whose RLIMIT_DATA is about the heap alone. The program itself is mapped, too.
    let mapped = memory.saturating_add(1 << 30);
    lower(Resource::RLIMIT_AS, mapped, mapped)?;
    lower(Resource::RLIMIT_CORE, 0, 0)
}

fn lower(resource: Resource, soft: u64, hard: u64) -> nix::Result<()> {
    let (_, most) = getrlimit(resource)?;
    setrlimit(resource, soft.min(most), hard.min(most))
}

/// Lets all others go before this process, as far as the system allows: on the processor, and where
/// memory runs out. It ends with the thread that started it.
pub fn stand_back() {
    // Each is of use without the others.
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    lower_priority(10);
}

/// Lets threads of a lower nice value go before this one, 19 behind all.
#[allow(unsafe_code, reason = "neither std nor nix sets priorities")]
pub fn lower_priority(nice: i32) {
    // SAFETY: three numbers go in and one comes out. On Linux 0 is the calling thread.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
}
