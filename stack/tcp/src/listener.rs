//! LISTEN and CLOSED (RFC 9293 §3.10.7.1, §3.10.7.2): segments that find no connection.

use types::{DropReason, Instant};

use crate::{Flags, SegmentIn, SegmentOut, limits};

/// When a listener answers SYNs with cookies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SynCookies {
    /// Never: SYNs beyond [`limits::HALF_OPEN_MAX`] half-open connections are dropped.
    Off,
    /// From [`limits::SYN_COOKIES_ON`] half-open connections on.
    #[default]
    Auto,
    /// For every SYN: a connection is only made by the handshake's end.
    Always,
}

/// A listening socket: who may wait at it, counted as Linux does. Half-open connections have a
/// limit of their own, and the accept queue holds one more than the backlog.
///
/// ```text
///   SYN ──▶ half-open ──ACK──▶ accept queue ──accept()──▶
///            ≤ 1024, from 256 on cookies     ≤ backlog + 1
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    backlog: u32,
    /// Established, not yet accepted.
    waiting: u32,
    /// SYN received, handshake not complete.
    half_open: u32,
    /// Connections whose SYN brought text and whose handshake is not complete, and those of
    /// `resets`.
    fast_open: u32,
    /// Such connections that were reset: in the period at hand, which began at `period`, and in the
    /// one before.
    resets: [u32; 2],
    period: Instant,
    /// Cookies are allowed.
    mode: SynCookies,
    /// SYNs are answered with cookies.
    cookies: bool,
    /// Until then an ACK may bring a cookie.
    cookies_until: Instant,
}

/// What to do with a segment for a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenVerdict {
    /// An acceptable SYN: make a [`crate::HalfOpen`] and call [`Listener::opened`].
    Open,
    /// An acceptable SYN, and too many are half-open: answer with [`crate::SynCookie::syn_ack`] and
    /// call [`Listener::cookie_sent`].
    Cookie,
    /// An ACK that may bring a cookie: [`crate::SynCookie::validate`]; if it does not, the answer
    /// is this RST.
    Validate(SegmentOut),
    /// An ACK for a connection we do not have: send this RST.
    Reset(SegmentOut),
    /// Nothing to do.
    Drop(DropReason),
}

impl Listener {
    /// At most `backlog` + 1 connections may wait to be accepted.
    #[must_use]
    pub const fn new(backlog: u32) -> Self {
        Self {
            backlog,
            waiting: 0,
            half_open: 0,
            fast_open: 0,
            resets: [0; 2],
            period: Instant::ZERO,
            mode: SynCookies::Auto,
            cookies: false,
            cookies_until: Instant::ZERO,
        }
    }

    /// SEGMENT ARRIVES in LISTEN: RST is ignored, ACK is answered with RST, SYN opens.
    #[must_use]
    pub fn segment_arrives(&self, seg: &SegmentIn<'_>, now: Instant) -> ListenVerdict {
        if seg.flags.contains(Flags::RST) {
            return ListenVerdict::Drop(DropReason::TcpResetUnacceptable);
        }
        if seg.flags.contains(Flags::ACK) {
            let reset = SegmentOut::reset(seg.ack);
            return if now < self.cookies_until && !seg.flags.contains(Flags::SYN) {
                ListenVerdict::Validate(reset)
            } else {
                ListenVerdict::Reset(reset)
            };
        }
        if !seg.flags.contains(Flags::SYN) || seg.flags.contains(Flags::FIN) {
            return ListenVerdict::Drop(DropReason::TcpFlags);
        }
        // While nobody accepts no handshake is begun.
        if !self.has_room() {
            return ListenVerdict::Drop(DropReason::TcpListenOverflow);
        }
        match self.mode {
            SynCookies::Always => ListenVerdict::Cookie,
            SynCookies::Auto if self.cookies => ListenVerdict::Cookie,
            SynCookies::Off if self.half_open >= limits::HALF_OPEN_MAX => {
                ListenVerdict::Drop(DropReason::TcpListenOverflow)
            }
            SynCookies::Auto | SynCookies::Off => ListenVerdict::Open,
        }
    }

