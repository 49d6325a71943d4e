//! Addresses for ports that have none of their own.

use types::MacAddr;

/// A random, locally administered address. `None` if the kernel gives no random bytes.
pub(crate) fn random() -> Option<MacAddr> {
    let mut octets = [0; 6];
    getrandom::fill(&mut octets).ok()?;
    octets[0] = 0x02;
    Some(MacAddr(octets))
}

/// The address of the kernel's end of the wire on whose other end the stack has `stack`: different,
/// locally administered, and the same each time.
pub(crate) fn kernel_side(stack: MacAddr) -> MacAddr {
    let [first, second, rest @ ..] = stack.0;
    let [c, d, e, f] = rest;
    MacAddr([first | 0x02, second ^ 0x80, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_ends_of_a_wire_differ_and_are_stations() {
        for stack in [MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([0, 0x80, 1, 2, 3, 4])] {
            let kernel = kernel_side(stack);
            assert_ne!(kernel, stack);
            assert!(kernel.is_unicast());
            assert_eq!(kernel_side(stack), kernel);
        }
        assert!(random().is_some_and(MacAddr::is_unicast));
    }
}
