//! The DHCP client's time and messages.

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use autoconf::dhcp::{Lease, Outgoing, PORTS};
use inet::command::Command;
use types::MacAddr;
use wire::{ipv4, udp};
use zerocopy::IntoBytes as _;

use crate::control::Control;

impl Control {
    /// How long until a client has something to do.
    pub(crate) fn until_dhcp(&self) -> Option<Duration> {
        self.network.next_dhcp().map(|due| due.since(self.now()))
    }

    /// Does what is due, and tells the workers what has changed.
    pub(crate) fn attend_dhcp(&mut self) {
        let now = self.now();
        // Without randomness the daemon does not start.
        let mut random = || getrandom::u64().unwrap_or(0);
        let work = self.network.attend_dhcp(now, &mut random);
        if !work.news.is_empty() {
            self.publish();
        }
        for (interface, message) in work.messages {
            self.send_dhcp(interface, &message);
        }
        for (interface, lease) in work.news {
            self.dhcp_news(interface, lease);
        }
    }

    fn dhcp_news(&mut self, interface: u16, lease: Option<Lease>) {
        let name = self.network.name(interface).to_owned();
        let Some(lease) = lease else {
            return tracing::warn!("{name}: its DHCP lease has ended");
        };
        let (address, len, server) = (lease.address, lease.prefix_len, lease.server);
        tracing::info!("{name}: {address}/{len} by DHCP from {server}");
        self.command(0, Command::Announce { interface, address: address.into() });
    }

    /// Sends a message by an interface; one for everybody goes there without a route.
    pub(crate) fn send_dhcp(&mut self, interface: u16, message: &Outgoing) {
        let Some(packet) = packet(message) else { return };
        let station = message.to.is_broadcast().then_some(MacAddr::BROADCAST);
        self.command(0, Command::Packet { interface, station, packet });
    }

    /// A worker has heard what a server says, if it is that.
    pub(crate) fn heard_dhcp(&mut self, interface: u16, packet: &ipv4::Packet<'_>) {
        let Ok(datagram) = udp::Datagram::parse(packet.payload) else { return };
        let ports = (datagram.header.src_port.get(), datagram.header.dst_port.get());
        if ports == PORTS {
            let now = self.now();
            self.network.dhcp_input(interface, datagram.payload, now);
        }
    }
}

/// An IPv4 packet from the client's port to the server's.
fn packet(Outgoing { source, to, message }: &Outgoing) -> Option<Box<[u8]>> {
    let (server, client) = PORTS;
    let addresses: (IpAddr, IpAddr) = (Ipv4Addr::into(*source), Ipv4Addr::into(*to));
    let header = udp::Header::new(client, server, message.len())?;
    let header = header.with_checksum(addresses.0, addresses.1, message);
    let len = udp::Header::LEN.checked_add(message.len())?;
    let packet = ipv4::Header::new(*source, *to, ipv4::Protocol::UDP, len)?.with_checksum();
    Some([packet.as_bytes(), header.as_bytes(), message].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_right_checksums() {
        let message = vec![7; 300];
        let outgoing = Outgoing { source: Ipv4Addr::UNSPECIFIED, to: Ipv4Addr::BROADCAST, message };
        let bytes = packet(&outgoing).unwrap();
        let whole = ipv4::Packet::parse(&bytes).unwrap();
        whole.verify().unwrap();
        let datagram = udp::Datagram::parse(whole.payload).unwrap();
        datagram.verify(outgoing.source, outgoing.to).unwrap();
        assert_eq!(datagram.payload.len(), 300);
    }
}