    /// When SYNs are answered with cookies.
    pub fn set_syn_cookies(&mut self, mode: SynCookies) {
        self.mode = mode;
    }

    /// A half-open connection was made.
    pub fn opened(&mut self) {
        self.half_open = self.half_open.saturating_add(1);
        self.cookies |= self.half_open >= limits::SYN_COOKIES_ON;
    }

    /// A half-open connection failed.
    pub fn abandoned(&mut self) {
        self.half_open = self.half_open.saturating_sub(1);
        self.cookies &= self.half_open > limits::SYN_COOKIES_OFF;
    }

    /// A cookie was sent: for two minutes ACKs are looked at.
    pub fn cookie_sent(&mut self, now: Instant) {
        self.cookies_until = now + limits::SYN_COOKIE_PERIOD.saturating_mul(2);
    }

    /// A handshake is complete: its connection moves to the accept queue. `false`: there is no room,
    /// it stays half-open.
    #[must_use]
    pub fn established(&mut self) -> bool {
        let free = self.has_room();
        if free {
            self.abandoned();
            self.waiting = self.waiting.saturating_add(1);
        }
        free
    }

    /// A SYN with a valid Fast Open cookie: its connection moves to the accept queue at once, if
    /// fewer than `limit` are there whose peer has not been heard twice (RFC 7413 §5.1: spoofed SYNs
    /// must not fill it). `false`: an ordinary handshake.
    #[must_use]
    pub fn fast_opened(&mut self, limit: u32, now: Instant) -> bool {
        self.forget_resets(now);
        let free = self.has_room() && self.fast_open < limit;
        if free {
            self.fast_open = self.fast_open.saturating_add(1);
            self.waiting = self.waiting.saturating_add(1);
        }
        free
    }

    /// The handshake of such a connection is complete, or it is gone.
    pub fn fast_open_ended(&mut self) {
        self.fast_open = self.fast_open.saturating_sub(1);
    }

    /// The peer has reset such a connection: for a time it still counts, so that whoever is flooded
    /// with answers that he resets does not make room for more of them (RFC 7413 §5.1).
    pub fn fast_open_reset(&mut self, now: Instant) {
        self.forget_resets(now);
        let [recent, _] = &mut self.resets;
        *recent = recent.saturating_add(1);
    }

    /// Those of one period are forgotten together when the next is over.
    fn forget_resets(&mut self, now: Instant) {
        let time = limits::FAST_OPEN_RESET_TIME;
        let since = now.since(self.period);
        if since < time {
            return;
        }
        let [recent, older] = self.resets;
        let (gone, kept) = if since < time.saturating_mul(2) {
            (older, recent)
        } else {
            (older.saturating_add(recent), 0)
        };
        self.fast_open = self.fast_open.saturating_sub(gone);
        self.resets = [0, kept];
        self.period = now;
    }

    /// A connection was accepted, or is gone before that.
    pub fn left(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// Connections that wait to be accepted.
    #[must_use]
    pub const fn waiting(&self) -> u32 {
        self.waiting
    }

    /// Half-open connections.
    #[must_use]
    pub const fn half_open(&self) -> u32 {
        self.half_open
    }

    /// Changes the backlog (`listen` on a listening socket).
    pub fn set_backlog(&mut self, backlog: u32) {
        self.backlog = backlog;
    }

    /// Linux's rule: one more than the backlog may wait.
    #[must_use]
    pub const fn has_room(&self) -> bool {
        self.waiting <= self.backlog
    }
}

/// The answer to a segment that belongs to no connection and no listener: a RST that its sender
/// will accept, or nothing if it is a RST itself (RFC 9293 §3.10.7.1).
#[must_use]
pub fn closed_reply(seg: &SegmentIn<'_>) -> Option<SegmentOut> {
    if seg.flags.contains(Flags::RST) {
        None
    } else if seg.flags.contains(Flags::ACK) {
        Some(SegmentOut::reset(seg.ack))
    } else {
        let ack = seg.seq + seg.len();
        Some(SegmentOut::control(crate::SeqNum::new(0), ack, Flags::RST | Flags::ACK))
    }
}
