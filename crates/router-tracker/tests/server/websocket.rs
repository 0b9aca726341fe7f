//! Logging in, signals, and everybody who is turned away.

use std::time::Duration;

use circlet_core::Topology;
use circlet_core::identity::{Identity, Incarnation};
use circlet_core::tracker::TrackerConfig;
use circlet_core::wire::{ErrorCode, MAX_SDP, MAX_TRACKER_MESSAGE, Signal, TrackerMessage, Wish};
use futures_util::StreamExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::client::{Client, Who, builder, get, request, soon, tracker};

#[tokio::test]
async fn newcomers_are_welcomed_and_get_those_who_are_here() {
    let tracker = tracker().await;
    let (a, b) = (Who::new(1), Who::new(2));
    let (mut first, members, assignment) = Client::enter(&tracker, &a).await;
    assert_eq!((members, assignment.ring.len()), (1, 0));
    let (_second, members, assignment) = Client::enter(&tracker, &b).await;
    assert_eq!((members, assignment.ring), (2, vec![a.id()]));
    // The first one hears nothing of the second.
    first.settle().await;
    // The WebSocket's own pings are answered too.
    first.send_raw(Message::Ping("there?".into())).await;
    assert_eq!(first.receive_raw().await, Message::Pong("there?".into()));
}

#[tokio::test]
async fn offers_answers_and_candidates_pass_between_two() {
    let tracker = tracker().await;
    let (a, b) = (Who::new(1), Who::new(2));
    let (mut offerer, ..) = Client::enter(&tracker, &a).await;
    let (mut answerer, ..) = Client::enter(&tracker, &b).await;

    let offer = a.signal(
        b.id(),
        Signal::Offer {
            sdp: "v=0\r\na=ice-ufrag:ö".into(),
            wish: Wish::Ring,
            topology: Topology::SmallWorld,
        },
    );
    let candidate = a.signal(
        b.id(),
        Signal::Candidate {
            candidate: "candidate:1 1 udp 1 127.0.0.1 9 typ host".into(),
            sdp_mid: Some("0".into()),
            sdp_mline_index: Some(0),
        },
    );
    offerer.send(&offer).await;
    offerer.send(&candidate).await;
    // What arrives is what was signed.
    for sent in [offer, candidate] {
        let received = answerer.receive().await;
        assert_eq!(received, sent);
        assert!(
            matches!(&received, TrackerMessage::Signal { signal } if signal.is_genuine()),
            "{received:?}"
        );
    }
    let answer = b.signal(a.id(), Signal::Answer { sdp: "v=0".into() });
    answerer.send(&answer).await;
    assert_eq!(offerer.receive().await, answer);
}

#[tokio::test]
async fn a_signal_to_nobody_comes_back() {
    let tracker = tracker().await;
    let (a, b) = (Who::new(1), Who::new(2));
    let (mut client, ..) = Client::enter(&tracker, &a).await;
    client
        .send(&a.signal(b.id(), Signal::EndOfCandidates))
        .await;
    assert_eq!(
        client.receive().await,
        TrackerMessage::Unreachable {
            to: b.id(),
            attempt: 42
        }
    );
}

#[tokio::test]
async fn a_lost_connection_is_told_to_those_who_named_it() {
    let tracker = tracker().await;
    let (a, b) = (Who::new(1), Who::new(2));
    let (mut watcher, ..) = Client::enter(&tracker, &a).await;
    let (lost, ..) = Client::enter(&tracker, &b).await;
    watcher
        .send(&TrackerMessage::Announce {
            member: true,
            successor: Some(b.id()),
            predecessor: Some(b.id()),
            links: Vec::new(),
            connected: 0,
            unconnected: 0,
        })
        .await;
    watcher.settle().await;
    drop(lost);
    assert_eq!(
        watcher.receive().await,
        TrackerMessage::Gone { node: b.id() }
    );
}

#[tokio::test]
async fn a_later_session_ends_the_earlier_one() {
    let tracker = tracker().await;
    let old = Who::new(1);
    let newer = Who {
        incarnation: Incarnation(200),
        ..old.clone()
    };
    let superseded = TrackerMessage::Superseded {
        incarnation: Incarnation(200),
    };
    let (mut first, ..) = Client::enter(&tracker, &old).await;
    let (_second, members, _) = Client::enter(&tracker, &newer).await;
    assert_eq!(members, 1);
    assert_eq!(
        first.last_words().await,
        (vec![superseded.clone()], Some(CloseCode::Normal))
    );

    let mut late = Client::connect(&tracker).await;
    let login = old.login(&late.nonce);
    late.send(&login).await;
    assert_eq!(late.last_words().await.0, [superseded]);
}

#[tokio::test]
async fn a_signature_by_another_key_is_refused() {
    let tracker = tracker().await;
    let mut client = Client::connect(&tracker).await;
    let mut login = Who::new(1).login(&client.nonce);
    if let TrackerMessage::Login { node, .. } = &mut login {
        *node = Identity::from_seed(&[9; 32]).node_id();
    }
    client.send(&login).await;
    assert_eq!(client.refusal().await, ErrorCode::Login);
}

