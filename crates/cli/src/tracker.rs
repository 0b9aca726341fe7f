//! `circlet tracker`: helps members find each other.

use std::net::SocketAddr;

use circlet_core::Rate;
use circlet_tracker::{Limits, ServeError, Tracker, TrackerConfig};
use serde::Serialize;
use tracing::warn;

use crate::args::TrackerArgs;
use crate::failure::Failure;
use crate::output::print;
use crate::{descriptors, signals};

/// Descriptors that are no connections: standard streams, event queue, listener, files.
const SPARE_DESCRIPTORS: usize = 32;

/// Connections for pages that are left even if there are few descriptors.
const LEAST_PAGES: usize = 32;

#[derive(Serialize)]
#[serde(tag = "event", rename = "listening")]
struct Listening {
    addr: SocketAddr,
    url: String,
}

/// Runs a tracker until SIGINT or SIGTERM; a second one ends it without telling its clients.
pub async fn run(args: TrackerArgs, json: bool) -> Result<(), Failure> {
    let (config, limits) = settings(&args);
    let mut builder = Tracker::builder()
        .bind(args.listen)
        .config(config)
        .limits(limits);
    match (args.tls_cert, args.tls_key) {
        (Some(cert), Some(key)) => builder = builder.tls(cert, key),
        (None, None) => {}
        _ => {
            return Err(Failure::Usage(
                "--tls-cert and --tls-key are given both or not at all".to_owned(),
            ));
        }
    }
    let tracker = builder.serve().await.map_err(advise)?;
    let (addr, url) = (tracker.local_addr(), tracker.url());
    // Whoever is told that it listens may end it at once.
    let stop = signals::end();
    if json {
        // No map with keys that are not text, no failing serializer: this cannot fail.
        print(&serde_json::to_string(&Listening { addr, url }).unwrap_or_default());
    } else {
        print(&format!(
            "listening on {addr}; nodes enter with --tracker {url}"
        ));
    }
    stop.await;
    tokio::select! {
        () = tracker.shutdown() => Ok(()),
        () = signals::end() => Err(Failure::failed("ended before all clients were told")),
    }
}

fn settings(args: &TrackerArgs) -> (TrackerConfig, Limits) {
    let mut limits = Limits {
        address_connections: args.max_per_address,
        limit_loopback: args.limit_loopback,
        ..Limits::default()
    };
    if args.max_per_address == 0 {
        limits.address_handshakes = 0;
        limits.address_connects = Rate::UNLIMITED;
        limits.address_messages = Rate::UNLIMITED;
    }
    let max_clients = afford(args.max_clients, &mut limits);
    let config = TrackerConfig {
        max_clients,
        max_rooms: args.max_rooms,
        max_members: args.max_members,
        ..TrackerConfig::default()
    };
    (config, limits)
}

/// As many of the clients wished for as there are descriptors for, once the limit is as high as
/// it goes; pages get by with what is left. So descriptors never run out, and whoever comes when
/// there is no room is told.
fn afford(wished: usize, limits: &mut Limits) -> usize {
    let Some(descriptors) = descriptors::raise_limit() else {
        return wished;
    };
    let connections = descriptors.saturating_sub(SPARE_DESCRIPTORS);
    let clients = wished.min(connections.saturating_sub(LEAST_PAGES).max(1));
    if clients < wished {
        warn!(
            descriptors,
            clients,
            "the limit on open files is too low for {wished} clients; raise it: ulimit -Hn"
        );
    }
    limits.pages = limits
        .pages
        .min(connections.saturating_sub(clients).max(LEAST_PAGES));
    clients
}

/// Starts a tracker on a free port of this machine, for as long as it is held.
pub async fn start_local() -> Result<Tracker, Failure> {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    Tracker::builder()
        .bind(listen)
        .serve()
        .await
        .map_err(advise)
}

fn advise(error: ServeError) -> Failure {
    match error {
        ServeError::Bind { .. } => {
            Failure::failed(format!("{error}; name another address with --listen"))
        }
        ServeError::Tls(_) => Failure::failed(format!("{error}; see --tls-cert and --tls-key")),
        ServeError::Entropy(_) => Failure::failed(error),
    }
}
