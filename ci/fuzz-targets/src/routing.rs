//! Messages of routing sockets: no bytes make reading them panic, and what can be read can be written and is the same.

use io_pkt_client::route::{Message, number};

use crate::bytes::Bytes;

/// Where the head of a kind ends, and where it says which addresses follow.
const KINDS: [(u8, usize, usize); 8] = [
    (1, 120, 12),
    (2, 120, 12),
    (3, 120, 12),
    (4, 120, 12),
    (0x10, 24, 20),
    (0x14, 48, 4),
    (0x16, 24, 12),
    (0x17, 24, 12),
];

/// Puts the head right, and perhaps the lengths and families of the addresses, so that they are looked at.
fn put_right(raw: &mut [u8], what: u8) {
    let (kind, head_len, bits_at) = KINDS[usize::from(what & 7)];
    let Ok(len) = u16::try_from(raw.len()) else { return };
    let Some((head, mut rest)) = raw.split_at_mut_checked(head_len) else { return };
    let version = u8::try_from(number::RTM_VERSION).expect("a byte");
    let [low, high] = len.to_ne_bytes();
    head[..4].copy_from_slice(&[low, high, version, kind]);
    let bits = &mut head[bits_at..bits_at + 4];
    let all = u32::try_from((1 << number::RTAX_MAX) - 1).expect("above 0").to_ne_bytes();
    bits.iter_mut().zip(all).for_each(|(bits, all)| *bits &= all);
    while what & 0x40 == 0
        && let Some(start) = rest.first_chunk_mut::<7>()
    {
        let [len, family] = [[16, 2], [28, 10], [32, 18], [7, 0]][usize::from(start[0] & 3)];
        (start[0], start[1]) = (len, family);
        if family == 18 {
            // Now and then longer than the place.
            (start[5], start[6]) = (start[5] % 26, [0, 6, 6, 7][usize::from(start[6] & 3)]);
        }
        let next = usize::from(len).next_multiple_of(8).min(rest.len());
        let (address, behind) = core::mem::take(&mut rest).split_at_mut(next);
        // Names are text.
        address.iter_mut().skip(8).filter(|_| family == 18).for_each(|byte| *byte &= 0x7f);
        rest = behind;
    }
}

/// A message, as it is or put right.
pub fn routing(input: &[u8]) {
    let mut bytes = Bytes::new(input);
    let what = bytes.u8();
    let mut raw = bytes.take(usize::MAX).to_vec();
    if what & 0x80 == 0 {
        put_right(&mut raw, what);
    }
    if let Ok(message) = Message::parse(&raw) {
        assert_eq!(Message::parse(&message.emit()), Ok(message));
    }
}
