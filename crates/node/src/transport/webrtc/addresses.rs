//! Which local addresses a link uses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rtc::shared::ifaces::ifaces;
use tracing::debug;

/// The most addresses that a link uses unless told otherwise. Each costs a socket and its
/// buffers for every link, and is paired with each of the peer's addresses: a machine full of
/// container bridges must not pay for all of them. Guess.
const MAX_ADDRESSES: usize = 4;

/// The addresses to bind: `wanted`, or else the machine's own, as they are now. Ports are
/// chosen by the system.
///
/// A machine's own address reaches its other processes as well as loopback does, within the
/// kernel and at the same speed, so loopback is used only where there is nothing else. The
/// wildcard address is of no use: the stack makes no candidate of loopback from it.
pub(super) fn local_addresses(wanted: &[IpAddr]) -> Vec<SocketAddr> {
    let addresses = if wanted.is_empty() {
        choose(machine_addresses())
    } else {
        wanted.to_vec()
    };
    addresses
        .into_iter()
        .map(|address| SocketAddr::new(address, 0))
        .collect()
}

fn machine_addresses() -> Vec<IpAddr> {
    match ifaces() {
        Ok(interfaces) => interfaces
            .into_iter()
            .filter_map(|interface| interface.addr)
            .map(|address| address.ip())
            .collect(),
        Err(error) => {
            debug!(%error, "cannot list the network interfaces");
            Vec::new()
        }
    }
}

/// Takes the usable ones in the system's order, which has real interfaces before bridges and
/// tunnels, IPv4 and IPv6 in turn.
fn choose(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for address in addresses {
        let family = if address.is_ipv4() { &mut v4 } else { &mut v6 };
        if is_usable(&address) && !family.contains(&address) {
            family.push(address);
        }
    }
    let mut chosen = Vec::new();
    for index in 0..MAX_ADDRESSES {
        chosen.extend(v4.get(index));
        chosen.extend(v6.get(index));
    }
    chosen.truncate(MAX_ADDRESSES);
    if chosen.is_empty() {
        chosen.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    chosen
}

/// Link-local addresses mean nothing to a peer without the interface they belong to.
fn is_usable(address: &IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || is_link_local)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(addresses: &[&str]) -> Vec<String> {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        choose(addresses).iter().map(IpAddr::to_string).collect()
    }

    #[test]
    fn loopback_is_used_only_where_there_is_nothing_else() {
        assert_eq!(chosen(&[]), ["127.0.0.1"]);
        assert_eq!(
            chosen(&["127.0.0.1", "::1", "fe80::1", "169.254.0.7"]),
            ["127.0.0.1"]
        );
        assert_eq!(chosen(&["127.0.0.1", "10.0.0.5"]), ["10.0.0.5"]);
    }

    #[test]
    fn both_families_are_used_and_repeats_are_not() {
        assert_eq!(
            chosen(&["10.0.0.5", "10.0.0.5", "172.17.0.1", "2001:db8::5"]),
            ["10.0.0.5", "2001:db8::5", "172.17.0.1"]
        );
    }

    #[test]
    fn the_number_is_bounded() {
        let many: Vec<String> = (1..50).map(|i| format!("172.16.{i}.1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(chosen(&many).len(), MAX_ADDRESSES);
    }

    #[test]
    fn what_is_asked_for_is_used() {
        let wanted = ["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        assert_eq!(
            local_addresses(&wanted),
            [
                "127.0.0.1:0".parse().unwrap(),
                "[::1]:0".parse::<SocketAddr>().unwrap()
            ]
        );
        assert!(!local_addresses(&[]).is_empty());
    }
}
