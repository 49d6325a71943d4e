//! What the engine has decided to send, as frames: buffers for all segments of a burst at once, in
//! the port's own queue; text into each; headers from one [`Template`].
//!
//! ```text
//!   SegmentOut ──► cuts ──► ┌ port's burst ┐    neighbour known: straight there, in bulk
//!                           │ mbuf mbuf …  │
//!                           └──────────────┘
//!                  cut  ──►   mbuf ──► link()   else one by one: ARP, packets to ourselves, full port
//! ```

use dpdk::{Mbuf, Mempool, TxChecksum};
use shm::Lane;
use tcp::{Cut, Flags, SegmentOut};
use types::{DropReason, Instant};
use wire::{Checksum, ethernet};

use crate::family::Family;
use crate::limits::EXTERNAL_MIN;
use crate::output::{Hop, Output};
use crate::send_queue::{SendQueue, Store};
use crate::tcp_output::Way;
use crate::template::Template;
use crate::timer_wheel::Timers;

const PADDING: [u8; ethernet::MIN_FRAME] = [0; ethernet::MIN_FRAME];

/// Where a segment's text lies.
pub(crate) struct Source<'a> {
    pub(crate) queue: &'a mut SendQueue,
    pub(crate) lane: Option<&'a Lane>,
}

impl Output {
    /// Sends a segment without text.
    pub(crate) fn bare_segment<F: Family>(
        &mut self,
        way: &Way<'_, F>,
        segment: &SegmentOut,
        now: Instant,
        timers: &mut Timers,
    ) {
        let mut queue = SendQueue::default();
        self.segments(way, segment, &mut Source { queue: &mut queue, lane: None }, now, timers);
    }

    /// Sends what the engine has made as one, in as many segments as fit the path.
    pub(crate) fn segments<F: Family>(
        &mut self,
        way: &Way<'_, F>,
        whole: &SegmentOut,
        source: &mut Source<'_>,
        now: Instant,
        timers: &mut Timers,
    ) {
        let hop = way.hop;
        let mut cuts = whole.cuts();
        let ethernet = F::link_header(self, hop, now);
        let Some(mut filler) = Filler::new(way, whole, ethernet, source) else {
            return cuts.for_each(|_| self.count_drop(DropReason::MbufExhausted));
        };
        if !filler.fits(whole, hop.mtu) {
            return cuts.for_each(|_| self.count_drop(F::TOO_BIG));
        }
        let mut sent = 0;
        if ethernet.is_some() && self.uncut(hop, whole, &mut filler) {
            sent = whole.cut_count();
            cuts.by_ref().for_each(drop);
        } else if ethernet.is_some() {
            let fill = |mbuf: &mut Mbuf, pool: &Mempool| filler.fill(mbuf, &cuts.next()?, pool);
            sent = self.frames(hop.interface, whole.cut_count(), fill);
        }
        for cut in cuts {
            let Some(mut mbuf) = self.alloc() else { continue };
            if filler.fill(&mut mbuf, &cut, self.pool()).is_none() {
                self.count_drop(DropReason::MbufExhausted);
                continue;
            }
            sent += 1;
            match ethernet {
                Some(_) => self.transmit(mbuf, hop.interface),
                None => F::link(self, mbuf, hop, now, timers),
            }
        }
        self.counters().tcp.segments_sent.add(sent.into());
        F::count_sent(self, sent);
        if whole.flags.contains(Flags::RST) {
            self.counters().tcp.resets_sent.increment();
        }
    }

    /// Leaves it to the port to cut what the engine has made. `false`: the port can't, or it has more
    /// buffers than the port takes, or CWR is on: not all ports know that it is the first piece's.
    fn uncut<F: Family>(
        &mut self,
        hop: &Hop<F>,
        whole: &SegmentOut,
        filler: &mut Filler<'_, '_, F>,
    ) -> bool {
        if hop.tso_buffers_max == 0 || whole.gso_size == 0 || whole.flags.contains(Flags::CWR) {
            return false;
        }
        let Some(mut mbuf) = self.pool().alloc() else { return false };
        let filled = filler.fill_uncut(&mut mbuf, whole, hop, self.pool()).is_some();
        let ready = filled
            && mbuf.segments() <= hop.tso_buffers_max
            && self.prepare(&mut mbuf, hop.interface);
        if ready {
            self.counters().tcp.segments_cut_by_ports.add(whole.cut_count().into());
            self.transmit(mbuf, hop.interface);
        }
        ready
    }
}

/// Fills buffers with the segments of one decision of the engine.
struct Filler<'a, 'b, F: Family> {
    template: Template<F>,
    source: &'a mut Source<'b>,
    /// Chain the client's bytes to the headers instead of copying them.
    external: bool,
    /// What the port adds to the headers.
    offload: Option<TxChecksum>,
    /// Bytes that the frame has at least.
    len_min: usize,
}

impl<'a, 'b, F: Family> Filler<'a, 'b, F> {
    #[inline(always)]
    fn new(
        way: &Way<'_, F>,
        whole: &SegmentOut,
        ethernet: Option<ethernet::Header>,
        source: &'a mut Source<'b>,
    ) -> Option<Self> {
        let template = Template::new(way, whole, ethernet)?;
        let offload = template.offload();
        let external = offload.is_some() && way.hop.loans && whole.text_len >= EXTERNAL_MIN;
        let len_min = ethernet.map_or(0, |_| ethernet::MIN_FRAME);
        Some(Self { template, source, external, offload, len_min })
    }

