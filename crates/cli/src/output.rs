//! Lines to stdout.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

/// Lines that wait to be written.
const WAITING: usize = 256;

/// Prints one line at once, for commands that print little. A reader that has gone is no error.
pub fn print(line: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Says one line on stderr. Nobody there to hear it is no error.
pub fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "circlet: {line}");
}

/// Writes `text` to stdout at once.
pub fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Writes lines on a thread of its own, so that a reader that takes none, or has gone, holds up
/// nothing but further lines.
pub struct Output {
    sender: mpsc::Sender<String>,
    finished: oneshot::Receiver<()>,
}

/// Nobody reads any longer.
#[derive(Clone, Copy, Debug)]
pub struct Closed;

impl Output {
    /// Writes to stdout.
    pub fn stdout() -> io::Result<Self> {
        Self::to(|line| write(&line))
    }

    /// Gives each line, with its end, to `write`; an error of it closes the output.
    pub fn to(
        mut write: impl FnMut(String) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, mut receiver) = mpsc::channel::<String>(WAITING);
        let (done, finished) = oneshot::channel();
        thread::Builder::new()
            .name("stdout".to_owned())
            .spawn(move || {
                while let Some(line) = receiver.blocking_recv() {
                    if write(line).is_err() {
                        break;
                    }
                }
                let _ = done.send(());
            })?;
        Ok(Self { sender, finished })
    }

    /// Gives each line, with its end, to whoever reads the other half.
    pub fn channel() -> (Self, Lines) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let (done, finished) = oneshot::channel();
        let lines = Lines {
            receiver,
            _done: done,
        };
        (Self { sender, finished }, lines)
    }

    /// Waits until one more line has room. May be dropped while it waits.
    pub async fn room(&self) -> Result<Room<'_>, Closed> {
        self.sender.reserve().await.map(Room).map_err(|_| Closed)
    }

    /// Waits until nobody reads any longer.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }

    /// Waits until all lines are written, `patience` at most.
    pub async fn finish(self, patience: Duration) {
        drop(self.sender);
        let _ = tokio::time::timeout(patience, self.finished).await;
    }
}

/// The lines of [`Output::channel`].
pub struct Lines {
    receiver: mpsc::Receiver<String>,
    /// Says by its end that all is read.
    _done: oneshot::Sender<()>,
}

impl Lines {
    /// The next line; `None` after the last.
    pub async fn next(&mut self) -> Option<String> {
        self.receiver.recv().await
    }
}

/// Room for one line.
pub struct Room<'a>(mpsc::Permit<'a, String>);

impl Room<'_> {
    /// Hands the line over.
    pub fn line(self, mut line: String) {
        line.push('\n');
        self.0.send(line);
    }
}
