//! The tokio runtime as the WebRTC stack sees it, with what the stack leaves to it.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, Runtime,
    TokioRuntime,
};

use super::Setup;
use super::peer::{Note, Notes};
use super::pulse::Pulse;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

tokio::task_local! {
    /// Set within the task that runs a stack.
    static IN_STACK: ();
}

/// One link's view of the tokio runtime.
#[derive(Debug)]
pub(super) struct LinkRuntime {
    setup: Arc<Setup>,
    pulse: Arc<Pulse>,
    notes: Notes,
}

impl LinkRuntime {
    /// A runtime that sleeps as `pulse` wants it, and notes the end of the stack's task.
    pub(super) fn new(setup: Arc<Setup>, pulse: Arc<Pulse>, notes: Notes) -> Self {
        Self {
            setup,
            pulse,
            notes,
        }
    }
}

impl Runtime for LinkRuntime {
    fn spawn(&self, task: BoxFuture<'static, ()>) -> Box<dyn JoinHandle> {
        let at_end = AtEnd(self.notes.clone());
        TokioRuntime.spawn(Box::pin(IN_STACK.scope((), async move {
            let _at_end = at_end;
            task.await;
        })))
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        self.setup.sockets.wrap(socket)
    }

    fn wrap_tcp_listener(&self, listener: TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        TokioRuntime.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(
        &'a self,
        address: SocketAddr,
    ) -> BoxFuture<'a, io::Result<Arc<dyn AsyncTcpStream>>> {
        Box::pin(async move { TokioRuntime.connect_tcp(address).await })
    }

    fn resolve_host<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(Arc::clone(&self.setup.names).resolve(host.to_owned()))
    }

    /// By the clock that sleeps go by, which may be paused.
    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        // Others sleep as well: those who wait for the stack, and not too long.
        if IN_STACK.try_with(|()| ()).is_ok() {
            self.pulse.sleep(duration)
        } else {
            TokioRuntime.sleep(duration)
        }
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        TokioRuntime.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        TokioRuntime.block_on(future);
    }

    fn yield_now(&self) -> BoxFuture<'static, ()> {
        TokioRuntime.yield_now()
    }

    fn name(&self) -> &'static str {
        "circlet"
    }
}

/// Notes that the stack's task is over, even if it panicked over what a peer sent.
struct AtEnd(Notes);

impl Drop for AtEnd {
    fn drop(&mut self) {
        self.0.add(Note::StackEnded);
    }
}
