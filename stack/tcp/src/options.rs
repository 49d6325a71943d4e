//! TCP options: MSS (RFC 9293 §3.7.1), window scale and timestamps (RFC 7323), SACK permitted
//! (RFC 2018), user timeout (RFC 5482), Fast Open (RFC 7413).

use crate::{FastOpenCookie, SackBlocks};

/// The timestamps option (RFC 7323 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamps {
    /// TSval.
    pub value: u32,
    /// TSecr.
    pub echo: u32,
}

/// The options of one segment that the engine understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Maximum segment size.
    pub mss: Option<u16>,
    /// Window scale shift count, as received (may be above 14).
    pub window_scale: Option<u8>,
    /// SACK permitted.
    pub sack_permitted: bool,
    /// SACK blocks.
    pub sack: SackBlocks,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
    /// User timeout, as on the wire: a bit for minutes instead of seconds, then 15 bits.
    pub user_timeout: Option<u16>,
    /// Fast Open: a cookie, or a request for one.
    pub fast_open: Option<FastOpenCookie>,
}

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;
const USER_TIMEOUT: u8 = 28;
const FAST_OPEN: u8 = 34;

impl Options {
    /// Reads an option list. A malformed list is not an error: what came before the damage counts,
    /// the rest is ignored. Unknown options are skipped (RFC 9293 §3.2, MUST-6).
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let mut options = Self::default();
        if let [NOP, NOP, option @ ..] = bytes
            && let [TIMESTAMPS, 10, _, _, _, _, _, _, _, _] = option
        {
            // What nearly all segments carry, laid out as RFC 7323 appendix A recommends.
            options.read(option);
            return options;
        }
        let mut rest = bytes;
        while let Some((option, after)) = split_option(rest) {
            options.read(option);
            rest = after;
        }
        options
    }

    fn read(&mut self, option: &[u8]) {
        match *option {
            [MSS, _, a, b] => self.mss = Some(u16::from_be_bytes([a, b])),
            [WINDOW_SCALE, _, shift] => self.window_scale = Some(shift),
            [SACK_PERMITTED, _] => self.sack_permitted = true,
            [SACK, _, ref blocks @ ..] => self.sack = SackBlocks::parse(blocks),
            [TIMESTAMPS, _, a, b, c, d, e, f, g, h] => {
                self.timestamps = Some(Timestamps {
                    value: u32::from_be_bytes([a, b, c, d]),
                    echo: u32::from_be_bytes([e, f, g, h]),
                });
            }
            [USER_TIMEOUT, _, a, b] => self.user_timeout = Some(u16::from_be_bytes([a, b])),
            [FAST_OPEN, _, ref cookie @ ..] => self.fast_open = FastOpenCookie::parse(cookie),
            _ => {}
        }
    }

    /// Writes the list, padded with NOPs to a multiple of four, and returns its length.
    #[must_use]
    pub fn emit(&self, out: &mut [u8; 40]) -> usize {
        let mut writer = Writer { out, len: 0 };
        if let Some(mss) = self.mss {
            let [a, b] = mss.to_be_bytes();
            writer.put(&[MSS, 4, a, b]);
        }
        if let Some(shift) = self.window_scale {
            writer.put(&[NOP, WINDOW_SCALE, 3, shift]);
        }
        let before = if self.sack_permitted { [SACK_PERMITTED, 2] } else { [NOP, NOP] };
        if let Some(Timestamps { value, echo }) = self.timestamps {
            let [first, second] = before;
            let [a, b, c, d] = value.to_be_bytes();
            let [e, f, g, h] = echo.to_be_bytes();
            writer.put(&[first, second, TIMESTAMPS, 10, a, b, c, d, e, f, g, h]);
        } else if self.sack_permitted {
            let [kind, len] = before;
            writer.put(&[kind, len, NOP, NOP]);
        }
        if let Some(timeout) = self.user_timeout {
            let [a, b] = timeout.to_be_bytes();
            writer.put(&[USER_TIMEOUT, 4, a, b]);
        }
        if let Some(cookie) = self.fast_open {
            writer.put_fast_open(cookie.as_bytes());
        }
        writer.put_sack(&self.sack);
        writer.len
    }
}

/// The first option, kind and length included, and what follows it. `None` at the end of the list.
fn split_option(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match *bytes {
        [] | [END, ..] => None,
        [NOP, ..] => bytes.split_at_checked(1),
        [_, len, ..] if len >= 2 => bytes.split_at_checked(usize::from(len)),
        _ => None,
    }
}

