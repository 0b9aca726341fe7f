//! What processes have taken of the machine.

use std::fs;
use std::time::Duration;

/// Clock ticks of `/proc/PID/stat` per second: USER_HZ, the same on every Linux.
const TICKS: u64 = 100;

/// What a process has taken so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub cpu: Duration,
    /// Resident bytes.
    pub memory: u64,
}

/// What the process with this number has taken; `None` if there is none, or on a system that does
/// not tell.
pub fn usage_of(process: u32) -> Option<Usage> {
    let read = |file| fs::read_to_string(format!("/proc/{process}/{file}")).ok();
    let (stat, status) = (read("stat")?, read("status")?);
    Some(Usage {
        cpu: cpu(&stat)?,
        memory: memory(&status, "VmRSS:")?,
    })
}

/// CPU time of this process so far; zero where the system does not tell.
pub fn cpu_time() -> Duration {
    #[cfg(unix)]
    {
        use nix::sys::resource::{UsageWho, getrusage};
        use nix::sys::time::TimeValLike;
        let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else {
            return Duration::ZERO;
        };
        let us = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        Duration::from_micros(u64::try_from(us).unwrap_or_default())
    }
    #[cfg(not(unix))]
    Duration::ZERO
}

/// A clock that all processes of this machine share and that nobody sets: since when, is not said.
/// Zero where the system has none.
pub fn machine_time() -> Duration {
    #[cfg(unix)]
    {
        use nix::time::{ClockId, clock_gettime};
        clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
    }
    #[cfg(not(unix))]
    Duration::ZERO
}

/// The most memory that this process has had at a time, in bytes; `None` where the system does
/// not tell.
pub fn peak_memory() -> Option<u64> {
    memory(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// User and system time of all threads (proc(5)).
fn cpu(stat: &str) -> Option<Duration> {
    // The name, in parentheses, may contain anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let ticks = ticks()? + ticks()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS))
}

/// The bytes that a line of `/proc/PID/status` tells.
fn memory(status: &str, name: &str) -> Option<u64> {
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_from_proc() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 9 1 2";
        assert_eq!(cpu(stat), Some(Duration::from_secs(2)));
        assert_eq!(cpu(""), None);
        let status = "Name:\tx\nVmHWM:\t  99 kB\nVmRSS:\t    12 kB\n";
        assert_eq!(memory(status, "VmRSS:"), Some(12 * 1024));
        assert_eq!(memory(status, "VmHWM:"), Some(99 * 1024));
        assert_eq!(memory("Name:\tx\n", "VmRSS:"), None);
    }
}
