//! Messages of routing sockets: no bytes make reading them panic, and what can be read can be written and is the same.

use io_pkt_client::route::{Message, number};

use crate::bytes::Bytes;

/// A message, as it is or with its head put right so that its addresses are looked at.
pub fn routing(input: &[u8]) {
    let mut bytes = Bytes::new(input);
    let what = bytes.u8();
    let mut raw = bytes.take(usize::MAX).to_vec();
    if what & 0x80 == 0
        && let Ok(len) = u16::try_from(raw.len())
        && let Some(head) = raw.first_chunk_mut::<4>()
    {
        let kinds = [1, 2, 3, 4, 0x10, 0x14, 0x16, 0x17];
        let [low, high] = len.to_ne_bytes();
        let version = u8::try_from(number::RTM_VERSION).expect("a byte");
        *head = [low, high, version, kinds[usize::from(what & 7)]];
    }
    if let Ok(message) = Message::parse(&raw) {
        assert_eq!(Message::parse(&message.emit()), Ok(message));
    }
}
