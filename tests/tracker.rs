//! A tracker under abuse, and how it ends.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream as StdStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use circlet_core::Topology;
use circlet_core::identity::{Identity, Incarnation, Purpose};
use circlet_core::room::RoomId;
use circlet_core::wire::{
    NodeKind, SUBPROTOCOL, Signal as LinkSignal, SignalBody, TrackerMessage, VERSION, login_bytes,
};
use futures_util::{SinkExt, StreamExt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::{LONG, Random, Ring, Tracker, circlet, lines};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// What a tracker under all abuse at once may take beyond what it takes alone.
const GROWTH: u64 = 20 << 20;

fn directory() -> TempDir {
    TempDir::with_prefix("circlet-test-").unwrap()
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).unwrap())
}

/// The most memory that a process has had at a time.
fn peak_memory(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().trim().strip_suffix("kB").unwrap().trim();
    kib.parse::<u64>().unwrap() * 1024
}

/// A process's CPU time, in clock ticks of 10 ms.
fn cpu_ticks(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<_> = fields.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// The answer to `GET path`, whatever it is.
fn get(address: &str, path: &str) -> String {
    let mut stream = StdStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let _ = stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn count(metrics: &str, name: &str) -> u64 {
    let line = format!("\ncirclet_tracker_{name} ");
    let (_, value) = metrics
        .split_once(&line)
        .unwrap_or_else(|| panic!("{metrics}"));
    value.lines().next().unwrap().trim().parse().unwrap()
}

type Socket = WebSocketStream<TcpStream>;

/// Attackers, each with addresses of its own.
#[derive(Clone)]
struct Attack {
    tracker: SocketAddr,
    identities: Arc<AtomicU64>,
}

impl Attack {
    /// Runs all attacks at once, until the test ends.
    fn start(tracker: SocketAddr) {
        let attack = Self {
            tracker,
            identities: Arc::default(),
        };
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                for _ in 0..60 {
                    attack.again_and_again(Self::be_silent);
                    attack.again_and_again(Self::drip_a_head);
                    attack.again_and_again(Self::not_log_in);
                    attack.again_and_again(Self::stop_answering);
                    attack.again_and_again(Self::begin_a_large_message);
                }
                for _ in 0..5 {
                    attack.again_and_again(Self::talk_nonsense);
                    attack.again_and_again(Self::send_too_large_a_message);
                    attack.again_and_again(Self::flood);
                    attack.again_and_again(Self::fill_a_queue);
                }
                attack.again_and_again(Self::connect_as_fast_as_it_goes);
                std::future::pending::<()>().await;
            });
        });
    }

    fn again_and_again<F>(&self, what: impl Fn(Self) -> F + Send + 'static)
    where
        F: Future<Output = Option<()>> + Send,
    {
        let attack = self.clone();
        tokio::spawn(async move {
            loop {
                what(attack.clone()).await;
                // The machine is the ring's too.
                sleep(Duration::from_millis(100)).await;
            }
        });
    }

    async fn connect(&self, host: u8) -> Option<TcpStream> {
        let socket = TcpSocket::new_v4().ok()?;
        socket.bind(SocketAddr::from(([127, 0, 1, host], 0))).ok()?;
        socket.connect(self.tracker).await.ok()
    }

    async fn open(&self, host: u8) -> Option<Socket> {
        let stream = self.connect(host).await?;
        let url = format!("ws://{}/ws", self.tracker).parse().unwrap();
        let request = ClientRequestBuilder::new(url).with_sub_protocol(SUBPROTOCOL);
        let config = WebSocketConfig::default()
            .read_buffer_size(4096)
            .write_buffer_size(0);
        let opened = client_async_with_config(request, stream, Some(config)).await;
        Some(opened.ok()?.0)
    }

    fn identity(&self) -> Identity {
        let number = self.identities.fetch_add(1, Ordering::Relaxed);
        let mut seed = [0xaa; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        Identity::from_seed(&seed)
    }

    /// Logs in to the ring's room.
    async fn enter(&self, host: u8, identity: &Identity) -> Option<Socket> {
        let mut socket = self.open(host).await?;
        let Message::Text(text) = socket.next().await?.ok()? else {
            return None;
        };
        let TrackerMessage::Challenge { nonce, .. } = TrackerMessage::from_json(&text).ok()? else {
            return None;
        };
        let (node, incarnation) = (identity.node_id(), Incarnation(1));
        let (room, name, topology) = ("abuse", "", Topology::SmallWorld);
        let signed = login_bytes(&nonce, &node, incarnation, topology, room, name);
        let login = TrackerMessage::Login {
            hub: None,
            node,
            incarnation,
            room: room.to_owned(),
            name: name.to_owned(),
            kind: NodeKind::Native,
            topology,
            signature: identity.sign(Purpose::Login, &signed),
        };
        socket.send(Message::text(login.to_json())).await.ok()?;
        socket.next().await?.ok()?;
        Some(socket)
    }

    async fn be_silent(self) -> Option<()> {
        let stream = self.connect(1).await?;
        stream.readable().await.ok()
    }

    async fn drip_a_head(self) -> Option<()> {
        let mut stream = self.connect(2).await?;
        stream.write_all(b"GET /ws HTTP/1.1\r\nX: ").await.ok()?;
        loop {
            stream.write_all(b"x").await.ok()?;
            sleep(Duration::from_millis(500)).await;
        }
    }

    async fn not_log_in(self) -> Option<()> {
        let mut socket = self.open(3).await?;
        while socket.next().await?.is_ok() {}
        None
    }

    async fn stop_answering(self) -> Option<()> {
        let socket = self.enter(4, &self.identity()).await?;
        sleep(Duration::from_secs(12)).await;
        drop(socket);
        None
    }

    async fn begin_a_large_message(self) -> Option<()> {
        let mut socket = self.enter(5, &self.identity()).await?;
        let stream = socket.get_mut();
        // A text of 65,000 bytes, masked by nothing.
        let head = [0x81, 0xfe, 0xfd, 0xe8, 0, 0, 0, 0];
        stream.write_all(&head).await.ok()?;
        stream.write_all(&[b' '; 64_000]).await.ok()?;
        stream.readable().await.ok()?;
        sleep(Duration::from_secs(12)).await;
        None
    }

    async fn talk_nonsense(self) -> Option<()> {
        for text in ["nonsense", r#"{"type":"welcome"}"#, "[[[[", ""] {
            let mut socket = self.enter(6, &self.identity()).await?;
            socket.send(Message::text(text)).await.ok()?;
            while socket.next().await?.is_ok() {}
        }
        let mut stream = self.connect(6).await?;
        stream.write_all(&[0xff; 4096]).await.ok()
    }

    async fn send_too_large_a_message(self) -> Option<()> {
        let mut socket = self.enter(7, &self.identity()).await?;
        let large = Message::text(" ".repeat(1 << 20));
        socket.send(large).await.ok()?;
        while socket.next().await?.is_ok() {}
        None
    }

    async fn flood(self) -> Option<()> {
        let socket = self.enter(8, &self.identity()).await?;
        let (mut to, mut from) = socket.split();
        loop {
            let ask = Message::text(TrackerMessage::Ask.to_json());
            tokio::select! {
                sent = to.send(ask) => sent.ok()?,
                said = from.next() => {
                    said?.ok()?;
                }
            }
        }
    }

    async fn fill_a_queue(self) -> Option<()> {
        let (sender, reader) = (self.identity(), self.identity());
        let _slow = self.enter(9, &reader).await?;
        let mut socket = self.enter(9, &sender).await?;
        let body = SignalBody {
            version: VERSION,
            room: RoomId::open("abuse"),
            from: sender.node_id(),
            to: reader.node_id(),
            incarnation: Incarnation(1),
            attempt: 1,
            sequence: 1,
            expires_unix_ms: 0,
            signal: LinkSignal::Answer {
                sdp: "x".repeat(16_000),
            },
        };
        let signal = TrackerMessage::Signal {
            signal: body.sign(&sender),
        };
        let text = Message::text(signal.to_json());
        for _ in 0..1000 {
            socket.send(text.clone()).await.ok()?;
        }
        None
    }

    async fn connect_as_fast_as_it_goes(self) -> Option<()> {
        for _ in 0..200 {
            drop(self.connect(10).await?);
        }
        None
    }
}

#[test]
fn a_ring_forms_beside_every_abuse_at_once() {
    let flags = ["--ring-links", "1", "--long-links", "1"];
    let undisturbed = Ring::start(8, &flags).wait_closed_since_start(LONG);

    let directory = directory();
    let abused = ["--limit-loopback", "--max-per-address", "100"];
    let tracker = Tracker::start_with(directory.path(), "127.0.0.1:0", &abused);
    let (id, address) = (tracker.id(), tracker.address.clone());
    get(&address, "/metrics");
    let before = peak_memory(id);
    Attack::start(address.parse().unwrap());
    let has_begun = |metrics: &str| {
        let kinds = [
            "limited_total",
            "refused_total",
            "heads_timed_out_total",
            "login_timed_out_total",
            "timed_out_total",
            "slow_readers_total",
            "address_connects_total",
        ];
        kinds.iter().all(|kind| count(metrics, kind) > 0)
    };
    let deadline = Instant::now() + LONG;
    while !has_begun(&get(&address, "/metrics")) {
        let metrics = get(&address, "/metrics");
        assert!(Instant::now() < deadline, "{metrics}");
        thread::sleep(Duration::from_millis(200));
    }

    let mut ring = Ring::start_at(directory, tracker, 8, &flags);
    let abused = ring.wait_closed_since_start(LONG);
    ring.exchange(0, 200, 16, &mut Random::new(1));
    // Two timeouts more: everything has happened many times.
    let seen = count(&get(&address, "/metrics"), "timed_out_total");
    while count(&get(&address, "/metrics"), "timed_out_total") < seen + 60 {
        assert!(Instant::now() < deadline + LONG);
        thread::sleep(Duration::from_millis(200));
    }
    let growth = peak_memory(id) - before;
    println!(
        "ring of 8 closed after {undisturbed:?}, and after {abused:?} beside the abuse; memory grew \
         by {} KiB",
        growth / 1024
    );
    assert!(growth < GROWTH, "{growth} bytes");
    let usual = Duration::from_secs(5);
    assert!(abused < undisturbed + usual, "{abused:?}");

    // It ends in order beside all that, too.
    let start = Instant::now();
    kill(pid(id), Signal::SIGTERM).unwrap();
    assert_eq!(ring.tracker.wait().code(), Some(0));
    println!("ended after {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let directory = directory();
    let mut tracker = Tracker::start(directory.path());
    // One who does not take part in closing: the tracker waits a while for it.
    let mut stream = StdStream::connect(&tracker.address).unwrap();
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
         Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    kill(pid(tracker.id()), Signal::SIGTERM).unwrap();
    // It listens no longer: the first signal has been taken.
    let deadline = Instant::now() + LONG;
    while StdStream::connect(&tracker.address).is_ok() {
        assert!(Instant::now() < deadline);
    }
    kill(pid(tracker.id()), Signal::SIGTERM).unwrap();
    assert_eq!(tracker.wait().code(), Some(1));
}

#[test]
fn without_descriptors_it_waits_and_goes_on() {
    let directory = directory();
    let binary = env!("CARGO_BIN_EXE_circlet");
    let script = format!("ulimit -n 24; exec '{binary}' tracker --json --listen 127.0.0.1:0");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script]).current_dir(directory.path());
    command.env("XDG_CONFIG_HOME", directory.path());
    let tracker = Tracker::spawn(&mut command);
    let idle: Vec<_> = (0..40)
        .map(|_| StdStream::connect(&tracker.address).unwrap())
        .collect();
    let before = cpu_ticks(tracker.id());
    thread::sleep(Duration::from_secs(2));
    let spent = cpu_ticks(tracker.id()) - before;
    // A tenth of a core, and that is much for waiting.
    assert!(spent < 20, "{spent} ticks in 2 s");
    drop(idle);
    let answer = get(&tracker.address, "/metrics");
    assert!(count(&answer, "accept_failed_total") > 0, "{answer}");
}

#[test]
fn what_a_tracker_costs_is_measured_beside_a_bare_relay() {
    let directory = directory();
    let arguments = [
        "bench",
        "tracker",
        "--clients",
        "64",
        "--seconds",
        "1",
        "--json",
    ];
    let output = circlet(directory.path(), &arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = lines(&output.stdout);
    let figures: Value = serde_json::from_str(text.last().unwrap()).unwrap();
    assert_eq!(
        (&figures["bench"], &figures["clients"]),
        (&"tracker".into(), &64.into())
    );
    for costs in [&figures, &figures["plain"]] {
        for name in [
            "joins_per_s",
            "relays",
            "relays_per_s",
            "relay_us_p50",
            "relay_us_p99",
        ] {
            assert!(costs[name].as_f64().unwrap() > 0.0, "{name}: {figures}");
        }
        for name in ["cpu_us_per_join", "cpu_us_per_relay", "bytes_per_client"] {
            assert!(costs[name].is_number(), "{name}: {figures}");
        }
    }
}
