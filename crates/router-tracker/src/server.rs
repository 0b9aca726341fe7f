//! Starting, listening, ending.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use circlet_core::tracker::{self, TrackerConfig};
use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::connection::Door;
use crate::hub::hub;
use crate::limits::Limits;
use crate::outbox::Waiting;
use crate::session::Shared;
use crate::{ServeError, tls};

/// Where a tracker listens unless told otherwise.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7700);

/// Connections that may wait to be accepted: a room that comes back at once. The system may allow
/// fewer.
const BACKLOG: u32 = 4096;

/// A tracker that is to be started.
#[derive(Clone, Debug)]
pub struct Builder {
    listen: SocketAddr,
    config: TrackerConfig,
    tls: Option<(PathBuf, PathBuf)>,
    limits: Limits,
}

impl Builder {
    /// The address to listen on; port 0 picks a free one. Default 127.0.0.1:7700.
    #[must_use]
    pub fn bind(mut self, addr: SocketAddr) -> Self {
        self.listen = addr;
        self
    }

    /// How the protocol behaves.
    #[must_use]
    pub fn config(mut self, config: TrackerConfig) -> Self {
        self.config = config;
        self
    }

    /// Serves TLS (`wss://`, `https://`) with the certificate chain and private key of two PEM
    /// files. Default: plain TCP.
    #[must_use]
    pub fn tls(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls = Some((cert.into(), key.into()));
        self
    }

    /// What the server takes.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Starts the tracker; it runs in tasks of the current Tokio runtime.
    ///
    /// # Errors
    /// [`ServeError`] if it cannot listen there, or if the certificate cannot be used.
    ///
    /// # Panics
    /// Outside a Tokio runtime with I/O and time enabled.
    pub async fn serve(self) -> Result<Tracker, ServeError> {
        let tls = match &self.tls {
            Some((cert, key)) => Some(tls::acceptor(cert, key)?),
            None => None,
        };
        let cannot_bind = |source| ServeError::Bind {
            addr: self.listen,
            source,
        };
        let listener = listen(self.listen, self.limits.socket_buffer).map_err(cannot_bind)?;
        let local_addr = listener.local_addr().map_err(cannot_bind)?;
        // Nonces come from it: it has to be one that nobody can foresee.
        let mut rng = StdRng::try_from_rng(&mut SysRng).map_err(ServeError::Entropy)?;

        let limits = Arc::new(self.limits);
        let slots = self.config.max_clients.saturating_add(limits.pages);
        let (hub, handle) = hub(tracker::Tracker::new(self.config, &mut rng));
        let shared = Shared {
            hub: handle,
            waiting: Arc::new(Waiting::new(Arc::clone(&limits))),
            unread: Arc::default(),
            limits: Arc::clone(&limits),
            stop: CancellationToken::new(),
            abort: CancellationToken::new(),
        };
        let tasks = TaskTracker::new();
        let door = Arc::new(Door::new(shared.clone(), tls, slots, tasks.clone()));
        tasks.spawn(hub.run(shared.stop.clone()));
        tasks.spawn(Arc::clone(&door).run(listener));
        info!(%local_addr, tls = door.is_tls(), "the tracker listens");
        Ok(Tracker {
            local_addr,
            door,
            shared,
            tasks,
        })
    }
}

/// A running tracker. Dropping it ends it too, without waiting.
pub struct Tracker {
    local_addr: SocketAddr,
    door: Arc<Door>,
    shared: Shared,
    tasks: TaskTracker,
}

impl Tracker {
    /// A tracker that is to be started, with the defaults.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            listen: DEFAULT_LISTEN,
            config: TrackerConfig::default(),
            tls: None,
            limits: Limits::default(),
        }
    }

    /// The address that it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The URL of its WebSocket, with the address that it listens on.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.door.is_tls() { "wss" } else { "ws" };
        format!("{scheme}://{}/ws", self.local_addr)
    }

    /// Serves one more connection, which was made elsewhere, without TLS. It is dropped if there
    /// are too many. For tests and simulations that have a network of their own.
    pub fn attach<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.door.attach(stream);
    }

    /// Takes no more connections, writes what waits to be written, closes all connections and
    /// returns; after [`Limits::grace`] at the latest, those that have not ended by then are cut off.
    pub async fn shutdown(self) {
        self.shared.stop.cancel();
        self.tasks.close();
        if timeout(self.shared.limits.grace, self.tasks.wait())
            .await
            .is_err()
        {
            self.shared.abort.cancel();
            self.tasks.wait().await;
        }
        info!("the tracker has ended");
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl fmt::Debug for Tracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tracker({})", self.url())
    }
}

/// Listens; the connections accepted have these buffers too.
fn listen(addr: SocketAddr, buffer: u32) -> io::Result<TcpListener> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A tracker that is started again must not wait for its old connections to be forgotten.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(buffer)?;
    socket.set_recv_buffer_size(buffer)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}
