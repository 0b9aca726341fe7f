//! `circlet tracker`: helps members find each other.

use std::net::SocketAddr;

use circlet_tracker::{ServeError, Tracker};
use serde::Serialize;

use crate::args::TrackerArgs;
use crate::failure::Failure;
use crate::output::print;
use crate::signals;

#[derive(Serialize)]
#[serde(tag = "event", rename = "listening")]
struct Listening {
    addr: SocketAddr,
    url: String,
}

/// Runs a tracker until SIGINT or SIGTERM.
pub async fn run(args: TrackerArgs, json: bool) -> Result<(), Failure> {
    let mut builder = Tracker::builder().bind(args.listen);
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
    if json {
        // No map with keys that are not text, no failing serializer: this cannot fail.
        print(&serde_json::to_string(&Listening { addr, url }).unwrap_or_default());
    } else {
        print(&format!(
            "listening on {addr}; nodes enter with --tracker {url}"
        ));
    }
    signals::end().await;
    tracker.shutdown().await;
    Ok(())
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
