//! The process under measurement.

use std::env;
use std::net::SocketAddr;
use std::process::Stdio;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::failure::Failure;
use crate::usage::{Usage, usage_of};

/// A server in a process of its own; dropping it kills it.
pub struct Server {
    /// Killed when it is dropped.
    _child: Child,
    id: u32,
    addr: SocketAddr,
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
        usage_of(self.id).ok_or_else(|| {
            Failure::failed(
                "cannot read what the server takes: this needs Linux, and that it lives",
            )
        })
    }
}
