//! The heads of messages and the socket addresses behind them, byte for byte as `iopkt_route.h` has them:
//! the machine's own byte order, but for ports and addresses.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A layout.
macro_rules! layouts {
    ($($(#[$attribute:meta])* $name:ident = $c:literal, $len:literal { $($field:ident: $kind:ty,)* })*) => {
        $(
            $(#[$attribute])*
            #[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
            #[repr(C)]
            pub(super) struct $name { $(pub(super) $field: $kind,)* }
            const _: () = assert!(size_of::<$name>() == $len);
        )*

        /// Name in C, length, and where the fields are.
        #[cfg(test)]
        pub(super) const LAYOUTS: &[(&str, usize, &[(&str, usize)])] =
            &[$(($c, $len, &[$((stringify!($field), core::mem::offset_of!($name, $field))),*])),*];
    };
}

layouts! {
    /// What all messages begin with.
    Head = "rt_msghdr", 4 {
        rtm_msglen: u16,
        rtm_version: u8,
        rtm_type: u8,
    }

    /// Of routes.
    RouteHead = "rt_msghdr", 120 {
        rtm_msglen: u16,
        rtm_version: u8,
        rtm_type: u8,
        rtm_index: u16,
        rtm_pad: u16,
        rtm_flags: i32,
        rtm_addrs: i32,
        rtm_pid: i32,
        rtm_seq: i32,
        rtm_errno: i32,
        rtm_use: i32,
        rtm_inits: i32,
        rtm_pad2: i32,
        rtm_rmx: Metrics,
    }

    /// What a route is known by, most of it nothing here.
    Metrics = "rt_metrics", 80 {
        rmx_locks: u64,
        rmx_mtu: u64,
        rmx_hopcount: u64,
        rmx_recvpipe: u64,
        rmx_sendpipe: u64,
        rmx_ssthresh: u64,
        rmx_rtt: u64,
        rmx_rttvar: u64,
        rmx_expire: i64,
        rmx_pksent: i64,
    }

    /// Of interfaces.
    InterfaceHead = "if_msghdr", 48 {
        ifm_msglen: u16,
        ifm_version: u8,
        ifm_type: u8,
        ifm_addrs: i32,
        ifm_flags: i32,
        ifm_index: u16,
        ifm_pad: u16,
        ifm_data: InterfaceData,
    }

    /// What an interface is.
    InterfaceData = "if_data", 32 {
        ifi_type: u8,
        ifi_addrlen: u8,
        ifi_hdrlen: u8,
        ifi_pad: u8,
        ifi_link_state: i32,
        ifi_mtu: u64,
        ifi_metric: u64,
        ifi_baudrate: u64,
    }

    /// Of addresses.
    AddressHead = "ifa_msghdr", 24 {
        ifam_msglen: u16,
        ifam_version: u8,
        ifam_type: u8,
        ifam_index: u16,
        ifam_pad: u16,
        ifam_flags: i32,
        ifam_addrs: i32,
        ifam_addrflags: i32,
        ifam_metric: i32,
    }

    /// Of interfaces that come and go.
    AnnounceHead = "if_announcemsghdr", 24 {
        ifan_msglen: u16,
        ifan_version: u8,
        ifan_type: u8,
        ifan_index: u16,
        ifan_name: [u8; 16],
        ifan_what: u16,
    }

    /// `AF_INET`.
    Inet = "iopkt_sockaddr_in", 16 {
        sin_len: u8,
        sin_family: u8,
        sin_port: u16,
        sin_addr: [u8; 4],
        sin_zero: [u8; 8],
    }

    /// `AF_INET6`.
    Inet6 = "iopkt_sockaddr_in6", 28 {
        sin6_len: u8,
        sin6_family: u8,
        sin6_port: u16,
        sin6_flowinfo: u32,
        sin6_addr: [u8; 16],
        sin6_scope_id: u32,
    }

    /// `AF_LINK`.
    Link = "iopkt_sockaddr_dl", 32 {
        sdl_len: u8,
        sdl_family: u8,
        sdl_index: u16,
        sdl_type: u8,
        sdl_nlen: u8,
        sdl_alen: u8,
        sdl_slen: u8,
        sdl_data: [u8; 24],
    }
}