    /// None of the segments is larger than the link takes.
    fn fits(&self, whole: &SegmentOut, mtu: u16) -> bool {
        let text_len = if whole.gso_size == 0 { whole.text_len } else { whole.gso_size.into() };
        self.template.packet_len(text_len) <= mtu.into()
    }

    /// Makes an empty buffer the frame (without known neighbour: the packet) of one segment.
    fn fill(&mut self, mbuf: &mut Mbuf, cut: &Cut, pool: &Mempool) -> Option<()> {
        let text_len = if self.external { 0 } else { u16::try_from(cut.text_len).ok()? };
        let (head, text) = mbuf.lay_out(self.template.len(), text_len)?;
        let mut sum = Checksum::new();
        if text_len > 0 {
            self.source.copy(cut, text)?;
            if self.offload.is_none() {
                sum = sum.sum(text);
            }
        }
        self.template.emit(cut, sum, head)?;
        if self.external {
            self.source.attach(cut, mbuf, pool)?;
        }
        if let Some(offload) = &self.offload {
            mbuf.set_tx_checksum(offload);
        }
        let missing = self.len_min.saturating_sub(mbuf.packet_len() as usize);
        (missing == 0 || mbuf.extend_from_slice(PADDING.get(..missing)?)).then_some(())
    }

    /// Makes an empty buffer the first of a frame that the port is to cut.
    fn fill_uncut(
        &mut self,
        head: &mut Mbuf,
        whole: &SegmentOut,
        hop: &Hop<F>,
        pool: &Mempool,
    ) -> Option<()> {
        let segment_len = whole.gso_size;
        let ipv4_header = hop.tso_ipv4_checksum;
        let offload = TxChecksum { segment_len, ipv4_header, ..self.offload? };
        let &SegmentOut { seq, flags, text_offset, text_len, .. } = whole;
        let cut = Cut { seq, flags, text_offset, text_len };
        let (room, _) = head.lay_out(self.template.len(), 0)?;
        self.template.uncut = true;
        let emitted = self.template.emit(&cut, Checksum::new(), room);
        self.template.uncut = false;
        emitted?;
        if self.external {
            self.source.attach(&cut, head, pool)?;
        } else {
            self.source.copy_to_chain(&cut, head, pool)?;
        }
        head.set_tx_checksum(&offload);
        Some(())
    }
}

impl Source<'_> {
    /// Copies a segment's text.
    fn copy(&mut self, cut: &Cut, mut room: &mut [u8]) -> Option<()> {
        let mut done = 0;
        while done < cut.text_len {
            let offset = cut.text_offset.checked_add(done)?;
            let piece = self.queue.piece(offset, cut.text_len - done)?;
            let (front, back) = room.split_at_mut_checked(piece.len as usize)?;
            match (self.queue.store(), self.lane) {
                (Store::Client, Some(lane)) => {
                    if !lane.copy_out(piece.offset, front) {
                        return None;
                    }
                }
                (Store::Private(bytes), _) => {
                    let start = piece.offset as usize;
                    front.copy_from_slice(bytes.get(start..start + piece.len as usize)?);
                }
                (Store::Client, None) => return None,
            }
            room = back;
            done += piece.len;
        }
        Some(())
    }

    /// Copies text behind the headers in `head`, and into as many further buffers as it takes.
    fn copy_to_chain(&mut self, cut: &Cut, head: &mut Mbuf, pool: &Mempool) -> Option<()> {
        let mut done = 0;
        while done < cut.text_len {
            if done > 0 {
                head.chain(pool.alloc()?).ok()?;
            }
            let len = head.tailroom().min(u16::try_from(cut.text_len - done).unwrap_or(u16::MAX));
            let text_offset = cut.text_offset.checked_add(done)?;
            let piece = Cut { text_offset, text_len: len.into(), ..*cut };
            self.copy(&piece, head.append(len).filter(|room| !room.is_empty())?)?;
            done += u32::from(len);
        }
        Some(())
    }

    /// Chains buffers that point at the client's bytes behind `head`.
    fn attach(&mut self, cut: &Cut, head: &mut Mbuf, pool: &Mempool) -> Option<()> {
        let mut done = 0;
        while done < cut.text_len {
            let offset = cut.text_offset.checked_add(done)?;
            let piece = self.queue.piece(offset, cut.text_len - done)?;
            let mut mbuf = pool.alloc()?;
            match (self.queue.store(), self.lane) {
                (Store::Client, Some(lane)) => {
                    mbuf.attach_external(lane.loan(piece.offset, piece.len)?).ok()?;
                }
                (Store::Private(bytes), _) => {
                    let start = piece.offset as usize;
                    let bytes = bytes.get(start..start + piece.len as usize)?;
                    mbuf.extend_from_slice(bytes).then_some(())?;
                }
                (Store::Client, None) => return None,
            }
            head.chain(mbuf).ok()?;
            done += piece.len;
        }
        Some(())
    }
}
