//! A timing wheel: pending events in the order of their keys, at a cost that hardly depends on
//! how many there are.
//!
//! Time is cut into buckets of 128 us. The next 8,192 buckets, about a second, have a list each,
//! to which an event is appended without comparing it with any other; a bucket is sorted when its
//! time comes. What is due later waits in coarser lists of 131 ms, ordered in a map of those that
//! are not empty, and is dealt out to the buckets when the first of them is reached. (Brown,
//! "Calendar queues", 1988; Varghese and Lauck, "Hashed and hierarchical timing wheels", 1987.)
//!
//! All lists are chains of chunks of one slab, and a chunk is free again as soon as its bucket
//! is done: memory follows the number of pending events, not how often each bucket was used.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};
use std::num::NonZeroU32;

use circlet_core::Timestamp;

use super::memory::prefetch;
use super::ranks::{BUCKET_BITS, Rank, Ranks, order};
use super::slab::Slab;

/// Buckets of the near wheel.
const NEAR_BUCKETS: u64 = 8192;
/// Buckets that share a list of the far wheel, as a power of two.
const FAR_BITS: u32 = 10;
/// Bytes of a chunk, roughly: enough to be read in one go, and little enough that a bucket with
/// a single event wastes little.
const CHUNK_BYTES: usize = 640;
/// How many chunks before its own a chunk's memory is asked for.
const CHUNKS_AHEAD: usize = 3;
/// No chunk.
const NONE: u32 = u32::MAX;

/// Bits of a source, so that what orders the events of one bucket (7 bits of time, the source,
/// 32 bits of sequence) is one number.
pub const SOURCE_BITS: u32 = 25;

/// Who schedules an event: a number below 2^25.
pub type Source = u32;

/// How many events a source has scheduled, from one on. It may wrap around after 2^32 - 1 of
/// them, if no event of then is still pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sequence(NonZeroU32);

impl Sequence {
    /// The first one.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// Gives this one and goes on to the next.
    #[inline]
    pub fn take(&mut self) -> Self {
        let this = *self;
        self.0 = self.0.checked_add(1).unwrap_or(NonZeroU32::MIN);
        this
    }

    pub(super) const fn number(self) -> u32 {
        self.0.get()
    }
}

/// When an event is due: by time, then by who scheduled it, then by that one's own count. So the
/// order says nothing about how the events came into the queue, and is the same however many
/// threads filled it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// When it happens.
    pub time: Timestamp,
    /// Who scheduled it.
    pub source: Source,
    /// Which of that one's events it is.
    pub sequence: Sequence,
}

/// An event whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due<E> {
    /// When, and whose.
    pub key: Key,
    /// Whom it happens to.
    pub target: u32,
    /// What happens.
    pub event: E,
}

/// Pending events.
#[derive(Debug)]
pub struct Wheel<E> {
    /// Entries, in chunks of [`Self::CHUNK`].
    slab: Slab<Entry<E>>,
    /// For each chunk the next one of its chain.
    chains: Vec<u32>,
    /// The chain of unused chunks.
    free: u32,
    /// A list for each of the buckets from `cursor` on, at their number modulo [`NEAR_BUCKETS`].
    near: Box<[List]>,
    /// A bit for each of them that is not empty.
    occupied: Box<[u64]>,
    /// Lists of `1 << FAR_BITS` buckets each, by their number.
    far: BTreeMap<u64, List>,
    /// Number of the first bucket that was not opened yet; all in `near` are from here on.
    cursor: u64,
    /// When the open bucket begins.
    start: Timestamp,
    /// What was in the open bucket when it was opened.
    open: Ranks,
    /// Where it is.
    opened: List,
    /// What was pushed into buckets before `cursor`: the open one, as a rule.
    early: BinaryHeap<Reverse<Early<E>>>,
    len: usize,
}

/// An event in the slab. What is not here follows from the list it is in.
#[derive(Debug)]
struct Entry<E> {
    /// The lowest bits of its time.
    time: u32,
    source: Source,
    sequence: Sequence,
    target: u32,
    event: E,
}

/// A chain of chunks: all of them full, but the first one.
#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    /// Entries in the first chunk.
    len: u32,
}

/// An event of the open bucket that is to come.
#[derive(Debug)]
pub struct Upcoming<'a, E> {
    /// Whom it happens to.
    pub target: u32,
    entry: &'a Option<Entry<E>>,
}

impl<'a, E> Upcoming<'a, E> {
    /// Asks for the memory of the event.
    #[inline]
    pub fn fetch(&self) {
        prefetch(self.entry, 0..size_of_val(self.entry));
    }

