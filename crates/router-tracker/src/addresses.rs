//! Who is here from where: limits per network address.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use circlet_core::{Bucket, Timestamp};
use tokio::time::Instant;

use crate::limits::Limits;

/// Addresses that are remembered; at 150 bytes each some 10 MB. Above that those are forgotten
/// that have no connection and have been quiet, and if that is not enough, all without one.
const MAX_ADDRESSES: usize = 65_536;

/// Of a message, the bytes that cost as much as a message.
const BYTES_PER_UNIT: usize = 4096;

/// All addresses.
pub(crate) struct Addresses {
    limits: Arc<Limits>,
    epoch: Instant,
    table: Mutex<BTreeMap<IpAddr, Arc<Address>>>,
}

#[derive(Debug, Default)]
struct Address {
    connections: AtomicUsize,
    /// Those of them that have not said yet what they want.
    handshakes: AtomicUsize,
    buckets: Mutex<Buckets>,
}

#[derive(Debug, Default)]
struct Buckets {
    connects: Bucket,
    messages: Bucket,
}

/// Why an address is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TooMuch {
    Connections,
    Handshakes,
    Connects,
}

impl fmt::Display for TooMuch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connections => "this address has all the connections that one may have",
            Self::Handshakes => "this address has too many connections that say nothing",
            Self::Connects => "this address connects too often",
        })
    }
}

/// One connection of an address; dropping it makes room for another.
#[derive(Debug)]
pub(crate) struct Guest {
    limits: Arc<Limits>,
    epoch: Instant,
    /// `None` if it is not limited.
    address: Option<Arc<Address>>,
    is_shaking: bool,
}

impl Addresses {
    pub(crate) fn new(limits: Arc<Limits>) -> Self {
        Self {
            limits,
            epoch: Instant::now(),
            table: Mutex::default(),
        }
    }

    /// One more connection from `ip`.
    pub(crate) fn admit(&self, ip: IpAddr) -> Result<Guest, TooMuch> {
        let ip = ip.to_canonical();
        if ip.is_loopback() && !self.limits.limit_loopback {
            return Ok(self.stranger());
        }
        let address = self.address(network(ip));
        let limit = |limit| if limit == 0 { usize::MAX } else { limit };
        if address.connections.load(Ordering::Relaxed) >= limit(self.limits.address_connections) {
            return Err(TooMuch::Connections);
        }
        if address.handshakes.load(Ordering::Relaxed) >= limit(self.limits.address_handshakes) {
            return Err(TooMuch::Handshakes);
        }
        let rate = self.limits.address_connects;
        let taken = lock(&address.buckets)
            .connects
            .take(since(self.epoch), rate, 1);
        taken.map_err(|_| TooMuch::Connects)?;
        address.connections.fetch_add(1, Ordering::Relaxed);
        address.handshakes.fetch_add(1, Ordering::Relaxed);
        Ok(self.guest(Some(address)))
    }

    /// A connection that is not limited.
    pub(crate) fn stranger(&self) -> Guest {
        self.guest(None)
    }

    fn guest(&self, address: Option<Arc<Address>>) -> Guest {
        Guest {
            limits: Arc::clone(&self.limits),
            epoch: self.epoch,
            address,
            is_shaking: true,
        }
    }

    fn address(&self, network: IpAddr) -> Arc<Address> {
        let mut table = lock(&self.table);
        if let Some(address) = table.get(&network) {
            return Arc::clone(address);
        }
        if table.len() >= MAX_ADDRESSES {
            let now = since(self.epoch);
            table.retain(|_, address| !address.is_forgettable(now));
        }
        if table.len() >= MAX_ADDRESSES {
            table.retain(|_, address| address.is_here());
        }
        Arc::clone(table.entry(network).or_default())
    }
}

impl Address {
    fn is_here(&self) -> bool {
        self.connections.load(Ordering::Relaxed) > 0
    }

    fn is_forgettable(&self, now: Timestamp) -> bool {
        let buckets = lock(&self.buckets);
        !self.is_here() && buckets.connects.is_full(now) && buckets.messages.is_full(now)
    }
}

