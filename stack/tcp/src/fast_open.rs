//! TCP Fast Open (RFC 7413): text on the SYN, both sides of it.
//!
//! A server that gives a client a cookie takes text on that client's later SYNs: the cookie proves
//! that the client once received something at its address.
//!
//! ```text
//!   client                                    server
//!   SYN, "cookie?"                    ──▶
//!                                     ◀──     SYN-ACK, cookie          first connection
//!   ...
//!   SYN, cookie, text                 ──▶     text is delivered at once
//!                                     ◀──     SYN-ACK of SYN and text  later ones
//!                                     ◀──     answer
//!   ACK                               ──▶
//! ```
//! Text on a SYN may be delivered twice if the network repeats the SYN after the connection is
//! gone; who uses Fast Open says that this does no harm (RFC 7413 §2.1).

use core::hash::{Hash, Hasher};
use core::net::IpAddr;

use siphasher::sip::SipHasher24;
use types::Instant;

use crate::isn::{Purpose, Secret};
use crate::timers::Timer;
use crate::timestamp::low_32;
use crate::{
    Arrival, Config, HalfOpen, Options, RecvBuffer, SegmentIn, SeqNum, State, Tcb, limits,
};

/// A Fast Open option: a cookie, or empty to ask for one (RFC 7413 §4.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FastOpenCookie {
    len: u8,
    bytes: [u8; limits::FAST_OPEN_COOKIE_MAX],
}

impl FastOpenCookie {
    /// "Give me a cookie."
    pub const REQUEST: Self = Self { len: 0, bytes: [0; limits::FAST_OPEN_COOKIE_MAX] };

    /// The cookie of an option: 4 to 16 bytes, an even number of them, or none at all.
    #[must_use]
    pub fn parse(option: &[u8]) -> Option<Self> {
        let legal = option.is_empty() || (option.len() >= 4 && option.len().is_multiple_of(2));
        let mut cookie = Self { len: u8::try_from(option.len()).ok()?, ..Self::REQUEST };
        let place = cookie.bytes.get_mut(..option.len()).filter(|_| legal)?;
        place.copy_from_slice(option);
        Some(cookie)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }

    /// Asks for a cookie instead of being one.
    #[must_use]
    pub const fn is_request(&self) -> bool {
        self.len == 0
    }

    /// The cookie a server at `server` gives a client now. Ports are not in it: it is the client's
    /// for all its connections (RFC 7413 §4.1.2).
    #[must_use]
    pub fn generate(secret: &Secret, server: IpAddr, client: IpAddr, now: Instant) -> Self {
        Self::of_period(secret, server, client, period(now))
    }

    /// The cookie is one that [`Self::generate`] gives now or gave in the period before.
    #[must_use]
    pub fn is_valid(&self, secret: &Secret, server: IpAddr, client: IpAddr, now: Instant) -> bool {
        let newest = period(now);
        [newest, newest.wrapping_sub(1)]
            .into_iter()
            .any(|period| *self == Self::of_period(secret, server, client, period))
    }

    fn of_period(secret: &Secret, server: IpAddr, client: IpAddr, period: u32) -> Self {
        let mut hasher = SipHasher24::new_with_key(&secret.0);
        hasher.write_u8(Purpose::FastOpen as u8);
        server.hash(&mut hasher);
        client.hash(&mut hasher);
        hasher.write_u32(period);
        Self::parse(&hasher.finish().to_be_bytes()).unwrap_or(Self::REQUEST)
    }
}

/// What a client remembers of a server between connections (RFC 7413 §4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FastOpenMemory {
    /// The server's cookie.
    pub cookie: FastOpenCookie,
    /// The server's MSS, as its SYN-ACK had it: the text of a SYN must fit.
    pub mss: u16,
}

/// What a connection attempt has taught about Fast Open with this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FastOpenLesson {
    /// A new cookie.
    Cookie(FastOpenMemory),
    /// The SYN with the option had no answer, a plain one had: something on the path eats them. Use
    /// no Fast Open with this server for a while (RFC 7413 §4.1.3.1).
    Blackhole,
}

/// The client's side of one attempt, in [`crate::rare::Rare`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct FastOpenClient {
    /// What goes on the first SYN.
    option: FastOpenCookie,
    /// Most text on it, TCP options included.
    mss: u16,
    /// The SYN-ACK's cookie and MSS.
    learned: Option<FastOpenMemory>,
}

impl Tcb {
    /// Active OPEN with Fast Open (`MSG_FASTOPEN`, `TCP_FASTOPEN_CONNECT`). With a cookie in memory
    /// the SYN waits for the first SEND, whose text it takes along; without one it goes at once and
    /// asks for a cookie.
    #[must_use]
    pub fn connect_fast_open(
        config: &Config,
        iss: SeqNum,
        memory: Option<FastOpenMemory>,
        now: Instant,
    ) -> Self {
        let mut tcb = Self::connect(config, iss, now);
        let asking = FastOpenMemory { cookie: FastOpenCookie::REQUEST, mss: 0 };
        let FastOpenMemory { cookie, mss } = memory.unwrap_or(asking);
        tcb.rare_mut().fast_open = Some(FastOpenClient { option: cookie, mss, learned: None });
        tcb
    }

