//! A network in memory, for sockets as the WebRTC stack wants them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use circlet_node::transport::Sockets;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::sleep;
use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

/// How many datagrams may wait at a socket; further ones are lost, as with any socket.
const INBOX: usize = 4096;

/// Hosts and the datagrams between them. A datagram under way is a task that sleeps, so that
/// time goes by as tokio's clock says.
#[derive(Debug)]
pub struct Network {
    /// How long a datagram is under way, uniform between these bounds, so that one may overtake
    /// another. Rounded up to whole milliseconds, as tokio's timers are.
    latency: RangeInclusive<Duration>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rng: StdRng,
    loss_per_mille: u32,
    inboxes: BTreeMap<SocketAddr, Inbox>,
    unplugged: BTreeSet<HostId>,
    counters: Counters,
}

/// What became of the datagrams so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    pub sent: u64,
    pub arrived: u64,
    /// Lost by chance, and not because there was nobody or no connection.
    pub lost: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct HostId(u8);

#[derive(Debug)]
struct Inbox {
    host: HostId,
    datagrams: VecDeque<Datagram>,
    reader: Option<Waker>,
}

#[derive(Debug)]
struct Datagram {
    from: SocketAddr,
    bytes: Vec<u8>,
}

impl Network {
    /// A network without hosts and without loss whose chance comes from `seed`.
    pub fn new(latency: RangeInclusive<Duration>, seed: u64) -> Arc<Self> {
        let state = State {
            rng: StdRng::seed_from_u64(seed),
            loss_per_mille: 0,
            inboxes: BTreeMap::new(),
            unplugged: BTreeSet::new(),
            counters: Counters::default(),
        };
        Arc::new(Self {
            latency,
            state: Mutex::new(state),
        })
    }

    /// The sockets of host `number`.
    pub fn host(self: &Arc<Self>, number: u8) -> Arc<Host> {
        Arc::new(Host {
            id: HostId(number),
            network: Arc::clone(self),
        })
    }

    /// From now on so many of 1000 datagrams are lost.
    pub fn lose(&self, per_mille: u32) {
        self.state().loss_per_mille = per_mille;
    }

    pub fn counters(&self) -> Counters {
        self.state().counters
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panicked")
    }

    fn send(self: &Arc<Self>, host: HostId, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let latency = {
            let state = &mut *self.state();
            state.counters.sent += 1;
            if state.unplugged.contains(&host) {
                return;
            }
            if state.rng.random_range(0..1000) < state.loss_per_mille {
                state.counters.lost += 1;
                return;
            }
            state.rng.random_range(self.latency.clone())
        };
        let (network, bytes) = (Arc::clone(self), bytes.to_vec());
        tokio::spawn(async move {
            sleep(latency).await;
            network.arrive(to, Datagram { from, bytes });
        });
    }

    fn arrive(&self, to: SocketAddr, datagram: Datagram) {
        let reader = {
            let state = &mut *self.state();
            let Some(inbox) = state.inboxes.get_mut(&to) else {
                return;
            };
            if state.unplugged.contains(&inbox.host) || inbox.datagrams.len() == INBOX {
                return;
            }
            state.counters.arrived += 1;
            inbox.datagrams.push_back(datagram);
            inbox.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

/// A host's end of the network.
#[derive(Debug)]
pub struct Host {
    id: HostId,
    network: Arc<Network>,
}

impl Host {
    /// From now on nothing gets to this host or away from it.
    pub fn unplug(&self) {
        self.network.state().unplugged.insert(self.id);
    }
}

impl Sockets for Host {
    fn wrap(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let address = socket.local_addr()?;
        let inbox = Inbox {
            host: self.id,
            datagrams: VecDeque::new(),
            reader: None,
        };
        self.network.state().inboxes.insert(address, inbox);
        Ok(Arc::new(Socket {
            host: self.id,
            network: Arc::clone(&self.network),
            address,
            _reserved: socket,
        }))
    }
}

#[derive(Debug)]
struct Socket {
    host: HostId,
    network: Arc<Network>,
    address: SocketAddr,
    /// Keeps the system from giving the address away again. Nothing passes through it.
    _reserved: UdpSocket,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.network.state().inboxes.remove(&self.address);
    }
}

impl AsyncUdpSocket for Socket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn poll_send(&self, _: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let bytes = transmit.contents;
        let segment = transmit.segment_size.unwrap_or(bytes.len()).max(1);
        for datagram in bytes.chunks(segment) {
            self.network
                .send(self.host, self.address, transmit.destination, datagram);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let state = &mut *self.network.state();
        let inbox = state.inboxes.get_mut(&self.address).expect("it is bound");
        let mut taken = 0;
        for (buffer, meta) in buffers.iter_mut().zip(meta) {
            let Some(datagram) = inbox.datagrams.pop_front() else {
                break;
            };
            let len = datagram.bytes.len().min(buffer.len());
            buffer[..len].copy_from_slice(&datagram.bytes[..len]);
            *meta = RecvMeta::default();
            meta.addr = datagram.from;
            meta.len = len;
            meta.stride = len.max(1);
            taken += 1;
        }
        if taken == 0 {
            inbox.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(taken))
    }
}
