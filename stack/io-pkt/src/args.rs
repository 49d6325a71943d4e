//! The command line: QNX io-pkt's letters, where they mean something here.

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
  io-pkt -d net_tap iface=iop0 -p qnet host=alpha,export=/srv/share -p udplite
      protocol modules: native networking, and sockets of a protocol that the stack has not
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

    /// Load a protocol module lsm-PROTOCOL.so, or one by its path; or options of the built-in stack:
    /// `-p tcpip prefix=/alt,somaxconn=1024`.
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

    /// Directories of modules [default: /usr/local/lib/io-pkt:/usr/lib/io-pkt]; last ../lib/io-pkt and io-pkt's own.
    ///
    /// A module is loaded only if its file and all directories above it belong to root or this
    /// user and are not writable by others.
    #[arg(long, value_name = "DIR:DIR…", env = "IOPKT_MODULE_PATH", value_delimiter = ':')]
    pub module_path: Vec<PathBuf>,

    /// Leave SIGSEGV and its like to the system, instead of stopping the ports before the abort.
    #[arg(short = 'S')]
    pub plain_faults: bool,

    /// Real-time priority (SCHED_RR) of the control thread [default: an ordinary thread].
    #[arg(short = 'P', value_name = "PRIORITY")]
    pub priority: Option<String>,

    /// Real-time priority (SCHED_RR) of the workers, as rx_prio= [default: ordinary threads].
    #[arg(short = 'r', value_name = "PRIORITY")]
    pub receive_priority: Option<String>,

    /// Say so when a worker has not breathed for so long: a driver or module keeps it.
    #[arg(short = 'w', value_name = "SECONDS")]
    pub watch_interval: Option<String>,

    /// After the start be this user, keeping only what attaching virtual drivers takes.
    ///
    /// Numbers or names; without a group the user's own. Modules of root alone are loaded then.
    #[arg(short = 'U', value_name = "UID[:GID,GID…]")]
    pub user: Option<String>,

    /// Octal: permissions that the stack's path does not have [default: 0, so 0666].
    #[arg(short = 'u', value_name = "MASK")]
    pub umask: Option<String>,

    /// Take no I/O privilege: no PCI devices, no CAP_SYS_RAWIO.
    #[arg(short = 'I')]
    pub no_privilege: bool,

    /// QNX's thread for the resource manager; taken with a note: there always is one.
    #[arg(short = 'D', hide_short_help = true)]
    pub dedicated: bool,

    /// QNX's; taken with a note, without effect.
    #[arg(short = 'q', value_name = "INTERVAL", hide_short_help = true)]
    pub quiet_interval: Option<String>,

    /// Configuration file (TOML). The command line wins over it.
    #[arg(short = 'c', value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// What an idle worker does: sleep once it has looked for work as long as waking it takes, sleep at once, or
    /// spin on its own core.
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

    /// End with an error if a driver, address, route or protocol that is asked for can't be had, or a word is ignored.
    ///
    /// Words are options of `-p tcpip`, too. Without it the daemon says which, and runs with the others; lo0 always works.
    #[arg(long)]
    pub strict: bool,

    /// Check configuration and command line, then exit: 0, 64 (usage) or 78 (configuration).
    ///
    /// Drivers are not tried.
    #[arg(long)]
    pub check: bool,

    /// Arguments for DPDK's EAL, after `--`.
    #[arg(last = true, value_name = "EAL")]
    pub eal: Vec<String>,

    /// Words that belong to no option.
    #[arg(skip)]
    pub strays: Vec<String>,
}

fn long_help() -> String {
    format!(
        "{EXAMPLES}\n\nOptions after -p tcpip, commas between (the others: man io-pkt):\n{}  NAME=VALUE\n      \
         any tunable: iopkt sysctl -d",
        crate::stack_options::help()
    )
}

impl Args {
    /// What the operator should know of letters that mean nothing here, and of words that are none.
    pub(crate) fn notes(&self) -> Vec<String> {
        let no_effect = [
            ("-D", self.dedicated, "the control thread is always a thread of its own"),
            ("-q", self.quiet_interval.is_some(), "ports come and go without stopping anybody"),
        ];
        let no_effect = no_effect.into_iter().filter(|(_, given, _)| *given);
        let no_effect = no_effect.map(|(l, _, why)| format!("{l} has no effect here: {why}"));
        let stray = |word: &String| {
            format!(
                "{word}: belongs to no option, ignored; a driver's options are one word with commas"
            )
        };
        no_effect.chain(self.strays.iter().map(stray)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, FromArgMatches};
    use std::ffi::OsString;

    type Pairs = Vec<(String, String)>;

    fn parse(line: &str) -> (Args, Pairs, Pairs) {
        let words = line.split_whitespace().map(OsString::from);
        let split = crate::argv::split(words, &Args::command());
        let matches = Args::command().get_matches_from(split.words);
        let mut args = Args::from_arg_matches(&matches).unwrap();
        args.strays = split.strays;
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
    fn letters_without_effect_and_stray_words_are_taken_with_a_note() {
        let (args, drivers, _) =
            parse("io-pkt -D -q 5 -P 21 -d tap iface=x verbose -r 30 -t 2 -S -v");
        assert_eq!(drivers, [pair("tap", "iface=x")]);
        let notes = args.notes();
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert!(notes[0].starts_with("-D has no effect here: "));
        assert!(notes[2].starts_with("verbose: belongs to no option"));
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
