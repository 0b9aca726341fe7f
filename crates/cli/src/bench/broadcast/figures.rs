//! What comes of it all.

use std::time::Duration;

use circlet_core::Topology;
use serde::Serialize;

use super::protocol::Total;
use crate::statistics::{grouped, hundredths, percentile, tenths};

/// A run, as it was seen by its members.
pub struct Run {
    pub size: usize,
    pub topology: Topology,
    pub rate: Option<usize>,
    /// That each member was to send.
    pub messages: Vec<usize>,
    pub killed: usize,
    /// Links that were open when it began.
    pub links: usize,
    /// What each has seen; `None` of the dead.
    pub totals: Vec<Option<Box<Total>>>,
}

/// The last line of `circlet bench broadcast`. Messages are those of members that live to the
/// end, and what is counted of them is what has come to members that live to the end.
#[derive(Debug, Serialize)]
pub struct Figures {
    bench: &'static str,
    size: usize,
    /// From the first message's call to the last one's arrival.
    seconds: f64,
    /// Content that each member was given.
    mb_per_s: f64,
    /// Messages that have come to all, per second.
    messages_per_s: f64,
    nodes: usize,
    topology: Topology,
    links: usize,
    senders: usize,
    /// What was asked for; `null` is as many as go.
    rate: Option<usize>,
    messages: usize,
    killed: usize,
    /// Each message counts once for each member that is to have it.
    expected: usize,
    delivered: usize,
    lost: usize,
    duplicated: usize,
    out_of_order: usize,
    /// Dropped because an application did not read.
    missed: u64,
    /// From the sender's call to the receiver's hand.
    latency_ms_p50: Option<f64>,
    latency_ms_p99: Option<f64>,
    latency_ms_max: Option<f64>,
    /// The longest time in which a member was given nothing of a sender that was not done.
    longest_gap_ms: f64,
    /// The longest time between two calls of a sender.
    longest_pause_ms: f64,
    /// Frames that came to a member again.
    repeats: u64,
    /// CPU time of all members, per 1,000 messages.
    cpu_s_per_1000: f64,
    /// The most resident memory of a member.
    peak_mb: Option<f64>,
}

impl Figures {
    /// Puts together what was seen.
    pub fn new(run: Run) -> Self {
        let lives = |member: usize| run.totals[member].is_some();
        let nodes = run.totals.len();
        let messages = (0..nodes).filter(|&from| lives(from));
        let messages: usize = messages.map(|from| run.messages[from]).sum();
        let mut figures = Self {
            bench: "broadcast",
            size: run.size,
            seconds: 0.0,
            mb_per_s: 0.0,
            messages_per_s: 0.0,
            nodes,
            topology: run.topology,
            links: run.links,
            senders: run.messages.iter().filter(|count| **count > 0).count(),
            rate: run.rate,
            messages,
            killed: run.killed,
            expected: 0,
            delivered: 0,
            lost: 0,
            duplicated: 0,
            out_of_order: 0,
            missed: 0,
            latency_ms_p50: None,
            latency_ms_p99: None,
            latency_ms_max: None,
            longest_gap_ms: 0.0,
            longest_pause_ms: 0.0,
            repeats: 0,
            cpu_s_per_1000: 0.0,
            peak_mb: None,
        };
        let mut latency_ms = Vec::new();
        let (mut first, mut last) = (Duration::MAX, Duration::ZERO);
        let mut cpu = 0.0;
        for (at, total) in run.totals.iter().enumerate() {
            let Some(total) = total else {
                continue;
            };
            let tally = &total.tally;
            for (from, stream) in tally.senders.iter().enumerate() {
                figures.duplicated += stream.duplicated;
                figures.out_of_order += stream.out_of_order;
                if from != at && lives(from) {
                    figures.expected += run.messages[from];
                    figures.delivered += stream.received;
                    figures.longest_gap_ms = figures.longest_gap_ms.max(stream.longest_gap_ms);
                    last = last.max(stream.last_came);
                }
            }
            first = first.min(tally.first_sent);
            latency_ms.extend(tally.latency_us.iter().map(|us| f64::from(*us) / 1e3));
            cpu += total.cpu_s;
            figures.repeats += total.repeats;
            figures.missed += total.missed;
            figures.duplicated += tally.foreign;
            figures.longest_pause_ms = figures.longest_pause_ms.max(total.longest_pause_ms);
            if let Some(bytes) = total.peak_bytes {
                let peak = tenths(bytes as f64 / 1e6);
                figures.peak_mb = Some(figures.peak_mb.unwrap_or(0.0).max(peak));
            }
        }
        figures.lost = figures.expected.saturating_sub(figures.delivered);
        latency_ms.sort_by(f64::total_cmp);
        figures.latency_ms_p50 = percentile(&latency_ms, 50).map(hundredths);
        figures.latency_ms_p99 = percentile(&latency_ms, 99).map(hundredths);
        figures.latency_ms_max = percentile(&latency_ms, 100).map(hundredths);
        let seconds = last.saturating_sub(first).as_secs_f64().max(1e-9);
        let complete = figures.delivered as f64 / figures.expected.max(1) as f64;
        figures.messages_per_s = (messages as f64 * complete / seconds).round();
        figures.mb_per_s = hundredths(figures.messages_per_s * run.size as f64 / 1e6);
        figures.seconds = hundredths(seconds);
        figures.longest_gap_ms = tenths(figures.longest_gap_ms);
        figures.longest_pause_ms = tenths(figures.longest_pause_ms);
        let all: usize = run.messages.iter().sum();
        figures.cpu_s_per_1000 = hundredths(cpu * 1e3 / all.max(1) as f64);
        figures
    }

    /// Whether every message came once, in order, to all.
    pub fn is_clean(&self) -> bool {
        [self.lost, self.duplicated, self.out_of_order] == [0; 3]
    }

    /// The table for people.
    pub fn lines(&self) -> Vec<String> {
        let ms = |time: Option<f64>| time.unwrap_or_default();
        let rate = match self.rate {
            Some(rate) => format!("{} a second", grouped(rate)),
            None => "as fast as it goes".to_owned(),
        };
        let mut lines = vec![
            format!(
                "{} broadcasts of {} bytes from {} of {} processes, {}, {} links, {rate}",
                grouped(self.messages),
                self.size,
                self.senders,
                self.nodes,
                self.topology,
                self.links,
            ),
            format!(
                "  arrived       {} of {}, {} lost, {} twice, {} out of order",
                grouped(self.delivered),
                grouped(self.expected),
                self.lost,
                self.duplicated,
                self.out_of_order
            ),
            format!(
                "  rate          {:>8.0} messages/s to all, {:.2} MB/s to each",
                self.messages_per_s, self.mb_per_s
            ),
            format!(
                "  time          {:>8.1} ms median, {:.1} ms p99, {:.1} ms at most",
                ms(self.latency_ms_p50),
                ms(self.latency_ms_p99),
                ms(self.latency_ms_max)
            ),
            format!(
                "  longest gap   {:>8.1} ms ({:.1} ms between two calls of a sender)",
                self.longest_gap_ms, self.longest_pause_ms
            ),
            format!(
                "  cost          {:>8.2} CPU s per 1,000 messages in all; {} frames came again",
                self.cpu_s_per_1000,
                grouped(usize::try_from(self.repeats).unwrap_or(usize::MAX))
            ),
        ];
        if self.killed > 0 {
            lines.push(format!(
                "  killed        {:>8} in the middle; what is above is of the living",
                self.killed
            ));
        }
        lines
    }
}
