//! Clients that mean no good: each is told, counted and cut off, and nobody else is hurt.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use circlet_core::Rate;
use circlet_core::identity::Incarnation;
use circlet_core::tracker::TrackerConfig;
use circlet_core::wire::{ErrorCode, MAX_SDP, MAX_TRACKER_MESSAGE, Signal, TrackerMessage};
use circlet_tracker::{Limits, Tracker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::client::{Client, Who, builder, get, soon};

/// A tracker that limits this machine as it would another one.
async fn strict(limits: Limits) -> Tracker {
    let limits = Limits {
        limit_loopback: true,
        ..limits
    };
    builder().limits(limits).serve().await.unwrap()
}

/// A count of `/metrics`, asked for from an address of its own.
async fn count(tracker: &Tracker, name: &str) -> u64 {
    let mut stream = from("127.0.0.99", tracker.local_addr()).await;
    let request = b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n";
    soon(stream.write_all(request)).await.unwrap();
    let text = rest(&mut stream).await;
    let line = format!("\ncirclet_tracker_{name} ");
    let (_, value) = text.split_once(&line).unwrap_or_else(|| panic!("{text}"));
    value.lines().next().unwrap().parse().unwrap()
}

/// A connection from another of this machine's addresses.
async fn from(source: &str, addr: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    soon(socket.connect(addr)).await.unwrap()
}

/// Everything that comes until the other side closes, in whichever way.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = soon(stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

#[tokio::test]
async fn half_open_connections_are_closed_within_ten_seconds() {
    let tracker = builder().serve().await.unwrap();
    let addr = tracker.local_addr();
    let (mut member, ..) = Client::enter(&tracker, &Who::new(1)).await;
    let start = Instant::now();
    let silent = async {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        assert_eq!(status(&rest(&mut stream).await), "408");
    };
    let slow = async {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let head = b"GET /ws HTTP/1.1\r\nHost: test\r\nX-Slow: ";
        let _ = stream.write_all(head).await;
        let (mut read, mut write) = stream.into_split();
        let drip = async {
            while write.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let mut answer = Vec::new();
        tokio::select! {
            _ = read.read_to_end(&mut answer) => {}
            () = drip => {}
        }
    };
    let stranger = async {
        let mut client = Client::connect(&tracker).await;
        assert_eq!(client.refusal().await, ErrorCode::Timeout);
    };
    let dead = async {
        // It logs in, and then answers no ping.
        let (mut client, ..) = Client::enter(&tracker, &Who::new(2)).await;
        assert_eq!(client.receive().await, TrackerMessage::Ping);
        assert_eq!(client.refusal().await, ErrorCode::Timeout);
    };
    Box::pin(soon(async { tokio::join!(silent, slow, stranger, dead) })).await;
    let took = start.elapsed();
    // And what a loaded machine adds.
    assert!(took < Duration::from_secs(13), "{took:?}");
    assert_eq!(count(&tracker, "heads_timed_out_total").await, 2);
    assert_eq!(count(&tracker, "login_timed_out_total").await, 1);
    assert!(count(&tracker, "timed_out_total").await >= 1);
    // It was pinged too, and does not answer here: a member that does is still there.
    drop(member.last_words().await);
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_is_told() {
    let tracker = strict(Limits {
        address_connections: 2,
        ..Limits::default()
    })
    .await;
    let (mut first, ..) = Client::enter(&tracker, &Who::new(1)).await;
    let (second, ..) = Client::enter(&tracker, &Who::new(2)).await;
    let answer = get(tracker.local_addr(), "/healthz").await;
    assert_eq!(answer.status, 429);
    assert!(answer.head.contains("retry-after"), "{}", answer.head);
    assert!(answer.body.contains("address"), "{}", answer.body);
    assert_eq!(count(&tracker, "address_connections_total").await, 1);
    // Other addresses come in.
    let stream = from("127.0.0.2", tracker.local_addr()).await;
    let mut other = Client::over(stream, &tracker.url()).await;
    other.login(&Who::new(3)).await;
    first.settle().await;
    drop(second);
    while get(tracker.local_addr(), "/healthz").await.status != 200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_address_has_few_connections_that_say_nothing() {
    let tracker = strict(Limits {
        address_handshakes: 2,
        ..Limits::default()
    })
    .await;
    let addr = tracker.local_addr();
    let (mut member, ..) = Client::enter(&tracker, &Who::new(1)).await;
    let mut silent = Vec::new();
    for _ in 0..2 {
        silent.push(TcpStream::connect(addr).await.unwrap());
    }
    assert_eq!(get(addr, "/healthz").await.status, 429);
    assert_eq!(count(&tracker, "address_handshakes_total").await, 1);
    member.settle().await;
    drop(silent);
    while get(addr, "/healthz").await.status != 200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_address_connects_so_often() {
    let tracker = strict(Limits {
        address_connects: Rate::new(1, 20),
        ..Limits::default()
    })
    .await;
    let addr = tracker.local_addr();
    let mut refused = 0;
    for _ in 0..30 {
        refused += u64::from(get(addr, "/healthz").await.status == 429);
    }
    assert!((5..=10).contains(&refused), "{refused}");
    assert_eq!(count(&tracker, "address_connects_total").await, refused);
}

#[tokio::test]
async fn a_class_behind_one_address_comes_in_at_once_with_the_defaults() {
    let tracker = strict(Limits::default()).await;
    let mut entering = tokio::task::JoinSet::new();
    for seed in 0..100 {
        let (addr, url) = (tracker.local_addr(), tracker.url());
        entering.spawn(async move {
            let stream = TcpStream::connect(addr).await.unwrap();
            let mut client = Client::over(stream, &url).await;
            client.login(&Who::new(seed)).await;
            // What one who joins a mesh of 100 says.
            for _ in 0..100 {
                for _ in 0..8 {
                    let who = Who::new(seed);
                    let to = Who::new(200).id();
                    client.send(&who.signal(to, Signal::EndOfCandidates)).await;
                }
                for _ in 0..8 {
                    client.receive().await;
                }
            }
            client
        });
    }
    let mut clients = soon(entering.join_all()).await;
    for client in &mut clients {
        client.settle().await;
    }
    assert_eq!(count(&tracker, "members").await, 100);
    assert_eq!(count(&tracker, "limited_total").await, 0);
}

#[tokio::test]
async fn a_tracker_without_room_says_so_to_all_who_connect() {
    let config = TrackerConfig {
        max_clients: 1,
        ..TrackerConfig::default()
    };
    let limits = Limits {
        pages: 1,
        ..Limits::default()
    };
    let tracker = builder().config(config).limits(limits).serve().await;
    let tracker = tracker.unwrap();
    let (mut member, ..) = Client::enter(&tracker, &Who::new(1)).await;
    let idle = TcpStream::connect(tracker.local_addr()).await.unwrap();
    let answer = get(tracker.local_addr(), "/healthz").await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    drop(idle);
    while get(tracker.local_addr(), "/healthz").await.status != 200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    member.settle().await;
    assert!(count(&tracker, "no_room_total").await >= 1);
}

#[tokio::test]
async fn an_identity_that_says_too_much_is_refused_and_may_not_come_back_at_once() {
    let config = TrackerConfig {
        identity_rate: Rate::new(1, 50),
        ..TrackerConfig::default()
    };
    let tracker = builder().config(config).serve().await.unwrap();
    let (mut calm, ..) = Client::enter(&tracker, &Who::new(2)).await;
    let mut loud = Who::new(1);
    for _ in 0..2 {
        loud.incarnation = Incarnation(loud.incarnation.0 + 1);
        let (mut client, ..) = Client::enter(&tracker, &loud).await;
        for _ in 0..60 {
            client.try_send(&TrackerMessage::Ask).await;
        }
        let (words, code) = client.last_words().await;
        let Some(TrackerMessage::Error { code: why, .. }) = words.last() else {
            panic!("{words:?}");
        };
        assert_eq!((*why, code), (ErrorCode::Limited, Some(CloseCode::Policy)));
    }
    assert_eq!(count(&tracker, "limited_total").await, 2);
    calm.settle().await;
}

#[tokio::test]
async fn an_address_says_so_much_with_all_its_identities_together() {
    let tracker = strict(Limits {
        address_messages: Rate::new(1, 50),
        ..Limits::default()
    })
    .await;
    let mut last = None;
    for seed in 1..=7 {
        let (mut client, ..) = Client::enter(&tracker, &Who::new(seed)).await;
        for _ in 0..7 {
            client.try_send(&TrackerMessage::Ask).await;
        }
        last = Some(client);
    }
    let (words, code) = last.unwrap().last_words().await;
    let Some(TrackerMessage::Error { code: why, .. }) = words.last() else {
        panic!("{words:?}");
    };
    assert_eq!((*why, code), (ErrorCode::Limited, Some(CloseCode::Policy)));
    assert!(count(&tracker, "limited_total").await > 0);
}

#[tokio::test]
async fn each_sort_of_nonsense_has_its_close_code() {
    let tracker = builder().serve().await.unwrap();
    let (mut bystander, ..) = Client::enter(&tracker, &Who::new(2)).await;
    let too_large = Message::text(" ".repeat(MAX_TRACKER_MESSAGE + 1));
    for (bad, expected) in [
        (Message::text("nonsense"), CloseCode::Invalid),
        (Message::binary(vec![1]), CloseCode::Unsupported),
        (too_large, CloseCode::Size),
    ] {
        let (mut client, ..) = Client::enter(&tracker, &Who::new(1)).await;
        client.send_raw(bad).await;
        let (words, code) = client.last_words().await;
        assert_eq!(code, Some(expected));
        assert!(
            matches!(
                words.as_slice(),
                [TrackerMessage::Error {
                    code: ErrorCode::Malformed,
                    ..
                }]
            ),
            "{words:?}"
        );
    }
    // Bytes that are no WebSocket at all.
    let (mut client, ..) = Client::enter(&tracker, &Who::new(1)).await;
    let _ = client.stream().write_all(&[0xff; 4096]).await;
    assert_eq!(client.last_words().await.1, Some(CloseCode::Protocol));
    bystander.settle().await;
    assert_eq!(count(&tracker, "refused_total").await, 4);
}

#[tokio::test]
async fn those_who_never_read_take_a_bounded_part_of_memory_together() {
    let limits = Limits {
        total_queue: 1 << 20,
        ..Limits::default()
    };
    let config = TrackerConfig {
        identity_rate: Rate::UNLIMITED,
        ..TrackerConfig::default()
    };
    let tracker = builder().config(config).limits(limits).serve().await;
    let tracker = tracker.unwrap();
    let loud = Who::new(1);
    let (mut sender, ..) = Client::enter(&tracker, &loud).await;
    let mut slow = Vec::new();
    for seed in 2..40 {
        slow.push(Client::enter(&tracker, &Who::new(seed)).await.0);
    }
    let sdp = || "x".repeat(MAX_SDP);
    let mut most = 0;
    // The sockets in between take some MB before anything waits in the tracker.
    for round in 0.. {
        assert!(round < 60, "nobody is cut off");
        for seed in 2..40 {
            let signal = loud.signal(Who::new(seed).id(), Signal::Answer { sdp: sdp() });
            for _ in 0..8 {
                sender.try_send(&signal).await;
            }
        }
        most = most.max(count(&tracker, "queued_bytes").await);
        if count(&tracker, "slow_readers_total").await >= 8 {
            break;
        }
    }
    println!("{most} bytes queued at most");
    // One message of each may lie above, and what is being written.
    assert!(most < (1 << 20) + 38 * 2 * 40_000, "{most}");
    drop(slow);
}
