//! Tests of the public interface of `fib`.

mod growth;
mod ipv6;
mod lookup;
mod net;
mod paths;
mod rib;

use fib::Ipv4Net;

/// The prefix that `text`, such as `10.0.0.0/8`, spells.
fn net(text: &str) -> Ipv4Net {
    let (addr, prefix_len) = text.split_once('/').unwrap();
    Ipv4Net::new(addr.parse().unwrap(), prefix_len.parse().unwrap()).unwrap()
}