#[tokio::test]
async fn another_topology_is_refused_and_the_rooms_is_named() {
    let tracker = tracker().await;
    let (_first, ..) = Client::enter(&tracker, &Who::new(1)).await;
    let mut client = Client::connect(&tracker).await;
    let other = Who {
        topology: Topology::Ring,
        ..Who::new(2)
    };
    let login = other.login(&client.nonce);
    client.send(&login).await;
    match client.last_words().await.0.as_slice() {
        [TrackerMessage::Error { code, message }] => {
            assert_eq!(*code, ErrorCode::Topology);
            assert!(message.contains("small-world"), "{message}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_full_tracker_turns_newcomers_away() {
    let config = TrackerConfig {
        max_clients: 1,
        ..TrackerConfig::default()
    };
    let tracker = builder().config(config).serve().await.unwrap();
    let (mut first, ..) = Client::enter(&tracker, &Who::new(1)).await;
    let stream = TcpStream::connect(tracker.local_addr()).await.unwrap();
    let request = request(&tracker.url(), Some("circlet.v1"));
    let (mut socket, _) = soon(tokio_tungstenite::client_async(request, stream))
        .await
        .unwrap();
    let told = soon(socket.next()).await.unwrap().unwrap();
    let told = told.into_text().unwrap();
    assert!(told.contains("\"code\":\"full\""), "{told}");
    first.settle().await;
}

#[tokio::test]
async fn what_is_no_message_is_refused() {
    let tracker = tracker().await;
    for bad in [
        Message::text("{\"type\":\"nonsense\"}"),
        Message::text("not JSON"),
        Message::text("[".repeat(10_000)),
        Message::binary(vec![0, 159, 146, 150]),
    ] {
        let (mut client, ..) = Client::enter(&tracker, &Who::new(1)).await;
        client.send_raw(bad).await;
        assert_eq!(client.refusal().await, ErrorCode::Malformed);
    }
    let before_login = &mut Client::connect(&tracker).await;
    before_login.send(&TrackerMessage::Ping).await;
    assert_eq!(before_login.refusal().await, ErrorCode::Forbidden);
}

#[tokio::test]
async fn a_message_that_is_too_large_closes_the_connection() {
    let tracker = tracker().await;
    let (mut other, ..) = Client::enter(&tracker, &Who::new(2)).await;
    let (mut client, ..) = Client::enter(&tracker, &Who::new(1)).await;
    client
        .send_raw(Message::text(" ".repeat(MAX_TRACKER_MESSAGE + 1024)))
        .await;
    let (words, code) = client.last_words().await;
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
    assert_eq!(code, Some(CloseCode::Size));
    // Nobody else is harmed.
    other.settle().await;
}

#[tokio::test]
async fn other_subprotocols_and_no_websockets_are_refused() {
    let tracker = tracker().await;
    for subprotocol in [None, Some("circlet.v2"), Some("chat, superchat")] {
        let stream = TcpStream::connect(tracker.local_addr()).await.unwrap();
        let request = request(&tracker.url(), subprotocol);
        match soon(tokio_tungstenite::client_async(request, stream)).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), 400),
            other => panic!("{other:?}"),
        }
    }
    let answer = get(tracker.local_addr(), "/ws").await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("WebSocket"), "{}", answer.body);

    // One of several is enough.
    let stream = TcpStream::connect(tracker.local_addr()).await.unwrap();
    let request = request(&tracker.url(), Some("chat, circlet.v1"));
    let (_, response) = soon(tokio_tungstenite::client_async(request, stream))
        .await
        .unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "circlet.v1");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let tracker = tracker().await;
    let (a, b) = (Who::new(1), Who::new(2));
    let (mut sender, ..) = Client::enter(&tracker, &a).await;
    let (slow, ..) = Client::enter(&tracker, &b).await;
    let signal = a.signal(
        b.id(),
        Signal::Answer {
            sdp: "x".repeat(MAX_SDP),
        },
    );
    // The sockets in between take some MB before anything waits in the tracker.
    let mut sent = 0;
    let unreachable = loop {
        assert!(sent < 4_000, "64 MB were taken for one who reads nothing");
        for _ in 0..32 {
            sender.send(&signal).await;
        }
        sent += 32;
        sender.send(&TrackerMessage::Ping).await;
        match sender.receive().await {
            TrackerMessage::Pong => {}
            other => break other,
        }
    };
    assert_eq!(
        unreachable,
        TrackerMessage::Unreachable {
            to: b.id(),
            attempt: 42
        }
    );
    let metrics = get(tracker.local_addr(), "/metrics").await.body;
    assert!(
        metrics.contains("\ncirclet_tracker_slow_readers_total 1\n"),
        "{metrics}"
    );
    drop(slow);
}

#[tokio::test]
async fn the_silent_are_pinged_then_closed() {
    let config = TrackerConfig {
        client_timeout: Duration::from_millis(200),
        login_timeout: Duration::from_millis(200),
        ..TrackerConfig::default()
    };
    let tracker = builder().config(config).serve().await.unwrap();
    let (mut silent, ..) = Client::enter(&tracker, &Who::new(1)).await;
    let stranger = Client::connect(&tracker).await;
    assert_eq!(silent.receive().await, TrackerMessage::Ping);
    for mut client in [silent, stranger] {
        let (words, code) = client.last_words().await;
        assert!(
            matches!(
                words.as_slice(),
                [TrackerMessage::Error {
                    code: ErrorCode::Timeout,
                    ..
                }]
            ),
            "{words:?}"
        );
        assert_eq!(code, Some(CloseCode::Policy));
    }
}
