//! The words of the command line.
//!
//! `--help` of each command begins with examples; a test holds every command to it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::help;

mod host;

pub(crate) use host::{PingArgs, SockstatArgs, TracerouteArgs};

/// Tools of io-pkt, a TCP/IP stack in user space.
#[derive(Debug, Parser)]
#[command(
    name = "iopkt",
    version,
    about,
    before_long_help = help::IOPKT,
    after_long_help = help::IOPKT_END
)]
pub(crate) struct Cli {
    /// Prefix of the stack, as in `io-pkt -p tcpip prefix=/alt` [default: $SOCK]
    #[arg(long, global = true, value_name = "PREFIX")]
    pub(crate) sock: Option<String>,
    /// The tool.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The tools.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show and change interfaces
    #[command(
        before_long_help = help::IFCONFIG
    )]
    Ifconfig(IfconfigArgs),
    /// Show and change bridges
    #[command(before_long_help = help::BRCONFIG)]
    Brconfig(BrconfigArgs),
    /// Show sockets, routes, interfaces, counters and packet buffers
    #[command(
        before_long_help = help::NETSTAT
    )]
    Netstat(NetstatArgs),
    /// Show and change the neighbour table
    #[command(
        before_long_help = help::ARP
    )]
    Arp(ArpArgs),
    /// Show and forget IPv6 neighbours
    #[command(
        before_long_help = help::NDP
    )]
    Ndp(ArpArgs),
    /// Show which groups are listened to on which interface
    #[command(before_long_help = help::IFMCSTAT)]
    Ifmcstat(ReadArgs),
    /// Ask a host for echoes, over the stack
    #[command(before_long_help = help::PING)]
    Ping(PingArgs),
    /// Ask a host for echoes, over IPv6
    #[command(before_long_help = help::PING6)]
    Ping6(PingArgs),
    /// Show which routers a packet passes
    #[command(before_long_help = help::TRACEROUTE)]
    Traceroute(TracerouteArgs),
    /// Show whose the sockets are
    #[command(before_long_help = help::SOCKSTAT)]
    Sockstat(SockstatArgs),
    /// Show and change routes
    #[command(
        before_long_help = help::ROUTE
    )]
    Route(RouteArgs),
    /// Take routes from FRR's zebra (forwarding plane manager)
    #[command(before_long_help = help::FPM, after_long_help = help::FPM_END)]
    Fpm(FpmArgs),
    /// Show the client processes
    #[command(before_long_help = help::CLIENTS)]
    Clients(ReadArgs),
    /// Show the workers and how busy they are
    #[command(before_long_help = help::WORKERS)]
    Workers(ReadArgs),
    /// Watch the load of workers, interfaces and clients
    #[command(before_long_help = help::TOP)]
    Top(TopArgs),
    /// Show the daemon in ten lines
    #[command(before_long_help = help::STATUS)]
    Status(ReadArgs),
    /// Attach a driver to the running stack, or load a protocol
    #[command(before_long_help = help::MOUNT)]
    Mount(MountArgs),
    /// Take an interface away, and its driver with its last one; or a protocol
    #[command(before_long_help = help::UMOUNT)]
    Umount(UmountArgs),
    /// Show the modules in use
    #[command(before_long_help = help::MODULES)]
    Modules(ReadArgs),
    /// Show and change tunables
    #[command(before_long_help = help::SYSCTL)]
    Sysctl(SysctlArgs),
    /// Show what drivers know of their devices and have counted
    #[command(before_long_help = help::NICINFO)]
    Nicinfo(NicinfoArgs),
    /// Read and write a path that a protocol module serves
    #[command(before_long_help = help::PATH)]
    Path(PathArgs),
    /// Show other nodes of qnet, and their files
    #[command(before_long_help = help::QNET)]
    Qnet(QnetArgs),
    /// Run an unmodified program on the stack
    #[command(
        before_long_help = help::RUN,
        after_long_help = help::RUN_END
    )]
    Run(RunArgs),
    /// Run an application of DPDK that sees, changes, drops and makes an interface's packets
    #[command(before_long_help = help::RINGS, after_long_help = help::RINGS_END)]
    Rings(RingsArgs),
    /// Print the environment that `run` sets, for a shell
    #[command(
        before_long_help = help::ENV
    )]
    Env(EnvArgs),
    /// Check this machine: what is missing, and the command that mends it
    #[command(
        before_long_help = help::DOCTOR,
        after_long_help = help::DOCTOR_END
    )]
    Doctor(ReadArgs),
    /// Print the completions of a shell
    #[command(
        before_long_help = help::COMPLETIONS
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page of iopkt or of one command
    #[command(
        before_long_help = help::MAN
    )]
    Man {
        /// The command; none for the overview.
        command: Option<String>,
    },
}