struct Writer<'a> {
    out: &'a mut [u8; 40],
    len: usize,
}

impl Writer<'_> {
    /// Padded in front, so that the list's end stays a multiple of four. Left out if there is no
    /// room: at most the cookie is lost.
    fn put_fast_open(&mut self, cookie: &[u8]) {
        let len = u8::try_from(cookie.len()).unwrap_or(0).saturating_add(2);
        let whole = usize::from(len).next_multiple_of(4);
        if self.len.saturating_add(whole) > self.out.len() {
            return;
        }
        for _ in usize::from(len)..whole {
            self.put(&[NOP]);
        }
        self.put(&[FAST_OPEN, len]);
        self.put(cookie);
    }

    /// As many blocks as there is room for.
    fn put_sack(&mut self, sack: &SackBlocks) {
        let room = self.out.len().saturating_sub(self.len.saturating_add(4)) / 8;
        let blocks = sack.as_slice().get(..room).unwrap_or(sack.as_slice());
        if blocks.is_empty() {
            return;
        }
        let len = u8::try_from(blocks.len()).unwrap_or(0).saturating_mul(8).saturating_add(2);
        self.put(&[NOP, NOP, SACK, len]);
        for block in blocks {
            self.put(&block.start.value().to_be_bytes());
            self.put(&block.end.value().to_be_bytes());
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        let end = self.len.saturating_add(bytes.len());
        if let Some(place) = self.out.get_mut(self.len..end) {
            place.copy_from_slice(bytes);
            self.len = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SackBlock, SeqNum};

    #[test]
    fn what_is_emitted_parses_back() {
        for bits in 0_u8..64 {
            let options = Options {
                mss: (bits & 1 != 0).then_some(1460),
                window_scale: (bits & 2 != 0).then_some(7),
                sack_permitted: bits & 4 != 0,
                sack: SackBlocks::NONE,
                timestamps: (bits & 8 != 0).then_some(Timestamps { value: 0x0102_0304, echo: 5 }),
                user_timeout: (bits & 16 != 0).then_some(0x8001),
                fast_open: (bits & 32 != 0).then(|| FastOpenCookie::parse(&[9; 10])).flatten(),
            };
            let mut out = [0xee; 40];
            let len = options.emit(&mut out);
            assert_eq!(len % 4, 0);
            assert_eq!(Options::parse(&out[..len]), options);
        }
    }

    #[test]
    fn a_cookie_that_does_not_fit_is_left_out_whole() {
        let options = Options {
            mss: Some(1460),
            window_scale: Some(7),
            sack_permitted: true,
            sack: SackBlocks::NONE,
            timestamps: Some(Timestamps::default()),
            user_timeout: Some(1),
            fast_open: FastOpenCookie::parse(&[9; 16]),
        };
        let mut out = [0xee; 40];
        assert_eq!(options.emit(&mut out), 24);
        assert_eq!(Options { user_timeout: None, ..options }.emit(&mut out), 40);
    }

    #[test]
    fn four_blocks_fit_three_beside_timestamps() {
        let mut sack = SackBlocks::NONE;
        for i in 0..5 {
            let start = SeqNum::new(u32::MAX - 20) + 10 * i;
            sack.push(SackBlock { start, end: start + 5 });
        }
        let mut options = Options { sack, ..Options::default() };
        let mut out = [0xee; 40];
        assert_eq!(options.emit(&mut out), 36);
        assert_eq!(Options::parse(&out[..36]), options);
        options.timestamps = Some(Timestamps::default());
        assert_eq!(options.emit(&mut out), 40);
        assert_eq!(Options::parse(&out).sack.as_slice(), &sack.as_slice()[..3]);
    }

    #[test]
    fn damage_ends_the_list_but_keeps_what_came_before() {
        let mss = Options { mss: Some(1000), ..Options::default() };
        for tail in [
            &[8][..],                     // kind without length
            &[8, 0],                      // length 0 would loop
            &[8, 1],                      // length below the header
            &[8, 11, 0, 0],               // beyond the list
            &[0, 3, 3, 7],                // end of list
            &[3, 4, 7, 0],                // wrong length for its kind: skipped
            &[5, 9, 0, 0, 0, 1, 0, 0, 0], // no whole number of blocks: skipped
            &[254, 4, 0, 0, 1, 1],        // unknown kind: skipped
        ] {
            let list = [&[2, 4, 3, 232][..], tail].concat();
            assert_eq!(Options::parse(&list), mss, "{list:?}");
        }
    }
}
