//! Options of `IPPROTO_IPV6`.

use inet::command::SocketOption;
use rustix::io::Errno;

use super::{Values, int};

/// Their numbers, from Linux's `linux/in6.h`.
pub(crate) mod name {
    pub(crate) const UNICAST_HOPS: i32 = 16;
    pub(crate) const MTU_DISCOVER: i32 = 23;
    pub(crate) const RECVERR: i32 = 25;
    pub(crate) const V6ONLY: i32 = 26;
    pub(crate) const TCLASS: i32 = 67;
}

impl Values {
    /// Records a value of a socket of IPv6. Hops and class are those of its IPv4 packets, too.
    pub(super) fn set_ipv6(
        &mut self,
        name: i32,
        value: &[u8],
    ) -> Result<Option<SocketOption>, Errno> {
        let number = int(value)?;
        match name {
            name::V6ONLY => {
                self.v6_only = number != 0;
                Ok(Some(SocketOption::V6Only(self.v6_only)))
            }
            name::UNICAST_HOPS => {
                self.ttl = match u8::try_from(number) {
                    Ok(hops) => hops.max(1),
                    // -1: the default again.
                    _ if number == u32::MAX => inet::limits::TTL,
                    _ => return Err(Errno::INVAL),
                };
                Ok(Some(SocketOption::Ttl(self.ttl)))
            }
            name::TCLASS => {
                self.tos = match u8::try_from(number) {
                    Ok(class) => class,
                    _ if number == u32::MAX => 0,
                    _ => return Err(Errno::INVAL),
                };
                Ok(Some(SocketOption::Tos(self.tos)))
            }
            name::MTU_DISCOVER => self.set_mtu_discover(number),
            name::RECVERR => Ok(Some(self.set_receive_errors(true, number != 0))),
            _ => Err(Errno::NOPROTOOPT),
        }
    }

    /// Reads a value back.
    pub(super) fn ipv6_value(&self, name: i32) -> Result<u32, Errno> {
        match name {
            name::V6ONLY => Ok(self.v6_only.into()),
            name::UNICAST_HOPS => Ok(self.ttl.into()),
            name::TCLASS => Ok(self.tos.into()),
            name::MTU_DISCOVER => Ok(self.mtu_discover.number()),
            name::RECVERR => Ok(self.receive_errors[1].into()),
            _ => Err(Errno::NOPROTOOPT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::sol;
    use inet::command::Transport;

    #[test]
    fn only_sockets_of_ipv6_have_them() {
        let on = 1_u32.to_ne_bytes();
        let mut values = Values::default();
        let set =
            |values: &mut Values, name, value: &[u8]| values.set(sol::IPV6, name, value, true);
        assert_eq!(set(&mut values, name::V6ONLY, &on), Err(Errno::NOPROTOOPT));
        values.inet6 = true;
        assert_eq!(set(&mut values, name::V6ONLY, &on), Ok(Some(SocketOption::V6Only(true))));
        let read = |name| values.value(sol::IPV6, name, Transport::Stream, false, false);
        assert_eq!(read(name::V6ONLY), Ok(Some(on.to_vec())));
        assert_eq!(read(name::UNICAST_HOPS), Ok(Some(64_u32.to_ne_bytes().to_vec())));
        assert_eq!(read(1), Err(Errno::NOPROTOOPT));
        let reset = u32::MAX.to_ne_bytes();
        assert_eq!(set(&mut values, name::TCLASS, &reset), Ok(Some(SocketOption::Tos(0))));
        assert_eq!(set(&mut values, name::UNICAST_HOPS, &256_u32.to_ne_bytes()), Err(Errno::INVAL));
    }
}
