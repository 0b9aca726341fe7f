//! What the demo says.

use circlet_core::Topology;
use serde::Serialize;

use super::idle::Idle;
use super::ledger::Figures;
use crate::args::DemoArgs;
use crate::statistics::{grouped, percentile, tenths};

/// The last line of `circlet demo --json`.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub demo: Numbers,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Numbers {
    pub nodes: usize,
    pub topology: Topology,
    /// From the start of the last process until every member's neighbours are right.
    pub ring_closed_ms: f64,
    pub messages: usize,
    pub delivered: usize,
    pub lost: usize,
    pub duplicated: usize,
    pub killed: usize,
    /// From each kill until every living member's neighbours are right.
    pub repair_ms: Vec<f64>,
    pub forwarded_share: f64,
    pub hop_us_p50: Option<f64>,
    pub hop_us_p99: Option<f64>,
    pub disordered: usize,
    pub foreign: usize,
    pub messages_per_s: f64,
    pub seed: u64,
    /// Whether all members were in one process.
    pub in_process: bool,
    /// From the first start to the last; members of one process are started a few at a time.
    pub started_ms: f64,
    /// What they took with nothing to do, if they were left alone.
    pub idle: Option<Idle>,
}

impl Numbers {
    /// Puts together what was measured.
    pub fn new(
        args: &DemoArgs,
        ring_closed_ms: f64,
        repair_ms: Vec<f64>,
        figures: &Figures,
        seconds: f64,
    ) -> Self {
        let share = |part: usize| part as f64 / figures.messages.max(1) as f64;
        Self {
            nodes: args.nodes,
            topology: args.topology.topology,
            ring_closed_ms: tenths(ring_closed_ms),
            messages: figures.messages,
            delivered: figures.delivered,
            lost: figures.lost,
            duplicated: figures.duplicated,
            killed: repair_ms.len(),
            repair_ms: repair_ms.into_iter().map(tenths).collect(),
            forwarded_share: (share(figures.forwarded) * 1e4).round() / 1e4,
            hop_us_p50: percentile(&figures.hop_us, 50).map(tenths),
            hop_us_p99: percentile(&figures.hop_us, 99).map(tenths),
            disordered: figures.disordered,
            foreign: figures.foreign,
            messages_per_s: (figures.messages as f64 / seconds.max(1e-9)).round(),
            seed: args.seed,
            in_process: args.in_process,
            started_ms: 0.0,
            idle: None,
        }
    }

    /// Whether every message arrived once, in order, where it was sent to.
    pub fn is_clean(&self) -> bool {
        self.delivered == self.messages
            && [self.lost, self.duplicated, self.disordered, self.foreign] == [0; 4]
    }

    /// The lines for people.
    pub fn lines(&self) -> Vec<String> {
        if self.messages == 0 {
            return Vec::new();
        }
        let mut lines = vec![
            entry(
                "messages",
                &format!(
                    "{} of {} delivered, {} lost, {} twice, {} out of order",
                    grouped(self.delivered),
                    grouped(self.messages),
                    self.lost,
                    self.duplicated,
                    self.disordered
                ),
            ),
            entry(
                "rate",
                &format!("{} messages/s", grouped(self.messages_per_s as usize)),
            ),
            entry(
                "forwarded",
                &format!(
                    "{:.1} % took two hops or more",
                    self.forwarded_share * 100.0
                ),
            ),
        ];
        if let (Some(p50), Some(p99)) = (self.hop_us_p50, self.hop_us_p99) {
            let text =
                format!("{p50:.0} us median, {p99:.0} us p99, pipes to the processes included");
            lines.push(entry("time per hop", &text));
        }
        lines
    }
}

/// One line of the report.
pub fn entry(name: &str, text: &str) -> String {
    format!("  {name:<14}{text}")
}

/// Draws `labels`, in ring order, as a loop: clockwise, from the top down on the right side and
/// up again on the left.
pub fn ring(labels: &[String]) -> Vec<String> {
    let width = labels.iter().map(|label| label.chars().count()).max();
    let Some(width) = width else {
        return Vec::new();
    };
    let pad = |label: &str| format!("{label:<width$}");
    let blank = " ".repeat(width);
    if let [alone] = labels {
        return vec![format!("  ( {} )", pad(alone))];
    }
    let right = labels.len().div_ceil(2);
    let edge = "-".repeat(width / 2 + 5);
    let mut lines = vec![format!("  {blank:.half$}.{edge}>{edge}.", half = width / 2)];
    for row in 0..right {
        let down = &labels[row];
        // The last row's left side follows its right side; an odd ring has none there.
        let up = labels.len() - 1 - row;
        let up = if up > row {
            pad(&labels[up])
        } else {
            format!("{:<width$}", " ".repeat(width / 2) + "|")
        };
        lines.push(format!("  {up}          {}", pad(down)));
    }
    lines.push(format!("  {blank:.half$}'{edge}<{edge}'", half = width / 2));
    lines
        .iter()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(members: usize) -> String {
        let labels: Vec<String> = (1..=members).map(|n| format!("n{n} {n:04x}")).collect();
        ring(&labels).join("\n")
    }

    #[test]
    fn a_ring_is_drawn_as_a_loop() {
        assert_eq!(picture(0), "");
        assert_eq!(picture(1), "  ( n1 0001 )");
        assert_eq!(
            picture(4),
            "     .-------->--------.\n\
             \x20 n4 0004          n1 0001\n\
             \x20 n3 0003          n2 0002\n\
             \x20    '--------<--------'"
        );
        assert_eq!(
            picture(3),
            "     .-------->--------.\n\
             \x20 n3 0003          n1 0001\n\
             \x20    |             n2 0002\n\
             \x20    '--------<--------'"
        );
    }

    #[test]
    fn the_last_line_has_its_fields_in_order() {
        let args = DemoArgs {
            nodes: 8,
            in_process: false,
            idle: None,
            messages: 4,
            kill: 1,
            topology: crate::args::TopologyFlag {
                topology: Topology::SmallWorld,
            },
            stay: false,
            ring_links: 1,
            long_links: 1,
            seed: 7,
        };
        let figures = Figures {
            messages: 4,
            delivered: 4,
            lost: 0,
            duplicated: 0,
            disordered: 0,
            foreign: 0,
            forwarded: 3,
            hop_us: vec![10.0, 20.04],
        };
        let demo = Numbers::new(&args, 12.34, vec![1000.0], &figures, 2.0);
        assert!(demo.is_clean());
        assert_eq!(
            serde_json::to_string(&Outcome { demo }).unwrap(),
            r#"{"demo":{"nodes":8,"topology":"small-world","ring_closed_ms":12.3,"messages":4,"delivered":4,"lost":0,"duplicated":0,"killed":1,"repair_ms":[1000.0],"forwarded_share":0.75,"hop_us_p50":10.0,"hop_us_p99":20.0,"disordered":0,"foreign":0,"messages_per_s":2.0,"seed":7,"in_process":false,"started_ms":0.0,"idle":null}}"#
        );
        let mut broken = Numbers::new(&args, 1.0, vec![], &figures, 1.0);
        broken.lost = 1;
        assert!(!broken.is_clean());
    }
}
