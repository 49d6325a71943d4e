//! A protocol module: echo requests of ICMP and ICMPv6 get no answer. Everything else passes.
//!
//! ```sh
//! iopkt mount lsm-noping.so        # ping stops
//! iopkt modules                    # what it has let through and dropped
//! iopkt umount noping              # ping is back
//! ```
#![deny(unsafe_code)]

use lsm_sdk::{
    Arrival, Context, Direction, Host, OpenError, Point, Protocol, Questions, export_protocol,
};

export_protocol!(NoPing);

/// IPv4's number of ICMP.
const ICMP: u8 = 1;
/// ICMP's number of an echo request.
const ECHO_REQUEST: u8 = 8;
/// IPv6's number of ICMP, and ICMPv6's of an echo request.
const ICMP6: u8 = 58;
const ECHO_REQUEST6: u8 = 128;
/// IPv6's header. What hides behind extension headers is not looked for.
const HEADER6_LEN: usize = 40;

/// A filter of what comes.
struct NoPing;

impl Protocol for NoPing {
    const NAME: &'static str = "noping";
    const OPTIONS: &'static str = "";

    fn open(host: &Host<Self>) -> Result<Self, OpenError> {
        let _ = host.attach_filter(Point::Inet, &[Direction::In], 0, None)?;
        let _ = host.attach_filter(Point::Inet6, &[Direction::In], 0, None)?;
        Ok(Self)
    }

    fn filter(&self, _: &mut Context<'_, Self>, _: Arrival, packets: &mut Questions<'_>) {
        while let Some(packet) = packets.next_packet() {
            if is_echo_request(packet.data()) {
                packet.drop_packet();
            }
        }
    }
}

/// From the IP header on.
fn is_echo_request(packet: &[u8]) -> bool {
    let Some(first) = packet.first() else { return false };
    if first >> 4 == 6 {
        return packet.get(6) == Some(&ICMP6) && packet.get(HEADER6_LEN) == Some(&ECHO_REQUEST6);
    }
    let header_len = usize::from(first & 0xf) * 4;
    packet.get(9) == Some(&ICMP) && packet.get(header_len) == Some(&ECHO_REQUEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_echo_requests_are_told_apart() {
        let packet = |protocol, kind| {
            let mut packet = vec![0x45; 28];
            packet[9] = protocol;
            packet[20] = kind;
            packet
        };
        assert!(is_echo_request(&packet(ICMP, ECHO_REQUEST)));
        assert!(!is_echo_request(&packet(ICMP, 0)), "a reply");
        assert!(!is_echo_request(&packet(6, ECHO_REQUEST)), "TCP");
        assert!(!is_echo_request(&[]));
        let mut six = vec![0x60; 48];
        (six[6], six[40]) = (ICMP6, ECHO_REQUEST6);
        assert!(is_echo_request(&six));
        six[40] = 129;
        assert!(!is_echo_request(&six), "a reply");
    }
}
