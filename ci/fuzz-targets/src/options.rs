//! TCP options: any list parses, and what is written reads back.

use tcp::{FastOpenCookie, Options, SackBlock, SeqNum, Timestamps};

use crate::bytes::Bytes;

/// Writes options and reads them again. Two things must hold: what was read is part of what was
/// meant, and writing what was read gives the same bytes.
fn round_trip(meant: &Options) {
    let mut list = [0; 40];
    let len = meant.emit(&mut list);
    assert!(len <= 40 && len.is_multiple_of(4), "a list of {len} bytes: {meant:?}");
    let read = Options::parse(&list[..len]);
    assert!(read.mss.is_none() || read.mss == meant.mss, "{read:?} is not of {meant:?}");
    assert!(read.window_scale.is_none() || read.window_scale == meant.window_scale);
    assert!(!read.sack_permitted || meant.sack_permitted);
    assert!(read.timestamps.is_none() || read.timestamps == meant.timestamps);
    assert!(read.user_timeout.is_none() || read.user_timeout == meant.user_timeout);
    assert!(read.fast_open.is_none() || read.fast_open == meant.fast_open);
    assert!(
        meant.sack.as_slice().starts_with(read.sack.as_slice()),
        "{read:?} is not of {meant:?}"
    );
    let mut again = [0; 40];
    let len_again = read.emit(&mut again);
    assert_eq!(list[..len], again[..len_again], "{read:?} and {meant:?}");
}

fn made(bytes: &mut Bytes<'_>) -> Options {
    let has = bytes.u8();
    let some = |bit: u8| has & (1 << bit) != 0;
    let mut options = Options::default();
    if some(0) {
        options.mss = Some(bytes.u16());
    }
    if some(1) {
        options.window_scale = Some(bytes.u8());
    }
    options.sack_permitted = some(2);
    if some(3) {
        options.timestamps = Some(Timestamps { value: bytes.u32(), echo: bytes.u32() });
    }
    if some(4) {
        options.user_timeout = Some(bytes.u16());
    }
    if some(5) {
        let len = usize::from(bytes.u8() % 20);
        options.fast_open = FastOpenCookie::parse(bytes.take(len));
    }
    if some(6) {
        for _ in 0..bytes.u8() % 6 {
            let [start, end] = [bytes.u32(), bytes.u32()].map(SeqNum::new);
            options.sack.push(SackBlock { start, end });
        }
    }
    options
}

/// Options as they come and as we write them.
pub fn options(input: &[u8]) {
    round_trip(&Options::parse(input));
    let mut bytes = Bytes::new(input);
    // Lists that begin well: kinds and lengths that exist, then whatever comes.
    let mut list = Vec::with_capacity(40);
    while list.len() < 40 && !bytes.is_empty() {
        let kinds = [
            (0, 0),
            (1, 0),
            (2, 4),
            (3, 3),
            (4, 2),
            (5, 10),
            (5, 18),
            (5, 26),
            (5, 34),
            (8, 10),
            (28, 4),
            (34, 10),
        ];
        let choice = usize::from(bytes.u8());
        match kinds.get(choice % 16) {
            Some(&(kind, 0)) => list.push(kind),
            Some(&(kind, len)) => {
                list.extend([kind, len]);
                list.extend_from_slice(bytes.take(usize::from(len) - 2));
            }
            None => list.extend_from_slice(bytes.take(choice / 16)),
        }
    }
    list.truncate(40);
    round_trip(&Options::parse(&list));
    round_trip(&made(&mut Bytes::new(input)));
}
