//! Fragments that wait for the rest of their packet (RFC 791 3.2, RFC 8200 4.5).
//!
//! ```text
//!   name ──► pieces by offset, none of which overlaps another      group of sources ──► pieces held
//!            [0..1480) [1480..2960)   …   [7400..7988) last
//! ```
//! Pure: it decides, the caller builds the whole and counts what is dropped. A fragment that overlaps
//! another or contradicts it ends its packet, in both versions of IP (RFC 5722): what still comes of
//! that one is dropped until its time is over. Pieces stay in the buffers in which they came.

use core::hash::Hasher;
use core::net::IpAddr;

use hashbrown::HashMap;
use siphasher::sip::SipHasher13;
use types::{DropReason, Instant};

use crate::limits::{
    FRAGMENT_SOURCE_GROUPS, FRAGMENT_TIMEOUT, FRAGMENTS_MAX, FRAGMENTS_PER_PACKET_MAX,
    FRAGMENTS_PER_SOURCE_MAX,
};

/// What all fragments of a packet have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol number; 0 in IPv6, where the first fragment alone is believed (RFC 8200 4.5).
    pub protocol: u8,
    /// The sender's name for it.
    pub id: u32,
}

/// One fragment.
#[derive(Debug)]
pub(crate) struct Piece<B> {
    /// Where its bytes are in the whole packet's payload.
    pub offset: usize,
    /// How many they are.
    pub len: usize,
    /// Others follow it.
    pub more: bool,
    /// The two bits of explicit congestion notification.
    pub ecn: u8,
    /// Where it came in.
    pub interface: u16,
    /// The packet that it came in, headers included: its bytes are the last `len`.
    pub packet: B,
}

impl<B: AsRef<[u8]>> Piece<B> {
    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        let packet = self.packet.as_ref();
        packet.get(packet.len().saturating_sub(self.len)..).unwrap_or_default()
    }

    fn end(&self) -> usize {
        self.offset.saturating_add(self.len)
    }
}

/// A packet of which some is missing.
#[derive(Debug)]
struct Partial<B> {
    /// By offset.
    pieces: Vec<Piece<B>>,
    /// Bytes in them.
    len: usize,
    /// Length of the whole, once the last fragment has come.
    end: Option<usize>,
    /// Something was wrong; the name is remembered.
    spoiled: bool,
    group: usize,
    /// Those with lower numbers began earlier.
    serial: u64,
    due: Instant,
}

/// All packets of one worker of which some is missing.
#[derive(Debug)]
pub(crate) struct Reassembly<B> {
    partial: HashMap<Name, Partial<B>>,
    secret: [u8; 16],
    /// Fragments by group of sources; a spoiled packet counts as one.
    groups: Box<[usize]>,
    held: usize,
    serial: u64,
}

impl<B: AsRef<[u8]>> Reassembly<B> {
    /// Nothing is waited for.
    #[must_use]
    pub(crate) fn new(secret: [u8; 16]) -> Self {
        let groups = vec![0; FRAGMENT_SOURCE_GROUPS].into();
        Self { partial: HashMap::new(), secret, groups, held: 0, serial: 0 }
    }

    /// A fragment has come. All pieces in order, if it was the last one missing. `lost` hears of those
    /// that are dropped beside the one at hand.
    ///
    /// # Errors
    /// Why this one is dropped.
    pub(crate) fn add(
        &mut self,
        name: &Name,
        piece: Piece<B>,
        now: Instant,
        mut lost: impl FnMut(DropReason, usize),
    ) -> Result<Option<Vec<Piece<B>>>, DropReason> {
        if piece.len == 0 || (piece.more && !piece.len.is_multiple_of(8)) {
            return Err(DropReason::FragmentTiny);
        }
        let group = self.group(name.source);
        self.make_room(name, group, &mut lost);
        let serial = self.serial;
        let partial = self.partial.entry(*name).or_insert_with(|| Partial {
            pieces: Vec::new(),
            len: 0,
            end: None,
            spoiled: false,
            group,
            serial,
            due: now + FRAGMENT_TIMEOUT,
        });
        self.serial = serial.saturating_add(1);
        let before = partial.weight();
        let added = partial.add(piece);
        if let Err((reason, true)) = added {
            lost(reason, partial.spoil());
        }
        let (after, complete) = (partial.weight(), partial.is_complete());
        // An entry that is new had no weight yet.
        let before = if partial.serial == serial { 0 } else { before };
        self.weigh(group, before, after);
        added.map_err(|(reason, _)| reason)?;
        let whole = if complete { self.take(name) } else { None };
        match whole.map(|whole| whole.pieces) {
            Some(pieces) if !may_be_whole(&pieces) => {
                lost(DropReason::FragmentOverlap, pieces.len().saturating_sub(1));
                Err(DropReason::FragmentOverlap)
            }
            pieces => Ok(pieces),
        }
    }

