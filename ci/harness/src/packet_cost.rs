//! What one packet costs, for callgrind: `packet-cost udp-echo 1000`.
fn main() {}