    /// The event.
    #[inline]
    #[must_use]
    pub fn event(&self) -> Option<&'a E> {
        self.entry.as_ref().map(|entry| &entry.event)
    }
}

#[derive(Debug)]
struct Early<E>(Due<E>);

impl<E> Default for Wheel<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> Wheel<E> {
    /// Entries of a chunk, a power of two.
    const CHUNK: u32 = match CHUNK_BYTES / size_of::<Option<Entry<E>>>() {
        0 => 1,
        fit => 1 << fit.ilog2(),
    };

    /// As if its chunk were full, so that a push asks one question only.
    const EMPTY: List = List {
        first: NONE,
        len: Self::CHUNK,
    };

    /// An empty one, at time zero.
    #[must_use]
    pub fn new() -> Self {
        Self {
            slab: Slab::new(),
            chains: Vec::new(),
            free: NONE,
            near: vec![Self::EMPTY; NEAR_BUCKETS as usize].into_boxed_slice(),
            occupied: vec![0; NEAR_BUCKETS as usize / 64].into_boxed_slice(),
            far: BTreeMap::new(),
            cursor: 0,
            start: Timestamp::ZERO,
            open: Ranks::default(),
            opened: Self::EMPTY,
            early: BinaryHeap::new(),
            len: 0,
        }
    }

