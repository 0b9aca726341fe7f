//! The tokio runtime as the WebRTC stack sees it, with what the stack leaves to it.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::sync::Notify;
use tracing::debug;
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, Runtime,
    TokioRuntime,
};

use super::peer::{Note, Notes};

/// Size of a socket's receive and send buffers, in bytes; the system may give less. The default
/// ones overflow during transfers, which then crawl at SCTP's least retransmission time of 1 s
/// (measured: the largest effect of all settings).
const SOCKET_BUFFER: usize = 4 << 20;

/// The longest sleep of a stack that hurries (measured; see [`Pulse::hurry`]).
const HASTY_SLEEP: Duration = Duration::from_millis(1);

/// How long a link waits for the address of a STUN server before it goes on without; its own
/// candidates wait meanwhile. Guess.
const LOOKUP_WAIT: Duration = Duration::from_millis(100);

/// How long an address that was looked up is used. Guess.
const LOOKUP_HOLDS: Duration = Duration::from_secs(300);

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

tokio::task_local! {
    /// Set within the task that runs a stack.
    static IN_STACK: ();
}

/// One link's view of the tokio runtime.
#[derive(Debug)]
pub(super) struct LinkRuntime {
    names: Arc<Names>,
    pulse: Arc<Pulse>,
    notes: Notes,
}

impl LinkRuntime {
    /// A runtime that sleeps as `pulse` wants it, and notes the end of the stack's task.
    pub(super) fn new(names: Arc<Names>, pulse: Arc<Pulse>, notes: Notes) -> Self {
        Self {
            names,
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
        let options = SockRef::from(&socket);
        for outcome in [
            options.set_recv_buffer_size(std::env::var("SBUF").ok().and_then(|c| c.parse().ok()).unwrap_or(SOCKET_BUFFER)),
            options.set_send_buffer_size(std::env::var("SBUF").ok().and_then(|c| c.parse().ok()).unwrap_or(SOCKET_BUFFER)),
        ] {
            if let Err(error) = outcome {
                debug!(%error, "socket keeps its default buffers");
            }
        }
        TokioRuntime.wrap_udp_socket(socket)
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
        Box::pin(Arc::clone(&self.names).resolve(host.to_owned()))
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

/// What a link and the task that runs its stack tell each other.
///
/// The stack does all it can see to do and then sleeps until something arrives or a timer of
/// its own is due. It does not see everything; the methods say what.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    haste: AtomicU8,
    again: AtomicBool,
    beat: Notify,
}

/// Values of [`Pulse::haste`].
const NOT_YET: u8 = 0;
const NOW: u8 = 1;
const OVER: u8 = 2;

impl Pulse {
    /// Keeps the stack from sleeping long from now on, unless that is over.
    ///
    /// When a path is found it does not see that DTLS can go on, and then SCTP and the channels:
    /// up to 200 ms each (measured: 605 ms for a link instead of 4).
    pub(super) fn hurry(&self) {
        // Fails if it hurries already or need not any more.
        let _ = self
            .haste
            .compare_exchange(NOT_YET, NOW, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Lets it sleep as long as it likes, from now on for ever.
    pub(super) fn calm(&self) {
        self.haste.store(OVER, Ordering::Relaxed);
    }

    /// Makes the stack look at its timers instead of sleeping the next time.
    ///
    /// Once it has left messages in SCTP because too many waited to be read, it goes back for
    /// them only when a packet arrives or a timer is due, and from a sender whose window is
    /// closed no packet will.
    pub(super) fn look_again(&self) {
        self.again.store(true, Ordering::Relaxed);
    }

    /// Waits until the stack has done all it could and sleeps: acknowledgements that arrived are
    /// counted then.
    pub(super) async fn beat(&self) {
        self.beat.notified().await;
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.beat.notify_waiters();
        if self.again.swap(false, Ordering::Relaxed) {
            Box::pin(std::future::ready(()))
        } else if self.haste.load(Ordering::Relaxed) == NOW {
            // Whatever ends this sleep is looked at twice: what follows from it comes second.
            self.again.store(true, Ordering::Relaxed);
            TokioRuntime.sleep(duration.min(HASTY_SLEEP))
        } else {
            TokioRuntime.sleep(duration)
        }
    }
}

/// Notes that the stack's task is over, even if it panicked over what a peer sent.
struct AtEnd(Notes);

impl Drop for AtEnd {
    fn drop(&mut self) {
        self.0.add(Note::StackEnded);
    }
}

/// The addresses of STUN servers. The stack looks them up for every link, in the task that also
/// runs the link: a name server that does not answer would hold up everything else.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// As many as there are STUN servers in the settings.
    known: Mutex<BTreeMap<String, (Instant, Vec<SocketAddr>)>>,
}

impl Names {
    async fn resolve(self: Arc<Self>, host: String) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let known = self.known().get(&host).cloned();
        match known {
            Some((at, addresses)) if at.elapsed() < LOOKUP_HOLDS => Ok(addresses),
            _ => {
                // Goes on if this link does not wait for it: the next one will profit.
                let lookup = tokio::spawn(self.look_up(host));
                match tokio::time::timeout(LOOKUP_WAIT, lookup).await {
                    Ok(found) => found.map_err(io::Error::other)?,
                    Err(late) => known.map(|(_, old)| old).ok_or_else(|| late.into()),
                }
            }
        }
    }

    async fn look_up(self: Arc<Self>, host: String) -> io::Result<Vec<SocketAddr>> {
        let addresses: Vec<_> = tokio::net::lookup_host(&host).await?.collect();
        self.known()
            .insert(host, (Instant::now(), addresses.clone()));
        Ok(addresses)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, (Instant, Vec<SocketAddr>)>> {
        // Nobody can panic while holding it.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_are_looked_up_once() {
        let names = Arc::new(Names::default());
        let first = Arc::clone(&names)
            .resolve("localhost:3478".to_owned())
            .await;
        let first = first.unwrap();
        assert!(first.iter().any(|address| address.ip().is_loopback()));
        assert_eq!(
            Arc::clone(&names)
                .resolve("localhost:3478".to_owned())
                .await
                .unwrap(),
            first
        );
        assert_eq!(names.known().len(), 1);
    }

    #[tokio::test]
    async fn literal_addresses_need_no_lookup() {
        let names = Arc::new(Names::default());
        let literal = "192.0.2.1:3478";
        let found = Arc::clone(&names).resolve(literal.to_owned()).await;
        assert_eq!(found.unwrap(), [literal.parse::<SocketAddr>().unwrap()]);
        assert!(names.known().is_empty());
    }
}