/// Arguments of a command that only reads.
#[derive(Debug, Args)]
pub(crate) struct ReadArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `top`.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Seconds from one look to the next
    #[arg(short = 'w', value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    pub(crate) wait: f64,
    /// Looks; without it, until it is ended
    #[arg(short = 'c', value_name = "COUNT")]
    pub(crate) count: Option<u32>,
    /// Print JSON, one line for each look
    #[arg(long)]
    pub(crate) json: bool,
}

/// A time that can be waited for.
fn seconds(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|seconds| (0.01..=86_400.0).contains(seconds));
    number.ok_or_else(|| "write seconds from 0.01 to 86400".into())
}

/// Arguments of `ifconfig`.
#[derive(Debug, Args)]
pub(crate) struct IfconfigArgs {
    /// All interfaces, the default
    #[arg(short = 'a')]
    pub(crate) all: bool,
    /// Names only
    #[arg(short = 'l', conflicts_with = "all")]
    pub(crate) list: bool,
    /// Also the media that ports can have
    #[arg(short = 'm')]
    pub(crate) media: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// INTERFACE [[inet] ADDRESS/LEN | ADDRESS netmask MASK] [alias | -alias | delete] [up | down]
    /// [mtu BYTES] [fib TABLE] [lladdr MAC] [promisc | -promisc] [allmulti | -allmulti] [accept_rtadv | -accept_rtadv] [rtadv | -rtadv]
    /// [dhcp | -dhcp] [ipv4ll | -ipv4ll] [create] [vlan ID vlanif INTERFACE | -vlanif] [vlanpcp 0-7] [vlanproto 802.1q | 802.1ad]
    /// [laggproto lacp | loadbalance | failover] [laggport INTERFACE] [-laggport INTERFACE] [media autoselect] |
    /// drvspec NUMBER [TEXT] | name NEW | destroy
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "INTERFACE")]
    pub(crate) words: Vec<String>,
}

/// Arguments of `brconfig`.
#[derive(Debug, Args)]
pub(crate) struct BrconfigArgs {
    /// All bridges, the default
    #[arg(short = 'a')]
    pub(crate) all: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// BRIDGE [up | down] [add IF] [delete IF] [span IF | -span IF] [learn IF | -learn IF]
    /// [discover IF | -discover IF] [static IF MAC] [deladdr MAC] [flush | flushall] [maxaddr N]
    /// [ifmaxaddr N] [timeout SECONDS] [flood N] [snoop | -snoop] [stp IF | -stp IF] [proto rstp | proto stp] [priority N]
    /// [maxage SECONDS] [fwddelay SECONDS] [hellotime SECONDS] [ifpriority IF N] [ifpathcost IF N] |
    /// addr | groups
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "BRIDGE")]
    pub(crate) words: Vec<String>,
}

/// Arguments of `mount`.
#[derive(Debug, Args)]
pub(crate) struct MountArgs {
    /// The stack: io-pkt, or io-pktN for the one started with `io-pkt -i N`
    #[arg(short = 'T', value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    /// The module's options, as after `-d DRIVER` or `-p PROTOCOL`
    #[arg(short = 'o', value_name = "OPTIONS")]
    pub(crate) options: Vec<String>,
    /// A driver module (devnp-NAME.so), a per-packet driver (devn-NAME.so), a protocol module
    /// (lsm-NAME.so), or a name
    pub(crate) file: String,
}

/// Arguments of `path`.
#[derive(Debug, Args)]
pub(crate) struct PathArgs {
    #[command(subcommand)]
    pub(crate) action: PathAction,
}

/// What to do with a path.
#[derive(Debug, Subcommand)]
pub(crate) enum PathAction {
    /// Print what it has to say
    Read {
        /// Its name under <run><prefix>/dev, or a whole path
        name: String,
    },
    /// Write a text, or standard input
    Write {
        /// Its name under <run><prefix>/dev, or a whole path
        name: String,
        /// The text
        text: Option<String>,
    },
    /// Ask for something else, by number
    Ioctl {
        /// Its name under <run><prefix>/dev, or a whole path
        name: String,
        /// The module's number for it
        request: u32,
        /// What belongs to it
        text: Option<String>,
    },
}

/// Arguments of `qnet`.
#[derive(Debug, Args)]
pub(crate) struct QnetArgs {
    #[command(subcommand)]
    pub(crate) action: QnetAction,
}