    /// What this attempt has taught; once it is [`crate::Events::ESTABLISHED`], and only once.
    pub fn take_fast_open_lesson(&mut self) -> Option<FastOpenLesson> {
        let client = self.rare.as_mut()?.fast_open.take()?;
        match client.learned {
            Some(memory) => Some(FastOpenLesson::Cookie(memory)),
            None => self.syn_lost.then_some(FastOpenLesson::Blackhole),
        }
    }

    /// The SYN waits for text to take along: the user may write already.
    #[must_use]
    pub fn holds_syn(&self) -> bool {
        let client = self.rare.as_ref().and_then(|rare| rare.fast_open.as_ref());
        client.is_some_and(|client| !client.option.is_request())
            && self.state == State::SynSent
            && self.snd.queued == 0
            && self.snd.max == self.snd.una
    }

    /// Puts the option on our first SYN, and says how much text goes with it. A repeated SYN is a
    /// plain one (RFC 7413 §4.1.3).
    pub(crate) fn fast_open_syn(&self, options: &mut Options) -> u32 {
        let first = self.state == State::SynSent && self.snd.max == self.snd.una;
        let client = self.rare.as_ref().and_then(|rare| rare.fast_open.as_ref());
        let Some(client) = client.filter(|_| first) else { return 0 };
        options.fast_open = Some(client.option);
        if client.option.is_request() {
            return 0;
        }
        let options_len = u16::try_from(options.emit(&mut [0; 40])).unwrap_or(u16::MAX);
        let mss = client.mss.max(limits::MSS_MIN).min(self.rcv.mss);
        u32::from(mss.saturating_sub(options_len)).min(self.snd.queued)
    }

    /// The server's side before the handshake is complete. Text goes out as far as the SYN's window
    /// and the initial window reach; until the peer is heard again only the SYN-ACK is repeated, and
    /// a FIN waits.
    pub(crate) fn is_early(&self) -> bool {
        self.state == State::SynReceived && !self.snd.opening
    }

    /// The SYN-ACK of such a connection is to be sent.
    pub(crate) fn owes_syn_ack(&self) -> bool {
        self.is_early() && self.rare.as_ref().is_some_and(|rare| rare.syn_ack_due)
    }

    /// Text may be sent.
    pub(crate) fn sends_text(&self) -> bool {
        self.state.is_sending() || self.is_early()
    }

    /// Our SYN goes out again.
    pub(crate) fn repeat_syn(&mut self) {
        if self.is_early() {
            self.rare_mut().syn_ack_due = true;
        } else {
            self.snd.nxt = self.snd.una;
        }
    }

    /// The SYN-ACK's options.
    pub(crate) fn fast_open_answered(&mut self, options: &Options) {
        let mss = options.mss.unwrap_or(limits::MSS_DEFAULT);
        let client = self.rare.as_mut().and_then(|rare| rare.fast_open.as_mut());
        if let Some(client) = client
            && let Some(cookie) = options.fast_open.filter(|cookie| !cookie.is_request())
        {
            client.learned = Some(FastOpenMemory { cookie, mss });
        }
    }
}

impl HalfOpen {
    /// The connection of a SYN whose cookie is valid: its text is delivered now, and the SYN-ACK,
    /// which goes out by `poll_transmit`, acknowledges it (RFC 7413 §4.2.2). It is in SYN-RECEIVED,
    /// and text may follow the SYN-ACK at once.
    #[must_use]
    pub fn into_fast_open(
        self,
        syn: &SegmentIn<'_>,
        config: &Config,
        now: Instant,
        buffer: &mut impl RecvBuffer,
    ) -> (Tcb, Arrival) {
        let mut tcb = self.into_tcb(config, now);
        tcb.snd.una = tcb.snd.nxt;
        tcb.snd.opening = false;
        tcb.rare_mut().syn_ack_due = true;
        tcb.timers.stop(Timer::Retransmit);
        let mut arrival = Arrival::default();
        let text = SegmentIn { seq: syn.seq + 1, ..*syn };
        tcb.text_of_syn(&text, now, &mut arrival, buffer);
        tcb.assert_invariants();
        (tcb, arrival)
    }
}

fn period(now: Instant) -> u32 {
    low_32(now.as_nanos().checked_div(limits::FAST_OPEN_PERIOD_NS).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn only_legal_lengths_are_cookies() {
        for len in 0..=20 {
            let legal = len == 0 || (len >= 4 && len % 2 == 0 && len <= 16);
            assert_eq!(FastOpenCookie::parse(&vec![7; len]).is_some(), legal, "{len}");
        }
    }

    #[test]
    fn a_cookie_is_its_clients_and_lasts_one_to_two_periods() {
        let secret = Secret([9; 16]);
        let (server, client) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let then = Instant::from_millis(1_000);
        let cookie = FastOpenCookie::generate(&secret, server, client, then);
        assert_eq!(cookie.as_bytes().len(), 8);
        let period = Duration::from_nanos(limits::FAST_OPEN_PERIOD_NS);
        assert!(cookie.is_valid(&secret, server, client, then + period));
        assert!(!cookie.is_valid(&secret, server, client, then + period * 2));
        assert!(!cookie.is_valid(&secret, server, [10, 0, 0, 3].into(), then));
        assert!(!cookie.is_valid(&Secret([8; 16]), server, client, then));
        assert!(!FastOpenCookie::REQUEST.is_valid(&secret, server, client, then));
    }
}
