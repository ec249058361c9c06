//! Processes on cores, and what they use.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// What a process has used so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// User and system time of all its threads.
    pub cpu: Duration,
    pub resident_bytes: u64,
}

/// Keeps this process, and those that it starts from now on, to one core.
pub fn pin(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &cores).with_context(|| format!("keeping to core {core}"))
}

/// Reads what a process has used (proc_pid_stat(5)).
pub fn usage(pid: u32) -> Result<Usage> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let unit = |name| Ok::<_, nix::Error>(sysconf(name)?.unwrap_or_default() as u64);
    parse(&stat, unit(SysconfVar::CLK_TCK)?, unit(SysconfVar::PAGE_SIZE)?).context(path)
}

/// The program's name is in parentheses, and may hold anything.
fn parse(stat: &str, ticks_per_second: u64, page: u64) -> Option<Usage> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // The state, the third of all fields, is the first here.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = field(14)? + field(15)?;
    let cpu = Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64);
    Some(Usage { cpu, resident_bytes: field(24)? * page })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_is_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 150 0 1 0 250 50 0 0 20 0 1 0 9 5000 300 1";
        let usage = parse(stat, 100, 4096).unwrap();
        assert_eq!(usage.cpu, Duration::from_secs(3));
        assert_eq!(usage.resident_bytes, 300 * 4096);
    }
}
