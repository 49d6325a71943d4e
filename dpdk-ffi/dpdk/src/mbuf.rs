//! One packet in a chain of buffers.
//!
//! ```text
//!  rte_mbuf │ private area │ headroom │ data … │ tailroom       first segment
//!     │ next
//!     └─> rte_mbuf │ …     │ data …              │              chained segment
//!     └─> rte_mbuf │ shared info + Loan │ (unused)              external: the data is the client's
//! ```

use core::fmt;
use core::mem::offset_of;
use core::ptr::NonNull;
use core::slice;

use dpdk_sys::rte_mbuf;

// The native field access below replaces calls of 1.5 ns each; it is right as long as bindgen's
// idea of the layout is DPDK's. These are the offsets in DPDK's ABI 23.
const _: () = assert!(size_of::<rte_mbuf>() == 128 && align_of::<rte_mbuf>() == 64);
const _: () = assert!(offset_of!(rte_mbuf, buf_addr) == 0);
const _: () = assert!(offset_of!(rte_mbuf, data_off) == 16);
const _: () = assert!(offset_of!(rte_mbuf, refcnt) == 18);
const _: () = assert!(offset_of!(rte_mbuf, nb_segs) == 20);
const _: () = assert!(offset_of!(rte_mbuf, ol_flags) == 24);
const _: () = assert!(offset_of!(rte_mbuf, pkt_len) == 36);
const _: () = assert!(offset_of!(rte_mbuf, data_len) == 40);
const _: () = assert!(offset_of!(rte_mbuf, buf_len) == 54);
const _: () = assert!(offset_of!(rte_mbuf, next) == 64);
const _: () = assert!(offset_of!(rte_mbuf, shinfo) == 80);
const _: () = assert!(offset_of!(rte_mbuf, priv_size) == 88);

/// An Ethernet header.
const FRAME_MIN: u16 = 14;

/// What debug builds write over the data of a buffer when it is freed.
#[cfg(debug_assertions)]
const POISON: u8 = 0xdb;

/// The owner of a packet: a chain of one or more segments from [`Mempool`](crate::Mempool)s.
/// Dropping it gives them back.
///
/// A segment whose bytes are on loan from a client ([`attach_external`](Self::attach_external)) is
/// never borrowed as a slice: methods that would do so say that it is empty. Its bytes leave through
/// a driver or through [`copy_out`](Self::copy_out).
#[repr(transparent)]
pub struct Mbuf(NonNull<rte_mbuf>);

// SAFETY: the chain has one owner, a pool's free may be called from any thread, and a loan is Send.
// Not Sync: DPDK's fields are plain memory.
unsafe impl Send for Mbuf {}

impl Mbuf {
    /// Takes over a chain.
    ///
    /// # Safety
    /// `raw` heads a well-formed chain from pools of this crate, EAL is running, and nobody else
    /// owns or uses it.
    pub(crate) unsafe fn from_raw(raw: NonNull<rte_mbuf>) -> Self {
        Self(raw)
    }