/// What to do with other nodes. A path is NODE/PATH, a node NAME, NAME.DOMAIN, or either with ~POLICY.
#[derive(Debug, Subcommand)]
pub(crate) enum QnetAction {
    /// Show this node's links, the other nodes and the ways to them
    Nodes {
        /// One line of JSON
        #[arg(long)]
        json: bool,
    },
    /// List a directory of a node
    Ls {
        /// NODE or NODE/PATH
        path: String,
    },
    /// Copy a node's file to here
    Get {
        /// NODE/PATH
        path: String,
        /// The file here
        to: PathBuf,
    },
    /// Copy a file from here to a node
    Put {
        /// The file here
        from: PathBuf,
        /// NODE/PATH
        path: String,
    },
    /// Remove a node's file
    Rm {
        /// NODE/PATH
        path: String,
    },
    /// Make a directory at a node
    Mkdir {
        /// NODE/PATH
        path: String,
    },
    /// Show all nodes' files in a directory until it is unmounted (FUSE)
    Mount {
        /// The directory; otherwise the one that the module's option mount= names
        folder: Option<PathBuf>,
        /// Other users may look, too
        #[arg(long)]
        allow_other: bool,
    },
    /// Let programs here use other nodes' stacks: SOCK=/net/NODE, iopkt run --sock /net/NODE
    Sockets {
        /// Programs at other nodes may use this node's stack, too; anybody on the wire
        #[arg(long)]
        serve: bool,
    },
}

/// Arguments of `umount`.
#[derive(Debug, Args)]
pub(crate) struct UmountArgs {
    /// The interface, the protocol, or a module's path: all that it is in use for
    #[arg(value_name = "WHAT")]
    pub(crate) what: String,
}

/// Arguments of `sysctl`.
#[derive(Debug, Args)]
pub(crate) struct SysctlArgs {
    /// All of them, the default
    #[arg(short = 'a')]
    pub(crate) all: bool,
    /// Say what each means
    #[arg(short = 'd')]
    pub(crate) describe: bool,
    /// Values only
    #[arg(short = 'n', conflicts_with_all = ["describe", "json"])]
    pub(crate) values: bool,
    /// What follows is to be set; NAME=VALUE says so by itself
    #[arg(short = 'w')]
    pub(crate) write: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// NAME: show it, or all that begin with it; NAME=VALUE: set it
    #[arg(value_name = "NAME[=VALUE]")]
    pub(crate) words: Vec<String>,
}

/// Arguments of `nicinfo`.
#[derive(Debug, Args)]
pub(crate) struct NicinfoArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// One interface [default: all]
    pub(crate) interface: Option<String>,
}

/// Arguments of `netstat`.
#[derive(Debug, Args)]
pub(crate) struct NetstatArgs {
    /// Routes
    #[arg(short = 'r', group = "view")]
    pub(crate) routes: bool,
    /// With -r: of this table of routes
    #[arg(short = 'T', value_name = "TABLE", default_value_t = 0, requires = "routes")]
    pub(crate) table: u8,
    /// Interfaces
    #[arg(short = 'i', group = "view")]
    pub(crate) interfaces: bool,
    /// Counters that are not zero, by subsystem
    #[arg(short = 's', group = "view")]
    pub(crate) statistics: bool,
    /// Packet buffers
    #[arg(short = 'm', group = "view")]
    pub(crate) mbufs: bool,
    /// Groups that are listened to
    #[arg(short = 'g', group = "view")]
    pub(crate) groups: bool,
    /// Only this protocol, or with -s this subsystem
    #[arg(short = 'p', value_name = "PROTOCOL")]
    #[arg(conflicts_with_all = ["routes", "interfaces", "mbufs", "groups"])]
    pub(crate) protocol: Option<String>,
    /// Listening sockets too
    #[arg(short = 'a')]
    pub(crate) all: bool,
    /// Numbers instead of names; names are never looked up, so this is always so
    #[arg(short = 'n')]
    pub(crate) numeric: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `arp` and `ndp`.
#[derive(Debug, Args)]
pub(crate) struct ArpArgs {
    /// All neighbours, the default
    #[arg(short = 'a')]
    pub(crate) all: bool,
    /// Numbers instead of names; names are never looked up, so this is always so
    #[arg(short = 'n')]
    pub(crate) numeric: bool,
    /// Add a permanent neighbour; with `pub` answer for it, MAC may then be auto
    #[arg(short = 's', num_args = 2..=3, value_names = ["HOST", "MAC", "pub"])]
    #[arg(conflicts_with_all = ["all", "delete"])]
    pub(crate) set: Option<Vec<String>>,
    /// Delete a neighbour; with -a all of them
    #[arg(short = 'd')]
    pub(crate) delete: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The neighbour's address.
    #[arg(conflicts_with_all = ["all", "set"])]
    pub(crate) host: Option<String>,
}

/// Arguments of `route`.
#[derive(Debug, Args)]
pub(crate) struct RouteArgs {
    /// In this table of routes
    #[arg(short = 'T', value_name = "TABLE", default_value_t = 0)]
    pub(crate) table: u8,
    /// Numbers instead of names; names are never looked up, so this is always so
    #[arg(short = 'n')]
    pub(crate) numeric: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// show | add [-net | -host] {default | NETWORK/LEN | HOST} {GATEWAY | -blackhole | -reject} [-mtu BYTES] |
    /// delete {default | NETWORK/LEN | HOST} [GATEWAY] | get HOST | load [-replace] FILE | monitor
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "VERB")]
    pub(crate) words: Vec<String>,
}

