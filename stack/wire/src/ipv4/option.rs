//! The options of an IPv4 packet (RFC 791, 3.1).

use core::iter::FusedIterator;

use types::DropReason;

/// One option; the slices are what follows the length byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpOption<'a> {
    /// Loose source and record route.
    LooseSourceRoute(&'a [u8]),
    /// Strict source and record route.
    StrictSourceRoute(&'a [u8]),
    /// Record route.
    RecordRoute(&'a [u8]),
    /// Internet timestamp.
    Timestamp(&'a [u8]),
    /// Routers should look into the packet (RFC 2113).
    RouterAlert(&'a [u8]),
    /// Any other type.
    Unknown(u8, &'a [u8]),
}

/// The options of a packet in order, without no-operations, up to the end of the list.
///
/// The first malformed option is the last item.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    rest: &'a [u8],
}

impl<'a> Options<'a> {
    /// The options in `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = Result<IpOption<'a>, DropReason>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&kind, after_kind) = self.rest.split_first()?;
            match kind {
                END_OF_LIST => {
                    self.rest = &[];
                    return None;
                }
                NO_OPERATION => self.rest = after_kind,
                _ => {
                    let Some((data, rest)) = split_data(after_kind) else {
                        self.rest = &[];
                        return Some(Err(DropReason::Ipv4Options));
                    };
                    self.rest = rest;
                    return Some(Ok(IpOption::new(kind, data)));
                }
            }
        }
    }
}

impl FusedIterator for Options<'_> {}

impl<'a> IpOption<'a> {
    const fn new(kind: u8, data: &'a [u8]) -> Self {
        match kind {
            LOOSE_SOURCE_ROUTE => Self::LooseSourceRoute(data),
            STRICT_SOURCE_ROUTE => Self::StrictSourceRoute(data),
            RECORD_ROUTE => Self::RecordRoute(data),
            TIMESTAMP => Self::Timestamp(data),
            ROUTER_ALERT => Self::RouterAlert(data),
            _ => Self::Unknown(kind, data),
        }
    }
}

/// Splits what follows a type byte into the option's data and the remaining options. The length
/// byte counts itself and the type byte.
fn split_data(after_kind: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&len, after_len) = after_kind.split_first()?;
    after_len.split_at_checked(usize::from(len).checked_sub(2)?)
}

const END_OF_LIST: u8 = 0;
const NO_OPERATION: u8 = 1;
const RECORD_ROUTE: u8 = 7;
const TIMESTAMP: u8 = 68;
const LOOSE_SOURCE_ROUTE: u8 = 131;
const STRICT_SOURCE_ROUTE: u8 = 137;
const ROUTER_ALERT: u8 = 148;
