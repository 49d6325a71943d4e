//! The command line: QNX io-pkt's letters, where they mean something here.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;

const EXAMPLES: &str = "\
Examples:
  io-pkt -d net_tap iface=iop0,address=198.18.77.2/24
      one interface (tap0) whose other end is the kernel's interface iop0
  io-pkt -d net_memif role=server,socket=/run/m.sock -d net_pcap rx_pcap=in.pcap,tx_pcap=out.pcap
      two interfaces; what follows the driver's name are its options, one word, commas between
  io-pkt -d /usr/lib/io-pkt/devnp-pair.so -d sim lower=net_tap,loss=1,delay=20,iface=iop0
      driver modules: a wire in memory (pair0, pair1), and a bad wire before another driver
  io-pkt -d 0000:03:00.0 -t 2 --idle spin
      a NIC bound to vfio-pci, two workers that never sleep
  io-pkt -c /etc/io-pkt/io-pkt.toml
      everything from a file
  io-pkt -p tcpip prefix=/alt -d net_null --metrics off
      a second stack; its clients say SOCK=/alt

Later: iopkt mount -T io-pkt -o iface=iop1 net_tap · iopkt modules · iopkt ifconfig tap1 destroy
Then: iopkt ifconfig -a · iopkt run -- python3 -m http.server · curl http://127.0.0.1:9478/metrics";

/// io-pkt: a network manager for Linux on DPDK.
///
/// Owns network interfaces through DPDK drivers, runs Ethernet to TCP on pinned workers and serves
/// client processes through shared memory and a BSD socket library.
#[derive(Debug, Parser)]
#[command(name = "io-pkt", version, after_help = EXAMPLES, after_long_help = long_help())]
#[command(max_term_width = 100)]
pub(crate) struct Args {
    /// Attach a driver: a module devnp-DRIVER.so, else a poll-mode driver of DPDK; or a module's path.
    ///
    /// The next word is its options unless it begins with `-`. Repeatable.
    #[arg(short = 'd', value_names = ["DRIVER", "OPTIONS"], num_args = 1..=2, action = clap::ArgAction::Append)]
    pub drivers: Vec<String>,

    /// Options of a protocol: `-p tcpip prefix=/alt,somaxconn=1024`.
    ///
    /// A name that contains `tcpip` is the built-in stack. All options of QNX's are taken; the ones
    /// that do nothing here say what does their job. Any tunable of `iopkt sysctl` is an option too.
    #[arg(short = 'p', value_names = ["PROTOCOL", "OPTIONS"], num_args = 1..=2, action = clap::ArgAction::Append)]
    pub protocols: Vec<String>,

    /// Workers, one per core [default: 1].
    #[arg(short = 't', value_name = "N")]
    pub workers: Option<u16>,

    /// Instance: clients say SOCK=/io-pktN, and `iopkt mount -T io-pktN` means this one.
    #[arg(short = 'i', value_name = "N")]
    pub instance: Option<u16>,

    /// Directories of driver modules [default: /usr/local/lib/io-pkt:/usr/lib/io-pkt].
    ///
    /// A module is loaded only if its file and all directories above it belong to root or this
    /// user and are not writable by others.
    #[arg(long, value_name = "DIR:DIR…", env = "IOPKT_MODULE_PATH", value_delimiter = ':')]
    pub module_path: Vec<PathBuf>,

    /// Leave SIGSEGV and its like to the system, instead of stopping the ports before the abort.
    #[arg(short = 'S')]
    pub plain_faults: bool,

    /// QNX's priority of the main thread; taken with a note, without effect: see chrt(1).
    #[arg(short = 'P', value_name = "PRIORITY", hide_short_help = true)]
    pub priority: Option<String>,

    /// QNX's receive priority; taken with a note, without effect.
    #[arg(short = 'r', value_name = "PRIORITY", hide_short_help = true)]
    pub receive_priority: Option<String>,

    /// QNX's; taken with a note, without effect.
    #[arg(short = 'q', value_name = "INTERVAL", hide_short_help = true)]
    pub quiet_interval: Option<String>,

    /// QNX's; taken with a note, without effect.
    #[arg(short = 'w', value_name = "INTERVAL", hide_short_help = true)]
    pub watch_interval: Option<String>,

    /// QNX's; taken with a note, without effect.
    #[arg(short = 'u', value_name = "STRING", hide_short_help = true)]
    pub user_string: Option<String>,

    /// QNX's thread for the resource manager; taken with a note: there always is one.
    #[arg(short = 'D', hide_short_help = true)]
    pub dedicated: bool,

    /// QNX's "no I/O privilege"; taken with a note: virtual drivers need none.
    #[arg(short = 'I', hide_short_help = true)]
    pub no_privilege: bool,

    /// QNX's "give up root"; refused, because this io-pkt can't: see setpriv(1).
    #[arg(short = 'U', value_name = "UID:GID", hide_short_help = true)]
    pub user: Option<String>,

    /// Configuration file (TOML). The command line wins over it.
    #[arg(short = 'c', value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// What an idle worker does: sleep until something happens, or spin on its own core.
    #[arg(long, value_enum)]
    pub idle: Option<crate::config::Idle>,