    /// When the first of them is given up.
    #[must_use]
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.partial.values().map(|partial| partial.due).min()
    }

    /// Gives up those whose time is over. `each` gets what there was of one: how many fragments, and the
    /// first one if that had come.
    pub(crate) fn expire(&mut self, now: Instant, mut each: impl FnMut(usize, Option<Piece<B>>)) {
        let (groups, held) = (&mut self.groups, &mut self.held);
        for (_, mut gone) in self.partial.extract_if(|_, partial| partial.due <= now) {
            let weight = gone.weight();
            *held = held.saturating_sub(weight);
            if let Some(group) = groups.get_mut(gone.group) {
                *group = group.saturating_sub(weight);
            }
            let count = gone.pieces.len();
            let has_first = gone.pieces.first().is_some_and(|piece| piece.offset == 0);
            each(count, has_first.then(|| gone.pieces.swap_remove(0)));
        }
    }

    /// Fragments held.
    #[must_use]
    pub(crate) fn held(&self) -> usize {
        self.partial.values().map(|partial| partial.pieces.len()).sum()
    }

    /// A group that only this worker knows, so that nobody can choose whom he shares it with. Of IPv6 a
    /// whole network counts as one: a host may have all its addresses.
    fn group(&self, source: IpAddr) -> usize {
        let mut hasher = SipHasher13::new_with_key(&self.secret);
        match source {
            IpAddr::V4(v4) => hasher.write_u32(v4.to_bits()),
            IpAddr::V6(v6) => hasher.write_u128(v6.to_bits() >> 64),
        }
        usize::try_from(hasher.finish() >> 1).unwrap_or(0) % FRAGMENT_SOURCE_GROUPS
    }

    /// The elder half of what a group of sources has, or of everything, goes if there is too much of it:
    /// to look for one at a time would cost more than the fragments do that ask for it (CVE-2018-5391).
    fn make_room(&mut self, name: &Name, group: usize, lost: &mut impl FnMut(DropReason, usize)) {
        let of_group = self.groups.get(group).copied().unwrap_or(0);
        let whose = match (of_group, self.held) {
            (FRAGMENTS_PER_SOURCE_MAX.., _) => Some(group),
            (_, FRAGMENTS_MAX..) => None,
            _ => return,
        };
        let is_meant = |other: &Name, partial: &Partial<B>| {
            other != name && whose.is_none_or(|group| partial.group == group)
        };
        let all = self.partial.iter().filter(|(other, partial)| is_meant(other, partial));
        let serials = all.map(|(_, partial)| partial.serial);
        let (first, last) = serials.fold((u64::MAX, 0), |(a, b), n| (a.min(n), b.max(n)));
        let middle = first.saturating_add(last.saturating_sub(first) / 2);
        let (groups, held) = (&mut self.groups, &mut self.held);
        self.partial.retain(|other, partial| {
            let stays = partial.serial > middle || !is_meant(other, partial);
            if !stays {
                lost(DropReason::FragmentLimit, partial.pieces.len());
                *held = held.saturating_sub(partial.weight());
                if let Some(group) = groups.get_mut(partial.group) {
                    *group = group.saturating_sub(partial.weight());
                }
            }
            stays
        });
    }

    fn take(&mut self, name: &Name) -> Option<Partial<B>> {
        let gone = self.partial.remove(name)?;
        self.weigh(gone.group, gone.weight(), 0);
        Some(gone)
    }

    fn weigh(&mut self, group: usize, before: usize, after: usize) {
        let change = |count: usize| count.saturating_add(after).saturating_sub(before);
        self.held = change(self.held);
        if let Some(group) = self.groups.get_mut(group) {
            *group = change(*group);
        }
    }
}

