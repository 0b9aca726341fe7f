//! How a tracker ends.

use circlet_core::tracker::TrackerConfig;
use circlet_core::wire::Signal;
use circlet_tracker::ServeError;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::client::{Client, Who, builder, soon, tracker};

#[tokio::test]
async fn a_shutdown_closes_every_connection_in_order() {
    let tracker = tracker().await;
    let addr = tracker.local_addr();
    let (mut member, ..) = Client::enter(&tracker, &Who::new(1)).await;
    let mut stranger = Client::connect(&tracker).await;
    let idle = TcpStream::connect(addr).await.unwrap();
    let (_, member, stranger) = soon(async {
        tokio::join!(
            tracker.shutdown(),
            member.last_words(),
            stranger.last_words()
        )
    })
    .await;
    assert_eq!(member, (vec![], Some(CloseCode::Away)));
    assert_eq!(stranger, (vec![], Some(CloseCode::Away)));
    drop(idle);
    TcpStream::connect(addr).await.unwrap_err();
}

#[tokio::test]
async fn what_was_taken_is_passed_on_before_the_end() {
    const COUNT: usize = 500;
    let tracker = tracker().await;
    let (a, b) = (Who::new(1), Who::new(2));
    let (mut sender, ..) = Client::enter(&tracker, &a).await;
    let (mut receiver, ..) = Client::enter(&tracker, &b).await;
    let signal = a.signal(b.id(), Signal::EndOfCandidates);
    for _ in 0..COUNT {
        sender.send(&signal).await;
    }
    // All are taken when this is answered; nobody has read them yet.
    sender.settle().await;
    let (_, received, _) = Box::pin(soon(async {
        tokio::join!(
            tracker.shutdown(),
            receiver.last_words(),
            sender.last_words()
        )
    }))
    .await;
    assert_eq!(received, (vec![signal; COUNT], Some(CloseCode::Away)));
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_clients_that_do_nothing() {
    let tracker = tracker().await;
    let (_member, ..) = Client::enter(&tracker, &Who::new(1)).await;
    soon(tracker.shutdown()).await;
}

#[tokio::test]
async fn a_dropped_tracker_ends_too() {
    let tracker = tracker().await;
    let (mut member, ..) = Client::enter(&tracker, &Who::new(1)).await;
    drop(tracker);
    assert_eq!(member.last_words().await, (vec![], Some(CloseCode::Away)));
}

#[tokio::test]
async fn an_address_in_use_is_a_clear_error() {
    let first = tracker().await;
    let second = builder()
        .bind(first.local_addr())
        .config(TrackerConfig::default())
        .serve()
        .await;
    match second {
        Err(error @ ServeError::Bind { .. }) => {
            let text = error.to_string();
            assert!(text.contains(&first.local_addr().to_string()), "{text}");
        }
        other => panic!("{other:?}"),
    }
}
