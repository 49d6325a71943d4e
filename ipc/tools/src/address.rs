//! Addresses, masks and networks as BSD's tools write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `10.0.0.1`, `10.0.0.1/24`, `2001:db8::1`, `2001:db8::1/64`.
pub(crate) fn parse(word: &str) -> Result<(IpAddr, Option<u8>), String> {
    let (address, len) = match word.split_once('/') {
        None => (word, None),
        Some((address, len)) => (address, Some(len)),
    };
    let parsed: IpAddr = address.parse().map_err(|_| {
        let example = if address.contains(':') { "2001:db8::2/64" } else { "198.18.77.2/24" };
        format!("{address:?} is not an address; write it as {example}")
    })?;
    let len = len.map(|text| prefix_len(text, parsed)).transpose()?;
    Ok((parsed, len))
}

/// A prefix length for an address.
pub(crate) fn prefix_len(text: &str, of: IpAddr) -> Result<u8, String> {
    let most = bits(of);
    let len = text.parse().ok().filter(|len| *len <= most);
    len.ok_or_else(|| format!("prefix length {text:?} is not a number from 0 to {most}"))
}

/// How long an address is.
pub(crate) const fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// `255.255.255.0` or `0xffffff00`, as a prefix length.
pub(crate) fn parse_mask(word: &str) -> Result<u8, String> {
    let bits = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => word.parse::<Ipv4Addr>().ok().map(u32::from),
    };
    bits.filter(|bits| bits.leading_ones() + bits.trailing_zeros() == 32)
        .and_then(|bits| u8::try_from(bits.leading_ones()).ok())
        .ok_or_else(|| format!("{word:?} is not a netmask; write 255.255.255.0 or 0xffffff00"))
}

/// Netmask of a prefix length.
pub(crate) fn mask(prefix_len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix_len.min(32))).unwrap_or(0)
}

/// First address of the network.
pub(crate) fn network(address: IpAddr, prefix_len: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4) & mask(prefix_len)).into(),
        IpAddr::V6(v6) => {
            let host_bits = 128 - u32::from(prefix_len.min(128));
            let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
            Ipv6Addr::from(u128::from(v6) & mask).into()
        }
    }
}

/// Last address of the network; none where every address is a host's (RFC 3021).
pub(crate) fn broadcast(address: Ipv4Addr, prefix_len: u8) -> Option<Ipv4Addr> {
    (prefix_len < 31).then(|| Ipv4Addr::from(u32::from(address) | !mask(prefix_len)))
}

/// A network for a routing table: `default`, `10.0.0.0/8`, or a host's bare address.
pub(crate) fn destination(network: IpAddr, prefix_len: u8) -> String {
    match prefix_len {
        0 => "default".into(),
        len if len == bits(network) => network.to_string(),
        _ => format!("{network}/{prefix_len}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_in_both_spellings() {
        for (word, len) in
            [("255.255.255.0", 24), ("0xffffff00", 24), ("0.0.0.0", 0), ("0xffffffff", 32)]
        {
            assert_eq!(parse_mask(word), Ok(len), "{word}");
        }
        for word in ["255.0.255.0", "0xff", "24", "", "0x1ffffffff"] {
            assert!(parse_mask(word).is_err(), "{word}");
        }
    }

    #[test]
    fn networks_at_the_edges() {
        let a = Ipv4Addr::new(198, 18, 77, 130);
        assert_eq!(network(a.into(), 0), Ipv4Addr::UNSPECIFIED);
        assert_eq!(network(a.into(), 25), Ipv4Addr::new(198, 18, 77, 128));
        assert_eq!(network(a.into(), 32), a);
        let six: IpAddr = "2001:db8:0:4d::2".parse().unwrap();
        assert_eq!(network(six, 0), Ipv6Addr::UNSPECIFIED);
        assert_eq!(network(six, 64), "2001:db8:0:4d::".parse::<IpAddr>().unwrap());
        assert_eq!((network(six, 128), destination(six, 128)), (six, six.to_string()));
        assert_eq!(broadcast(a, 24), Some(Ipv4Addr::new(198, 18, 77, 255)));
        assert_eq!(broadcast(a, 31), None);
        assert_eq!(destination(Ipv4Addr::UNSPECIFIED.into(), 0), "default");
    }

    #[test]
    fn addresses_that_are_none() {
        for word in ["", "10.0.0", "10.0.0.1/33", "10.0.0.1/", "fe80::1/129", "10.0.0.256"] {
            assert!(parse(word).is_err(), "{word}");
        }
        assert_eq!(parse("10.0.0.1/8"), Ok((Ipv4Addr::new(10, 0, 0, 1).into(), Some(8))));
    }
}
