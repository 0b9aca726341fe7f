//! Presence: who is here, by each member's own signed word.
//!
//! A record is told on joining, on change, and now and then; everybody passes a new one on once.
//! Who is found dead is struck off on its neighbours' word, and comes back with a new record if
//! it lives (the refutation of SWIM, DSN 2002, section 4.2).

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Bound;

use super::defence::Allowance;
use super::{Channel, Event, InputError, LinkId, Node, TimerKind};
use crate::identity::{Incarnation, NodeId, Purpose, Signature};
use crate::overlay::Overlay;
use crate::ring::Place;
use crate::time::Timestamp;
use crate::wire::{FrameBuf, Gone, NodeKind, Presence, PresenceRequest};

/// The least time between two records of the same session, refutations excepted: each one is
/// passed on over every link of the overlay, and neighbours change all the time under churn.
const LEAST_INTERVAL: core::time::Duration = core::time::Duration::from_secs(30);

/// Members on each side that presence suggests as neighbours.
const SUGGESTED: usize = 2;

/// Members asked for their records on joining.
const ASKED_AT_FIRST: u32 = 2;

/// Offers in a row without an answer after which a member is no hub until it is heard of again:
/// all who had links to it may have died with it, and nobody says so.
pub(super) const MAX_UNANSWERED: u32 = 2;

/// The last records of those who have gone that are kept.
const MAX_GONE: usize = 1024;

/// Records that a member may tell at a time, beyond the one now and then: refutations, neighbours that
/// have changed, and sessions one right after the other.
const MAX_TOLD: u32 = 6;

/// The least time between two refutations of the own death.
const REFUTE_INTERVAL: core::time::Duration = core::time::Duration::from_secs(1);

/// Which of a member's records is the later one.
type Version = (Incarnation, u32);

fn version(presence: &Presence) -> Version {
    (presence.incarnation, presence.revision)
}

#[derive(Debug)]
struct Record {
    presence: Presence,
    heard: Timestamp,
    /// How often it has told of itself lately.
    told: Allowance,
    /// When it last showed that it lives after others had struck it off.
    refuted: Option<Timestamp>,
    /// Offers to it since then that nobody has answered.
    unanswered: u32,
}

/// What is remembered of somebody who has gone.
#[derive(Debug)]
struct Grave {
    /// Only a later record brings it back.
    last: Version,
    /// Until then.
    until: Timestamp,
    told: Allowance,
}

#[derive(Debug)]
pub(super) struct Members {
    name: String,
    kind: NodeKind,
    revision: u32,
    announced: Option<Timestamp>,
    /// How many members were asked for their records.
    asked: u32,
    /// This node's own record, as last told.
    own: Option<Presence>,
    /// The last records of those who have gone, until when they are not to come back.
    gone: BTreeMap<Place, Grave>,
    records: BTreeMap<Place, Record>,
}

impl Members {
    pub(super) fn new(name: String, kind: NodeKind) -> Self {
        Self {
            name,
            kind,
            revision: 0,
            announced: None,
            asked: 0,
            own: None,
            gone: BTreeMap::new(),
            records: BTreeMap::new(),
        }
    }

