//! Links that are opened and closed leave nothing behind: no descriptor, no task, no memory.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![cfg(target_os = "linux")]

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use circlet_core::node::{Channel, LinkId, Role};
use circlet_node::transport::{Transport, TransportEvent, WebRtcConfig, WebRtcTransport};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Links opened and closed unless `CIRCLET_LINKS` says otherwise.
const LINKS: u64 = 60;

/// Links after which what is kept for good is there.
const WARM_UP: u64 = 20;

/// Bytes that the allocator may keep more of than before: the stack takes some 300 KB for each end of a
/// link, so that 60 links with a leak of one end in two would show.
const MAX_GROWTH: usize = 8 << 20;

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Holdings {
    descriptors: usize,
    tasks: usize,
    resident: usize,
}

impl Holdings {
    fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        Self {
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
            tasks: Handle::current().metrics().num_alive_tasks(),
            resident: kib << 10,
        }
    }
}

#[tokio::test]
async fn links_leave_nothing_behind() {
    let asked = std::env::var("CIRCLET_LINKS").ok();
    let count = asked.map_or(LINKS, |count| count.parse().expect("a number of links"));
    let transport = WebRtcTransport::new(WebRtcConfig {
        bind: vec![Ipv4Addr::LOCALHOST.into()],
        ..WebRtcConfig::default()
    });
    for number in 0..WARM_UP {
        open_and_close(&transport, number).await;
    }
    let before = settled(None).await;
    for number in 0..count {
        open_and_close(&transport, WARM_UP + number).await;
        if number % 50 == 49 {
            println!("{} links: {:?}", number + 1, Holdings::now());
        }
    }
    let after = settled(Some(before)).await;
    println!("before {before:?}, after {count} links {after:?}");
    assert!(
        after.descriptors <= before.descriptors,
        "descriptors: {before:?} {after:?}"
    );
    assert!(after.tasks <= before.tasks, "tasks: {before:?} {after:?}");
    let growth = after.resident.saturating_sub(before.resident);
    assert!(growth <= MAX_GROWTH, "memory: {before:?} {after:?}");
}

/// What is held once what is being closed in the background is: no more than `wanted`, if that comes
/// to be.
async fn settled(wanted: Option<Holdings>) -> Holdings {
    let start = Instant::now();
    loop {
        let earlier = Holdings::now();
        sleep(Duration::from_millis(300)).await;
        let now = Holdings::now();
        let is_steady = (now.descriptors, now.tasks) == (earlier.descriptors, earlier.tasks);
        let is_enough = wanted.is_none_or(|wanted| {
            now.descriptors <= wanted.descriptors && now.tasks <= wanted.tasks
        });
        if is_steady && is_enough || start.elapsed() > PATIENCE {
            return now;
        }
    }
}

/// Two ends, a frame from one to the other, and an end. One in three is closed from one side only, and
/// one in five before it is open.
async fn open_and_close(transport: &WebRtcTransport, number: u64) {
    let (offerer_events, mut offerer_out) = mpsc::channel(64);
    let (answerer_events, mut answerer_out) = mpsc::channel(64);
    let offerer = transport.open(LinkId(2 * number), Role::Offerer, offerer_events);
    let answerer = transport.open(LinkId(2 * number + 1), Role::Answerer, answerer_events);
    if !number.is_multiple_of(5) {
        let pass = async {
            let mut up = 0;
            loop {
                let (event, other) = tokio::select! {
                    Some(event) = offerer_out.recv() => (event, &answerer),
                    Some(event) = answerer_out.recv() => (event, &offerer),
                };
                match event {
                    TransportEvent::Signal { signal, .. } => other.apply(signal),
                    TransportEvent::Up { .. } => {
                        up += 1;
                        if up == 2 {
                            let frame = Bytes::from_static(b"hello");
                            offerer.send(Channel::Messages, frame).unwrap();
                        }
                    }
                    TransportEvent::Frame { .. } => return,
                    TransportEvent::Down { .. } => panic!("the link fails"),
                    _ => {}
                }
            }
        };
        timeout(PATIENCE, pass).await.expect("a frame arrives");
    }
    timeout(PATIENCE, offerer.close(Duration::from_secs(1)))
        .await
        .expect("it closes");
    if number.is_multiple_of(3) {
        drop(answerer);
    } else {
        timeout(PATIENCE, answerer.close(Duration::ZERO))
            .await
            .expect("it closes");
    }
}