    /// Address of the metrics endpoint, or `off` [default: 127.0.0.1:9478].
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<String>,

    /// Serve 127.0.0.0/8 for clients too, instead of leaving it to the kernel.
    #[arg(long)]
    pub claim_loopback: bool,

    /// Don't use hugepages even if there are free ones.
    #[arg(long, overrides_with = "no_huge")]
    pub no_huge: bool,

    /// Say more.
    #[arg(short = 'v', action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Check configuration and command line, then exit.
    #[arg(long)]
    pub check: bool,

    /// Arguments for DPDK's EAL, after `--`.
    #[arg(last = true, value_name = "EAL")]
    pub eal: Vec<String>,
}

fn long_help() -> String {
    format!(
        "{EXAMPLES}\n\nOptions after -p tcpip, commas between (the others: man io-pkt):\n{}  NAME=VALUE\n      \
         any tunable: iopkt sysctl -d",
        crate::stack_options::help()
    )
}

impl Args {
    /// What the operator should know of letters that mean nothing here.
    pub(crate) fn notes(&self) -> Vec<String> {
        let valued = [
            ("-P", &self.priority, "chrt sets the priority of the process"),
            ("-r", &self.receive_priority, "workers poll, nothing is received by pulse"),
            ("-q", &self.quiet_interval, "ports come and go without stopping anybody"),
            ("-w", &self.watch_interval, "see iopkt workers for their breaths"),
            ("-u", &self.user_string, "it has no known meaning"),
        ];
        let plain = [
            ("-D", self.dedicated, "the control thread is always a thread of its own"),
            ("-I", self.no_privilege, "virtual drivers need no I/O privilege"),
        ];
        let valued = valued.into_iter().filter(|(_, value, _)| value.is_some());
        let valued = valued.map(|(letter, _, why)| format!("{letter} has no effect here: {why}"));
        let plain = plain.into_iter().filter(|(_, given, _)| *given);
        valued.chain(plain.map(|(l, _, why)| format!("{l} has no effect here: {why}"))).collect()
    }
}

/// Name and options of each `-d` or `-p`.
pub(crate) fn pairs(matches: &clap::ArgMatches, id: &str) -> Vec<(String, String)> {
    let occurrences = matches.get_occurrences::<String>(id);
    occurrences
        .into_iter()
        .flatten()
        .map(|mut words| {
            let name = words.next().cloned().unwrap_or_default();
            (name, words.next().cloned().unwrap_or_default())
        })
        .collect()
}

/// getopt allows `-ptcpip`; clap wants the value apart when a second one may follow.
pub(crate) fn split_attached(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut out = Vec::new();
    let mut rest = false;
    for arg in args {
        rest |= arg == "--";
        match arg.to_str() {
            Some(text) if !rest && text.len() > 2 && is_attached(text) => {
                let (flag, value) = text.split_at(2);
                out.push(flag.into());
                out.push(value.into());
            }
            _ => out.push(arg),
        }
    }
    out
}

fn is_attached(text: &str) -> bool {
    text.starts_with("-d") || text.starts_with("-p")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, FromArgMatches};

    type Pairs = Vec<(String, String)>;

    fn parse(line: &str) -> (Args, Pairs, Pairs) {
        let words = split_attached(line.split_whitespace().map(OsString::from));
        let matches = Args::command().get_matches_from(words);
        let args = Args::from_arg_matches(&matches).unwrap();
        (args, pairs(&matches, "drivers"), pairs(&matches, "protocols"))
    }

    fn pair(name: &str, options: &str) -> (String, String) {
        (name.into(), options.into())
    }

    #[test]
    fn the_word_after_a_driver_is_its_options() {
        let (args, drivers, protocols) =
            parse("io-pkt -d net_tap iface=iop0 -d net_null -t 2 -p tcpip prefix=/alt");
        assert_eq!(drivers, [pair("net_tap", "iface=iop0"), pair("net_null", "")]);
        assert_eq!(protocols, [pair("tcpip", "prefix=/alt")]);
        assert_eq!(args.workers, Some(2));
    }

    #[test]
    fn letters_of_qnx_are_taken_with_a_note() {
        let (args, drivers, _) = parse("io-pkt -D -I -P 21 -d tap iface=x -r 30 -t 2 -S -v");
        assert_eq!(drivers, [pair("tap", "iface=x")]);
        let notes = args.notes();
        assert_eq!(notes.len(), 4, "{notes:?}");
        assert!(notes.iter().all(|note| note.contains("has no effect here: ")));
    }

    #[test]
    fn attached_values_work_as_with_getopt() {
        let (_, drivers, protocols) = parse("io-pkt -dnet_tap iface=x -ptcpip prefix=/alt");
        assert_eq!(drivers, [pair("net_tap", "iface=x")]);
        assert_eq!(protocols, [pair("tcpip", "prefix=/alt")]);
    }

    #[test]
    fn words_after_two_dashes_are_for_eal() {
        let (args, drivers, _) = parse("io-pkt -d net_null -- --log-level debug -d x");
        assert_eq!(drivers, [pair("net_null", "")]);
        assert_eq!(args.eal, ["--log-level", "debug", "-d", "x"]);
    }
}
