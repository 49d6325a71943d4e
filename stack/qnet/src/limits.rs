//! Every limit and default, with the reason for the number.

/// A name, or a domain: what a label of DNS, and a few of them, have (RFC 1035 §2.3.4 has 63 and 255); an
/// establishing frame has four, and has to fit into 576 bytes.
pub const NAME_MAX: usize = 63;

/// A message in bytes: a read or write of 256 KiB with its headers. What a peer begins and does not end takes
/// as much.
pub const MESSAGE_MAX: usize = (256 << 10) + 4096;