    /// How many others are known.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// All others that are known.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        self.records.keys().copied()
    }

    /// Whether a member is known, and answers as far as it was asked.
    pub(super) fn answers(&self, member: Place) -> bool {
        let record = self.records.get(&member);
        record.is_some_and(|record| record.unanswered < MAX_UNANSWERED)
    }

    /// Counts offers that a member has not answered; says whether that is the last one of it.
    pub(super) fn note_unanswered(&mut self, member: Place, offers: u32) -> bool {
        let Some(record) = self.records.get_mut(&member) else {
            return false;
        };
        let answered = record.unanswered < MAX_UNANSWERED;
        record.unanswered = record.unanswered.saturating_add(offers);
        answered && record.unanswered >= MAX_UNANSWERED
    }

    /// A member has shown that it is there; says whether that is news.
    pub(super) fn note_answer(&mut self, member: Place) -> bool {
        let record = self.records.get_mut(&member);
        let unanswered = record.map(|record| core::mem::take(&mut record.unanswered));
        unanswered.is_some_and(|unanswered| unanswered >= MAX_UNANSWERED)
    }

    /// Whether a member is known.
    pub(super) fn knows(&self, member: Place) -> bool {
        self.records.contains_key(&member)
    }

    /// Those who may be the hub of a star, the one to be chosen least.
    pub(super) fn willing_hubs(&self) -> impl Iterator<Item = (Incarnation, NodeId, Place)> {
        let records = self.records.values().map(|record| &record.presence);
        let willing = records.filter(|presence| presence.may_be_hub);
        willing.map(|presence| (presence.incarnation, presence.node.id, presence.node))
    }

    /// How many of those who may be the hub do not answer.
    pub(super) fn unanswering_hubs(&self) -> usize {
        let hubs = self.willing_hubs();
        hubs.filter(|(.., place)| !self.answers(*place)).count()
    }

    pub(super) fn own_name(&self) -> &str {
        &self.name
    }

    pub(super) fn own_kind(&self) -> NodeKind {
        self.kind
    }

    pub(super) fn list(&self) -> Vec<(NodeId, String, NodeKind)> {
        self.records
            .values()
            .map(|record| &record.presence)
            .map(|presence| (presence.node.id, presence.name.clone(), presence.kind))
            .collect()
    }

    /// The members next to `me` on both sides, as far as they are known.
    fn near(&self, me: Place) -> Vec<Place> {
        let after = self
            .records
            .range((Bound::Excluded(me), Bound::Unbounded))
            .map(|(place, _)| *place);
        let before = self.records.range(..me).map(|(place, _)| *place);
        let clockwise = after.clone().chain(before.clone()).take(SUGGESTED);
        let counter_clockwise = before.rev().chain(after.rev()).take(SUGGESTED);
        clockwise.chain(counter_clockwise).collect()
    }
}

impl Node {
    /// Tells everybody that this node is here.
    pub(super) fn announce_presence(&mut self, now: Timestamp) {
        self.members.announced = Some(now);
        self.timers
            .set(TimerKind::Presence, now + self.config.presence_interval);
        self.tell_presence(false);
    }

    /// The ring neighbours are others than before: worth a new record, soon.
    pub(super) fn presence_changed(&mut self) {
        if let Some(announced) = self.members.announced {
            self.timers
                .set_by(TimerKind::Presence, announced + LEAST_INTERVAL);
        }
    }

    pub(super) fn send_leaving_presence(&mut self) {
        if self.members.announced.is_some() {
            self.tell_presence(true);
        }
    }

    fn tell_presence(&mut self, leaving: bool) {
        self.members.revision += 1;
        let heads = [self.overlay.successors(), self.overlay.predecessors()];
        let mut presence = Presence {
            node: self.me,
            incarnation: self.incarnation,
            revision: self.members.revision,
            name: self.members.name.clone(),
            kind: self.members.kind,
            leaving,
            may_be_hub: self.config.may_be_hub,
            hub: self.hub.named(),
            neighbours: heads
                .iter()
                .filter_map(|list| list.first().map(|place| place.id))
                .collect(),
            urls: Vec::new(),
            signature: Signature::from_bytes([0; 64]),
        };
        let signed = presence.signed_bytes(&self.room);
        presence.signature = self.identity.sign(Purpose::Presence, &signed);
        self.members.own = Some(presence.clone());
        self.pass_on(presence, None);
    }

    fn pass_on<F>(&mut self, frame: F, except: Option<LinkId>)
    where
        crate::wire::Frame: From<F>,
    {
        let frame = FrameBuf::from(crate::wire::Frame::from(frame));
        let frame = self.prepare(frame);
        self.flood(Channel::Control, &frame, except);
    }

