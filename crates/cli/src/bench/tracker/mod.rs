//! `circlet bench tracker`: what joins, signals and idle clients cost a tracker, and what the same
//! costs a bare relay. Both are processes of their own, so that what is measured is theirs alone.

pub mod bare;
mod clients;
mod server;

use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::time::sleep;

use crate::args::BenchArgs;
use crate::descriptors;
use crate::failure::Failure;
use crate::output::print;
use crate::statistics::{percentile, tenths};
use clients::Clients;
use server::Server;

/// Bytes of a session description: an offer of a browser with its first candidates.
const SIZE: usize = 1500;

/// Clients unless told otherwise: as many as other signalling servers were measured with.
const CLIENTS: usize = 4000;

/// Descriptors of this process that are no clients.
const SPARE_DESCRIPTORS: usize = 64;

/// Time for a server to come to rest before its memory is looked at.
const REST: Duration = Duration::from_secs(3);

/// Signals under way at a time when as many as possible are sent.
const WINDOW: usize = 256;

/// Signals sent one at a time, and those before them that are not counted.
const SAMPLES: usize = 5000;
const UNCOUNTED: usize = 200;

/// The last line of `circlet bench tracker`.
#[derive(Debug, Serialize)]
struct Figures {
    bench: &'static str,
    clients: usize,
    size: usize,
    seconds: usize,
    #[serde(flatten)]
    tracker: Costs,
    /// The same of a bare relay: tokio-tungstenite and serde_json, no signatures, no rooms.
    plain: Costs,
}

/// What a server took.
#[derive(Debug, Serialize)]
struct Costs {
    joins_per_s: f64,
    /// From the TCP connection to the welcome; the tracker checks a signature and assigns.
    cpu_us_per_join: f64,
    relays: usize,
    relays_per_s: f64,
    cpu_us_per_relay: f64,
    /// From the sender's hand to the receiver's, sent one at a time.
    relay_us_p50: f64,
    relay_us_p99: f64,
    /// The same with as many under way as go.
    loaded_us_p50: f64,
    loaded_us_p99: f64,
    /// Resident memory beyond that of the empty server, at rest after joining.
    bytes_per_client: f64,
    /// The same at rest after the signals.
    bytes_per_client_after: f64,
}

/// Measures, prints a table, and the figures as one JSON object in the last line.
pub async fn run(args: BenchArgs, json: bool) -> Result<(), Failure> {
    let limit = descriptors::raise_limit().unwrap_or(1024);
    let most = limit.saturating_sub(SPARE_DESCRIPTORS);
    let clients = args.clients.unwrap_or(CLIENTS.min(most));
    if clients > most {
        return Err(Failure::failed(format!(
            "{clients} clients need more open files than the {limit} allowed; raise ulimit -n or \
             give --clients {most}"
        )));
    }
    let size = args.size.unwrap_or(SIZE);
    let time = Duration::from_secs(args.seconds as u64);
    let tracker = measure(Server::tracker(clients).await?, clients, size, time).await?;
    let plain = measure(Server::bare().await?, clients, size, time).await?;
    let figures = Figures {
        bench: "tracker",
        clients,
        size,
        seconds: args.seconds,
        tracker,
        plain,
    };
    if !json {
        for line in figures.lines() {
            print(&line);
        }
    }
    // No map with keys that are not text, no failing serializer: this cannot fail.
    print(&serde_json::to_string(&figures).unwrap_or_default());
    Ok(())
}

async fn measure(
    server: Server,
    count: usize,
    size: usize,
    time: Duration,
) -> Result<Costs, Failure> {
    let empty = server.usage()?;
    let start = Instant::now();
    let mut clients = Clients::join(server.addr(), count, size).await?;
    let joining = start.elapsed();
    let joined = server.usage()?;
    sleep(REST).await;
    let idle = server.usage()?;
    let alone = clients.one_at_a_time(SAMPLES, UNCOUNTED, time).await?;
    let before = server.usage()?;
    let start = Instant::now();
    let loaded = clients.many_at_a_time(WINDOW, time).await?;
    let relaying = start.elapsed();
    let after = server.usage()?;
    sleep(REST).await;
    let at_rest = server.usage()?;
    drop(clients);

    let each = |cpu: Duration, count: usize| tenths(cpu.as_secs_f64() * 1e6 / count.max(1) as f64);
    let per_s = |count: usize, time: Duration| (count as f64 / time.as_secs_f64()).round();
    let memory = |now: u64| (now.saturating_sub(empty.memory) as f64 / count.max(1) as f64).round();
    let us = |times: &[f64], percent| tenths(percentile(times, percent).unwrap_or_default());
    Ok(Costs {
        joins_per_s: per_s(count, joining),
        cpu_us_per_join: each(joined.cpu - empty.cpu, count),
        relays: loaded.len(),
        relays_per_s: per_s(loaded.len(), relaying),
        cpu_us_per_relay: each(after.cpu - before.cpu, loaded.len()),
        relay_us_p50: us(&alone, 50),
        relay_us_p99: us(&alone, 99),
        loaded_us_p50: us(&loaded, 50),
        loaded_us_p99: us(&loaded, 99),
        bytes_per_client: memory(idle.memory),
        bytes_per_client_after: memory(at_rest.memory),
    })
}

impl Figures {
    /// The table for people.
    fn lines(&self) -> Vec<String> {
        let (ours, bare) = (&self.tracker, &self.plain);
        let row = |name: &str, ours: f64, bare: f64| {
            let ratio = if bare > 0.0 { ours / bare } else { 0.0 };
            format!("  {name:<32} {ours:>10.1} {bare:>10.1} {ratio:>7.2}")
        };
        vec![
            format!(
                "tracker, {} clients, signals of {} bytes, {} s each",
                self.clients, self.size, self.seconds
            ),
            format!(
                "  {:<32} {:>10} {:>10} {:>7}",
                "", "circlet", "bare relay", "ratio"
            ),
            row("joins per second", ours.joins_per_s, bare.joins_per_s),
            row(
                "CPU us per join",
                ours.cpu_us_per_join,
                bare.cpu_us_per_join,
            ),
            row("signals per second", ours.relays_per_s, bare.relays_per_s),
            row(
                "CPU us per signal",
                ours.cpu_us_per_relay,
                bare.cpu_us_per_relay,
            ),
            row("us alone, median", ours.relay_us_p50, bare.relay_us_p50),
            row("us alone, p99", ours.relay_us_p99, bare.relay_us_p99),
            row("us loaded, median", ours.loaded_us_p50, bare.loaded_us_p50),
            row("us loaded, p99", ours.loaded_us_p99, bare.loaded_us_p99),
            row(
                "bytes per idle client",
                ours.bytes_per_client,
                bare.bytes_per_client,
            ),
            row(
                "bytes per client, after signals",
                ours.bytes_per_client_after,
                bare.bytes_per_client_after,
            ),
        ]
    }
}
