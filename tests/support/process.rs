//! The binary as a process.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::LONG;

/// The binary, without the settings of whoever runs the tests: its files lie in `directory`.
pub fn hermetic(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_circlet"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CIRCLET_") {
            command.env_remove(name);
        }
    }
    command
        .env("XDG_CONFIG_HOME", directory.join("config"))
        .env("XDG_DATA_HOME", directory.join("data"))
        .env_remove("RUST_LOG")
        .current_dir(directory);
    command
}

/// Runs the binary to its end.
pub fn circlet(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = hermetic(directory);
    command.args(arguments).stdin(Stdio::null());
    finished(&mut command)
}

/// Runs a command to its end, which has to come.
pub fn finished(command: &mut Command) -> Output {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = collected(child.stdout.take().unwrap());
    let stderr = collected(child.stderr.take().unwrap());
    let status = wait(&mut child, LONG);
    Output {
        status,
        stdout: stdout.join().unwrap(),
        stderr: stderr.join().unwrap(),
    }
}

/// Reads a pipe to its end, beside the others.
fn collected(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// Waits for the end of `child`; kills it and panics if that takes too long.
pub fn wait(child: &mut Child, limit: Duration) -> std::process::ExitStatus {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("process {} did not end within {limit:?}", child.id());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The lines of an output.
pub fn lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// A running `circlet tracker`.
pub struct Tracker {
    child: Child,
    /// Where it listens, `127.0.0.1:PORT`.
    pub address: String,
}

impl Tracker {
    /// Starts one on a free port.
    pub fn start(directory: &Path) -> Self {
        Self::start_at(directory, "127.0.0.1:0")
    }

    /// Starts one at `address`.
    pub fn start_at(directory: &Path, address: &str) -> Self {
        Self::start_with(directory, address, &[])
    }

    /// Starts one at `address` that is given `flags`.
    pub fn start_with(directory: &Path, address: &str, flags: &[&str]) -> Self {
        Self::spawn(
            hermetic(directory)
                .args(["tracker", "--json", "--listen", address])
                .args(flags),
        )
    }

    /// Starts one by a command of its own.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["event"], "listening", "{line}");
        Self {
            child,
            address: event["addr"].as_str().unwrap().to_owned(),
        }
    }

    /// What to give to `--tracker`.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        wait(&mut self.child, LONG)
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
