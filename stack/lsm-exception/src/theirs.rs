//! Which packets are the routing daemons'.

use std::net::IpAddr;

use wire::ethernet::{EtherType, Frame};
use wire::{icmp6, ipv4, ipv6};

/// What is taken unless the operator says otherwise: name, IP protocol, ports.
///
/// BGP (RFC 4271), LDP (RFC 5036), RIP and RIPng (RFC 2453, 2080), BFD (RFC 5881, 5883), OSPF (RFC 2328),
/// EIGRP (RFC 7868), PIM (RFC 7761), VRRP (RFC 9568).
const KNOWN: [(&str, u8, &[u16]); 10] = [
    ("bgp", TCP, &[179]),
    ("ldp", TCP, &[646]),
    ("ldp", UDP, &[646]),
    ("rip", UDP, &[520]),
    ("ripng", UDP, &[521]),
    ("bfd", UDP, &[3784, 3785, 4784]),
    ("ospf", 89, &[]),
    ("eigrp", 88, &[]),
    ("pim", 103, &[]),
    ("vrrp", 112, &[]),
];
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Where TCP's flags are (RFC 9293 3.1).
const TCP_FLAGS: usize = 13;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Who gets a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The stack alone.
    Stack,
    /// The kernel alone.
    Kernel,
    /// Both: each resolves its neighbours for itself.
    Both,
}

/// Protocols and ports; a protocol without ports is taken whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Theirs {
    rules: Vec<(u8, Option<u16>)>,
}

impl Theirs {
    /// What `take=` says: names, `tcp:PORT`, `udp:PORT`, `ip:NUMBER`, with plus signs between; everything
    /// known without it.
    ///
    /// # Errors
    /// The word that is none, and which there are.
    pub(crate) fn read(take: Option<&str>) -> Result<Self, String> {
        let mut rules = Vec::new();
        let all: Vec<&str> = KNOWN.iter().map(|known| known.0).collect();
        let words: Vec<&str> = take.map_or(all, |take| take.split('+').collect());
        for word in words {
            let before = rules.len();
            let port = |number: &str| number.parse::<u16>().ok().filter(|port| *port != 0);
            match word.split_once(':') {
                Some(("tcp", number)) => rules.extend(port(number).map(|port| (TCP, Some(port)))),
                Some(("udp", number)) => rules.extend(port(number).map(|port| (UDP, Some(port)))),
                Some(("ip", number)) => {
                    let whole = number.parse::<u8>().ok().filter(|n| ![TCP, UDP].contains(n));
                    rules.extend(whole.map(|protocol| (protocol, None)));
                }
                _ => {
                    for (_, protocol, ports) in KNOWN.iter().filter(|known| known.0 == word) {
                        rules.extend(ports.iter().map(|port| (*protocol, Some(*port))));
                        rules.extend(ports.is_empty().then_some((*protocol, None)));
                    }
                }
            }
            if rules.len() == before {
                let mut names: Vec<&str> = KNOWN.iter().map(|known| known.0).collect();
                names.dedup();
                return Err(format!(
                    "take={word}: one of {}, tcp:PORT, udp:PORT or ip:NUMBER, with + between",
                    names.join(", ")
                ));
            }
        }
        Ok(Self { rules })
    }

    /// Who gets a frame that has come; `ours` says whether the kernel's end has an address.
    pub(crate) fn fate(&self, frame: &[u8], ours: impl Fn(IpAddr) -> bool) -> Fate {
        let Ok(frame) = Frame::parse(frame) else { return Fate::Stack };
        match self.look(&frame) {
            Look::Resolution => Fate::Both,
            Look::Packet { to, comes: true, .. } if to.is_multicast() || ours(to) => Fate::Kernel,
            _ => Fate::Stack,
        }
    }

    /// Whether a frame of the kernel's may leave: a router of the kernel's side has more to say than is its
    /// business here.
    pub(crate) fn may_leave(&self, frame: &[u8]) -> bool {
        let Ok(frame) = Frame::parse(frame) else { return false };
        matches!(self.look(&frame), Look::Resolution | Look::Packet { leaves: true, .. })
    }

    fn look(&self, frame: &Frame<'_>) -> Look {
        match frame.header.ethertype() {
            EtherType::ARP => Look::Resolution,
            EtherType::IPV4 => {
                let Ok(packet) = ipv4::Packet::parse(frame.payload) else { return Look::Other };
                if packet.is_fragment() {
                    return Look::Other;
                }
                self.packet(packet.header.dst().into(), packet.header.protocol().0, packet.payload)
            }
            EtherType::IPV6 => {
                let Ok(packet) = ipv6::Packet::parse(frame.payload) else { return Look::Other };
                let Some(chain) = packet.chain().ok().filter(|chain| chain.fragment.is_none())
                else {
                    return Look::Other;
                };
                if chain.protocol == ipv4::Protocol::ICMPV6 && is_resolution(chain.payload) {
                    return Look::Resolution;
                }
                self.packet(packet.header.dst().into(), chain.protocol.0, chain.payload)
            }
            _ => Look::Other,
        }
    }

