//! The pages: health, tables, metrics; and requests that cannot be.

use std::time::Duration;

use circlet_core::ring::Position;
use circlet_core::room::RoomId;
use circlet_core::wire::{LinkReport, LinkState, Signal, TrackerMessage};
use circlet_tracker::Limits;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::client::{Client, Who, builder, exchange, get, soon, tracker};

#[tokio::test]
async fn healthz_says_ok() {
    let tracker = tracker().await;
    let answer = get(tracker.local_addr(), "/healthz").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
}

#[tokio::test]
async fn a_room_has_its_table() {
    let tracker = tracker().await;
    let (a, b) = (Who::new(1), Who::new(2));
    let (mut first, ..) = Client::enter(&tracker, &a).await;
    let (_second, ..) = Client::enter(&tracker, &b).await;
    first
        .send(&TrackerMessage::Announce {
            member: true,
            successor: Some(b.id()),
            predecessor: None,
            links: vec![LinkReport {
                peer: b.id(),
                state: LinkState::Open,
                rtt_us: Some(410),
            }],
            connected: 3,
            unconnected: 1,
        })
        .await;
    first.settle().await;

    let answer = get(tracker.local_addr(), "/api/rooms/room").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.head.contains("content-type: application/json"),
        "{}",
        answer.head
    );
    let table: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(table["name"], "room");
    assert_eq!(table["topology"], "small-world");
    let members = table["members"].as_array().unwrap();
    assert_eq!(members.len(), 2);
    let positions: Vec<_> = members
        .iter()
        .map(|m| m["position"].as_str().unwrap())
        .collect();
    assert!(positions.is_sorted(), "in ring order: {positions:?}");
    let row = members
        .iter()
        .find(|row| row["node"] == a.id().to_string())
        .unwrap();
    let mut row = row.clone();
    for ago in ["since_s", "heard_s"] {
        let seconds = row[ago].take().as_f64().unwrap();
        assert!((0.0..60.0).contains(&seconds), "{ago} {seconds}");
    }
    assert_eq!(
        row,
        json!({
            "node": a.id().to_string(),
            "position": Position::of(&RoomId::open("room"), &a.id()).to_string(),
            "incarnation": 100,
            "name": "a name",
            "kind": "native",
            "since_s": null,
            "heard_s": null,
            "member": true,
            "successor": b.id().to_string(),
            "predecessor": null,
            "links": [{"peer": b.id().to_string(), "state": "open", "rtt_us": 410}],
            "connected": 3,
            "unconnected": 1,
        })
    );
}

#[tokio::test]
async fn rooms_are_found_by_their_percent_encoded_names() {
    let tracker = tracker().await;
    let who = Who {
        room: "Spielabend ä+?".into(),
        ..Who::new(1)
    };
    let (_client, ..) = Client::enter(&tracker, &who).await;
    let addr = tracker.local_addr();
    let answer = get(addr, "/api/rooms/Spielabend%20%C3%A4+%3F").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let table: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(table["name"], "Spielabend ä+?");

    for unknown in ["nobody", "", "%FF", "%2e%2e", "Spielabend", "a/b"] {
        let answer = get(addr, &format!("/api/rooms/{unknown}")).await;
        assert_eq!(answer.status, 404, "{unknown}");
        let error: Value = serde_json::from_str(&answer.body).unwrap();
        assert!(error["error"].is_string(), "{unknown}");
    }
}

#[tokio::test]
async fn metrics_have_every_count() {
    let tracker = tracker().await;
    let who = Who::new(1);
    let (mut client, ..) = Client::enter(&tracker, &who).await;
    client
        .send(&who.signal(Who::new(2).id(), Signal::EndOfCandidates))
        .await;
    client.receive().await;
    let _stranger = Client::connect(&tracker).await;

    let answer = get(tracker.local_addr(), "/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .head
            .contains("content-type: text/plain; version=0.0.4"),
        "{}",
        answer.head
    );
    for (name, kind, value) in [
        ("clients", "gauge", 2),
        ("rooms", "gauge", 1),
        ("members", "gauge", 1),
        ("logins_total", "counter", 1),
        ("queued_bytes", "gauge", 0),
        ("unread_bytes", "gauge", 0),
        ("refused_total", "counter", 0),
        ("limited_total", "counter", 0),
        ("full_total", "counter", 0),
        ("superseded_total", "counter", 0),
        ("signals_relayed_total", "counter", 0),
        ("signals_unreachable_total", "counter", 1),
        ("timed_out_total", "counter", 0),
        ("login_timed_out_total", "counter", 0),
        ("connections_total", "counter", 3),
        ("no_room_total", "counter", 0),
        ("address_connections_total", "counter", 0),
        ("address_handshakes_total", "counter", 0),
        ("address_connects_total", "counter", 0),
        ("handshakes_busy_total", "counter", 0),
        ("handshakes_failed_total", "counter", 0),
        ("handshakes_timed_out_total", "counter", 0),
        ("heads_timed_out_total", "counter", 0),
        ("accept_failed_total", "counter", 0),
        ("slow_readers_total", "counter", 0),
    ] {
        let name = format!("circlet_tracker_{name}");
        for line in [
            format!("# HELP {name} "),
            format!("# TYPE {name} {kind}\n"),
            format!("\n{name} {value}\n"),
        ] {
            assert!(answer.body.contains(&line), "{line:?} in {}", answer.body);
        }
    }
    assert_eq!(answer.body.lines().count(), 3 * 25, "{}", answer.body);
}

#[tokio::test]
async fn other_requests_are_errors_that_help() {
    let tracker = tracker().await;
    let addr = tracker.local_addr();
    let answer = get(addr, "/other").await;
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("/healthz"), "{}", answer.body);

    let answer = exchange(
        addr,
        "DELETE /api/rooms/room HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(answer.status, 405);
    assert!(answer.head.contains("allow: get, head"), "{}", answer.head);

    let answer = exchange(
        addr,
        "GET /healthz HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello",
    )
    .await;
    assert_eq!(answer.status, 413);

    let answer = exchange(addr, "\0\u{1}\u{2} nonsense\r\n\r\n").await;
    assert_eq!(answer.status, 400);

    let long = format!(
        "GET /healthz HTTP/1.1\r\nHost: test\r\nCookie: {}\r\n\r\n",
        "x".repeat(9_000)
    );
    assert_eq!(exchange(addr, &long).await.status, 431);
}

#[tokio::test]
async fn one_who_sends_no_request_is_closed() {
    let tracker = builder()
        .limits(Limits {
            head_timeout: Duration::from_millis(100),
            ..Limits::default()
        })
        .serve()
        .await
        .unwrap();
    let mut stream = TcpStream::connect(tracker.local_addr()).await.unwrap();
    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest)).await.unwrap();
}
