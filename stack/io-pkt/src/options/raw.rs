//! Options of raw sockets alone (raw(7), RFC 3542 3).

use inet::command::SocketOption;
use inet::network::RawKind;
use rustix::io::Errno;

use super::{Values, int, sol};

/// Levels and names, from Linux's headers.
pub(crate) mod name {
    pub(crate) const SOL_RAW: i32 = 255;
    pub(crate) const SOL_ICMPV6: i32 = 58;
    pub(crate) const IP_HDRINCL: i32 = 3;
    pub(crate) const IPV6_CHECKSUM: i32 = 7;
    pub(crate) const IPV6_HDRINCL: i32 = 36;
    pub(crate) const ICMP_FILTER: i32 = 1;
    pub(crate) const ICMPV6_FILTER: i32 = 1;
}
use name as n;

const ICMP: u8 = 1;
const RAW: u8 = 255;
const ICMPV6: u8 = 58;
/// Mobility headers (RFC 6275).
const MOBILITY: u8 = 135;

/// What a raw socket's user has set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawValues {
    pub kind: RawKind,
    header_included: bool,
    filter: [u32; 8],
    checksum: Option<u16>,
}

impl RawValues {
    /// Those of a new socket.
    pub(crate) fn of(kind: RawKind) -> Self {
        let checksum = match kind.protocol {
            ICMPV6 if kind.inet6 => Some(2),
            MOBILITY if kind.inet6 => Some(4),
            _ => None,
        };
        let header_included = kind.protocol == RAW && !kind.ping;
        Self { kind, header_included, filter: [0; 8], checksum }
    }

    /// What its worker has to know of a new socket.
    pub(super) fn unusual(&self) -> impl Iterator<Item = SocketOption> {
        let header = self.header_included.then_some(SocketOption::HeaderIncluded(true));
        header.into_iter().chain(self.checksum.map(|at| SocketOption::RawChecksum(Some(at))))
    }

    fn set(&mut self, level: i32, name: i32, value: &[u8]) -> Result<SocketOption, Errno> {
        match (level, name) {
            (n::SOL_RAW, n::ICMP_FILTER) if !self.kind.inet6 => self.set_filter(ICMP, 4, value),
            (n::SOL_ICMPV6, _) if self.kind.protocol != ICMPV6 => Err(Errno::OPNOTSUPP),
            (n::SOL_ICMPV6, n::ICMPV6_FILTER) => self.set_filter(ICMPV6, 32, value),
            (sol::IP, n::IP_HDRINCL) => {
                let on = value.iter().take(4).any(|byte| *byte != 0);
                self.header_included = on;
                Ok(SocketOption::HeaderIncluded(on))
            }
            (sol::IPV6 | n::SOL_RAW, n::IPV6_HDRINCL) if self.kind.inet6 => {
                self.header_included = int(value)? != 0;
                Ok(SocketOption::HeaderIncluded(self.header_included))
            }
            (sol::IPV6 | n::SOL_RAW, n::IPV6_CHECKSUM) if self.kind.inet6 => {
                let at = int(value)?.cast_signed();
                // RFC 3542 3.1: ICMPv6's is not the user's to place.
                if (self.kind.protocol == ICMPV6 && level == sol::IPV6) || (at > 0 && at & 1 != 0) {
                    return Err(Errno::INVAL);
                }
                self.checksum = match at {
                    ..0 => None,
                    at => Some(u16::try_from(at).map_err(|_| Errno::INVAL)?),
                };
                Ok(SocketOption::RawChecksum(self.checksum))
            }
            _ => Err(Errno::NOPROTOOPT),
        }
    }

    /// A filter that is shorter changes as many types.
    fn set_filter(&mut self, of: u8, most: usize, value: &[u8]) -> Result<SocketOption, Errno> {
        if self.kind.protocol != of {
            return Err(Errno::OPNOTSUPP);
        }
        let mut bytes: Vec<u8> = self.filter.iter().flat_map(|word| word.to_ne_bytes()).collect();
        for (byte, new) in bytes.iter_mut().zip(value.iter().take(most)) {
            *byte = *new;
        }
        for (word, bytes) in self.filter.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = int(bytes)?;
        }
        Ok(SocketOption::IcmpFilter(self.filter))
    }

    fn value(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        let number = |number: u32| Ok(number.to_ne_bytes().to_vec());
        let of = self.kind.protocol;
        match (level, name) {
            (n::SOL_RAW, n::ICMP_FILTER) if !self.kind.inet6 => {
                let [first, ..] = self.filter;
                if of == ICMP { number(first) } else { Err(Errno::OPNOTSUPP) }
            }
            (n::SOL_ICMPV6, _) if of != ICMPV6 => Err(Errno::OPNOTSUPP),
            (n::SOL_ICMPV6, n::ICMPV6_FILTER) => {
                Ok(self.filter.iter().flat_map(|word| word.to_ne_bytes()).collect())
            }
            (sol::IP, n::IP_HDRINCL) => number(self.header_included.into()),
            (sol::IPV6 | n::SOL_RAW, n::IPV6_HDRINCL) if self.kind.inet6 => {
                number(self.header_included.into())
            }
            (sol::IPV6 | n::SOL_RAW, n::IPV6_CHECKSUM) if self.kind.inet6 => {
                number(self.checksum.map_or(u32::MAX, u32::from))
            }
            _ => Err(Errno::NOPROTOOPT),
        }
    }
}