    /// Pending events.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True if nothing is pending.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that its events take, free chunks included.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.slab.len() * size_of::<Option<Entry<E>>>()
            + self.chains.len() * size_of::<u32>()
            + self.open.memory()
            + self.early.capacity() * size_of::<Early<E>>()
            + self.near.len() * size_of::<List>()
    }

    /// Adds an event. The source must be below 2^[`SOURCE_BITS`], and no two keys the same.
    #[inline]
    pub fn push(&mut self, key: Key, target: u32, event: E) {
        debug_assert!(key.source >> SOURCE_BITS == 0, "source {}", key.source);
        let micros = key.time.as_micros();
        let bucket = micros >> BUCKET_BITS;
        self.len += 1;
        if bucket < self.cursor {
            self.early.push(Reverse(Early(Due { key, target, event })));
            return;
        }
        let entry = Entry {
            // Cut off on purpose: the bucket's number tells the rest.
            time: micros as u32,
            source: key.source,
            sequence: key.sequence,
            target,
            event,
        };
        if bucket - self.cursor < NEAR_BUCKETS {
            self.push_near(bucket, entry);
        } else {
            self.push_far(bucket, entry);
        }
    }

    /// Takes the first event, if it is due before `end`.
    #[inline]
    pub fn pop_before(&mut self, end: Timestamp) -> Option<Due<E>> {
        loop {
            if let Some(due) = self.pop_open(end) {
                return Some(due);
            }
            if !self.open_before(end) {
                return None;
            }
        }
    }

    /// Takes the first event of the open bucket, if there is one and it is due before `end`.
    #[inline]
    pub fn pop_open(&mut self, end: Timestamp) -> Option<Due<E>> {
        let rank = self.open.first();
        if !self.early.is_empty()
            && let Some(due) = self.pop_early(rank, end)
        {
            return Some(due);
        }
        let rank = rank?;
        let time = self.time_of(rank);
        if time >= end {
            return None;
        }
        let entry = self.slab.take(rank.entry)?;
        self.open.advance();
        self.len -= 1;
        let key = Key {
            time,
            source: entry.source,
            sequence: entry.sequence,
        };
        Some(Due {
            key,
            target: entry.target,
            event: entry.event,
        })
    }

    /// Once the open bucket is empty: opens the next one that is not, if it begins before `end`.
    pub fn open_before(&mut self, end: Timestamp) -> bool {
        if self.open.first().is_some() || !self.early.is_empty() {
            return false;
        }
        self.close();
        loop {
            let near = self.next_near();
            let far = self.far.first_key_value().map(|(slot, _)| *slot);
            let end_bucket = end.as_micros().div_ceil(1 << BUCKET_BITS);
            match (near, far) {
                (near, Some(slot)) if near.is_none_or(|bucket| slot << FAR_BITS <= bucket) => {
                    if slot << FAR_BITS >= end_bucket {
                        return false;
                    }
                    self.deal_out(slot);
                }
                (Some(bucket), _) if bucket < end_bucket => {
                    self.open(bucket);
                    return true;
                }
                _ => return false,
            }
        }
    }

    /// The event that comes `ahead` events after the first one of the open bucket, without those
    /// that came into it late.
    #[inline]
    #[must_use]
    pub fn upcoming(&self, ahead: usize) -> Option<Upcoming<'_, E>> {
        let rank = self.open.ahead(ahead)?;
        Some(Upcoming {
            target: rank.target,
            entry: self.slab.get(rank.entry),
        })
    }

    /// A time that no pending event is before, `None` if there is none: the very time of the
    /// first one if it is in the open bucket, else when its list begins.
    #[must_use]
    pub fn none_before(&self) -> Option<Timestamp> {
        let open = self.open.first().map(|rank| self.time_of(rank));
        let early = self.early.peek().map(|Reverse(early)| early.0.key.time);
        if let Some(first) = open.into_iter().chain(early).min() {
            return Some(first);
        }
        let near = self.next_near();
        let far = self.far.first_key_value().map(|(slot, _)| slot << FAR_BITS);
        let bucket = near.into_iter().chain(far).min()?;
        Some(Timestamp::from_micros(bucket << BUCKET_BITS))
    }

    fn time_of(&self, rank: Rank) -> Timestamp {
        Timestamp::from_micros(self.start.as_micros() + rank.offset())
    }

    /// The first of `early`, if it comes before the first of the open ones and before `end`.
    #[cold]
    fn pop_early(&mut self, open: Option<Rank>, end: Timestamp) -> Option<Due<E>> {
        let key = self.early.peek()?.0.0.key;
        let later = open.is_none_or(|rank| {
            let time = self.time_of(rank);
            (key.time, order(key)) < (time, rank.order)
        });
        if !later || key.time >= end {
            return None;
        }
        self.len -= 1;
        self.early.pop().map(|Reverse(early)| early.0)
    }

    /// The first bucket of the near wheel that is not empty.
    fn next_near(&self) -> Option<u64> {
        let words = self.occupied.len();
        let start = (self.cursor % NEAR_BUCKETS) as usize;
        // The word of the cursor comes twice: its upper part first, its lower part last.
        let found = (0..=words).find_map(|step| {
            let index = (start / 64 + step) % words;
            let mask = u64::MAX << (start % 64);
            let word = self.occupied[index]
                & match step {
                    0 => mask,
                    _ if step == words => !mask,
                    _ => u64::MAX,
                };
            (word != 0).then(|| index as u64 * 64 + u64::from(word.trailing_zeros()))
        })?;
        let ahead = found.wrapping_sub(self.cursor) % NEAR_BUCKETS;
        Some(self.cursor + ahead)
    }

    #[inline]
    fn push_near(&mut self, bucket: u64, entry: Entry<E>) {
        let slot = (bucket % NEAR_BUCKETS) as usize;
        let mut list = self.near[slot];
        if list.len == Self::CHUNK {
            self.occupied[slot / 64] |= 1 << (slot % 64);
            list = self.longer(list);
        }
        self.slab.put(list.first * Self::CHUNK + list.len, entry);
        list.len += 1;
        self.near[slot] = list;
    }

    #[inline(never)]
    fn push_far(&mut self, bucket: u64, entry: Entry<E>) {
        let slot = bucket >> FAR_BITS;
        let mut list = self.far.get(&slot).copied().unwrap_or(Self::EMPTY);
        if list.len == Self::CHUNK {
            list = self.longer(list);
        }
        self.slab.put(list.first * Self::CHUNK + list.len, entry);
        list.len += 1;
        self.far.insert(slot, list);
    }

    /// The list with an empty chunk before the others.
    #[inline(never)]
    fn longer(&mut self, list: List) -> List {
        let chunk = if self.free == NONE {
            let chunk = self.chains.len() as u32;
            self.chains.push(NONE);
            self.slab.grow(Self::CHUNK);
            chunk
        } else {
            let chunk = self.free;
            self.free = self.chains[chunk as usize];
            chunk
        };
        self.chains[chunk as usize] = list.first;
        List {
            first: chunk,
            len: 0,
        }
    }

    /// Moves a list of the far wheel to the buckets it is of.
    fn deal_out(&mut self, slot: u64) {
        let Some(list) = self.far.remove(&slot) else {
            return;
        };
        // Nothing is before it. (What is pushed before it now, is early.)
        self.cursor = self.cursor.max(slot << FAR_BITS);
        let (mut chunk, mut len) = (list.first, list.len);
        while chunk != NONE {
            for index in chunk * Self::CHUNK..chunk * Self::CHUNK + len {
                if let Some(entry) = self.slab.take(index) {
                    let bucket_in_slot = u64::from(entry.time >> BUCKET_BITS) % (1 << FAR_BITS);
                    self.push_near((slot << FAR_BITS) + bucket_in_slot, entry);
                }
            }
            let next = self.chains[chunk as usize];
            self.chains[chunk as usize] = self.free;
            self.free = chunk;
            (chunk, len) = (next, Self::CHUNK);
        }
    }

    /// Opens a bucket of the near wheel.
    fn open(&mut self, bucket: u64) {
        let slot = (bucket % NEAR_BUCKETS) as usize;
        self.cursor = bucket + 1;
        self.start = Timestamp::from_micros(bucket << BUCKET_BITS);
        self.opened = std::mem::replace(&mut self.near[slot], Self::EMPTY);
        self.occupied[slot / 64] &= !(1 << (slot % 64));
        let (mut chunk, mut len) = (self.opened.first, self.opened.len);
        let mut coming = chunk;
        for _ in 0..CHUNKS_AHEAD {
            coming = self.fetch(coming);
        }
        while chunk != NONE {
            coming = self.fetch(coming);
            let start = chunk * Self::CHUNK;
            let entries = self.slab.within(start..start + len);
            for (index, entry) in (start..).zip(entries) {
                if let Some(entry) = entry {
                    let key = Key {
                        time: Timestamp::from_micros(u64::from(entry.time)),
                        source: entry.source,
                        sequence: entry.sequence,
                    };
                    self.open.push(Rank {
                        order: order(key),
                        entry: index,
                        target: entry.target,
                    });
                }
            }
            (chunk, len) = (self.chains[chunk as usize], Self::CHUNK);
        }
        self.open.sort();
    }

    /// Asks for the memory of a chunk; gives the one after it.
    fn fetch(&self, chunk: u32) -> u32 {
        if chunk == NONE {
            return NONE;
        }
        let start = chunk * Self::CHUNK;
        let entries = self.slab.within(start..start + Self::CHUNK);
        prefetch(entries, 0..CHUNK_BYTES);
        self.chains[chunk as usize]
    }

    /// Frees the chunks of the open bucket.
    fn close(&mut self) {
        self.open.clear();
        let mut chunk = std::mem::replace(&mut self.opened, Self::EMPTY).first;
        while chunk != NONE {
            let next = self.chains[chunk as usize];
            self.chains[chunk as usize] = self.free;
            self.free = chunk;
            chunk = next;
        }
    }
}