    pub(super) fn on_presence_timer(&mut self, now: Timestamp) {
        let timeout = self.config.presence_timeout;
        let silent: Vec<_> = self
            .members
            .records
            .iter()
            .filter(|(_, record)| now.since(record.heard) >= timeout)
            .map(|(place, _)| *place)
            .collect();
        for place in silent {
            self.forget_member(now, place, None);
        }
        self.members.gone.retain(|_, grave| now < grave.until);
        if self.overlay.is_member() {
            self.announce_presence(now);
        }
    }

    pub(super) fn on_presence(
        &mut self,
        now: Timestamp,
        from_link: LinkId,
        presence: Presence,
    ) -> Result<(), InputError> {
        let place = presence.node;
        if place == self.me {
            // Of an earlier session, or our own come back.
            if presence.incarnation > self.incarnation {
                if !self.is_signed_presence(&presence) {
                    return Err(self.on_bad_signature(now, from_link));
                }
                self.end(Event::Superseded {
                    by: presence.incarnation,
                });
            }
            return Ok(());
        }
        let known = self.members.records.get(&place);
        let buried = self.members.gone.get(&place);
        let latest = known
            .map(|record| version(&record.presence))
            .max(buried.map(|grave| grave.last));
        if latest.is_some_and(|latest| latest >= version(&presence)) {
            return Ok(());
        }
        let is_full = self.members.len() >= self.config.max_presence;
        if known.is_none() && !presence.leaving && is_full {
            return Ok(());
        }
        if !self.is_signed_presence(&presence) {
            return Err(self.on_bad_signature(now, from_link));
        }
        let mut told = known
            .map(|record| record.told)
            .or_else(|| buried.map(|grave| grave.told))
            .unwrap_or_default();
        let (is_known, is_refutation) = (known.is_some(), buried.is_some());
        if presence.leaving {
            self.fail_sends_to(place.id);
            // Those who leave and have not been heard of concern nobody.
            if is_known || is_refutation {
                self.forget_member(now, place, Some(version(&presence)));
                self.pass_on(presence, Some(from_link));
            }
            return Ok(());
        }
        if !told.take(now, self.config.presence_pace, MAX_TOLD, 1) {
            self.counters.throttled += 1;
            return Err(InputError::Throttled);
        }
        let is_news = known.is_none_or(|record| {
            record.presence.name != presence.name
                || record.presence.incarnation != presence.incarnation
        });
        let is_later_session =
            known.is_some_and(|record| record.presence.incarnation < presence.incarnation);
        if is_refutation || is_later_session {
            // A later record of somebody believed dead is its own word that it lives.
            self.overlay.on_alive(now, place);
        }
        self.members.gone.remove(&place);
        self.learn_hub(presence.hub);
        self.pass_on(presence.clone(), Some(from_link));
        let (name, kind) = (presence.name.clone(), presence.kind);
        let record = Record {
            presence,
            heard: now,
            told,
            refuted: is_refutation.then_some(now),
            unanswered: 0,
        };
        self.members.records.insert(place, record);
        self.members_changed(now);
        if is_news {
            self.event(Event::PeerJoined {
                peer: place.id,
                name,
                kind,
            });
        }
        self.tell_overlay(now, Overlay::refresh);
        Ok(())
    }

    fn is_signed_presence(&self, presence: &Presence) -> bool {
        let signed = presence.signed_bytes(&self.room);
        presence
            .node
            .id
            .verify(Purpose::Presence, &signed, &presence.signature)
    }

    /// The session that a member has told of.
    pub(super) fn known_session(&self, member: Place) -> Option<Incarnation> {
        let record = self.members.records.get(&member)?;
        Some(record.presence.incarnation)
    }

    /// Whether a later session of `peer` than `incarnation` is known of.
    pub(super) fn is_outlived(&self, peer: Place, incarnation: Option<Incarnation>) -> bool {
        let known = self.members.records.get(&peer);
        known.is_some_and(|record| Some(record.presence.incarnation) > incarnation)
            && incarnation.is_some()
    }

