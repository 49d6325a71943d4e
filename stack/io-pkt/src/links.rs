//! What links find out about themselves: time and randomness for [`autoconf`], its messages to the
//! workers, what they have heard to it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use autoconf::{Message, News};
use inet::command::Command;
use inet::network::LOOPBACK;
use proto::Automatic;
use rustix::io::Errno;
use types::Instant;
use wire::ndp::{self, Ndp, NeighborMessage, RouterSolicitation};
use wire::{icmp6, igmp, ipv4, ipv6, mld};
use zerocopy::IntoBytes as _;

use crate::control::Control;

impl Control {
    /// The time of this thread's engines.
    pub(crate) fn now(&self) -> Instant {
        Instant::ZERO + self.facts.started.elapsed()
    }

    /// How long until a link has something to do.
    pub(crate) fn until_links(&self) -> Option<Duration> {
        self.network.next_timeout().map(|due| due.since(self.now()))
    }

    /// Does what is due on the links, and tells the workers what has changed.
    pub(crate) fn attend_links(&mut self) {
        let now = self.now();
        // Without randomness the daemon does not start.
        let mut random = || getrandom::u64().unwrap_or(0);
        let work = self.network.attend_links(now, &mut random);
        if work.changed {
            self.publish();
        }
        for (interface, message) in work.messages {
            self.send_message(interface, message);
        }
        for (interface, news) in work.news.into_iter().filter(|(at, _)| *at != LOOPBACK) {
            self.link_news(interface, news);
        }
    }

    fn link_news(&mut self, interface: u16, news: News) {
        let name = self.network.name(interface).to_owned();
        match news {
            News::Usable(address) => {
                tracing::info!("{name}: {address} is usable");
                self.command(0, Command::Announce { interface, address: address.into() });
            }
            News::Duplicate(address, station) => {
                let who = station.map_or_else(|| "another station".into(), |mac| mac.to_string());
                tracing::error!(
                    "{name}: {address} is not used, {who} has it already; take it away there, then here: \
                     iopkt ifconfig {name} down, iopkt ifconfig {name} up"
                );
            }
            News::Expired(address) => tracing::info!("{name}: {address} is past its time"),
        }
    }

    pub(crate) fn send_message(&mut self, interface: u16, message: Message) {
        let mac = self.network.mac(interface);
        let (source, to, bytes) = match message {
            Message::Probe { target, nonce } => {
                let message = NeighborMessage::probe(target, nonce);
                (Ipv6Addr::UNSPECIFIED, ipv6::solicited_node(target), message.as_bytes().to_vec())
            }
            Message::Solicitation { source } => {
                let message = RouterSolicitation::new(mac);
                // Who has no address has nowhere to be answered (RFC 4861 4.1).
                let len = source.map_or(RouterSolicitation::BARE_LEN, |_| size_of_val(&message));
                let bytes = message.as_bytes().get(..len).unwrap_or_default().to_vec();
                (source.unwrap_or(Ipv6Addr::UNSPECIFIED), ipv6::ALL_ROUTERS, bytes)
            }
            Message::Advertisement { is_router } => {
                let said = self.network.advertisement(interface, is_router);
                let Some((source, bytes)) = said else { return };
                (source, ipv6::ALL_NODES, bytes)
            }
        };
        if let Some(packet) = icmp6_packet(source, to, &bytes) {
            let station = Some(ipv6::multicast_mac(to));
            self.command(0, Command::Packet { interface, station, packet });
        }
    }

    /// A worker has heard something that is not its own business.
    pub(crate) fn heard(&mut self, interface: u16, packet: &[u8]) {
        if packet.first().is_some_and(|byte| byte >> 4 == 4) {
            return self.heard_v4(interface, packet);
        }
        let Ok(packet) = ipv6::Packet::parse(packet) else { return };
        let Ok(chain) = packet.chain() else { return };
        let Ok(message) = icmp6::Message::parse(chain.payload) else { return };
        if let Ok(query) = mld::Query::parse(packet.header, chain.router_alert, &message) {
            let sources = query.sources.as_chunks::<16>().0.iter();
            let query = mcast::Query {
                group: Some(query.group.into()).filter(|group: &IpAddr| !group.is_unspecified()),
                sources: sources.map(|source| Ipv6Addr::from(*source).into()).collect(),
                max_response: Duration::from_millis(query.max_response_delay.into()),
                is_older: query.is_version_1,
            };
            return self.asked(interface, true, &query);
        }
        let Ok(ndp) = Ndp::parse(packet.header, &message) else { return };
        let now = self.now();
        if let Some(link) = self.network.link_mut(interface) {
            link.hear(packet.header.src(), &ndp, now);
        }
    }

    fn heard_v4(&mut self, interface: u16, packet: &[u8]) {
        let Ok(packet) = ipv4::Packet::parse(packet) else { return };
        if packet.header.protocol() == ipv4::Protocol::UDP {
            return self.heard_dhcp(interface, &packet);
        }
        let Ok(query) = igmp::Query::parse(packet.payload) else { return };
        let sources = query.sources.as_chunks::<4>().0.iter();
        let query = mcast::Query {
            group: Some(query.group.into()).filter(|group: &IpAddr| !group.is_unspecified()),
            sources: sources.map(|source| Ipv4Addr::from(*source).into()).collect(),
            max_response: query.max_response,
            is_older: query.is_older,
        };
        self.asked(interface, false, &query);
    }

    /// An interface configures itself in this way, or no longer.
    ///
    /// # Errors
    /// `ENXIO`; `EOPNOTSUPP` for `lo0`; `EBUSY` for a port of an aggregated link.
    pub(crate) fn set_automatic(
        &mut self,
        name: &str,
        what: Automatic,
        on: bool,
    ) -> Result<(), Errno> {
        match what {
            Automatic::Routers => self.network.set_accept_routers(name, on),
            Automatic::LinkLocal => self.network.set_link_local(name, on),
            Automatic::Advertise => self.network.set_advertise(name, on),
            Automatic::Dhcp => {
                let begin = (self.now(), getrandom::u64().unwrap_or(0));
                if let Some((interface, message)) = self.network.set_dhcp(name, on, begin)? {
                    self.send_dhcp(interface, &message);
                }
                Ok(())
            }
        }
    }
}

/// A message for a link, whose checksum is made.
fn icmp6_packet(source: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> Option<Box<[u8]>> {
    let (header, body) = message.split_at_checked(icmp6::Header::LEN)?;
    let header: icmp6::Header = zerocopy::FromBytes::read_from_bytes(header).ok()?;
    let packet = ipv6::Header::new(source, to, ipv4::Protocol::ICMPV6, message.len())?;
    let packet = packet.with_hop_limit(ndp::HOP_LIMIT);
    let header = header.with_checksum(source, to, body);
    Some([packet.as_bytes(), header.as_bytes(), body].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_links_hop_limit_and_a_right_checksum() {
        let target = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
        let message = NeighborMessage::probe(target, [1; 6]);
        let to = ipv6::solicited_node(target);
        let packet = icmp6_packet(Ipv6Addr::UNSPECIFIED, to, message.as_bytes()).unwrap();
        let packet = ipv6::Packet::parse(&packet).unwrap();
        let message = icmp6::Message::parse(packet.payload).unwrap();
        message.verify(Ipv6Addr::UNSPECIFIED, to).unwrap();
        let ndp = Ndp::parse(packet.header, &message).unwrap();
        assert!(matches!(ndp, Ndp::NeighborSolicitation(asked, _) if asked == target), "{ndp:?}");
    }
}