impl<E> PartialEq for Early<E> {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl<E> Eq for Early<E> {}

impl<E> PartialOrd for Early<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Early<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::random::{Concern, Stream};

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    fn key(time: u64, source: Source, sequence: u32) -> Key {
        let sequence = Sequence(NonZeroU32::new(sequence).unwrap());
        Key {
            time: at(time),
            source,
            sequence,
        }
    }

    fn drain(wheel: &mut Wheel<&'static str>) -> Vec<&'static str> {
        let end = at(u64::MAX);
        std::iter::from_fn(|| wheel.pop_before(end).map(|due| due.event)).collect()
    }

    #[test]
    fn order_is_time_then_source_then_sequence_however_filled() {
        let events = [
            (key(1, 0, 1), "a1 first"),
            (key(1, 0, 2), "a1 second"),
            (key(1, 7, 1), "b1"),
            (key(2, 0, 3), "a2"),
            (key(127, 0, 4), "a127"),
            (key(128, 0, 5), "a128"),
            (key(3_600_000_000, 0, 6), "an hour later"),
            (key(u64::MAX - 1, 0, 7), "never"),
        ];
        let names: Vec<_> = events.iter().map(|(_, name)| *name).collect();
        for turn in 0..events.len() {
            let mut wheel = Wheel::new();
            for step in 0..events.len() {
                let (key, name) = events[(turn + step * 3) % events.len()];
                wheel.push(key, 0, name);
            }
            assert_eq!(wheel.len(), events.len());
            assert_eq!(drain(&mut wheel), names);
            assert!(wheel.is_empty());
        }
    }

    #[test]
    fn nothing_is_due_before_the_end() {
        let mut wheel = Wheel::new();
        wheel.push(key(1_000, 0, 1), 5, "first");
        wheel.push(key(1_001, 0, 2), 6, "second");
        assert!(wheel.none_before().unwrap() <= at(1_000));
        assert_eq!(wheel.pop_before(at(1_000)), None);
        let due = wheel.pop_before(at(1_001)).unwrap();
        assert_eq!((due.key, due.target), (key(1_000, 0, 1), 5));
        assert_eq!(wheel.none_before(), Some(at(1_001)));
        // Into the open bucket, and before it.
        wheel.push(key(1_000, 0, 3), 7, "between");
        wheel.push(key(3, 0, 4), 7, "early");
        assert_eq!(wheel.none_before(), Some(at(3)));
        assert_eq!(wheel.pop_before(at(3)), None);
        assert_eq!(drain(&mut wheel), ["early", "between", "second"]);
        assert_eq!(wheel.none_before(), None);
    }

    /// Compares with a sorted map: pushes from the time reached on, at all distances, between
    /// pops.
    #[test]
    fn agrees_with_a_sorted_map() {
        let mut random = Stream::fork(1, Concern::Scenario, 0);
        let mut wheel = Wheel::new();
        let mut map = BTreeMap::new();
        let (mut now, mut sequence) = (0, 0);
        for round in 0..200_000 {
            // The number of pending events swings.
            if random.below(1_000) < 300 + 300 * (round / 20_000 % 2) {
                let distance = 1 << random.below(36);
                let source = random.below(4) as Source;
                sequence += 1;
                let key = key(now + random.below(distance), source, sequence);
                wheel.push(key, source, sequence);
                map.insert(key, sequence);
            } else {
                let ahead = 1 << random.below(32);
                let end = at(now + random.below(ahead));
                let expected = map.first_key_value().filter(|(key, _)| key.time < end);
                let expected = expected.map(|(key, event)| (*key, *event));
                if let Some((key, _)) = expected {
                    assert!(wheel.none_before().unwrap() <= key.time);
                    map.remove(&key);
                }
                let due = wheel.pop_before(end);
                assert_eq!(due.map(|due| (due.key, due.event)), expected);
                now = due.map_or(end.as_micros(), |due| due.key.time.as_micros());
            }
            assert_eq!(wheel.len(), map.len());
        }
        assert!(sequence > 50_000);
    }

    #[test]
    fn what_comes_next_is_known_within_the_open_bucket() {
        let mut wheel = Wheel::new();
        for sequence in 1..=3 {
            wheel.push(key(10, 0, sequence), sequence, ());
        }
        let target = |wheel: &Wheel<_>, ahead| wheel.upcoming(ahead).map(|it| it.target);
        assert_eq!(target(&wheel, 0), None);
        assert!(wheel.open_before(at(11)));
        assert_eq!(
            [0, 1, 2, 3].map(|ahead| target(&wheel, ahead)),
            [Some(1), Some(2), Some(3), None]
        );
        wheel.pop_open(at(11)).unwrap();
        assert_eq!(target(&wheel, 0), Some(2));
    }

    /// A thousand events go round for many turns of the wheel, through all of its parts.
    #[test]
    fn memory_follows_what_is_pending() {
        let mut random = Stream::fork(2, Concern::Scenario, 0);
        let mut wheel = Wheel::new();
        let mut push = |wheel: &mut Wheel<[u64; 3]>, now, sequence| {
            let time = now + random.below(3_000_000);
            wheel.push(key(time, 0, sequence), 0, [0; 3]);
        };
        for sequence in 1..=1_000 {
            push(&mut wheel, 0, sequence);
        }
        for sequence in 1_001..200_000 {
            let due = wheel.pop_before(at(u64::MAX)).unwrap();
            push(&mut wheel, due.key.time.as_micros(), sequence);
        }
        // One chunk each, at worst, and some for the bucket that was open.
        assert!(wheel.chains.len() < 1_100, "{} chunks", wheel.chains.len());
    }

    #[test]
    fn an_event_takes_little() {
        // 16 bytes beside the event itself, and what says whether it is there, for nothing.
        assert_eq!(size_of::<Option<Entry<[u64; 3]>>>(), 40);
        assert_eq!(size_of::<Option<Entry<[u64; 4]>>>(), 48);
        let mut wheel = Wheel::new();
        let mut random = Stream::fork(3, Concern::Scenario, 0);
        for sequence in 1..=1_000_000 {
            wheel.push(key(random.below(1_000_000), 0, sequence), 0, [0_u64; 3]);
        }
        assert!(wheel.memory() < 48 * wheel.len(), "{}", wheel.memory());
    }

    #[test]
    fn sequences_begin_again_rather_than_end() {
        let mut sequence = Sequence::FIRST;
        assert_eq!(sequence.take(), Sequence::FIRST);
        let mut last = Sequence(NonZeroU32::MAX);
        assert_eq!(last.take(), Sequence(NonZeroU32::MAX));
        assert_eq!(last, Sequence::FIRST);
        assert!(sequence > Sequence::FIRST);
    }
}
