//! Plain UDP: what the packets alone cost.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use super::meter::{Meter, Throughput};

/// About what a data channel puts into a packet.
const PACKET: usize = 1200;

/// Packets sent before they are received: few enough for the default buffers.
const BURST: usize = 32;

/// Packets through `links` pairs of sockets in a row on loopback, all on this thread, so that
/// none is lost.
pub fn throughput(links: u16, time: Duration) -> io::Result<Throughput> {
    let pairs: Vec<(UdpSocket, UdpSocket)> =
        (0..links).map(|_| pair()).collect::<io::Result<_>>()?;
    let mut meter = Meter::start(time);
    let packet = [7; PACKET];
    let mut buffers = [[0; PACKET]; BURST];
    loop {
        for (hop, (sender, receiver)) in pairs.iter().enumerate() {
            for buffer in &buffers {
                sender.send(if hop == 0 { &packet } else { buffer })?;
            }
            for buffer in &mut buffers {
                receiver.recv(buffer)?;
            }
        }
        for buffer in &buffers {
            if let Some(throughput) = meter.count(buffer.len()) {
                return Ok(throughput);
            }
        }
    }
}

fn pair() -> io::Result<(UdpSocket, UdpSocket)> {
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    sender.connect(receiver.local_addr()?)?;
    // A lost packet must not hold the measurement up for ever.
    receiver.set_read_timeout(Some(Duration::from_secs(1)))?;
    Ok((sender, receiver))
}
