//! The process under measurement.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;
use std::{env, fs};

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::failure::Failure;

/// Clock ticks of `/proc/PID/stat` per second: USER_HZ, the same on every Linux.
const TICKS: u64 = 100;

/// A server in a process of its own; dropping it kills it.
pub struct Server {
    /// Killed when it is dropped.
    _child: Child,
    id: u32,
    addr: SocketAddr,
}

/// What a process has taken so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub cpu: Duration,
    /// Resident bytes.
    pub memory: u64,
}

/// The part that matters of the first line that it prints.
#[derive(Deserialize)]
struct Listening {
    addr: SocketAddr,
}

impl Server {
    /// A `circlet tracker` that has room for so many clients.
    pub async fn tracker(clients: usize) -> Result<Self, Failure> {
        let clients = clients.to_string();
        Self::start(&[
            "tracker",
            "--listen",
            "127.0.0.1:0",
            "--max-clients",
            &clients,
        ])
        .await
    }

    /// The bare relay.
    pub async fn bare() -> Result<Self, Failure> {
        Self::start(&["bench", "bare-relay"]).await
    }

    async fn start(arguments: &[&str]) -> Result<Self, Failure> {
        let failed = |error| Failure::failed(format!("cannot start a server: {error}"));
        let mut child = Command::new(env::current_exe().map_err(failed)?)
            .args(arguments)
            .arg("--json")
            // The user's own settings are not for it.
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.as_mut() {
            BufReader::new(stdout)
                .read_line(&mut line)
                .await
                .map_err(failed)?;
        }
        let listening: Listening = serde_json::from_str(&line)
            .map_err(|_| Failure::failed("a server did not start; it says why above"))?;
        Ok(Self {
            id: child.id().unwrap_or_default(),
            addr: listening.addr,
            _child: child,
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What it has taken so far.
    pub fn usage(&self) -> Result<Usage, Failure> {
        let read = |file| fs::read_to_string(format!("/proc/{}/{file}", self.id)).ok();
        let usage = || {
            let (stat, status) = (read("stat")?, read("status")?);
            Some(Usage {
                cpu: cpu(&stat)?,
                memory: memory(&status)?,
            })
        };
        usage().ok_or_else(|| {
            Failure::failed(
                "cannot read what the server takes: this needs Linux, and that it lives",
            )
        })
    }
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

fn memory(status: &str) -> Option<u64> {
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix("VmRSS:"))?;
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
        assert_eq!(memory(status), Some(12 * 1024));
        assert_eq!(memory("Name:\tx\n"), None);
    }
}
