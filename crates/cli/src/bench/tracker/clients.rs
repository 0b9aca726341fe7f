//! Thousands of clients, as far as a tracker can tell.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use circlet_core::Topology;
use circlet_core::identity::{Identity, Incarnation, Purpose};
use circlet_core::room::RoomId;
use circlet_core::wire::{
    NodeKind, SUBPROTOCOL, Signal, SignalBody, TrackerMessage, VERSION, Wish, login_bytes,
};
use futures_util::{SinkExt, StreamExt, TryStreamExt, stream};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::failure::Failure;

/// Members of a room.
const ROOM: usize = 8;

/// Clients that join at a time.
const JOINING: usize = 32;

/// Clients of one loopback address: the system has some 28,000 ports for each, and those of the
/// last run may not be free yet.
const PER_ADDRESS: usize = 5000;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A ping as it comes.
const PING: &str = r#"{"type":"ping"}"#;

type Socket = WebSocketStream<TcpStream>;

/// Clients that have joined their rooms.
pub struct Clients {
    all: Vec<Client>,
    received: mpsc::Receiver<Received>,
}

struct Client {
    outgoing: mpsc::Sender<Utf8Bytes>,
    /// To the next one in its room.
    offer: Utf8Bytes,
    task: AbortHandle,
}

/// An offer has come.
#[derive(Clone, Copy)]
struct Received {
    by: usize,
    at: Instant,
}

impl Clients {
    /// Has `count` clients join at `addr`, in rooms of 8; their offers carry descriptions of
    /// `size` bytes.
    pub async fn join(addr: SocketAddr, count: usize, size: usize) -> Result<Self, Failure> {
        let (sender, received) = mpsc::channel(4096);
        let joining = stream::iter(0..count).map(|number| {
            let sender = sender.clone();
            async move {
                let joined = timeout(PATIENCE, Client::join(addr, number, count, size, sender));
                joined
                    .await
                    .unwrap_or_else(|_| Err("it takes too long".to_owned()))
                    .map_err(|error| Failure::failed(format!("client {number}: {error}")))
            }
        });
        let all = joining.buffered(JOINING).try_collect().await?;
        Ok(Self { all, received })
    }

    /// The times that offers take, sent one at a time; in microseconds, ascending.
    pub async fn one_at_a_time(
        &mut self,
        samples: usize,
        uncounted: usize,
        time: Duration,
    ) -> Result<Vec<f64>, Failure> {
        let deadline = Instant::now() + time;
        let mut times = Vec::with_capacity(samples);
        for number in 0..uncounted + samples {
            let sent = Instant::now();
            if sent > deadline && !times.is_empty() {
                break;
            }
            self.send(number).await?;
            let received = self.receive().await?;
            if number >= uncounted {
                times.push((received.at - sent).as_secs_f64() * 1e6);
            }
        }
        times.sort_by(f64::total_cmp);
        Ok(times)
    }

    /// The times that offers take, as many as go through within `time`, `window` under way at a
    /// time; in microseconds, ascending.
    pub async fn many_at_a_time(
        &mut self,
        window: usize,
        time: Duration,
    ) -> Result<Vec<f64>, Failure> {
        let deadline = Instant::now() + time;
        // One of each client under way at a time: its receiver tells which one it was.
        let window = window.min(self.all.len());
        let mut sent = vec![None; self.all.len()];
        let mut times = Vec::new();
        let (mut next, mut under_way) = (0, 0);
        loop {
            let now = Instant::now();
            if under_way < window && now < deadline {
                let from = next % self.all.len();
                next += 1;
                if sent[from].is_none() {
                    sent[from] = Some(now);
                    under_way += 1;
                    self.send(from).await?;
                }
                continue;
            }
            if under_way == 0 {
                break;
            }
            let received = self.receive().await?;
            let from = before(received.by, self.all.len());
            if let Some(sent) = sent[from].take() {
                under_way -= 1;
                times.push((received.at - sent).as_secs_f64() * 1e6);
            }
        }
        times.sort_by(f64::total_cmp);
        Ok(times)
    }

    async fn send(&self, number: usize) -> Result<(), Failure> {
        let client = &self.all[number % self.all.len()];
        let sent = client.outgoing.send(client.offer.clone()).await;
        sent.map_err(|_| Failure::failed("the server closed a client's connection"))
    }

    async fn receive(&mut self) -> Result<Received, Failure> {
        let received = timeout(PATIENCE, self.received.recv()).await;
        received
            .ok()
            .flatten()
            .ok_or_else(|| Failure::failed("a signal did not arrive"))
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        for client in &self.all {
            client.task.abort();
        }
    }
}

