//! Pins processes to cores, and measures what they use.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// The resources that a process has used so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// The user and system time of all its threads.
    pub cpu: Duration,
    /// The context switches of its current threads.
    pub switches: u64,
    pub resident_bytes: u64,
}

/// Returns the cores that this thread may use.
pub fn cores() -> Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap_or_default()).collect())
}

/// Pins this thread, and everything it starts later, to these cores.
pub fn pin(cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    cores.iter().try_for_each(|core| set.set(*core))?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("keeping to cores {cores:?}"))
}

/// Reads what a process has used (proc_pid_stat(5)).
pub fn usage(pid: u32) -> Result<Usage> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let unit = |name| Ok::<_, nix::Error>(sysconf(name)?.unwrap_or_default() as u64);
    let usage = parse(&stat, unit(SysconfVar::CLK_TCK)?, unit(SysconfVar::PAGE_SIZE)?);
    let mut usage = usage.context(path)?;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may have ended since it was listed.
        let status = std::fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
        usage.switches += switches(&status);
    }
    Ok(usage)
}

/// Returns the sum of both kinds of context switches (proc_pid_status(5)).
fn switches(status: &str) -> u64 {
    let lines = status.lines().filter_map(|line| line.split_once("ctxt_switches:"));
    lines.filter_map(|(_, count)| count.trim().parse::<u64>().ok()).sum()
}

/// Parses the line. The program's name is in parentheses, and may contain anything.
fn parse(stat: &str, ticks_per_second: u64, page: u64) -> Option<Usage> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // The state, the third of all fields, comes first here.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = field(14)? + field(15)?;
    let cpu = Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64);
    Some(Usage { cpu, switches: 0, resident_bytes: field(24)? * page })
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
        let status = "Threads:\t1\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t5\n";
        assert_eq!(switches(status), 12);
    }
}