    /// Bytes of the first segment; empty if they are on loan.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        if self.is_external() {
            return &[];
        }
        // SAFETY: data_start is within the buffer, data_len bytes from there on are initialised
        // memory of this segment, and &self keeps them from being written.
        unsafe { slice::from_raw_parts(data_start(self.raw()), self.data_len().into()) }
    }

    /// Bytes of the packet if it is one segment and not on loan.
    #[inline]
    #[must_use]
    pub fn whole(&self) -> Option<&[u8]> {
        (self.segments() == 1).then(|| self.data())
    }

    /// The port has verified the IP header's checksum and the TCP or UDP one.
    #[inline]
    #[must_use]
    pub fn is_rx_verified(&self) -> bool {
        const MASK: u64 =
            dpdk_sys::SHIM_MBUF_F_RX_IP_CKSUM_MASK | dpdk_sys::SHIM_MBUF_F_RX_L4_CKSUM_MASK;
        const GOOD: u64 =
            dpdk_sys::SHIM_MBUF_F_RX_IP_CKSUM_GOOD | dpdk_sys::SHIM_MBUF_F_RX_L4_CKSUM_GOOD;
        self.raw().ol_flags & MASK == GOOD
    }

    /// Bytes of the first segment, writable; empty if they are on loan.
    #[must_use]
    pub fn data_mut(&mut self) -> &mut [u8] {
        if self.is_external() {
            return &mut [];
        }
        // SAFETY: as in `data`; &mut self makes the borrow the only one.
        unsafe { slice::from_raw_parts_mut(data_start(self.raw()), self.data_len().into()) }
    }

    /// Length of the first segment, on loan or not.
    #[must_use]
    pub fn data_len(&self) -> u16 {
        self.raw().data_len
    }

    /// Length of the packet: all segments.
    #[must_use]
    pub fn packet_len(&self) -> u32 {
        self.raw().pkt_len
    }

    /// Number of segments, at least one.
    #[must_use]
    pub fn segments(&self) -> u16 {
        self.raw().nb_segs
    }

    /// Bytes that [`prepend`](Self::prepend) could add.
    #[must_use]
    pub fn headroom(&self) -> u16 {
        if self.is_external() { 0 } else { self.raw().data_off }
    }

    /// Bytes that [`append`](Self::append) could add: room at the end of the last segment.
    #[must_use]
    pub fn tailroom(&self) -> u16 {
        tailroom(self.last())
    }

    /// Adds `n` bytes in front and returns them, with whatever was there; `None` if the headroom is
    /// too small.
    #[must_use]
    pub fn prepend(&mut self, n: u16) -> Option<&mut [u8]> {
        if n > self.headroom() {
            return None;
        }
        let raw = self.raw_mut();
        let (data_len, pkt_len) = (raw.data_len.checked_add(n)?, raw.pkt_len + u32::from(n));
        raw.data_off -= n;
        raw.data_len = data_len;
        raw.pkt_len = pkt_len;
        self.data_mut().get_mut(..n.into())
    }

    /// Adds `n` bytes at the end and returns them, with whatever was there; `None` if the last
    /// segment has less room.
    #[must_use]
    pub fn append(&mut self, n: u16) -> Option<&mut [u8]> {
        if n > self.tailroom() {
            return None;
        }
        self.raw_mut().pkt_len += u32::from(n);
        let last = self.last_mut();
        let end = last.data_len;
        last.data_len += n;
        // SAFETY: the offset stays within the buffer: tailroom was checked.
        let start = unsafe { data_start(last).add(end.into()) };
        // SAFETY: n initialised bytes of a segment that &mut self owns alone and that is no loan
        // (a loan has no tailroom).
        Some(unsafe { slice::from_raw_parts_mut(start, n.into()) })
    }

    /// Appends a copy of `bytes`; `false`, and nothing done, if there is no room.
    #[must_use]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) -> bool {
        let room = u16::try_from(bytes.len()).ok().and_then(|n| self.append(n));
        room.map(|room| room.copy_from_slice(bytes)).is_some()
    }

    /// In an empty buffer: `head_len` bytes of headroom for headers and `text_len` bytes behind them,
    /// with whatever was there; `None`, and nothing done, if it is not empty or too small.
    #[must_use]
    pub fn lay_out(&mut self, head_len: u16, text_len: u16) -> Option<(&mut [u8], &mut [u8])> {
        let raw = self.raw_mut();
        let fresh = raw.pkt_len == 0 && raw.nb_segs == 1 && !is_external(raw);
        if !fresh || head_len > raw.data_off || text_len > tailroom(raw) {
            return None;
        }
        let len = head_len.checked_add(text_len)?;
        raw.data_off -= head_len;
        raw.data_len = len;
        raw.pkt_len = len.into();
        self.data_mut().split_at_mut_checked(head_len.into())
    }

    /// Drops `n` bytes from the front; `false`, and nothing done, if the first segment is shorter.
    #[must_use]
    pub fn adjust(&mut self, n: u16) -> bool {
        let raw = self.raw_mut();
        let Some(data_len) = raw.data_len.checked_sub(n) else { return false };
        raw.data_len = data_len;
        raw.data_off += n;
        raw.pkt_len -= u32::from(n);
        true
    }

    /// Drops `n` bytes from the end; `false`, and nothing done, if the last segment is shorter.
    #[must_use]
    pub fn trim(&mut self, n: u16) -> bool {
        let last = self.last_mut();
        let Some(data_len) = last.data_len.checked_sub(n) else { return false };
        last.data_len = data_len;
        self.raw_mut().pkt_len -= u32::from(n);
        true
    }

    /// Makes the packet one segment by copying the others into the first one's tailroom; `false`,
    /// and nothing done, if that is too small.
    #[must_use]
    pub fn linearize(&mut self) -> bool {
        if self.segments() == 1 {
            return true;
        }
        if self.is_external() {
            return false;
        }
        // SAFETY: a well-formed chain that self owns; the first segment is no loan, so the copy
        // goes to memory of ours.
        unsafe { dpdk_sys::shim_pktmbuf_linearize(self.0.as_ptr()) == 0 }
    }

    /// Puts `tail` behind this packet, so that both are one.
    ///
    /// # Errors
    /// Gives `tail` back if the chain would have more than 65535 segments.
    pub fn chain(&mut self, tail: Self) -> Result<(), Self> {
        let Some(segments) = self.segments().checked_add(tail.segments()) else { return Err(tail) };
        let Some(pkt_len) = self.packet_len().checked_add(tail.packet_len()) else {
            return Err(tail);
        };
        self.last_mut().next = tail.into_raw().as_ptr();
        let raw = self.raw_mut();
        raw.nb_segs = segments;
        raw.pkt_len = pkt_len;
        Ok(())
    }

    /// Copies `to.len()` bytes from `offset` of the packet on, across segments and out of loans;
    /// `false`, and nothing copied, if the packet is shorter. Bytes on loan may change meanwhile:
    /// what was copied is what counts.
    #[must_use]
    pub fn copy_out(&self, offset: u32, to: &mut [u8]) -> bool {
        let Ok(len) = u32::try_from(to.len()) else { return false };
        if offset.checked_add(len).is_none_or(|end| end > self.packet_len()) {
            return false;
        }
        let to = to.as_mut_ptr().cast();
        // SAFETY: the chain has offset + len bytes, `to` has room for len; loans stay mapped.
        unsafe { dpdk_sys::shim_pktmbuf_copy_out(self.0.as_ptr(), offset, len, to) };
        true
    }

    /// Whether the first segment's bytes are on loan.
    #[must_use]
    pub fn is_external(&self) -> bool {
        is_external(self.raw())
    }

    /// Where the first segment's buffer begins.
    #[inline]
    pub(crate) fn buffer_address(&self) -> usize {
        self.raw().buf_addr.addr()
    }

    /// Whether the first segment's buffer is where most pools have it: behind the `rte_mbuf` and its private area.
    pub(crate) fn has_buffer_behind(&self) -> bool {
        let private_len = usize::from(self.raw().priv_size);
        self.buffer_address() == self.as_ptr().addr() + size_of::<rte_mbuf>() + private_len
    }

    /// Whether nobody else may write or free the packet, which is one segment in memory of its own.
    #[inline]
    #[must_use]
    pub fn is_sole(&self) -> bool {
        self.raw().refcnt == 1 && self.segments() == 1 && !self.is_external()
    }

    /// Whether an application of DPDK may have the packet: one segment in memory of its own that nobody else has.
    pub(crate) fn is_plain(&self) -> bool {
        // SAFETY: reads a counter of a segment that self owns.
        let owners = unsafe { dpdk_sys::shim_mbuf_refcnt(self.0.as_ptr()) };
        self.segments() == 1 && !self.is_external() && owners == 1
    }

    /// Takes a packet back that was [plain](Self::is_plain) when an application got it. Where its bytes are counts, if
    /// they are in the buffer; what else the application has written about it does not.
    ///
    /// # Safety
    /// `raw` is such a packet, made of an `Mbuf` by [`into_raw`](Self::into_raw), and nobody else uses it any more.
    pub(crate) unsafe fn from_application(raw: NonNull<rte_mbuf>) -> Self {
        // SAFETY: by this function's contract.
        let mut mbuf = unsafe { Self::from_raw(raw) };
        let raw = mbuf.raw_mut();
        raw.next = core::ptr::null_mut();
        raw.nb_segs = 1;
        raw.ol_flags = 0;
        raw.refcnt = 1;
        if raw.data_off.checked_add(raw.data_len).is_none_or(|end| end > raw.buf_len) {
            (raw.data_off, raw.data_len) = (0, 0);
        }
        raw.pkt_len = raw.data_len.into();
        mbuf
    }

    /// It is long enough for the header of a frame.
    pub(crate) fn is_frame(&self) -> bool {
        self.data_len() >= FRAME_MIN
    }

    /// Asks the port to fill in checksums on transmission. The TCP or UDP checksum field must hold
    /// the pseudo-header's sum, the IPv4 one zero.
    pub fn set_tx_checksum(&mut self, wanted: &TxChecksum) {
        let raw = self.raw_mut();
        raw.__bindgen_anon_3.tx_offload = u64::from(wanted.l2_len)
            | u64::from(wanted.l3_len) << L2_LEN_BITS
            | u64::from(wanted.l4_len) << (L2_LEN_BITS + L3_LEN_BITS)
            | u64::from(wanted.segment_len) << (L2_LEN_BITS + L3_LEN_BITS + L4_LEN_BITS);
        raw.ol_flags &= !dpdk_sys::SHIM_MBUF_F_TX_OFFLOAD_MASK;
        raw.ol_flags |= wanted.flags();
    }

    /// What the port says of the received IPv4 header's checksum.
    #[must_use]
    pub fn rx_ip_checksum(&self) -> ChecksumState {
        ChecksumState::of(
            self.raw().ol_flags & dpdk_sys::SHIM_MBUF_F_RX_IP_CKSUM_MASK,
            dpdk_sys::SHIM_MBUF_F_RX_IP_CKSUM_GOOD,
            dpdk_sys::SHIM_MBUF_F_RX_IP_CKSUM_BAD,
        )
    }

    /// What the port says of the received TCP or UDP checksum.
    #[must_use]
    pub fn rx_l4_checksum(&self) -> ChecksumState {
        ChecksumState::of(
            self.raw().ol_flags & dpdk_sys::SHIM_MBUF_F_RX_L4_CKSUM_MASK,
            dpdk_sys::SHIM_MBUF_F_RX_L4_CKSUM_GOOD,
            dpdk_sys::SHIM_MBUF_F_RX_L4_CKSUM_BAD,
        )
    }

    /// Says what the port knows of a received packet's checksums.
    pub fn set_rx_checksums(&mut self, ip: ChecksumState, l4: ChecksumState) {
        let raw = self.raw_mut();
        raw.ol_flags &=
            !(dpdk_sys::SHIM_MBUF_F_RX_IP_CKSUM_MASK | dpdk_sys::SHIM_MBUF_F_RX_L4_CKSUM_MASK);
        raw.ol_flags |= match ip {
            ChecksumState::Good => dpdk_sys::SHIM_MBUF_F_RX_IP_CKSUM_GOOD,
            ChecksumState::Bad => dpdk_sys::SHIM_MBUF_F_RX_IP_CKSUM_BAD,
            ChecksumState::Unknown => 0,
        };
        raw.ol_flags |= match l4 {
            ChecksumState::Good => dpdk_sys::SHIM_MBUF_F_RX_L4_CKSUM_GOOD,
            ChecksumState::Bad => dpdk_sys::SHIM_MBUF_F_RX_L4_CKSUM_BAD,
            ChecksumState::Unknown => 0,
        };
    }

    /// What [`set_tx_checksum`](Self::set_tx_checksum) asked for, if anything.
    #[must_use]
    pub fn tx_checksum(&self) -> Option<TxChecksum> {
        let raw = self.raw();
        let has = |flag| raw.ol_flags & flag == flag;
        let l4 = match raw.ol_flags & dpdk_sys::SHIM_MBUF_F_TX_UDP_CKSUM {
            0 => None,
            bits if bits == dpdk_sys::SHIM_MBUF_F_TX_TCP_CKSUM => Some(L4::Tcp),
            bits if bits == dpdk_sys::SHIM_MBUF_F_TX_UDP_CKSUM => Some(L4::Udp),
            _ => None,
        };
        let ipv4_header = has(dpdk_sys::SHIM_MBUF_F_TX_IP_CKSUM);
        if l4.is_none() && !ipv4_header {
            return None;
        }
        // SAFETY: all members are integers, for which any bits will do.
        let lengths = unsafe { raw.__bindgen_anon_3.tx_offload };
        // Masked to the bits that each length has.
        let bits = |shift: u32, len: u32| (lengths >> shift) & ((1 << len) - 1);
        Some(TxChecksum {
            l2_len: u8::try_from(bits(0, L2_LEN_BITS)).unwrap_or(0),
            l3_len: u16::try_from(bits(L2_LEN_BITS, L3_LEN_BITS)).unwrap_or(0),
            l4_len: u8::try_from(bits(L2_LEN_BITS + L3_LEN_BITS, L4_LEN_BITS)).unwrap_or(0),
            ipv4: has(dpdk_sys::SHIM_MBUF_F_TX_IPV4),
            ipv4_header,
            l4,
            segment_len: if has(dpdk_sys::SHIM_MBUF_F_TX_TCP_SEG) {
                u16::try_from(bits(L2_LEN_BITS + L3_LEN_BITS + L4_LEN_BITS, 16)).unwrap_or(0)
            } else {
                0
            },
        })
    }

    /// Calls `each` with address and length of every piece of the packet, in order.
    pub fn pieces(&self, mut each: impl FnMut(*const u8, u16)) {
        let mut segment = self.raw();
        loop {
            each(data_start(segment), segment.data_len);
            // SAFETY: `next` is null or the next segment of the chain that self owns.
            match unsafe { segment.next.as_ref() } {
                Some(next) => segment = next,
                None => return,
            }
        }
    }

    /// The hash by which the port chose the queue.
    #[must_use]
    pub fn rss_hash(&self) -> Option<u32> {
        let raw = self.raw();
        if raw.ol_flags & dpdk_sys::SHIM_MBUF_F_RX_RSS_HASH == 0 {
            return None;
        }
        // SAFETY: all members are integers, for which any bits will do.
        let hash = unsafe { raw.__bindgen_anon_2.hash };
        // SAFETY: as above; the flag says that the driver wrote this member.
        Some(unsafe { hash.rss })
    }

    /// The port it was received on; 65535 for a fresh one.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.raw().port
    }

    pub(crate) fn raw(&self) -> &rte_mbuf {
        // SAFETY: self owns the chain alone, so its head is alive and written by nobody else.
        unsafe { self.0.as_ref() }
    }

    pub(crate) fn raw_mut(&mut self) -> &mut rte_mbuf {
        // SAFETY: as in `raw`; &mut self makes the borrow the only one.
        unsafe { self.0.as_mut() }
    }

    pub(crate) fn as_ptr(&self) -> *mut rte_mbuf {
        self.0.as_ptr()
    }

    pub(crate) fn into_raw(self) -> NonNull<rte_mbuf> {
        let raw = self.0;
        core::mem::forget(self);
        raw
    }

    fn last(&self) -> &rte_mbuf {
        let mut segment = self.raw();
        // SAFETY: `next` is null or the next segment of the chain that self owns.
        while let Some(next) = unsafe { segment.next.as_ref() } {
            segment = next;
        }
        segment
    }

    fn last_mut(&mut self) -> &mut rte_mbuf {
        let mut segment = self.0;
        loop {
            // SAFETY: a segment of the chain that self owns; the borrow ends with this statement.
            let next = unsafe { segment.as_ref() }.next;
            match NonNull::new(next) {
                Some(next) => segment = next,
                // SAFETY: as above; &mut self makes this the only borrow of the segment.
                None => return unsafe { segment.as_mut() },
            }
        }
    }

    /// Makes a use after free visible: C keeps the buffer mapped and nothing else would notice.
    #[cfg(debug_assertions)]
    fn poison(&mut self) {
        self.data_mut().fill(POISON);
    }
}

