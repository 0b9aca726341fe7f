//! One connection from its acceptance to its end, or to its WebSocket.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use circlet_core::tracker::ClientId;
use hyper::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::addresses::{Addresses, Guest, TooMuch};
use crate::head::{self, Head};
use crate::http::{Site, upgrade};
use crate::metrics::Counts;
use crate::session::{self, Shared};
use crate::socket::drain;

/// Connections that are told at a time why they are turned away; others are just closed.
const FAREWELLS: usize = 64;

/// Time to wait when no connection can be accepted, for lack of file descriptors most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections.
pub(crate) struct Door {
    site: Site,
    shared: Shared,
    tls: Option<TlsAcceptor>,
    addresses: Addresses,
    slots: Arc<Semaphore>,
    handshakes: Semaphore,
    farewells: Arc<Semaphore>,
    counts: Arc<Counts>,
    clients: AtomicU64,
    tasks: TaskTracker,
}

/// A connection that was let in; dropping it makes room for another.
struct Entrant {
    guest: Guest,
    _slot: OwnedSemaphorePermit,
    /// When it has to have said what it wants.
    deadline: Instant,
}

impl Door {
    /// A door for `slots` connections at a time.
    pub(crate) fn new(
        shared: Shared,
        tls: Option<TlsAcceptor>,
        slots: usize,
        tasks: TaskTracker,
    ) -> Self {
        let counts = Arc::new(Counts::default());
        let permits = |count: usize| Semaphore::new(count.min(Semaphore::MAX_PERMITS));
        Self {
            site: Site::new(shared.clone(), Arc::clone(&counts)),
            tls,
            addresses: Addresses::new(Arc::clone(&shared.limits)),
            slots: Arc::new(permits(slots)),
            handshakes: permits(shared.limits.handshakes),
            farewells: Arc::new(permits(FAREWELLS)),
            shared,
            counts,
            clients: AtomicU64::new(0),
            tasks,
        }
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Accepts connections until the tracker ends.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener) {
        let mut is_failing = false;
        loop {
            let accepted = tokio::select! {
                () = self.shared.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    is_failing = false;
                    self.enter(stream, peer);
                }
                // It has gone before it was accepted: accept(2) passes errors of the network on.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    self.counts.accept_failed.add();
                    if !std::mem::replace(&mut is_failing, true) {
                        warn!(%error, "cannot accept connections; trying again ten times a second");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves a connection that was made elsewhere, without TLS and limits per address.
    pub(crate) fn attach<S>(self: &Arc<Self>, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(slot) = self.slot() else {
            self.counts.no_room.add();
            return;
        };
        let entrant = self.entrant(self.addresses.stranger(), slot);
        let door = Arc::clone(self);
        self.spawn(async move { door.serve(stream, entrant).await });
    }

    fn enter(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        self.counts.connections.add();
        // Signals are small and each is waited for. If it cannot be set the connection is gone,
        // and says so itself.
        let _ = stream.set_nodelay(true);
        let (guest, slot) = match self.admit(peer.ip()) {
            Ok(admitted) => admitted,
            Err((status, why)) => {
                debug!(%peer, why, "turned away");
                return self.turn_away(stream, status, &why);
            }
        };
        let entrant = self.entrant(guest, slot);
        let door = Arc::clone(self);
        if self.is_tls() {
            self.spawn(async move { door.serve_tls(stream, entrant).await });
        } else {
            self.spawn(async move { door.serve(stream, entrant).await });
        }
    }

    fn admit(&self, ip: IpAddr) -> Result<(Guest, OwnedSemaphorePermit), (StatusCode, String)> {
        let guest = self.addresses.admit(ip).map_err(|why: TooMuch| {
            self.counts.turned_away(why);
            (StatusCode::TOO_MANY_REQUESTS, why.to_string())
        })?;
        let Some(slot) = self.slot() else {
            self.counts.no_room.add();
            let why = "this tracker has all the connections it takes".to_owned();
            return Err((StatusCode::SERVICE_UNAVAILABLE, why));
        };
        Ok((guest, slot))
    }

    /// A place for one more connection, if there is any.
    fn slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).try_acquire_owned().ok()
    }

    fn entrant(&self, guest: Guest, slot: OwnedSemaphorePermit) -> Entrant {
        Entrant {
            guest,
            _slot: slot,
            deadline: Instant::now() + self.shared.limits.head_timeout,
        }
    }

    /// Says why, whatever was asked. Within TLS nothing can be said before the handshake, which
    /// is what there is too much of.
    fn turn_away(&self, mut stream: TcpStream, status: StatusCode, why: &str) {
        if self.is_tls() {
            return;
        }
        let Ok(farewell) = Arc::clone(&self.farewells).try_acquire_owned() else {
            return;
        };
        let answer = farewell_text(status, why);
        let linger = self.shared.limits.linger;
        self.spawn(async move {
            let told = async {
                stream.write_all(answer.as_bytes()).await?;
                stream.shutdown().await?;
                drain(&mut stream).await
            };
            // Whoever does not listen is not told.
            let _ = timeout(linger, told).await;
            drop(farewell);
        });
    }

    async fn serve_tls(&self, stream: TcpStream, entrant: Entrant) {
        let Some(tls) = &self.tls else {
            return;
        };
        let Ok(handshake) = self.handshakes.try_acquire() else {
            self.counts.handshakes_busy.add();
            return;
        };
        let shaken = timeout_at(entrant.deadline, Box::pin(tls.accept(stream))).await;
        drop(handshake);
        match shaken {
            Ok(Ok(stream)) => self.serve(Box::new(stream), entrant).await,
            Ok(Err(error)) => {
                self.counts.handshakes_failed.add();
                debug!(%error, "no TLS handshake");
            }
            Err(_) => {
                self.counts.handshakes_timed_out.add();
                debug!("the TLS handshake took too long");
            }
        }
    }

    async fn serve<S>(&self, mut stream: S, mut entrant: Entrant)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut head = Head::default();
        let read = tokio::select! {
            () = self.shared.stop.cancelled() => return,
            read = timeout_at(entrant.deadline, head::read(&mut stream, &mut head)) => read,
        };
        match read {
            Ok(Ok(())) if head.bytes.is_empty() => return,
            Ok(Ok(())) => {}
            Ok(Err(error)) => return debug!(%error, "connection lost"),
            Err(_) => {
                self.counts.heads_timed_out.add();
                let why = "no whole request came in time";
                let answer = farewell_text(StatusCode::REQUEST_TIMEOUT, why);
                let linger = self.shared.limits.linger;
                // Whoever does not listen is not told.
                let _ = timeout(linger, stream.write_all(answer.as_bytes())).await;
                return;
            }
        }
        entrant.guest.is_welcome();
        let Some(answer) = upgrade(&head.bytes[..head.end]) else {
            // Boxed: it is large, and this future lives as long as the connection.
            return Box::pin(self.site.serve(stream, head.bytes)).await;
        };
        let linger = self.shared.limits.linger;
        let written = timeout(linger, stream.write_all(&answer)).await;
        drop(answer);
        if !matches!(written, Ok(Ok(()))) {
            return;
        }
        let early = head.bytes.split_off(head.end);
        drop(head);
        let client = ClientId(self.clients.fetch_add(1, Ordering::Relaxed));
        session::run(stream, early, client, entrant.guest, self.shared.clone()).await;
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

fn farewell_text(status: StatusCode, why: &str) -> String {
    let status = status.to_string();
    let length = why.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\
         \r\nRetry-After: 3\r\nConnection: close\r\n\r\n{why}"
    )
}