    /// Asks a member for everybody it knows of: the first few, and strangers later, who may
    /// belong to a ring that this one has just met. Who has begun a later session is one, too: it
    /// may have told of itself before it met anybody.
    pub(super) fn greet(&mut self, id: LinkId) {
        let Some(link) = self.links.get(id).filter(|_| self.leads_to_member(id)) else {
            return;
        };
        let is_stranger = self
            .known_session(link.peer)
            .is_none_or(|known| link.incarnation.is_some_and(|its| its > known));
        if self.overlay.is_member() && (is_stranger || self.members.asked < ASKED_AT_FIRST) {
            self.members.asked += 1;
            self.send(id, Channel::Control, PresenceRequest {});
        }
    }

    pub(super) fn on_presence_request(&mut self, now: Timestamp, id: LinkId) {
        let records: Vec<_> = self
            .members
            .records
            .values()
            .map(|record| &record.presence)
            .chain(&self.members.own)
            .cloned()
            .collect();
        if !self.spend(now, id, records.len()) {
            return;
        }
        for presence in records {
            self.send(id, Channel::Control, presence);
        }
    }

    /// A neighbour is dead or has left: others strike it off.
    pub(super) fn tell_gone(
        &mut self,
        now: Timestamp,
        peer: Place,
        incarnation: Option<Incarnation>,
    ) {
        let Some(record) = self.members.records.get(&peer) else {
            return;
        };
        let (known, revision) = version(&record.presence);
        if incarnation.is_some_and(|incarnation| known > incarnation) {
            return;
        }
        self.forget_member(now, peer, None);
        let gone = Gone {
            node: peer,
            incarnation: known,
            revision,
        };
        self.pass_on(gone, None);
    }

    pub(super) fn on_gone(&mut self, now: Timestamp, from_link: LinkId, gone: &Gone) {
        if gone.node == self.me {
            // Others strike off what they know, which is our last record or an earlier one.
            if gone.incarnation >= self.incarnation && gone.revision >= self.members.revision {
                let last = self.members.announced.unwrap_or_default();
                if now.since(last) >= REFUTE_INTERVAL {
                    self.announce_presence(now);
                } else {
                    self.timers
                        .set_by(TimerKind::Presence, last + REFUTE_INTERVAL);
                }
            }
            return;
        }
        // First-hand knowledge is better: probe, and tell only what that finds.
        if self.links.is_open_to(gone.node.id) {
            self.on_hint_gone(now, gone.node.id);
            return;
        }
        // Nor is somebody struck off again who has just shown that it lives.
        let told = (gone.incarnation, gone.revision);
        let may_be_true = |record: &Record| {
            let refuted = record.refuted.map(|at| now.since(at));
            let is_old_news = refuted.is_some_and(|since| since < self.config.quarantine);
            version(&record.presence) <= told && !is_old_news
        };
        if self
            .members
            .records
            .get(&gone.node)
            .is_some_and(may_be_true)
        {
            self.pass_on(gone.clone(), Some(from_link));
            self.forget_member(now, gone.node, None);
        }
    }

    /// The overlay takes who is near for hints, and wants direct links as the topology has them.
    fn members_changed(&mut self, now: Timestamp) {
        let near = self.members.near(self.me);
        self.overlay.set_known(near, self.members.len());
        self.update_direct(now);
    }

    /// Strikes a member off; only a record later than the last one known, or than `last`, will
    /// bring it back.
    fn forget_member(&mut self, now: Timestamp, place: Place, last: Option<Version>) {
        let record = self.members.records.remove(&place);
        let known = record.as_ref().map(|record| version(&record.presence));
        if let Some(last) = last.max(known) {
            let gone = &mut self.members.gone;
            if gone.len() >= MAX_GONE
                && let Some(first) = gone.iter().min_by_key(|(_, grave)| grave.until)
            {
                let first = *first.0;
                gone.remove(&first);
            }
            let grave = Grave {
                last,
                until: now + self.config.presence_timeout,
                told: record
                    .as_ref()
                    .map(|record| record.told)
                    .unwrap_or_default(),
            };
            gone.insert(place, grave);
        }
        self.members_changed(now);
        if let Some(record) = record {
            self.event(Event::PeerLeft {
                peer: place.id,
                name: record.presence.name,
            });
        }
    }
}
