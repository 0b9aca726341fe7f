//! Threads that members of this process share.

use std::io;
use std::num::NonZero;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// As many threads as the machine runs at a time, each with a runtime of its own: small messages
/// stall where several share one (measured). They end when this is dropped.
pub struct Threads {
    runtimes: Vec<(Handle, oneshot::Sender<()>)>,
    used: usize,
}

impl Threads {
    /// Starts them.
    pub fn start() -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, NonZero::get);
        let runtimes = (0..count).map(|_| start()).collect::<io::Result<_>>()?;
        Ok(Self { runtimes, used: 0 })
    }

    /// One of them, each in its turn.
    pub fn next(&mut self) -> &Handle {
        self.used += 1;
        &self.runtimes[self.used % self.runtimes.len()].0
    }
}

fn start() -> io::Result<(Handle, oneshot::Sender<()>)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let (stop, stopped) = oneshot::channel();
    thread::Builder::new()
        .name("members".to_owned())
        .spawn(move || {
            // An error says that nobody is left to say it.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
    Ok((handle, stop))
}
