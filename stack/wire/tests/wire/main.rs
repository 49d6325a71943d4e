//! Tests of the public interface of `wire`.

mod checksum;
mod golden;
mod ipv6;
mod lengths;
mod no_panic;
mod plain;
mod round_trip;

use core::net::Ipv4Addr;

/// The host that sends in all examples (RFC 5737).
const SRC: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The host that receives.
const DST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

/// The bytes that `text`, in hex, spells; blanks may stand between bytes.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
}
