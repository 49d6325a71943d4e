//! BSD's numbers. `iopkt_route.h` has them with `IOPKT_` before their names, since Linux gives some of these names
//! to other things.

macro_rules! numbers {
    ($($(#[$attribute:meta])* $name:ident = $value:expr;)*) => {
        $($(#[$attribute])* pub const $name: i32 = $value;)*

        /// All of them, by name.
        pub const NUMBERS: &[(&str, i32)] = &[$((stringify!($name), $name)),*];
    };
}

numbers! {
    /// Version of the messages.
    RTM_VERSION = 4;

    /// Add a route; a route or a neighbour has come.
    RTM_ADD = 0x1;
    /// Delete a route; a route or a neighbour has gone.
    RTM_DELETE = 0x2;
    /// Change a route; a route or a neighbour is another.
    RTM_CHANGE = 0x3;
    /// By which route do packets go?
    RTM_GET = 0x4;
    /// An interface has come or gone.
    RTM_IFANNOUNCE = 0x10;
    /// An interface's state, carrier, MTU or address is another.
    RTM_IFINFO = 0x14;
    /// An interface has an address, or its state is another.
    RTM_NEWADDR = 0x16;
    /// An interface has an address no longer.
    RTM_DELADDR = 0x17;

    /// Place of the destination.
    RTAX_DST = 0;
    /// Place of the gateway: an address, or the link.
    RTAX_GATEWAY = 1;
    /// Place of the netmask.
    RTAX_NETMASK = 2;
    /// Place of a mask that nobody uses any longer.
    RTAX_GENMASK = 3;
    /// Place of the interface's name and link address.
    RTAX_IFP = 4;
    /// Place of an interface's address.
    RTAX_IFA = 5;
    /// Place of the author of a redirect.
    RTAX_AUTHOR = 6;
    /// Place of the broadcast address.
    RTAX_BRD = 7;
    /// Place of a tag.
    RTAX_TAG = 8;
    /// Places.
    RTAX_MAX = 9;

    /// There is a destination.
    RTA_DST = 0x1;
    /// There is a gateway.
    RTA_GATEWAY = 0x2;
    /// There is a netmask.
    RTA_NETMASK = 0x4;
    /// There is a mask that nobody uses any longer.
    RTA_GENMASK = 0x8;
    /// There is an interface.
    RTA_IFP = 0x10;
    /// There is an interface's address.
    RTA_IFA = 0x20;
    /// There is an author.
    RTA_AUTHOR = 0x40;
    /// There is a broadcast address.
    RTA_BRD = 0x80;
    /// There is a tag.
    RTA_TAG = 0x100;

    /// Usable.
    RTF_UP = 0x1;
    /// By a router.
    RTF_GATEWAY = 0x2;
    /// To one host.
    RTF_HOST = 0x4;
    /// Packets are dropped, and their senders told.
    RTF_REJECT = 0x8;
    /// Made by a redirect.
    RTF_DYNAMIC = 0x10;
    /// In an answer: it is done.
    RTF_DONE = 0x40;
    /// To an interface's own network.
    RTF_CONNECTED = 0x100;
    /// A neighbour.
    RTF_LLINFO = 0x400;
    /// Made by hand, or by a program.
    RTF_STATIC = 0x800;
    /// Packets are dropped, and nobody is told.
    RTF_BLACKHOLE = 0x1000;

    /// `rmx_mtu` is to be set.
    RTV_MTU = 0x1;

    /// An interface has come.
    IFAN_ARRIVAL = 0;
    /// An interface has gone.
    IFAN_DEPARTURE = 1;

    /// Nothing is known of the carrier.
    LINK_STATE_UNKNOWN = 0;
    /// There is no carrier.
    LINK_STATE_DOWN = 1;
    /// There is one.
    LINK_STATE_UP = 2;

    /// An address that is looked at for duplicates.
    IN6_IFF_TENTATIVE = 0x2;
    /// An address that somebody else has.
    IN6_IFF_DUPLICATED = 0x4;
    /// An address for old connections only.
    IN6_IFF_DEPRECATED = 0x10;
    /// An address by a router's prefix.
    IN6_IFF_AUTOCONF = 0x40;
    /// An address that another will replace.
    IN6_IFF_TEMPORARY = 0x80;

    /// Ethernet.
    IFT_ETHER = 0x6;
    /// Loopback.
    IFT_LOOP = 0x18;

    /// Family of an interface's name and link address.
    AF_LINK = 18;
}

// Linux's numbers.

/// `AF_INET`.
pub(super) const AF_INET: u8 = 2;
/// `AF_INET6`.
pub(super) const AF_INET6: u8 = 10;

/// `IFF_UP`: administratively.
pub const IFF_UP: i32 = 0x1;
/// `IFF_BROADCAST`.
pub const IFF_BROADCAST: i32 = 0x2;
/// `IFF_LOOPBACK`.
pub const IFF_LOOPBACK: i32 = 0x8;
/// `IFF_RUNNING`: there is a carrier.
pub const IFF_RUNNING: i32 = 0x40;
/// `IFF_MULTICAST`.
pub const IFF_MULTICAST: i32 = 0x1000;