/// Arguments of `rings`.
#[derive(Debug, Args)]
pub(crate) struct RingsArgs {
    /// The interface
    #[arg(value_name = "INTERFACE")]
    pub(crate) interface: String,
    /// The application and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PROGRAM")]
    pub(crate) command: Vec<OsString>,
}

/// Arguments of `fpm`.
#[derive(Debug, Args)]
pub(crate) struct FpmArgs {
    /// Where zebra finds it.
    #[arg(long, default_value = "127.0.0.1:2620", value_name = "ADDRESS:PORT")]
    pub(crate) listen: SocketAddr,
    /// Whose zebra gives routes, beside root's and one's own [default: frr].
    #[arg(long, value_name = "NAME|UID")]
    pub(crate) user: Option<String>,
    /// So long zebra may take to say all it knows, and so long routes stay when it is gone.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub(crate) hold: u32,
}

/// Who owns 127.0.0.0/8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Loopback {
    /// Connections to 127.0.0.1 go through the stack.
    Stack,
    /// Connections to 127.0.0.1 stay with the kernel.
    Kernel,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Who serves 127.0.0.1 [default: what the daemon says]
    #[arg(long, value_enum)]
    pub(crate) loopback: Option<Loopback>,
    /// The program and its arguments
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true,
        value_name = "COMMAND"
    )]
    pub(crate) command: Vec<OsString>,
}

/// Arguments of `env`.
#[derive(Debug, Args)]
pub(crate) struct EnvArgs {
    /// Who serves 127.0.0.1 [default: what the daemon says]
    #[arg(long, value_enum)]
    pub(crate) loopback: Option<Loopback>,
}

/// `--json` and `--sock` may also stand after the first word of `ifconfig` and `route`, whose words
/// clap leaves alone because BSD's begin with hyphens too.
pub(crate) fn take_options(
    words: Vec<String>,
    json: &mut bool,
    sock: &mut Option<String>,
) -> Result<Vec<String>, String> {
    let mut kept = Vec::with_capacity(words.len());
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match (word.as_str(), word.strip_prefix("--sock=")) {
            ("--json", _) => *json = true,
            ("--sock", _) => {
                *sock = Some(words.next().ok_or("--sock needs a prefix, as in --sock /alt")?)
            }
            (_, Some(prefix)) => *sock = Some(prefix.to_owned()),
            _ => kept.push(word),
        }
    }
    Ok(kept)
}

/// Where `$IOPKT_PRELOAD` says that the library is.
pub(crate) fn preload_from_environment() -> Option<PathBuf> {
    std::env::var_os("IOPKT_PRELOAD").filter(|v| !v.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_of_every_command_begins_with_examples() {
        let mut root = Cli::command();
        root.build();
        for command in root.get_subcommands_mut().filter(|c| c.get_name() != "help") {
            let help = command.render_long_help().to_string();
            assert!(help.starts_with("Examples:\n  "), "{}: {help}", command.get_name());
        }
        assert!(root.render_long_help().to_string().starts_with("Examples:\n  "));
    }

    #[test]
    fn options_are_found_among_words() {
        let words = ["tap0", "--json", "--sock=/a", "up", "--sock", "/b"].map(String::from);
        let (mut json, mut sock) = (false, None);
        let kept = take_options(words.into(), &mut json, &mut sock);
        assert_eq!(kept, Ok(vec!["tap0".into(), "up".into()]));
        assert!(json);
        assert_eq!(sock.as_deref(), Some("/b"));
        assert!(take_options(vec!["--sock".into()], &mut json, &mut sock).is_err());
    }
}
