//! One worker's network stack: everything between a port's queues and a socket's.
//!
//! ```text
//!            ┌ input ─ ethernet, arp, ipv4 ─┬ icmp
//!  ports ────┤                              ├ udp ───────────┬── sockets ── clients' memory
//!            └ output ─ neighbours, routes ─┴ tcp_in/output ─┘
//! ```
//!
//! A [`Worker`] is one core's world and shares nothing; it takes time as an argument and does no
//! input or output but through its ports' queues, its clients' memory and the wake-ups of its
//! clients' descriptors. The control plane talks to it by [`command`]s and publishes a
//! [`network::Network`] snapshot whenever the configuration changes.
//!
//! Start reading at [`worker`] (the loop), then `input`, `tcp_input` and `settle` (a segment's way in, and
//! what it means for the socket),
//! `attend` (a client's bytes on their way in), `tcp_output` and `output` (the way out).
#![forbid(unsafe_code)]

mod address6;
mod attend;
mod bridge;
mod client;
pub mod command;
mod control;
mod counters;
mod device;
mod error_queue;
mod family;
mod fast_open;
mod filter;
mod flow;
mod flow_table;
mod flows;
mod forward;
mod forward6;
mod forward_burst;
mod fragment;
mod fragment_input;
mod groups;
mod handoff;
mod hearing;
mod icmp;
mod icmp6;
mod ids;
mod input;
mod input6;
mod lagg;
mod lender;
pub mod limits;
pub mod links;
mod listener;
mod listing;
mod module_command;
mod module_socket;
mod module_stream;
mod neighbor;
pub mod network;
mod option;
mod output;
mod output6;
mod overheard;
mod packet_out;
mod pairs;
mod passive;
mod path_mtu;
mod pools;
mod protocols;
mod rate_limit;
mod raw;
mod raw_output;
mod reassembly;
mod redirect_input;
mod route;
mod segment_output;
mod send_queue;
mod settle;
mod slab;
mod sleeper;
mod snoop;
mod socket;
mod spread;
pub mod steer;
mod tcp_input;
mod tcp_output;
mod template;
mod timer_wheel;
mod train;
mod tx_port;
mod udp;
mod udp_owners;
mod udp_way;
mod vlan;
mod worker;

pub use counters::{
    ArpCounters, BridgeCounters, Icmp6Counters, IcmpCounters, Ipv4Counters, Ipv6Counters,
    LoanCounters, LoopCounters, Row, TcpCounters, UdpCounters, WorkerCounters,
};
pub use device::{Device, DeviceWay, DeviceWays};
pub use groups::{Casting, Membership, Multicast};
pub use pools::Pools;
pub use raw::RAW_WORKER;
pub use slab::Slab;
pub use socket::SocketId;
pub use worker::{Parts, Usage, Worker};