/// Is it an option that raw sockets alone have?
fn is_own(kind: RawKind, level: i32, name: i32) -> bool {
    match level {
        n::SOL_RAW => true,
        n::SOL_ICMPV6 => kind.inet6,
        sol::IP => name == n::IP_HDRINCL || kind.inet6,
        sol::IPV6 => kind.inet6 && matches!(name, n::IPV6_HDRINCL | n::IPV6_CHECKSUM),
        _ => false,
    }
}

impl Values {
    /// Those of a new socket of this kind.
    #[must_use]
    pub(crate) fn of_raw(self, kind: Option<RawKind>) -> Self {
        // As in Linux: of packets there is no owner to be protected.
        Self { raw: kind.map(RawValues::of), reuse_address: kind.is_some(), ..self }
    }

    /// Records a value of a raw socket's own. `None`: it is no such option, or no such socket.
    pub(super) fn set_raw(
        &mut self,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> Option<Result<SocketOption, Errno>> {
        let raw = self.raw.as_mut().filter(|raw| !raw.kind.ping)?;
        is_own(raw.kind, level, name).then(|| raw.set(level, name, value))
    }

    /// Reads such a value back.
    pub(super) fn raw_value(&self, level: i32, name: i32) -> Option<Result<Vec<u8>, Errno>> {
        let raw = self.raw.as_ref().filter(|raw| !raw.kind.ping)?;
        is_own(raw.kind, level, name).then(|| raw.value(level, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inet::command::Transport;

    fn values(inet6: bool, protocol: u8) -> Values {
        let raw = Some(RawValues::of(RawKind { inet6, protocol, ping: false }));
        Values { raw, inet6, ..Values::default() }
    }

    fn read(values: &Values, level: i32, name: i32) -> Result<Option<Vec<u8>>, Errno> {
        values.value(level, name, Transport::Raw, false, false)
    }

    #[test]
    fn a_filter_is_of_icmp_alone_and_as_long_as_it_is_given() {
        let mut of_icmp = values(false, ICMP);
        let set = of_icmp.set(n::SOL_RAW, n::ICMP_FILTER, &[0xfe, 0xff], true);
        let mut filter = [0; 8];
        filter[0] = 0xfffe;
        assert_eq!(set, Ok(Some(SocketOption::IcmpFilter(filter))));
        assert_eq!(read(&of_icmp, n::SOL_RAW, n::ICMP_FILTER), Ok(Some(vec![0xfe, 0xff, 0, 0])));
        let mut of_udp = values(false, 17);
        let set = of_udp.set(n::SOL_RAW, n::ICMP_FILTER, &[0; 4], true);
        assert_eq!(set, Err(Errno::OPNOTSUPP));
    }

    #[test]
    fn a_checksum_is_at_an_even_place_and_icmps_stays() {
        let at = |at: i32| at.to_ne_bytes();
        let mut raw = values(true, 89);
        assert_eq!(read(&raw, sol::IPV6, n::IPV6_CHECKSUM), Ok(Some(at(-1).to_vec())));
        assert_eq!(raw.set(sol::IPV6, n::IPV6_CHECKSUM, &at(3), true), Err(Errno::INVAL));
        let set = raw.set(sol::IPV6, n::IPV6_CHECKSUM, &at(12), true);
        assert_eq!(set, Ok(Some(SocketOption::RawChecksum(Some(12)))));
        let mut icmp = values(true, ICMPV6);
        assert_eq!(icmp.set(sol::IPV6, n::IPV6_CHECKSUM, &at(4), true), Err(Errno::INVAL));
        assert_eq!(read(&icmp, sol::IPV6, n::IPV6_CHECKSUM), Ok(Some(at(2).to_vec())));
    }

    #[test]
    fn of_protocol_255_the_user_writes_headers() {
        let raw = values(false, RAW);
        assert_eq!(read(&raw, sol::IP, n::IP_HDRINCL), Ok(Some(1_u32.to_ne_bytes().to_vec())));
        let worker_hears: Vec<_> = raw.unusual(Transport::Raw).collect();
        assert_eq!(worker_hears, [SocketOption::HeaderIncluded(true)]);
    }

    #[test]
    fn other_sockets_have_none_of_this() {
        let mut datagram = Values::default();
        let set = datagram.set(sol::IP, n::IP_HDRINCL, &[1; 4], true);
        assert_eq!(set, Err(Errno::NOPROTOOPT));
    }
}