impl Client {
    async fn join(
        addr: SocketAddr,
        number: usize,
        count: usize,
        size: usize,
        received: mpsc::Sender<Received>,
    ) -> Result<Self, String> {
        let mut socket = connect(addr, number)
            .await
            .map_err(|error| error.to_string())?;
        let nonce = match next(&mut socket).await? {
            TrackerMessage::Challenge { nonce, .. } => nonce,
            other => return Err(format!("no challenge came, but {other:?}")),
        };
        let identity = identity(number);
        let login = login(&identity, number, &nonce).to_json();
        let sent = socket.send(Message::text(login)).await;
        sent.map_err(|error| error.to_string())?;
        match next(&mut socket).await? {
            TrackerMessage::Welcome { .. } => {}
            other => return Err(format!("no welcome came, but {other:?}")),
        }
        let offer = offer(&identity, number, after(number, count), size);
        let (outgoing, commands) = mpsc::channel(2);
        let task = tokio::spawn(carry(socket, commands, received, number)).abort_handle();
        Ok(Self {
            outgoing,
            offer: offer.to_json().into(),
            task,
        })
    }
}

/// Sends what it is told to, answers pings and tells of offers, until either side has enough.
async fn carry(
    mut socket: Socket,
    mut commands: mpsc::Receiver<Utf8Bytes>,
    received: mpsc::Sender<Received>,
    by: usize,
) {
    loop {
        let message = tokio::select! {
            command = commands.recv() => match command {
                Some(text) => Message::Text(text),
                None => return,
            },
            incoming = socket.next() => match incoming {
                Some(Ok(Message::Text(text))) if text.as_str() == PING => {
                    Message::text(TrackerMessage::Pong.to_json())
                }
                Some(Ok(Message::Text(_))) => {
                    let at = Instant::now();
                    if received.send(Received { by, at }).await.is_err() {
                        return;
                    }
                    continue;
                }
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => return,
            },
        };
        if socket.send(message).await.is_err() {
            return;
        }
    }
}

async fn connect(
    addr: SocketAddr,
    number: usize,
) -> Result<Socket, Box<dyn std::error::Error + Send + Sync>> {
    let tcp = TcpSocket::new_v4()?;
    let host = u8::try_from(1 + number / PER_ADDRESS)?;
    tcp.set_reuseaddr(true)?;
    tcp.bind(SocketAddr::new(
        IpAddr::V4(Ipv4Addr::new(127, 0, 0, host)),
        0,
    ))?;
    let stream = tcp.connect(addr).await?;
    stream.set_nodelay(true)?;
    let request = ClientRequestBuilder::new(format!("ws://{addr}/ws").parse()?)
        .with_sub_protocol(SUBPROTOCOL);
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(0);
    let (socket, _) = client_async_with_config(request, stream, Some(config)).await?;
    Ok(socket)
}

async fn next(socket: &mut Socket) -> Result<TrackerMessage, String> {
    match socket.next().await {
        Some(Ok(Message::Text(text))) => {
            TrackerMessage::from_json(&text).map_err(|error| error.to_string())
        }
        other => Err(format!("no message came, but {other:?}")),
    }
}

fn identity(number: usize) -> Identity {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    Identity::from_seed(&seed)
}

fn room(number: usize) -> String {
    format!("bench-{}", number / ROOM)
}

/// The next one in the same room; the last room may be smaller.
fn after(number: usize, count: usize) -> usize {
    let first = number - number % ROOM;
    let members = ROOM.min(count - first);
    first + (number - first + 1) % members
}

/// Whose next one it is.
fn before(number: usize, count: usize) -> usize {
    let first = number - number % ROOM;
    let members = ROOM.min(count - first);
    first + (number - first + members - 1) % members
}

fn login(identity: &Identity, number: usize, nonce: &str) -> TrackerMessage {
    let (node, incarnation) = (identity.node_id(), Incarnation(1));
    let (room, name, topology) = (room(number), number.to_string(), Topology::SmallWorld);
    let signed = login_bytes(nonce, &node, incarnation, topology, &room, &name);
    TrackerMessage::Login {
        node,
        incarnation,
        room,
        name,
        kind: NodeKind::Native,
        topology,
        hub: None,
        signature: identity.sign(Purpose::Login, &signed),
    }
}

fn offer(identity: &Identity, from: usize, to: usize, size: usize) -> TrackerMessage {
    let body = SignalBody {
        version: VERSION,
        room: RoomId::open(&room(from)),
        from: identity.node_id(),
        to: self::identity(to).node_id(),
        incarnation: Incarnation(1),
        attempt: 1,
        sequence: 1,
        expires_unix_ms: 0,
        signal: Signal::Offer {
            sdp: "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n"
                .chars()
                .cycle()
                .take(size)
                .collect(),
            wish: Wish::Ring,
            topology: Topology::SmallWorld,
        },
    };
    TrackerMessage::Signal {
        signal: body.sign(identity),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_somebodys_next() {
        for count in [2, 8, 9, 10, 16, 31] {
            for number in 0..count {
                let to = after(number, count);
                assert_eq!(room(to), room(number));
                assert_eq!(before(to, count), number, "{number} of {count}");
            }
        }
    }

    #[test]
    fn the_ping_is_the_trackers() {
        assert_eq!(TrackerMessage::Ping.to_json(), PING);
    }
}