impl<B: AsRef<[u8]>> Partial<B> {
    /// What it takes of the room.
    fn weight(&self) -> usize {
        self.pieces.len().max(1)
    }

    fn is_complete(&self) -> bool {
        !self.spoiled && self.end == Some(self.len)
    }

    /// Puts a piece where it belongs. If that can't be: why, and whether the rest goes with it.
    fn add(&mut self, piece: Piece<B>) -> Result<(), (DropReason, bool)> {
        if self.spoiled {
            return Err((DropReason::FragmentOverlap, false));
        }
        let (begin, end) = (piece.offset, piece.end());
        let at = self.pieces.partition_point(|other| other.offset < begin);
        let twin = self.pieces.get(at).filter(|other| other.offset == begin);
        if let Some(twin) = twin
            && (twin.len, twin.more) == (piece.len, piece.more)
            && twin.bytes() == piece.bytes()
        {
            return Err((DropReason::FragmentDuplicate, false));
        }
        let before = at.checked_sub(1).and_then(|at| self.pieces.get(at));
        let overlaps = before.is_some_and(|other| other.end() > begin)
            || self.pieces.get(at).is_some_and(|other| other.offset < end);
        let last = self.pieces.last().map_or(0, Piece::end);
        let contradicts = match self.end {
            Some(whole) => end > whole || !piece.more,
            None => !piece.more && last > end,
        };
        if overlaps || contradicts {
            return Err((DropReason::FragmentOverlap, true));
        }
        if self.pieces.len() >= FRAGMENTS_PER_PACKET_MAX {
            return Err((DropReason::FragmentCount, true));
        }
        if !piece.more {
            self.end = Some(end);
        }
        self.len = self.len.saturating_add(piece.len);
        self.pieces.insert(at, piece);
        Ok(())
    }

    /// Forgets all but the name; says how many pieces there were.
    fn spoil(&mut self) -> usize {
        self.spoiled = true;
        let count = self.pieces.len();
        self.pieces = Vec::new();
        count
    }
}

