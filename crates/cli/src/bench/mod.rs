//! `circlet bench`: what messages cost on this machine.

mod broadcast;
mod meter;
mod overlay;
mod plain;
mod tracker;
mod udp;

use std::time::Duration;

use serde::Serialize;

use crate::args::{BenchArgs, BenchKind};
use crate::failure::Failure;
use crate::output::print;
use crate::statistics::{percentile, tenths};
use overlay::Members;

/// Bytes of a message unless told otherwise: what fills whole packets.
const SIZE: usize = 16_240;

/// The last line of `circlet bench link` and `relay`.
#[derive(Debug, Serialize)]
struct Figures {
    bench: &'static str,
    size: usize,
    seconds: usize,
    mb_per_s: f64,
    messages_per_s: f64,
    /// One way, per link crossed, of messages sent one at a time.
    hop_us_p50: f64,
    hop_us_p99: f64,
    cpu_s_per_gb: f64,
    /// The same way over channels of the `webrtc` crate and nothing else.
    plain_mb_per_s: f64,
    /// The same way over UDP sockets, one thread, 1200 bytes a packet.
    udp_mb_per_s: f64,
    /// What passing on adds to a message's time: one way over two links, less that over one.
    #[serde(skip_serializing_if = "Option::is_none")]
    added_us_p50: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    added_us_p99: Option<f64>,
    plain_cpu_s_per_gb: f64,
    udp_cpu_s_per_gb: f64,
}

/// Measures, prints a table, and the figures as one JSON object in the last line.
pub async fn run(args: BenchArgs, json: bool, verbose: u8) -> Result<(), Failure> {
    let links: u16 = match args.what {
        BenchKind::Link => 1,
        BenchKind::Relay => 2,
        BenchKind::Broadcast => return broadcast::run(args, json, verbose).await,
        BenchKind::BroadcastMember => return broadcast::member::run().await,
        BenchKind::Tracker => return tracker::run(args, json).await,
        BenchKind::BareRelay => return tracker::bare::serve().await,
    };
    let size = args.size.unwrap_or(SIZE);
    let time = Duration::from_secs(args.seconds as u64);

    let mut members = Members::start(links).await?;
    let near = members.latency(1, size, time).await?;
    let far = match args.what {
        BenchKind::Relay => Some(members.latency(links, size, time).await?),
        _ => None,
    };
    let overlay = members.throughput(links, size, time).await?;
    members.end().await;
    let plain = plain::throughput(links, size, time).await?;
    let udp = udp::throughput(links, time)
        .map_err(|error| Failure::failed(format!("plain UDP on loopback: {error}")))?;

    let us = |times: &[f64], percent| percentile(times, percent).unwrap_or_default();
    let per_hop = |percent| us(far.as_ref().unwrap_or(&near), percent) / f64::from(links);
    let added = |percent| {
        let far = far.as_ref()?;
        Some(tenths(us(far, percent) - us(&near, percent)))
    };
    let figures = Figures {
        bench: args.what.name(),
        size,
        seconds: args.seconds,
        mb_per_s: tenths(overlay.mb_per_s),
        messages_per_s: overlay.messages_per_s.round(),
        hop_us_p50: tenths(per_hop(50)),
        hop_us_p99: tenths(per_hop(99)),
        cpu_s_per_gb: tenths(overlay.cpu_s_per_gb),
        plain_mb_per_s: tenths(plain.mb_per_s),
        udp_mb_per_s: tenths(udp.mb_per_s),
        added_us_p50: added(50),
        added_us_p99: added(99),
        plain_cpu_s_per_gb: tenths(plain.cpu_s_per_gb),
        udp_cpu_s_per_gb: tenths(udp.cpu_s_per_gb),
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

impl Figures {
    /// The table for people.
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!(
                "{} of {} bytes, {} s each",
                self.bench, self.size, self.seconds
            ),
            format!(
                "  circlet       {:>8.1} MB/s {:>6.1} CPU s per GB, {:.0} messages/s",
                self.mb_per_s, self.cpu_s_per_gb, self.messages_per_s
            ),
            format!(
                "  bare webrtc   {:>8.1} MB/s {:>6.1} CPU s per GB",
                self.plain_mb_per_s, self.plain_cpu_s_per_gb
            ),
            format!(
                "  plain UDP     {:>8.1} MB/s {:>6.1} CPU s per GB",
                self.udp_mb_per_s, self.udp_cpu_s_per_gb
            ),
            format!(
                "  time per hop  {:>8.1} us median, {:.1} us p99",
                self.hop_us_p50, self.hop_us_p99
            ),
        ];
        if let (Some(p50), Some(p99)) = (self.added_us_p50, self.added_us_p99) {
            lines.push(format!(
                "  added by the member between {p50:.1} us at the median, {p99:.1} us at p99"
            ));
        }
        lines
    }
}
