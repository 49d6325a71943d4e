//! Who wants which packets. A plan never changes; when modules or interfaces come or go, a new one
//! takes its place.

use std::sync::Arc;

use crate::error::ProtocolError;
use crate::host::Interface;
use crate::instance::{Instance, To};
use crate::sockets::SocketKind;

/// Where a filter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// IPv4 packets.
    Inet,
    /// IPv6 packets.
    Inet6,
    /// Frames at an interface.
    Interface,
}

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// They come.
    In,
    /// They go.
    Out,
}

impl Direction {
    /// The ABI's bit.
    pub(crate) fn bit(self) -> u32 {
        match self {
            Self::In => lsm_abi::IN,
            Self::Out => lsm_abi::OUT,
        }
    }
}

/// Packets that are one module's: which module, which of its attachments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The module's place among the plan's.
    pub(crate) seat: usize,
    /// The attachment's number.
    pub(crate) attachment: u32,
    /// The claim's place among the plan's.
    pub(crate) place: usize,
}

/// A tap or a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    pub(crate) seat: usize,
    pub(crate) attachment: u32,
    /// Only this interface.
    pub(crate) interface: Option<u16>,
    order: i32,
}

/// Taps or filters of one point, in the order in which they are asked, for each direction.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    input: Vec<Listener>,
    output: Vec<Listener>,
}

impl Listeners {
    fn add(&mut self, listener: Listener, directions: u32) {
        for (direction, list) in
            [(Direction::In, &mut self.input), (Direction::Out, &mut self.output)]
        {
            if directions & direction.bit() != 0 {
                list.push(listener);
            }
        }
    }

    /// The lower ones are nearer to the wire. The sort keeps equal ones in the order of loading, and
    /// the way out is the way in reversed.
    fn sort(&mut self) {
        self.input.sort_by_key(|listener| listener.order);
        self.output.sort_by_key(|listener| listener.order);
        self.output.reverse();
    }

    /// Those that are asked.
    pub(crate) fn of(&self, direction: Direction) -> &[Listener] {
        match direction {
            Direction::In => &self.input,
            Direction::Out => &self.output,
        }
    }
}

/// Who wants which packets.
#[derive(Debug, Default)]
pub struct Plan {
    pub(crate) instances: Vec<Arc<Instance>>,
    ethertypes: Vec<(u16, Claim)>,
    protocols: Vec<(u8, Claim)>,
    sockets: Vec<(SocketKind, Claim)>,
    pub(crate) claims: usize,
    pub(crate) taps: Listeners,
    inet: Listeners,
    inet6: Listeners,
    interface: Listeners,
}

impl Plan {
    /// A plan with these modules, while there are these interfaces.
    #[must_use]
    pub fn new(instances: Vec<Arc<Instance>>, interfaces: &[Interface]) -> Self {
        let mut plan = Self::default();
        for (seat, instance) in instances.iter().enumerate() {
            for (attachment, wanted) in (0..).zip(instance.attachments()) {
                let claim = Claim { seat, attachment, place: plan.claims };
                let interface = match &wanted.interface {
                    None => None,
                    Some(name) => match interfaces.iter().find(|i| i.name == *name) {
                        Some(there) => Some(there.index),
                        None => continue,
                    },
                };
                let listener = Listener { seat, attachment, interface, order: wanted.order };
                match wanted.to {
                    To::EtherType(number) => plan.ethertypes.push((number, claim)),
                    To::Protocol(number) => plan.protocols.push((number, claim)),
                    To::Sockets(kind) => plan.sockets.push((kind, claim)),
                    To::Tap(directions) => plan.taps.add(listener, directions),
                    To::Filter(point, directions) => {
                        plan.filters_mut(point).add(listener, directions);
                    }
                }
                plan.claims += usize::from(matches!(wanted.to, To::EtherType(_) | To::Protocol(_)));
            }
        }
        plan.taps.sort();
        plan.inet.sort();
        plan.inet6.sort();
        plan.interface.sort();
        plan.instances = instances;
        plan
    }

    /// Nobody wants anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }

    /// Whose frames of this EtherType are.
    #[must_use]
    pub fn ethertype(&self, number: u16) -> Option<Claim> {
        self.ethertypes.iter().find(|(known, _)| *known == number).map(|(_, claim)| *claim)
    }

    /// Whose packets of this protocol are.
    #[must_use]
    pub fn protocol(&self, number: u8) -> Option<Claim> {
        self.protocols.iter().find(|(known, _)| *known == number).map(|(_, claim)| *claim)
    }

    /// Whose sockets of this kind are.
    pub(crate) fn sockets(&self, kind: SocketKind) -> Option<Claim> {
        self.sockets.iter().find(|(known, _)| *known == kind).map(|(_, claim)| *claim)
    }

    pub(crate) fn filters(&self, point: Point) -> &Listeners {
        match point {
            Point::Inet => &self.inet,
            Point::Inet6 => &self.inet6,
            Point::Interface => &self.interface,
        }
    }

    fn filters_mut(&mut self, point: Point) -> &mut Listeners {
        match point {
            Point::Inet => &mut self.inet,
            Point::Inet6 => &mut self.inet6,
            Point::Interface => &mut self.interface,
        }
    }

    /// Whether a further module fits in: nobody has what it wants.
    ///
    /// # Errors
    /// [`ProtocolError::Taken`].
    pub fn admits(&self, instance: &Instance) -> Result<(), ProtocolError> {
        for wanted in instance.attachments() {
            let (claim, what) = match wanted.to {
                To::EtherType(number) => {
                    (self.ethertype(number), format!("EtherType 0x{number:04x}"))
                }
                To::Protocol(number) => (self.protocol(number), format!("IP protocol {number}")),
                To::Sockets(kind) => (self.sockets(kind), kind.to_string()),
                To::Tap(_) | To::Filter(..) => continue,
            };
            if let Some(owner) = claim.and_then(|claim| self.instances.get(claim.seat)) {
                return Err(ProtocolError::Taken {
                    module: instance.name().into(),
                    what,
                    owner: owner.name().into(),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_filter_is_nearer_to_the_wire_both_ways() {
        let mut listeners = Listeners::default();
        let both = lsm_abi::IN | lsm_abi::OUT;
        for (seat, order, directions) in
            [(0, 5, both), (1, -1, both), (2, 5, both), (3, 0, lsm_abi::IN), (4, 9, lsm_abi::OUT)]
        {
            listeners.add(Listener { seat, attachment: 0, interface: None, order }, directions);
        }
        listeners.sort();
        let seats = |direction| listeners.of(direction).iter().map(|l| l.seat).collect::<Vec<_>>();
        assert_eq!(seats(Direction::In), [1, 3, 0, 2], "equal ones in the order of loading");
        assert_eq!(seats(Direction::Out), [4, 2, 0, 1], "the way out is the way in reversed");
    }
}
