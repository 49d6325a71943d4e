//! The words of `ping`, `traceroute` and `sockstat`.

use std::net::IpAddr;

use clap::Args;

/// Arguments of `ping` and `ping6`.
#[derive(Debug, Args)]
pub(crate) struct PingArgs {
    /// End after so many requests
    #[arg(short = 'c', value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: Option<u32>,
    /// Seconds from one request to the next
    #[arg(short = 'i', value_name = "SECONDS", default_value_t = 1.0, value_parser = super::seconds)]
    pub(crate) interval: f64,
    /// Bytes to have sent back
    #[arg(short = 's', value_name = "BYTES", default_value_t = 56, value_parser = payload)]
    pub(crate) size: usize,
    /// Hops that requests may go
    #[arg(short = 'T', value_name = "HOPS", value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) ttl: Option<u8>,
    /// Type of service, or traffic class
    #[arg(short = 't', value_name = "TOS")]
    pub(crate) tos: Option<u8>,
    /// From this address
    #[arg(short = 'I', value_name = "ADDRESS")]
    pub(crate) from: Option<IpAddr>,
    /// End after so many seconds
    #[arg(short = 'w', value_name = "SECONDS", value_parser = super::seconds)]
    pub(crate) deadline: Option<f64>,
    /// Seconds to wait for the answer to the last request
    #[arg(short = 'W', value_name = "SECONDS", default_value_t = 2.0, value_parser = super::seconds)]
    pub(crate) wait: f64,
    /// Requests are not to be cut
    #[arg(short = 'D')]
    pub(crate) whole: bool,
    /// The next request as soon as the last is answered
    #[arg(short = 'f')]
    pub(crate) flood: bool,
    /// End with the first answer
    #[arg(short = 'o')]
    pub(crate) once: bool,
    /// The summary only
    #[arg(short = 'q')]
    pub(crate) quiet: bool,
    /// Numbers instead of names; names are never looked up, so this is always so
    #[arg(short = 'n')]
    pub(crate) numeric: bool,
    /// Over IPv4
    #[arg(short = '4', conflicts_with = "inet6")]
    pub(crate) inet4: bool,
    /// Over IPv6
    #[arg(short = '6')]
    pub(crate) inet6: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The host
    pub(crate) host: String,
}

/// Arguments of `traceroute`.
#[derive(Debug, Args)]
pub(crate) struct TracerouteArgs {
    /// Echo requests instead of datagrams
    #[arg(short = 'I')]
    pub(crate) icmp: bool,
    /// Begin at this hop
    #[arg(short = 'f', value_name = "HOP", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) first: u8,
    /// End at this hop
    #[arg(short = 'm', value_name = "HOPS", default_value_t = 64, value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) max: u8,
    /// Packets for each hop
    #[arg(short = 'q', value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) queries: u8,
    /// Seconds to wait for an answer
    #[arg(short = 'w', value_name = "SECONDS", default_value_t = 3.0, value_parser = super::seconds)]
    pub(crate) wait: f64,
    /// First port; each packet goes to the next one
    #[arg(short = 'p', value_name = "PORT", default_value_t = 33_434)]
    pub(crate) port: u16,
    /// From this address
    #[arg(short = 's', value_name = "ADDRESS")]
    pub(crate) from: Option<IpAddr>,
    /// Numbers instead of names; names are never looked up, so this is always so
    #[arg(short = 'n')]
    pub(crate) numeric: bool,
    /// Over IPv4
    #[arg(short = '4', conflicts_with = "inet6")]
    pub(crate) inet4: bool,
    /// Over IPv6
    #[arg(short = '6')]
    pub(crate) inet6: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The host
    pub(crate) host: String,
    /// Bytes of payload
    #[arg(value_name = "BYTES", default_value_t = 12, value_parser = payload)]
    pub(crate) size: usize,
}

/// Arguments of `sockstat`.
#[derive(Debug, Default, Args)]
pub(crate) struct SockstatArgs {
    /// Sockets of IPv4
    #[arg(short = '4')]
    pub(crate) inet4: bool,
    /// Sockets of IPv6
    #[arg(short = '6')]
    pub(crate) inet6: bool,
    /// Those with a peer
    #[arg(short = 'c')]
    pub(crate) connected: bool,
    /// Those without
    #[arg(short = 'l')]
    pub(crate) listening: bool,
    /// Those with this port, at either end
    #[arg(short = 'p', value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Those of this protocol
    #[arg(short = 'P', value_name = "PROTOCOL")]
    pub(crate) protocol: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What fits in a packet beside its headers.
fn payload(text: &str) -> Result<usize, String> {
    const MAX: usize = 65_507;
    let bytes = text.parse::<usize>().ok().filter(|bytes| *bytes <= MAX);
    bytes.ok_or_else(|| format!("write bytes from 0 to {MAX}"))
}
