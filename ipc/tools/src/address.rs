//! IPv4 addresses, masks and networks as BSD's tools write them.

use std::net::Ipv4Addr;

/// `10.0.0.1` or `10.0.0.1/24`.
pub(crate) fn parse(word: &str) -> Result<(Ipv4Addr, Option<u8>), String> {
    let (address, len) = match word.split_once('/') {
        None => (word, None),
        Some((address, len)) => match len.parse() {
            Ok(len @ 0..=32) => (address, Some(len)),
            _ => return Err(format!("prefix length {len:?} is not a number from 0 to 32")),
        },
    };
    let parsed = address.parse().map_err(|_| {
        if address.contains(':') {
            format!("{address}: this stack has no IPv6")
        } else {
            format!("{address:?} is not an IPv4 address; write it as 198.18.77.2/24")
        }
    })?;
    Ok((parsed, len))
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
pub(crate) fn network(address: Ipv4Addr, prefix_len: u8) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(address) & mask(prefix_len))
}

/// Last address of the network; none where every address is a host's (RFC 3021).
pub(crate) fn broadcast(address: Ipv4Addr, prefix_len: u8) -> Option<Ipv4Addr> {
    (prefix_len < 31).then(|| Ipv4Addr::from(u32::from(address) | !mask(prefix_len)))
}

/// A network for a routing table: `default`, `10.0.0.0/8`, or a host's bare address.
pub(crate) fn destination(network: Ipv4Addr, prefix_len: u8) -> String {
    match prefix_len {
        0 => "default".into(),
        32 => network.to_string(),
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
        assert_eq!(network(a, 0), Ipv4Addr::UNSPECIFIED);
        assert_eq!(network(a, 25), Ipv4Addr::new(198, 18, 77, 128));
        assert_eq!(network(a, 32), a);
        assert_eq!(broadcast(a, 24), Some(Ipv4Addr::new(198, 18, 77, 255)));
        assert_eq!(broadcast(a, 31), None);
        assert_eq!(destination(Ipv4Addr::UNSPECIFIED, 0), "default");
    }

    #[test]
    fn addresses_that_are_none() {
        for word in ["", "10.0.0", "10.0.0.1/33", "10.0.0.1/", "fe80::1/64", "10.0.0.256"] {
            assert!(parse(word).is_err(), "{word}");
        }
        assert_eq!(parse("10.0.0.1/8"), Ok((Ipv4Addr::new(10, 0, 0, 1), Some(8))));
    }
}