/// RFC 3168 5.3: fragments that saw congestion and fragments of a sender who does not know of it are not
/// of one packet.
fn may_be_whole<B>(pieces: &[Piece<B>]) -> bool {
    const CONGESTED: u8 = 3;
    let has = |ecn| pieces.iter().any(|piece| piece.ecn == ecn);
    !(has(CONGESTED) && has(0))
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;
    use core::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const NOW: Instant = Instant::from_millis(1_000);
    const WHOLE: &[u8] = b"00000000111111112222222233333333444444445555555566666666tail";

    fn name(host: u8, id: u32) -> Name {
        let (source, destination) = (Ipv4Addr::new(10, 0, 0, host), Ipv4Addr::new(10, 0, 1, 1));
        Name { source: source.into(), destination: destination.into(), protocol: 17, id }
    }

    /// A header of four bytes and these bytes of [`WHOLE`].
    fn piece(offset: usize, len: usize) -> Piece<Vec<u8>> {
        let packet = [b"head", &WHOLE[offset..offset + len]].concat();
        Piece { offset, len, more: offset + len < WHOLE.len(), ecn: 0, interface: 1, packet }
    }

    /// What became of one: the whole, and what else went.
    type Outcome = (Result<Option<Vec<u8>>, DropReason>, Vec<(DropReason, usize)>);

    struct Table(Reassembly<Vec<u8>>);

    impl Table {
        fn new() -> Self {
            Self(Reassembly::new([7; 16]))
        }

        fn add_of(&mut self, name: Name, piece: Piece<Vec<u8>>, now: Instant) -> Outcome {
            let mut lost = Vec::new();
            let whole = self.0.add(&name, piece, now, |reason, count| lost.push((reason, count)));
            let whole = whole.map(|pieces| {
                pieces.map(|all| all.iter().flat_map(Piece::bytes).copied().collect())
            });
            assert_eq!(self.0.held, self.0.partial.values().map(Partial::weight).sum::<usize>());
            assert_eq!(self.0.held, self.0.groups.iter().sum::<usize>());
            (whole, lost)
        }

        fn add(&mut self, piece: Piece<Vec<u8>>) -> Outcome {
            self.add_of(name(1, 1), piece, NOW)
        }
    }

    fn whole() -> Outcome {
        (Ok(Some(WHOLE.to_vec())), vec![])
    }

    fn kept() -> Outcome {
        (Ok(None), vec![])
    }

    fn dropped(reason: DropReason) -> Outcome {
        (Err(reason), vec![])
    }

    proptest! {
        #[test]
        fn pieces_in_any_order_make_the_whole(order in Just((0..8).collect::<Vec<usize>>()).prop_shuffle()) {
            let mut table = Table::new();
            let mut last = kept();
            for at in order {
                prop_assert_eq!(last, kept());
                last = table.add(piece(at * 8, if at == 7 { 4 } else { 8 }));
            }
            prop_assert_eq!(last, whole());
            prop_assert_eq!((table.0.held, table.0.partial.len()), (0, 0));
        }

        /// Whatever comes, a whole is made of what was sent or not at all.
        #[test]
        fn only_the_whole_is_ever_made(
            cuts in prop::collection::vec((0..8_usize, 1..8_usize, any::<bool>(), any::<bool>()), 1..40)
        ) {
            let mut table = Table::new();
            for (at, count, more, lie) in cuts {
                let end = ((at + count) * 8).min(WHOLE.len());
                let mut piece = piece(at * 8, end - at * 8);
                piece.more = if lie { more } else { piece.more };
                let (made, _) = table.add(piece);
                if let Ok(Some(made)) = made {
                    prop_assert!(WHOLE.starts_with(&made));
                }
            }
        }
    }

    #[test]
    fn packets_of_other_names_are_other_packets() {
        let mut table = Table::new();
        assert_eq!(table.add(piece(0, 32)), kept());
        for other in [name(2, 1), name(1, 2), Name { protocol: 6, ..name(1, 1) }] {
            assert_eq!(table.add_of(other, piece(32, 28), NOW), kept());
        }
        assert_eq!(table.add(piece(32, 28)), whole());
        assert_eq!(table.0.held(), 3);
    }

    #[test]
    fn a_duplicate_harms_nobody() {
        let mut table = Table::new();
        assert_eq!(table.add(piece(0, 32)), kept());
        assert_eq!(table.add(piece(0, 32)), dropped(DropReason::FragmentDuplicate));
        assert_eq!(table.add(piece(32, 28)), whole());
    }

    #[test]
    fn an_overlap_ends_the_packet_and_all_that_still_comes_of_it() {
        let other_text = Piece { packet: vec![b'x'; 36], ..piece(0, 32) };
        let within = piece(8, 8);
        let across = piece(16, 32);
        let around = piece(0, 40);
        for overlapping in [other_text, within, across, around] {
            let mut table = Table::new();
            assert_eq!(table.add(piece(0, 32)), kept());
            let (result, lost) = table.add(overlapping);
            assert_eq!(result, Err(DropReason::FragmentOverlap));
            assert_eq!(lost, [(DropReason::FragmentOverlap, 1)]);
            assert_eq!(table.add(piece(32, 28)), dropped(DropReason::FragmentOverlap));
            assert_eq!(table.0.held(), 0);
        }
    }

    #[test]
    fn a_packet_has_one_end() {
        let end = || Piece { more: false, ..piece(16, 8) };
        let (beyond, another_end) = (piece(24, 8), Piece { more: false, ..piece(8, 8) });
        for after in [beyond, another_end] {
            let mut table = Table::new();
            assert_eq!(table.add(end()), kept());
            assert_eq!(table.add(after).0, Err(DropReason::FragmentOverlap));
        }
        let mut table = Table::new();
        assert_eq!(table.add(piece(24, 8)), kept());
        assert_eq!(table.add(end()).0, Err(DropReason::FragmentOverlap), "an end before others");
    }

    #[test]
    fn what_is_no_piece_is_dropped_alone() {
        let mut table = Table::new();
        assert_eq!(table.add(piece(0, 32)), kept());
        for none in [Piece { more: true, ..piece(32, 0) }, piece(32, 7)] {
            assert_eq!(table.add(none), dropped(DropReason::FragmentTiny));
        }
        assert_eq!(table.add(piece(32, 28)), whole());
    }

    #[test]
    fn a_packet_in_too_many_pieces_is_given_up() {
        let tiny = |at: usize| Piece { offset: at * 8, more: true, ..piece(0, 8) };
        let mut table = Table::new();
        for at in 0..FRAGMENTS_PER_PACKET_MAX {
            assert_eq!(table.add(tiny(at)), kept());
        }
        let (result, lost) = table.add(tiny(FRAGMENTS_PER_PACKET_MAX));
        assert_eq!(result, Err(DropReason::FragmentCount));
        assert_eq!(lost, [(DropReason::FragmentCount, FRAGMENTS_PER_PACKET_MAX)]);
    }

    #[test]
    fn fragments_that_saw_congestion_are_not_joined_with_those_of_who_does_not_know_of_it() {
        let with = |ecn, piece| Piece { ecn, ..piece };
        let mut table = Table::new();
        assert_eq!(table.add(with(2, piece(0, 32))), kept());
        assert_eq!(table.add(with(3, piece(32, 28))), whole());
        assert_eq!(table.add(with(0, piece(0, 32))), kept());
        let (result, lost) = table.add(with(3, piece(32, 28)));
        assert_eq!(result, Err(DropReason::FragmentOverlap));
        assert_eq!(lost, [(DropReason::FragmentOverlap, 1)]);
    }

    #[test]
    fn the_rest_has_thirty_seconds() {
        let mut table = Table::new();
        assert_eq!(table.add(piece(0, 32)), kept());
        assert_eq!(table.add_of(name(2, 2), piece(32, 28), NOW + Duration::from_secs(1)), kept());
        let due = NOW + FRAGMENT_TIMEOUT;
        assert_eq!(table.0.next_timeout(), Some(due));
        let mut gone = Vec::new();
        table.0.expire(due, |count, first| gone.push((count, first.map(|first| first.packet))));
        assert_eq!(
            gone,
            [(1, Some(piece(0, 32).packet))],
            "its first fragment is there to be quoted"
        );
        gone.clear();
        table.0.expire(due + Duration::from_secs(1), |count, first| {
            gone.push((count, first.map(|first| first.packet)));
        });
        assert_eq!(gone, [(1, None)]);
        assert_eq!((table.0.next_timeout(), table.0.held), (None, 0));
    }

    #[test]
    fn a_source_that_leaves_much_incomplete_loses_its_oldest_and_nobody_elses() {
        let mut table = Table::new();
        assert_eq!(table.add_of(name(2, 1), piece(0, 32), NOW), kept());
        let mut lost = 0;
        for id in 0..10_000 {
            let (result, gone) = table.add_of(name(1, id), piece(0, 32), NOW);
            assert_eq!(result, Ok(None));
            assert!(gone.iter().all(|(reason, _)| *reason == DropReason::FragmentLimit));
            lost += gone.iter().map(|(_, count)| count).sum::<usize>();
            assert!(table.0.held() <= FRAGMENTS_PER_SOURCE_MAX + 1);
        }
        assert_eq!(lost + table.0.held(), 10_001);
        assert_eq!(table.add_of(name(2, 1), piece(32, 28), NOW), whole(), "another's is there");
        assert_eq!(table.add_of(name(1, 9_999), piece(32, 28), NOW), whole(), "so is the newest");
    }

    #[test]
    fn all_sources_together_have_a_limit() {
        let mut table = Table::new();
        let source = |n: u32| Name { source: Ipv4Addr::from_bits(n).into(), ..name(1, 1) };
        for n in 0..50_000 {
            assert_eq!(table.add_of(source(n), piece(0, 32), NOW).0, Ok(None));
            assert!(table.0.held() <= FRAGMENTS_MAX);
        }
        assert_eq!(table.add_of(source(49_999), piece(32, 28), NOW), whole());
    }

    #[test]
    fn names_of_spoiled_packets_take_room_too() {
        let mut table = Table::new();
        for id in 0..10_000 {
            let _ = table.add_of(name(1, id), piece(0, 32), NOW);
            let _ = table.add_of(name(1, id), piece(8, 8), NOW);
            assert!(table.0.partial.len() <= FRAGMENTS_PER_SOURCE_MAX);
        }
    }
}
