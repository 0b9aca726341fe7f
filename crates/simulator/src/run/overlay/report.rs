//! What goes into the results at the end.

use std::collections::BTreeSet;

use circlet_core::ring::Member as _;
use circlet_core::{Timestamp, Topology};

use super::{OverlayWorld, name, open_links, seconds};
use crate::results::{Fate, MemberLoad, MemberRow, Members, Results, Traffic};
use crate::scale::{FlowKind, State, Tally};
use crate::world::NodeIndex;

impl OverlayWorld<'_> {
    /// How many rings the successors form, the first living one of each member's list (Zave 2017,
    /// "best successor").
    pub(super) fn rings(&self) -> u64 {
        // Who comes back is in others' lists before it has joined again.
        let directory = &self.shared.joined;
        let next: Vec<_> = directory
            .iter()
            .map(|slot| {
                let overlay = self.kernel.actor(slot.index())?.overlay();
                if !overlay.is_member() {
                    return None;
                }
                let rank = |member| directory.binary_search(member).ok();
                match overlay.successors() {
                    [] => rank(slot),
                    successors => successors.iter().find_map(rank),
                }
            })
            .collect();
        // The walk that has come by, from 1.
        let mut walks = vec![0u32; next.len()];
        let mut rings = 0;
        for (start, walk) in (0..next.len()).zip(1..) {
            let mut at = Some(start);
            while let Some(here) = at.filter(|here| walks[*here] == 0) {
                walks[here] = walk;
                at = next[here];
            }
            rings += u64::from(at.is_some_and(|here| walks[here] == walk));
        }
        rings
    }

    pub(super) fn fill_traffic(&self, results: &mut Results) {
        let mut tally = Tally::default();
        for part in self.kernel.tallies() {
            tally.merge(part);
        }
        for class in self.scenario.classes() {
            let mut traffic = Traffic {
                class: class.to_owned(),
                ..Traffic::default()
            };
            for (flow, counts) in self.shared.flows.iter().zip(&tally.flows) {
                if flow.class.name() != class {
                    continue;
                }
                traffic.sent += counts.sent;
                traffic.delivered += counts.delivered;
                traffic.out_of_order += counts.out_of_order;
                traffic.lost += match flow.kind {
                    // Whoever has not got it by the end.
                    FlowKind::Broadcast => counts.expected.saturating_sub(counts.delivered),
                    FlowKind::Lookup | FlowKind::Unicast => counts.lost,
                };
                traffic.expected += match flow.kind {
                    FlowKind::Broadcast => counts.expected,
                    FlowKind::Lookup | FlowKind::Unicast => counts.delivered + counts.lost,
                };
                traffic.hops.merge(&counts.hops);
                traffic.latency_us.merge(&counts.latency_us);
                traffic.timeouts.merge(&counts.timeouts);
                for (interval, (expected, delivered)) in (0..).zip(&counts.intervals) {
                    let began = Timestamp::from_micros(interval * self.shared.interval);
                    let window = self.windows.partition_point(|end| *end <= began);
                    if let Some(sample) = results.series.get_mut(window) {
                        sample.expected += expected;
                        sample.delivered += delivered;
                    }
                }
            }
            results.traffic.push(traffic);
        }
    }

    pub(super) fn fill_load(
        &self,
        origin: Timestamp,
        centre: Option<NodeIndex>,
        results: &mut Results,
    ) {
        let total = u64::from(self.kernel.len());
        let load = &mut results.load;
        load.uplink_limit_bits_per_s = self.shared.uplink.map(|bytes| bytes * 8);
        let listed: BTreeSet<u64> = Members::sample(total).collect();
        results.members.total = total;
        let mut busiest: Option<MemberLoad> = None;
        for index in 0..self.kernel.len() {
            let Some(row) = self.row(origin, index) else {
                continue;
            };
            if row.fate == Fate::Living {
                load.links.record(row.links);
            }
            if self.shared.measure_load {
                load.uplink_bits_per_s.record(row.uplink_bits_per_s);
                load.downlink_bits_per_s.record(row.downlink_bits_per_s);
                let is_more = |most: &MemberLoad| row.uplink_bits_per_s > most.uplink_bits_per_s;
                if busiest.as_ref().is_none_or(is_more) {
                    busiest = Some(member_load(&row));
                }
            }
            if listed.contains(&u64::from(index)) {
                results.members.rows.push(row);
            }
        }
        load.busiest = busiest;
        let hub = (self.shared.topology == Topology::Star).then_some(NodeIndex(self.shared.hub));
        let centre = hub.or(centre).and_then(|centre| self.row(origin, centre.0));
        load.centre = centre
            .filter(|_| self.shared.measure_load)
            .as_ref()
            .map(member_load);
    }

    pub(super) fn row(&self, origin: Timestamp, index: u32) -> Option<MemberRow> {
        let host = self.kernel.actor(index)?;
        let life = self.lives.get(index as usize).copied().unwrap_or_default();
        let now = self.kernel.now();
        let load = host.load(&self.shared, now);
        let lived = life
            .ended
            .unwrap_or(now)
            .since(life.started.max(self.measured_since));
        let rate = |now: u64, before: u64| {
            let bits = u128::from(now - before) * 8 * 1_000_000;
            u64::try_from(bits / lived.as_micros().max(1)).unwrap_or(u64::MAX)
        };
        Some(MemberRow {
            member: name(index),
            position: self.shared.slot(index).position().to_string(),
            started_s: seconds(life.started, origin),
            ended_s: life.ended.map(|at| seconds(at, origin)),
            fate: match host.state() {
                State::Living => Fate::Living,
                State::Crashed => Fate::Crashed,
                State::Left => Fate::Left,
            },
            links: open_links(host.overlay()),
            bytes_sent: load.sent - life.before.0,
            bytes_received: load.received - life.before.1,
            uplink_bits_per_s: rate(load.sent, life.before.0),
            downlink_bits_per_s: rate(load.received, life.before.1),
            sent: load.messages_sent,
            received: load.messages_received,
            forwarded: load.forwarded,
        })
    }
}

fn member_load(row: &MemberRow) -> MemberLoad {
    MemberLoad {
        member: row.member.clone(),
        uplink_bits_per_s: row.uplink_bits_per_s,
        downlink_bits_per_s: row.downlink_bits_per_s,
        links: row.links,
    }
}