/// As [`Mbuf::data`].
impl AsRef<[u8]> for Mbuf {
    fn as_ref(&self) -> &[u8] {
        self.data()
    }
}

impl Drop for Mbuf {
    fn drop(&mut self) {
        #[cfg(debug_assertions)]
        self.poison();
        // SAFETY: self owns the chain and is gone after this.
        unsafe { dpdk_sys::shim_pktmbuf_free(self.0.as_ptr()) };
    }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mbuf")
            .field("packet_len", &self.packet_len())
            .field("segments", &self.segments())
            .field("port", &self.port())
            .finish_non_exhaustive()
    }
}

fn is_external(raw: &rte_mbuf) -> bool {
    raw.ol_flags & (dpdk_sys::SHIM_MBUF_F_EXTERNAL | dpdk_sys::SHIM_MBUF_F_INDIRECT) != 0
}

fn tailroom(raw: &rte_mbuf) -> u16 {
    if is_external(raw) {
        return 0;
    }
    raw.buf_len.saturating_sub(raw.data_off).saturating_sub(raw.data_len)
}

/// Address of the first byte of data: within the buffer, or one past its end if there is no data.
fn data_start(raw: &rte_mbuf) -> *mut u8 {
    raw.buf_addr.cast::<u8>().wrapping_add(raw.data_off.into())
}

