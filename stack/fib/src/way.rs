//! How packets to a destination go on: to one router, to one of several, or not at all.

use std::sync::Arc;

use crate::address::Address;
use crate::route::NextHop;

/// How packets to a destination go on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Way<A: Address> {
    /// Most bytes of an IP packet on this way, if the operator has said so.
    pub mtu: Option<u16>,
    to: To<A>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum To<A: Address> {
    One(NextHop<A>),
    Several(Arc<[Member<A>]>),
    Nowhere(Refusal),
}

/// One of several equal next hops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Member<A> {
    hop: NextHop<A>,
    /// Differs from hop to hop and is the same whatever other hops there are.
    seed: u32,
}

/// Why the operator lets no packet pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Nobody is told.
    Blackhole,
    /// Their senders are told.
    Reject,
}

impl<A: Address> Way<A> {
    /// Over these hops; `None`: there is none.
    pub(crate) fn over(hops: &[NextHop<A>], mtu: Option<u16>) -> Option<Self> {
        let to = match hops {
            [] => return None,
            [one] => To::One(*one),
            several => To::Several(several.iter().map(|hop| Member::new(*hop)).collect()),
        };
        Some(Self { mtu, to })
    }

    /// No packet passes.
    pub(crate) const fn refused(refusal: Refusal) -> Self {
        Self { mtu: None, to: To::Nowhere(refusal) }
    }

    /// Where a packet of this flow goes next. The flow is asked for only where there are several equal
    /// hops: the one with the highest weight has it (Thaler and Ravishankar, RFC 2991 4), so that a hop
    /// which goes takes only its own flows with it, and one that comes takes its share from each of the
    /// others.
    ///
    /// # Errors
    /// The operator lets no packet pass.
    #[inline]
    pub fn hop(&self, flow: impl FnOnce() -> u32) -> Result<NextHop<A>, Refusal> {
        match &self.to {
            To::One(hop) => Ok(*hop),
            To::Several(members) => {
                let flow = flow();
                let best = members.iter().max_by_key(|member| mixed(member.seed ^ flow));
                best.map(|member| member.hop).ok_or(Refusal::Blackhole)
            }
            To::Nowhere(refusal) => Err(*refusal),
        }
    }

    /// The first hop, whatever the flow.
    #[must_use]
    pub fn first(&self) -> Option<NextHop<A>> {
        match &self.to {
            To::One(hop) => Some(*hop),
            To::Several(members) => members.first().map(|member| member.hop),
            To::Nowhere(_) => None,
        }
    }

    /// Whether packets of some flow go to this hop.
    #[must_use]
    pub fn has(&self, hop: NextHop<A>) -> bool {
        match &self.to {
            To::One(one) => *one == hop,
            To::Several(members) => members.iter().any(|member| member.hop == hop),
            To::Nowhere(_) => false,
        }
    }

    /// Whether packets of some flow leave by this interface.
    #[must_use]
    pub fn leaves_by(&self, interface: u16) -> bool {
        match &self.to {
            To::One(hop) => hop.interface == interface,
            To::Several(members) => members.iter().any(|m| m.hop.interface == interface),
            To::Nowhere(_) => false,
        }
    }
}

impl<A: Address> Member<A> {
    fn new(hop: NextHop<A>) -> Self {
        let interface = hop.interface.to_be_bytes().map(u32::from);
        let bits = hop.gateway.map(A::bits);
        let bytes = (0..A::LEN).step_by(8).map(|skip| bits.map_or(0, |bits| A::eight(bits, skip)));
        // FNV-1a.
        let step = |hash: u32, byte: u32| (hash ^ byte).wrapping_mul(0x0100_0193);
        Self { hop, seed: interface.into_iter().chain(bytes).fold(0x811c_9dc5, step) }
    }
}

/// Each bit of the result depends on each bit of the number (the end of MurmurHash3).
#[inline]
fn mixed(mut bits: u32) -> u32 {
    bits = (bits ^ bits >> 16).wrapping_mul(0x85eb_ca6b);
    bits = (bits ^ bits >> 13).wrapping_mul(0xc2b2_ae35);
    bits ^ bits >> 16
}
