//! Starting, listening, ending.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use circlet_core::tracker::{self, TrackerConfig};
use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::http::{Site, Slot};
use crate::hub::hub;
use crate::session::Shared;
use crate::{ServeError, tls};

/// Where a tracker listens unless told otherwise.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7700);

/// Time for a TLS handshake, and for the head of a request. Guess: a slow path needs 1 s.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections beside those that may become clients: requests of people and monitors. Guess.
const HTTP_SLOTS: usize = 256;

/// Time that connections have to end in order when the tracker does.
const GRACE: Duration = Duration::from_secs(3);

/// Time to wait when no connection can be accepted, for lack of file descriptors most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A tracker that is to be started.
#[derive(Clone, Debug)]
pub struct Builder {
    listen: SocketAddr,
    config: TrackerConfig,
    tls: Option<(PathBuf, PathBuf)>,
    head_timeout: Duration,
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

    /// Time that a connection has for its TLS handshake, and for the head of each request.
    /// Default 10 s.
    #[must_use]
    pub fn head_timeout(mut self, timeout: Duration) -> Self {
        self.head_timeout = timeout;
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
        let listener = TcpListener::bind(self.listen).await.map_err(cannot_bind)?;
        let local_addr = listener.local_addr().map_err(cannot_bind)?;
        // Nonces come from it: it has to be one that nobody can foresee.
        let mut rng = StdRng::try_from_rng(&mut SysRng).map_err(ServeError::Entropy)?;

        let slots = self.config.max_clients.saturating_add(HTTP_SLOTS);
        let (hub, handle) = hub(tracker::Tracker::new(self.config, &mut rng));
        let shared = Shared {
            hub: handle,
            stop: CancellationToken::new(),
            abort: CancellationToken::new(),
        };
        let tasks = TaskTracker::new();
        let door = Arc::new(Door {
            site: Arc::new(Site::new(shared.clone(), tasks.clone(), self.head_timeout)),
            shared: shared.clone(),
            tls,
            slots: Arc::new(Semaphore::new(slots.min(Semaphore::MAX_PERMITS))),
            tasks: tasks.clone(),
            head_timeout: self.head_timeout,
        });
        tasks.spawn(hub.run(shared.stop.clone()));
        tasks.spawn(Arc::clone(&door).run(listener));
        info!(%local_addr, tls = door.tls.is_some(), "the tracker listens");
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
            head_timeout: HEAD_TIMEOUT,
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
        let scheme = if self.door.tls.is_some() { "wss" } else { "ws" };
        format!("{scheme}://{}/ws", self.local_addr)
    }

    /// Serves one more connection, which was made elsewhere, without TLS. It is dropped if there
    /// are too many. For tests and simulations that have a network of their own.
    pub fn attach<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(slot) = self.door.slot() else {
            return warn!("turned away: there are too many connections");
        };
        let site = Arc::clone(&self.door.site);
        self.door
            .spawn(async move { site.serve(stream, &slot).await });
    }

    /// Takes no more connections, writes what waits to be written, closes all connections and
    /// returns; after 3 s at the latest, those that have not ended by then are cut off.
    pub async fn shutdown(self) {
        self.shared.stop.cancel();
        self.tasks.close();
        if timeout(GRACE, self.tasks.wait()).await.is_err() {
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

/// Accepts connections.
struct Door {
    site: Arc<Site>,
    shared: Shared,
    tls: Option<TlsAcceptor>,
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
    head_timeout: Duration,
}

impl Door {
    async fn run(self: Arc<Self>, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                () = self.shared.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(slot) = self.slot() else {
                warn!(%peer, "turned away: there are too many connections");
                continue;
            };
            let connection = Connection {
                site: Arc::clone(&self.site),
                tls: self.tls.clone(),
                slot,
                head_timeout: self.head_timeout,
            };
            self.spawn(connection.run(stream));
        }
    }

    /// A place for one more connection, if there is any.
    fn slot(&self) -> Option<Slot> {
        let slot = Arc::clone(&self.slots).try_acquire_owned();
        slot.ok().map(Arc::new)
    }

    fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let abort = self.shared.abort.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = abort.cancelled() => {}
                () = connection => {}
            }
        });
    }
}

/// One connection, from its start to its end or to its upgrade.
struct Connection {
    site: Arc<Site>,
    tls: Option<TlsAcceptor>,
    slot: Slot,
    head_timeout: Duration,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        // Signals are small and each is waited for.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "connection lost");
            return;
        }
        let Some(tls) = self.tls else {
            return self.site.serve(stream, &self.slot).await;
        };
        match timeout(self.head_timeout, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.site.serve(stream, &self.slot).await,
            Ok(Err(error)) => debug!(%error, "no TLS handshake"),
            Err(_) => debug!("the TLS handshake took too long"),
        }
    }
}
