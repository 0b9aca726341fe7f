//! Whole nodes over WebRTC, on loopback.

mod common;

use std::net::Ipv4Addr;

use circlet_node::transport::{ConnectionState, WebRtcConfig, WebRtcTransport};
use circlet_node::{NodeEvent, Outcome};
use common::{Member, PATIENCE, tracker, until_ring_is_closed};
use tokio::time::timeout;

fn loopback() -> WebRtcTransport {
    WebRtcTransport::new(WebRtcConfig {
        bind: vec![Ipv4Addr::LOCALHOST.into()],
        ..WebRtcConfig::default()
    })
}

#[tokio::test]
async fn a_ring_closes_carries_messages_and_closes_again_without_one() {
    let tracker = tracker().await;
    let mut members = Member::ring(3, &tracker.url(), &loopback()).await;
    for member in &mut members {
        let connected = ConnectionState::Connection("connected");
        member
            .find(|event| match event {
                NodeEvent::Connection { state, .. } => (state == connected).then_some(()),
                _ => None,
            })
            .await;
    }
    for from in 0..3 {
        let to = (from + 1) % 3;
        let (sender, receiver) = (members[from].node.clone(), members[to].node.id());
        let delivery = sender.send(receiver, vec![7; 60_000]).await.unwrap();
        let message = members[to].message().await;
        assert_eq!((message.from, message.payload.len()), (sender.id(), 60_000));
        assert_eq!(timeout(PATIENCE, delivery).await, Ok(Outcome::Delivered));
    }
    assert!(members[0].node.circulate("round").await.unwrap().complete);

    let gone = members.pop().unwrap();
    gone.node.leave().await;
    until_ring_is_closed(&members).await;
    for member in members {
        member.node.leave().await;
        assert_eq!(member.node.driver_counters().frames_refused, 0);
    }
}