const L2_LEN_BITS: u32 = 7;
const L3_LEN_BITS: u32 = 9;
const L4_LEN_BITS: u32 = 8;

/// The transport protocol whose checksum a port shall fill in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum L4 {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What a port shall fill in on transmission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxChecksum {
    /// Bytes of the Ethernet header, at most 127.
    pub l2_len: u8,
    /// Bytes of the IP header, at most 511.
    pub l3_len: u16,
    /// Bytes of the TCP or UDP header.
    pub l4_len: u8,
    /// The packet is IPv4, otherwise IPv6.
    pub ipv4: bool,
    /// Fill in the IPv4 header's checksum too.
    pub ipv4_header: bool,
    /// Fill in the checksum of this transport protocol.
    pub l4: Option<L4>,
    /// 0, or cut the text of this TCP segment into pieces of so many bytes. The TCP checksum field
    /// must then hold the pseudo-header's sum without a length.
    pub segment_len: u16,
}

impl TxChecksum {
    fn flags(&self) -> u64 {
        let ip = match (self.ipv4, self.ipv4_header) {
            (true, true) => dpdk_sys::SHIM_MBUF_F_TX_IPV4 | dpdk_sys::SHIM_MBUF_F_TX_IP_CKSUM,
            (true, false) => dpdk_sys::SHIM_MBUF_F_TX_IPV4,
            (false, _) => dpdk_sys::SHIM_MBUF_F_TX_IPV6,
        };
        let cut = if self.segment_len > 0 { dpdk_sys::SHIM_MBUF_F_TX_TCP_SEG } else { 0 };
        ip | cut
            | match self.l4 {
                Some(L4::Tcp) => dpdk_sys::SHIM_MBUF_F_TX_TCP_CKSUM,
                Some(L4::Udp) => dpdk_sys::SHIM_MBUF_F_TX_UDP_CKSUM,
                None => 0,
            }
    }
}

/// What a port says of a received checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChecksumState {
    /// Verified.
    Good,
    /// Verified and wrong.
    Bad,
    /// Not verified: software must.
    Unknown,
}

impl ChecksumState {
    /// Both bits set mean "wrong in the packet, but the data is right" (DPDK's `NONE`): a virtual
    /// wire whose sender left the sum to hardware. The stack treats it as good.
    fn of(bits: u64, good: u64, bad: u64) -> Self {
        match bits {
            0 => Self::Unknown,
            bits if bits == bad => Self::Bad,
            bits if bits == good || bits == good | bad => Self::Good,
            _ => Self::Unknown,
        }
    }
}