    /// A daemon is called at its port, and calls from another; then TCP's answers come from its peer's port.
    /// A connection that somebody else opens from a daemon's port is none of theirs.
    fn packet(&self, to: IpAddr, protocol: u8, payload: &[u8]) -> Look {
        let ports = payload
            .first_chunk::<4>()
            .map(|[a, b, c, d]| (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])));
        let has = |port: Option<u16>| self.rules.contains(&(protocol, port));
        let whole = has(None);
        let from = ports.is_some_and(|(from, _)| has(Some(from)));
        let at = ports.is_some_and(|(_, at)| has(Some(at)));
        let opens =
            protocol == TCP && payload.get(TCP_FLAGS).is_none_or(|f| f & (SYN | ACK) == SYN);
        let answers = protocol == TCP && !opens;
        Look::Packet { to, comes: whole || at || from && answers, leaves: whole || from || at }
    }
}

enum Look {
    /// ARP or neighbour discovery.
    Resolution,
    /// It may be taken as it comes, or leave as it goes.
    Packet {
        to: IpAddr,
        comes: bool,
        leaves: bool,
    },
    Other,
}

fn is_resolution(message: &[u8]) -> bool {
    let kind = message.first().map(|kind| icmp6::Type(*kind));
    let resolution = [icmp6::Type::NEIGHBOR_SOLICITATION, icmp6::Type::NEIGHBOR_ADVERTISEMENT];
    kind.is_some_and(|kind| resolution.contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::ethernet;

    const OURS: [u8; 4] = [198, 18, 77, 2];

    /// An IPv4 packet of a protocol, to an address, that begins with two ports.
    fn frame(protocol: u8, to: [u8; 4], ports: [u16; 2]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        frame.extend([8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 1, protocol, 0, 0, 198, 18, 77, 1]);
        frame.extend(to);
        frame.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
        frame.extend([0; 16]);
        frame
    }

    fn fate(theirs: &Theirs, frame: &[u8]) -> Fate {
        theirs.fate(frame, |to| to == IpAddr::from(OURS))
    }

    #[test]
    fn routing_protocols_for_this_host_are_theirs_at_either_end() {
        let all = Theirs::read(None).unwrap();
        assert_eq!(fate(&all, &frame(TCP, OURS, [40000, 179])), Fate::Kernel);
        let mut answer = frame(TCP, OURS, [179, 40000]);
        answer[14 + 20 + TCP_FLAGS] = SYN | ACK;
        assert_eq!(fate(&all, &answer), Fate::Kernel);
        answer[14 + 20 + TCP_FLAGS] = SYN;
        assert_eq!(fate(&all, &answer), Fate::Stack, "a call to somebody else, from their port");
        assert_eq!(fate(&all, &frame(UDP, OURS, [520, 53])), Fate::Stack);
        assert_eq!(fate(&all, &frame(89, [224, 0, 0, 5], [0, 0])), Fate::Kernel);
        assert_eq!(fate(&all, &frame(TCP, OURS, [40000, 80])), Fate::Stack);
        assert_eq!(fate(&all, &frame(UDP, OURS, [179, 179])), Fate::Stack, "BGP has TCP");
        assert_eq!(
            fate(&all, &frame(TCP, [203, 0, 113, 1], [40000, 179])),
            Fate::Stack,
            "it only passes by"
        );
    }

    #[test]
    fn fragments_and_rubbish_are_the_stacks() {
        let all = Theirs::read(None).unwrap();
        let mut piece = frame(TCP, OURS, [40000, 179]);
        piece[20] = 0x20;
        assert_eq!(fate(&all, &piece), Fate::Stack);
        assert_eq!(fate(&all, &frame(TCP, OURS, [0, 179])[..20]), Fate::Stack);
        assert_eq!(fate(&all, &[]), Fate::Stack);
    }

    #[test]
    fn what_resolves_addresses_is_for_both_and_may_leave() {
        let bgp = Theirs::read(Some("bgp")).unwrap();
        let mut arp = vec![2; 12];
        arp.extend([8, 6]);
        arp.resize(ethernet::MIN_FRAME, 0);
        assert_eq!(fate(&bgp, &arp), Fate::Both);
        let mut six = vec![2; 12];
        six.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 58, 255]);
        six.extend([[0xfe; 16], [0xfd; 16]].concat());
        six.push(136);
        six.resize(14 + 40 + 24, 0);
        assert_eq!(fate(&bgp, &six), Fate::Both);
        six[54] = 134;
        assert_eq!(fate(&bgp, &six), Fate::Stack, "an advertisement of a router");
        assert!(bgp.may_leave(&arp) && !bgp.may_leave(&six));
        assert!(bgp.may_leave(&frame(TCP, [198, 18, 77, 1], [179, 40000])));
        assert!(!bgp.may_leave(&frame(UDP, [224, 0, 0, 251], [5353, 5353])), "mDNS");
    }

    #[test]
    fn what_is_taken_can_be_said_and_what_is_no_word_is_named() {
        let some = Theirs::read(Some("ospf+tcp:2605+ip:112")).unwrap();
        assert_eq!(some.rules, [(89, None), (TCP, Some(2605)), (112, None)]);
        for wrong in ["", "bgp+", "http", "tcp:0", "udp:x", "ip:6", "ip:256"] {
            let told = Theirs::read(Some(wrong)).unwrap_err();
            assert!(told.contains("bgp, ldp, rip"), "{told}");
        }
    }
}
