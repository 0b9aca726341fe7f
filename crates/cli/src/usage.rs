//! What this process has taken of the machine.

use std::time::Duration;

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

/// The most memory that this process has had at a time, in bytes; `None` where the system does
/// not tell.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
