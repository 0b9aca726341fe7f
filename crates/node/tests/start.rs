//! Starting a node: what is refused, what is made, and from where it can be used.

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use circlet_node::transport::MemoryTransport;
use circlet_node::{
    Config, IdentityError, IdentityFile, MAX_PAYLOAD, Node, NodeBuilder, SendError, StartError,
    Topology,
};
use common::identity;

/// The least executor there can be: nothing here may need another.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

fn alone() -> NodeBuilder {
    Node::builder()
        .room("test")
        .identity(identity(1))
        .transport(MemoryTransport::default())
}

fn refused(builder: NodeBuilder) -> StartError {
    let started = block_on(builder.start()).map(|_| ());
    started.expect_err("it cannot start")
}

#[test]
fn a_node_needs_no_runtime_of_its_user() {
    block_on(async {
        let (node, mut events) = alone().start().await.unwrap();
        assert_eq!(node.id(), identity(1).node_id());
        let snapshot = node.snapshot().await.unwrap();
        assert_eq!(snapshot.node, node.id());
        assert_eq!(snapshot.position, node.position());
        let to = identity(2).node_id();
        assert_eq!(
            node.send(to, vec![0; MAX_PAYLOAD + 1]).await.unwrap_err(),
            SendError::TooLarge {
                bytes: MAX_PAYLOAD + 1,
                limit: MAX_PAYLOAD,
            }
        );
        assert_eq!(
            node.send_datagram(node.id(), "x").await.unwrap_err(),
            SendError::ToSelf
        );
        assert_eq!(
            node.try_send(node.id(), "x").unwrap_err(),
            SendError::ToSelf
        );
        node.leave().await;
        while events.next().await.is_some() {}
        assert_eq!(node.try_send(to, "x").unwrap_err(), SendError::Ended);
        assert_eq!(node.broadcast("x").await.unwrap_err(), SendError::Ended);
        assert_eq!(node.circulate("x").await.unwrap_err(), SendError::Ended);
    });
}

#[test]
fn what_cannot_be_is_refused_with_one_line() {
    let with = |config: Config| alone().config(config);
    for (builder, advice) in [
        (Node::builder().identity(identity(1)), "cannot name a room"),
        (alone().room("a/b"), "cannot name a room"),
        (alone().name(""), "cannot name a node"),
        (alone().name("x".repeat(65)), "cannot name a node"),
        (alone().name("a\nb"), "cannot name a node"),
        (alone().tracker("127.0.0.1:7700"), "looks like ws://"),
        (
            alone().topology(Topology::Mesh).hub(identity(2).node_id()),
            "the topology mesh has none: take star",
        ),
        (alone().ring_links(0), "ring_links is 0: take 1 to 8"),
        (alone().ring_links(9), "ring_links is 9: take 1 to 8"),
        (alone().long_links(65), "take 0 to 64"),
        (
            with(Config {
                list_len: 0,
                ..Config::default()
            }),
            "list_len is 0",
        ),
        (
            (0..17).fold(alone(), |builder, port| {
                builder.tracker(format!("ws://127.0.0.1:{}", port + 1))
            }),
            "17 trackers",
        ),
        (alone().identity_file("/dev/null"), "no regular file"),
    ] {
        let error = refused(builder).to_string();
        assert!(error.contains(advice), "{error:?} should say {advice:?}");
        assert!(!error.contains('\n'), "{error:?}");
    }
}

#[test]
fn an_identity_file_outlives_the_node_and_its_sessions_grow() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("identity.pem");
    let session = || {
        block_on(async {
            let (node, _events) = alone().identity_file(&path).start().await.unwrap();
            let snapshot = node.snapshot().await.unwrap();
            node.leave().await;
            (node.id(), snapshot.incarnation)
        })
    };
    let (first, second) = (session(), session());
    assert_eq!(first.0, second.0);
    assert!(first.1 < second.1, "{first:?} {second:?}");
    let kept = IdentityFile::new(&path).load().unwrap().unwrap();
    assert_eq!(kept.node_id(), first.0);

    let missing = directory.path().join("missing/identity.pem");
    let error = refused(alone().identity_file(missing));
    assert!(
        matches!(
            error,
            StartError::Identity(IdentityError::NoDirectory { .. })
        ),
        "{error}"
    );
}