impl Guest {
    /// It has said what it wants.
    pub(crate) fn is_welcome(&mut self) {
        if std::mem::take(&mut self.is_shaking)
            && let Some(address) = &self.address
        {
            address.handshakes.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether its address may send one more message, of `len` bytes.
    pub(crate) fn may_say(&self, len: usize) -> bool {
        self.address.as_ref().is_none_or(|address| {
            let units = u32::try_from(1 + len / BYTES_PER_UNIT).unwrap_or(u32::MAX);
            let (now, rate) = (since(self.epoch), self.limits.address_messages);
            lock(&address.buckets)
                .messages
                .take(now, rate, units)
                .is_ok()
        })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.is_welcome();
        if let Some(address) = &self.address {
            address.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Whoever has an IPv6 address has a network of them.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
    }
}

fn since(epoch: Instant) -> Timestamp {
    let micros = epoch.elapsed().as_micros();
    Timestamp::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// What it guards is whole at any time, so that a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use circlet_core::Rate;

    use super::*;

    fn addresses(limits: Limits) -> Addresses {
        Addresses::new(Arc::new(limits))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn each_address_has_its_connections_and_no_more() {
        let addresses = addresses(Limits {
            address_connections: 2,
            ..Limits::default()
        });
        let (a, b) = (ip("192.0.2.1"), ip("192.0.2.2"));
        let first = addresses.admit(a).unwrap();
        let _second = addresses.admit(ip("::ffff:192.0.2.1")).unwrap();
        assert_eq!(addresses.admit(a).unwrap_err(), TooMuch::Connections);
        addresses.admit(b).unwrap();
        drop(first);
        addresses.admit(a).unwrap();

        let first = addresses.admit(ip("2001:db8::1")).unwrap();
        let _second = addresses.admit(ip("2001:db8::2")).unwrap();
        assert!(addresses.admit(ip("2001:db8::ffff:3")).is_err());
        addresses.admit(ip("2001:db8:0:1::1")).unwrap();
        drop(first);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_say_nothing_are_fewer_still() {
        let addresses = addresses(Limits {
            address_handshakes: 2,
            ..Limits::default()
        });
        let a = ip("192.0.2.1");
        let mut first = addresses.admit(a).unwrap();
        let second = addresses.admit(a).unwrap();
        assert_eq!(addresses.admit(a).unwrap_err(), TooMuch::Handshakes);
        first.is_welcome();
        first.is_welcome();
        let _third = addresses.admit(a).unwrap();
        assert_eq!(addresses.admit(a).unwrap_err(), TooMuch::Handshakes);
        drop(first);
        assert_eq!(addresses.admit(a).unwrap_err(), TooMuch::Handshakes);
        drop(second);
        addresses.admit(a).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn connects_and_messages_have_rates() {
        let addresses = addresses(Limits {
            address_connects: Rate::new(10, 3),
            address_messages: Rate::new(10, 3),
            ..Limits::default()
        });
        let a = ip("192.0.2.1");
        let guest = addresses.admit(a).unwrap();
        assert!(guest.may_say(4095) && guest.may_say(4096));
        assert!(!guest.may_say(1));
        for _ in 0..2 {
            addresses.admit(a).unwrap();
        }
        assert_eq!(addresses.admit(a).unwrap_err(), TooMuch::Connects);
        tokio::time::advance(std::time::Duration::from_millis(100)).await;
        assert!(addresses.admit(a).unwrap().may_say(1));
        assert!(!guest.may_say(1), "one bucket for all connections");
    }

    #[tokio::test(start_paused = true)]
    async fn this_machine_is_limited_if_that_is_wanted() {
        let one = Limits {
            address_connections: 1,
            ..Limits::default()
        };
        for (limit_loopback, ok) in [(false, true), (true, false)] {
            let addresses = addresses(Limits {
                limit_loopback,
                ..one.clone()
            });
            let local = ip("127.0.0.1");
            let _first = addresses.admit(local).unwrap();
            assert_eq!(addresses.admit(local).is_ok(), ok);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded_and_those_who_are_here_stay() {
        let addresses = addresses(Limits::default());
        let here = addresses.admit(ip("192.0.2.1")).unwrap();
        for n in 0..u32::try_from(MAX_ADDRESSES).unwrap() {
            addresses.admit(IpAddr::V4(n.to_be().into())).unwrap();
        }
        let table = lock(&addresses.table);
        assert!(table.len() <= MAX_ADDRESSES, "{}", table.len());
        assert!(table.contains_key(&ip("192.0.2.1")));
        drop(here);
    }
}
