//! Processes of this binary that are spoken to in JSON lines, and members of this one that are
//! spoken to in the same way.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use std::{env, fs, io};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::args::NodeArgs;
use crate::failure::Failure;
use crate::node::input::Line;
use crate::node::protocol::Report;
use crate::node::{self, json};
use crate::output::Output;

/// Commands that may wait for one process: more than anybody here has under way.
const COMMANDS: usize = 1024;

/// Time that a process gets to leave before it is killed.
const LEAVING: Duration = Duration::from_secs(5);

/// A running process, or a member of this one.
pub struct Process {
    body: Body,
    /// Dropping it closes stdin, which is a clean leave.
    commands: mpsc::Sender<Line>,
}

enum Body {
    Child {
        child: Child,
        /// `None` if it has this process's own.
        stderr: Option<PathBuf>,
    },
    Task(JoinHandle<Result<(), Failure>>),
}

/// Something that a process told, or its end.
pub struct Told<R> {
    /// Which process, by the number it was started with.
    pub member: usize,
    pub at: Instant,
    /// `None`: stdout has ended.
    pub report: Option<R>,
}

impl Process {
    /// Starts this binary with `arguments`; what it tells goes to `told`. It finds its settings in
    /// `directory`, that is none, and its stderr goes to a file there; with `verbose` it logs as
    /// much to this process's stderr.
    pub fn start<R: DeserializeOwned + Send + 'static>(
        member: usize,
        arguments: Vec<OsString>,
        directory: &Path,
        verbose: u8,
        told: mpsc::Sender<Told<R>>,
    ) -> io::Result<Self> {
        let stderr = (verbose == 0).then(|| directory.join(format!("{member}.stderr")));
        let mut command = Command::new(env::current_exe()?);
        command
            .args(arguments)
            .args((0..verbose).map(|_| "-v"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(match &stderr {
                Some(path) => Stdio::from(File::create(path)?),
                None => Stdio::inherit(),
            })
            .kill_on_drop(true);
        // Ctrl-C is for this process, which then tells the others to leave.
        #[cfg(unix)]
        command.process_group(0);
        // The user's own settings are not for these.
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("CIRCLET_") {
                command.env_remove(name);
            }
        }
        command.env("XDG_CONFIG_HOME", directory);
        let mut child = command.spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the process has no stdin and stdout"));
        };
        let (commands, waiting) = mpsc::channel(COMMANDS);
        tokio::spawn(write(stdin, waiting));
        tokio::spawn(read(member, stdout, told));
        Ok(Self {
            body: Body::Child { child, stderr },
            commands,
        })
    }

    /// Starts a member within this process, on the threads of `runtime`, that speaks as `circlet
    /// node --json` does.
    pub fn within(
        member: usize,
        args: NodeArgs,
        runtime: &Handle,
        told: mpsc::Sender<Told<Report>>,
    ) -> Self {
        let (commands, waiting) = mpsc::channel(COMMANDS);
        let task = runtime.spawn(live(member, args, waiting, told));
        Self {
            body: Body::Task(task),
            commands,
        }
    }

    /// Its number to the system; `None` if it is part of this process, or has ended.
    pub fn id(&self) -> Option<u32> {
        match &self.body {
            Body::Child { child, .. } => child.id(),
            Body::Task(_) => None,
        }
    }

    /// Tells it to do something. `false` if it does not take commands.
    pub fn tell(&self, request: &impl Serialize) -> bool {
        // No map with keys that are not text, no failing serializer: this cannot fail.
        let line = serde_json::to_string(request).unwrap_or_default();
        self.commands.try_send(Ok(line)).is_ok()
    }

    /// Kills it (SIGKILL); a member of this process is dropped, and its sockets with it.
    pub fn kill(&mut self) -> io::Result<()> {
        match &mut self.body {
            Body::Child { child, .. } => child.start_kill(),
            Body::Task(task) => {
                task.abort();
                Ok(())
            }
        }
    }

    /// The last thing it said on stderr.
    pub fn last_words(&self) -> String {
        let Body::Child {
            stderr: Some(path), ..
        } = &self.body
        else {
            return "its log says why".to_owned();
        };
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().last().unwrap_or("it said nothing").to_owned()
    }

    /// Lets it leave; kills it if it takes too long.
    pub async fn end(self) {
        let Self { body, commands } = self;
        drop(commands);
        match body {
            Body::Child { mut child, .. } => {
                if timeout(LEAVING, child.wait()).await.is_err() && child.start_kill().is_ok() {
                    let _ = child.wait().await;
                }
            }
            Body::Task(mut task) => {
                if timeout(LEAVING, &mut task).await.is_err() {
                    task.abort();
                }
            }
        }
    }
}

/// A member of this process. Whatever belongs to it ends with it.
async fn live(
    member: usize,
    args: NodeArgs,
    lines: mpsc::Receiver<Line>,
    told: mpsc::Sender<Told<Report>>,
) -> Result<(), Failure> {
    let (node, events, drive) = node::builder(&args, true)
        .build()
        .map_err(node::cannot_start)?;
    let (output, mut said) = Output::channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(drive);
    tasks.spawn(async move {
        while let Some(line) = said.next().await {
            if told.send(Told::new(member, Some(line))).await.is_err() {
                return;
            }
        }
        // Whoever is not there any more need not know.
        let _ = told.send(Told::new(member, None)).await;
    });
    let outcome = json::serve(&args, node, events, output, lines, std::future::pending()).await;
    while tasks.join_next().await.is_some() {}
    outcome
}

impl<R: DeserializeOwned> Told<R> {
    /// A line that is no event of this version is a broken process: taken for its end.
    fn new(member: usize, line: Option<String>) -> Self {
        Self {
            member,
            at: Instant::now(),
            report: line.and_then(|line| serde_json::from_str(&line).ok()),
        }
    }
}

async fn write(mut stdin: ChildStdin, mut lines: mpsc::Receiver<Line>) {
    while let Some(Ok(mut line)) = lines.recv().await {
        line.push('\n');
        // A process that has ended shows by the end of its stdout.
        if stdin.write_all(line.as_bytes()).await.is_err() {
            break;
        }
    }
}

async fn read<R: DeserializeOwned>(
    member: usize,
    stdout: ChildStdout,
    told: mpsc::Sender<Told<R>>,
) {
    let mut lines = BufReader::new(stdout).lines();
    loop {
        let news = Told::new(member, lines.next_line().await.ok().flatten());
        let ended = news.report.is_none();
        let told_all = told.send(news).await.is_err();
        if ended || told_all {
            break;
        }
    }
}
