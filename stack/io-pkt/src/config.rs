//! What the daemon is to do: the configuration file, with the command line over it. Sections that say
//! much have a file each.

use core::net::{Ipv4Addr, SocketAddr};
use core::ops::RangeInclusive;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use serde::Deserialize;

use crate::args::{Args, pairs};
use crate::error::StartError;
use crate::privileges::User;
use crate::stack_options;
use crate::tuning::Tuning;

mod bridge;
mod interface;
mod lagg;
mod quota;
mod route;
mod tcp;
mod vlan;

pub(crate) use bridge::Bridge;
pub(crate) use interface::{AddressLen, Interface, Rings, interface};
pub(crate) use lagg::Lagg;
pub(crate) use quota::{Limits, QuotaSection};
pub(crate) use route::{Destination, Route};
pub(crate) use tcp::{FastOpenKey, TcpSection};
pub(crate) use vlan::Vlan;

/// What an idle worker does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Idle {
    /// Spin while there is work and then for as long as a wake-up takes here, then sleep until something happens.
    #[default]
    Adaptive,
    /// Sleep as soon as there is nothing to do: for a CPU that workers and programs share.
    Sleep,
    /// Never sleep: for cores that nobody else needs.
    Spin,
}

/// Where driver modules are, if nobody says.
const MODULE_PATH: [&str; 2] = ["/usr/local/lib/io-pkt", "/usr/lib/io-pkt"];

/// How many workers there may be: a client's memory has a lane for each.
const WORKERS: RangeInclusive<u16> = 1..=shm::layout::LANES_MAX;

/// How often `-w` may look: a worker that sleeps breathes every half second.
const WATCH_S: RangeInclusive<u32> = 1..=3600;

/// One `[[protocol]]`, or one `-p` of a module.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Protocol {
    /// Its name, as after `-p`.
    pub name: String,
    /// Options, commas between.
    #[serde(default)]
    pub options: String,
}

/// `[eal]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EalSection {
    /// Further arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Use hugepages if there are any [default: true].
    pub hugepages: Option<bool>,
    /// Other processes of DPDK may attach, which can then read and write all of the daemon's packet memory.
    #[serde(default)]
    pub multi_process: bool,
}

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Prefix of the stack's paths.
    #[serde(default)]
    pub prefix: String,
    /// Runtime directory; `$IOPKT_RUN` wins.
    pub run: Option<String>,
    /// Workers.
    pub workers: Option<u16>,
    /// What an idle worker does.
    #[serde(default)]
    pub idle: Idle,
    /// Metrics endpoint, or `off`.
    pub metrics: Option<toml::Spanned<String>>,
    /// Who says so: the command line, or a line of the file.
    #[serde(skip)]
    pub metrics_origin: String,
    /// End if anything that is asked for can't be had, or would be ignored (`--strict`).
    #[serde(default)]
    pub strict: bool,
    /// Serve 127.0.0.0/8 for clients too.
    #[serde(default)]
    pub claim_loopback: bool,
    /// EAL.
    #[serde(default)]
    pub eal: EalSection,
    /// TCP.
    #[serde(default)]
    pub tcp: TcpSection,
    /// What one user may have.
    #[serde(default)]
    pub quota: QuotaSection,
    /// Tunables by their names, as `iopkt sysctl` has them.
    #[serde(default)]
    pub sysctl: BTreeMap<String, toml::Value>,
    /// Options of the stack, as after `-p tcpip`.
    #[serde(default)]
    pub tcpip: String,
    /// All tunables: what `[tcp]`, `[sysctl]` and `-p tcpip` have made of them.
    #[serde(skip)]
    pub tuning: Tuning,
    /// Members of this group may do what root may (`-p tcpip rgroup_allowed`).
    #[serde(skip)]
    pub rgroup: Option<u32>,
    /// Permissions that the stack's path has in any case (`-p tcpip min_fperms`).
    #[serde(skip)]
    pub min_fperms: u32,
    /// Real-time priority of the workers (`-r`, `-p tcpip rx_prio`).
    #[serde(skip)]
    pub rx_priority: Option<u32>,
    /// Real-time priority of the control thread (`-P`).
    #[serde(skip)]
    pub priority: Option<u32>,
    /// Whom to be after the start (`-U`).
    #[serde(skip)]
    pub user: Option<User>,
    /// Permissions that the stack's path does not have (`-u`).
    #[serde(skip)]
    pub umask: u32,
    /// No PCI devices, no CAP_SYS_RAWIO (`-I`).
    #[serde(skip)]
    pub no_io: bool,
    /// How long a worker may go without a breath before that is reported, in seconds (`-w`).
    #[serde(skip)]
    pub watch_s: Option<u32>,
    /// Directories of driver modules; `--module-path` wins.
    #[serde(default)]
    pub modules: Vec<PathBuf>,
    /// Leave faults (SIGSEGV …) to the system.
    #[serde(skip)]
    pub plain_faults: bool,
    /// Protocol modules.
    #[serde(default, rename = "protocol")]
    pub protocols: Vec<Protocol>,
    /// Interfaces.
    #[serde(default, rename = "interface")]
    pub interfaces: Vec<Interface>,
    /// Bridges by the names of their interfaces.
    #[serde(default, rename = "bridge")]
    pub bridges: BTreeMap<String, Bridge>,
    /// Aggregated links by the names of their interfaces.
    #[serde(default, rename = "lagg")]
    pub laggs: BTreeMap<String, Lagg>,
    /// VLANs by the names of their interfaces.
    #[serde(default, rename = "vlan")]
    pub vlans: BTreeMap<String, Vlan>,
    /// Routes.
    #[serde(default, rename = "route")]
    pub routes: Vec<Route>,
    /// Things the operator should know about the command line.
    #[serde(skip)]
    pub notes: Vec<String>,
}

impl Config {
    /// Reads the file the command line names, then lays the command line over it.
    ///
    /// # Errors
    /// [`StartError::Config`] with file, line and column.
    pub(crate) fn of(args: &Args, matches: &ArgMatches) -> Result<Self, StartError> {
        let mut config = match &args.config {
            Some(path) => Self::read(path)?,
            None => Self::default(),
        };
        let options = core::mem::take(&mut config.tcpip);
        stack_options::apply(&mut config, &options);
        for (name, options) in pairs(matches, "drivers") {
            config.interfaces.push(interface(name, &options)?);
        }
        for (name, options) in pairs(matches, "protocols") {
            config.protocol(&name, &options)?;
        }
        check_workers("-t ", args.workers).map_err(StartError::Usage)?;
        config.workers = args.workers.or(config.workers);
        config.idle = args.idle.unwrap_or(config.idle);
        if let Some(address) = &args.metrics {
            config.metrics = Some(toml::Spanned::new(0..0, address.clone()));
            config.metrics_origin = format!("--metrics {address}");
        }
        config.strict |= args.strict;
        config.claim_loopback |= args.claim_loopback;
        config.eal.args.extend(args.eal.iter().cloned());
        if !args.module_path.is_empty() {
            config.modules.clone_from(&args.module_path);
        }
        if config.modules.is_empty() {
            config.modules = MODULE_PATH.map(PathBuf::from).into();
        }
        config.plain_faults = args.plain_faults;
        config.notes.extend(args.notes());
        config.letters(args)?;
        if config.prefix.is_empty()
            && let Some(instance) = args.instance.filter(|n| *n > 0)
        {
            config.prefix = format!("/io-pkt{instance}");
        }
        if args.no_huge {
            config.eal.hugepages = Some(false);
        }
        let _ = config.metrics_address()?;
        if config.eal.multi_process && config.quota.lends() {
            let what = "[eal] multi_process and loans of [quota] exclude each other: applications of DPDK do not \
                        have the memory that lent packets are in; leave one of them out";
            return Err(StartError::Usage(what.into()));
        }
        if config.strict && !config.notes.is_empty() {
            return Err(StartError::Ignored(config.notes));
        }
        Ok(config)
    }

    fn read(path: &Path) -> Result<Self, StartError> {
        let wrong = |what: String| StartError::Config { path: path.into(), what };
        let text = fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
        let mut config: Self = toml::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        config.tuning.tcp = config.tcp.settings();
        if let Some(metrics) = &config.metrics {
            let before = text.get(..metrics.span().start).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            config.metrics_origin = format!("{}, line {line}", path.display());
        }
        for (name, value) in named_in_full(core::mem::take(&mut config.sysctl)) {
            let set = config.tuning.set(&name, &plain(&value));
            set.map_err(|error| wrong(format!("[sysctl] {name}: {error}")))?;
        }
        match check_workers("workers = ", config.workers) {
            Ok(()) => Ok(config),
            Err(what) => Err(wrong(what)),
        }
    }

    /// Letters with a number or a name. A number out of range is noted and ignored, as QNX does it; a
    /// mask that is none would leave the path open to everybody.
    fn letters(&mut self, args: &Args) -> Result<(), StartError> {
        let mut number = |letter: &str, value: &Option<String>, range: RangeInclusive<u32>| {
            let text = value.as_deref()?;
            let number = text.parse().ok().filter(|number| range.contains(number));
            if number.is_none() {
                let (least, most) = (range.start(), range.end());
                let note =
                    format!("{letter} {text}: ignored; write a number from {least} to {most}");
                self.notes.push(note);
            }
            number
        };
        self.priority = number("-P", &args.priority, dpdk::priority::RANGE);
        let receive = number("-r", &args.receive_priority, dpdk::priority::RANGE);
        self.watch_s = number("-w", &args.watch_interval, WATCH_S);
        self.rx_priority = receive.or(self.rx_priority);
        self.no_io = args.no_privilege;
        if let Some(text) = &args.umask {
            let mask = u32::from_str_radix(text, 8).ok().filter(|mask| *mask <= 0o777);
            let wrong = || StartError::Usage(format!("-u {text}: write octal digits: -u 007"));
            self.umask = mask.ok_or_else(wrong)?;
        }
        if let Some(text) = &args.user {
            let wrong = |what: String| StartError::Usage(format!("-U {text}: {what}"));
            self.user = Some(text.parse().map_err(wrong)?);
        }
        Ok(())
    }

    /// The PCI devices among the drivers; none with `-I`.
    pub(crate) fn pci_devices(&self) -> impl Iterator<Item = String> {
        let allowed = self.interfaces.iter().filter(|_| !self.no_io);
        allowed.filter_map(|interface| devnp::pci_address(&interface.driver))
    }

    /// Permissions of the stack's path.
    pub(crate) fn path_mode(&self) -> u32 {
        (0o666 & !self.umask) | self.min_fperms
    }

    /// `-p`: a module, or the built-in stack with its options that mean something here.
    ///
    /// # Errors
    /// [`StartError::Usage`] for options that stick to the name.
    fn protocol(&mut self, name: &str, options: &str) -> Result<(), StartError> {
        if let Some((before, after)) = name.split_once(',') {
            return Err(StartError::Usage(format!(
                "-p {name}: the options are a word of their own: -p {before} {after}"
            )));
        }
        if name.contains("tcpip") {
            stack_options::apply(self, options);
        } else {
            self.protocols.push(Protocol { name: name.into(), options: options.into() });
        }
        Ok(())
    }

    /// Address of the metrics endpoint, `None` if it is off.
    ///
    /// # Errors
    /// [`StartError::Usage`], in a file [`StartError::Config`], if the text is no address.
    pub(crate) fn metrics_address(&self) -> Result<Option<SocketAddr>, StartError> {
        match self.metrics.as_ref().map(|text| text.get_ref().as_str()) {
            Some("off") => Ok(None),
            None => Ok(Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9478)))),
            Some(text) => text.parse().map(Some).map_err(|_| {
                let what = format!(
                    "'{text}' is no address; write an address and port, 127.0.0.1:9478, or off"
                );
                let origin = &self.metrics_origin;
                if origin.starts_with("--") {
                    StartError::Usage(format!("{origin}: {what}"))
                } else {
                    StartError::Config { path: origin.into(), what }
                }
            }),
        }
    }

    /// All addresses that interfaces are to have.
    fn addresses(&self) -> impl Iterator<Item = &AddressLen> {
        let vlans = self.vlans.values().flat_map(|vlan| &vlan.address);
        let bridges = self.bridges.values().flat_map(|bridge| &bridge.address);
        let ports = self.interfaces.iter().flat_map(|interface| &interface.address);
        let laggs = self.laggs.values().flat_map(|lagg| &lagg.address);
        ports.chain(vlans).chain(bridges).chain(laggs)
    }

    /// What can be told to fail without trying it, for `--check`.
    ///
    /// # Errors
    /// [`StartError::Unreachable`].
    pub(crate) fn check(&self) -> Result<(), StartError> {
        match self.routes.iter().find(|route| !route.is_reachable(self.addresses())) {
            Some(Route { destination, gateway }) => {
                Err(StartError::Unreachable { route: destination.to_string(), gateway: *gateway })
            }
            None => Ok(()),
        }
    }
}

/// Tunables by their full names: without quotes, `kern.somaxconn = 1` is a table of tables to TOML.
fn named_in_full(
    values: impl IntoIterator<Item = (String, toml::Value)>,
) -> Vec<(String, toml::Value)> {
    let in_full = |(name, value)| match value {
        toml::Value::Table(table) => {
            let inner = named_in_full(table).into_iter();
            inner.map(|(rest, value)| (format!("{name}.{rest}"), value)).collect()
        }
        value => vec![(name, value)],
    };
    values.into_iter().flat_map(in_full).collect()
}

/// A tunable's value as it is written.
fn plain(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Boolean(on) => u8::from(*on).to_string(),
        other => other.to_string(),
    }
}

/// What is wrong with this number of workers, which was asked for by `words`.
fn check_workers(words: &str, workers: Option<u16>) -> Result<(), String> {
    match workers {
        Some(n) if !WORKERS.contains(&n) => {
            let (few, many) = (WORKERS.start(), WORKERS.end());
            Err(format!("{words}{n}: there are {few} to {many} workers, one per core"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, FromArgMatches as _, Parser as _};

    #[test]
    fn a_full_file_is_read() {
        let text = r#"
            prefix = "/alt"
            workers = 2
            idle = "spin"
            metrics = "off"
            [eal]
            args = ["--log-level", "info"]
            [tcp]
            mss_floor = 88
            ecn = 1
            pacing = true
            user_timeout_option = true
            syncookies = "always"
            fast_open_key = "00010203-04050607-08090a0b-0c0d0e0f"
            [[interface]]
            driver = "net_tap"
            options = "iface=iop0"
            address = ["198.18.77.2/24"]
            [[route]]
            destination = "default"
            gateway = "198.18.77.1"
        "#;
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(config.idle, Idle::Spin);
        let tcp = config.tcp.settings();
        assert_eq!((tcp.mss_floor, tcp.ecn), (88, ::tcp::EcnMode::Ask));
        assert_eq!((tcp.pacing, tcp.user_timeout_option), (true, true));
        assert_eq!(tcp.syn_cookies, ::tcp::SynCookies::Always);
        assert_eq!(tcp.fast_open_key, Some(core::array::from_fn(|at| u8::try_from(at).unwrap())));
        assert_eq!(config.interfaces[0].address[0].prefix_len, 24);
        assert_eq!(config.metrics_address().unwrap(), None);
    }

    #[test]
    fn the_sysctl_section_sets_tunables_or_says_what_is_wrong() {
        let folder = std::env::temp_dir().join(format!("io-pkt-config-{}", std::process::id()));
        let read = |text: &str| {
            fs::write(&folder, text).unwrap();
            let config = Config::read(&folder);
            fs::remove_file(&folder).unwrap();
            config
        };
        let config =
            read("[sysctl]\n\"kern.somaxconn\" = 200\n\"net.inet.tcp.pacing\" = true\n").unwrap();
        assert_eq!((config.tuning.somaxconn, config.tuning.tcp.pacing), (200, true));
        let bare = read("[sysctl]\nkern.somaxconn = 300\nnet.inet.tcp.pacing = true\n").unwrap();
        assert_eq!((bare.tuning.somaxconn, bare.tuning.tcp.pacing), (300, true));
        let error = read("[sysctl]\n\"kern.somaxcon\" = 200\n").unwrap_err();
        assert_eq!(error.exit_code(), 78);
        assert!(error.to_string().contains("did you mean kern.somaxconn?"), "{error}");
    }

    #[test]
    fn words_that_would_be_misunderstood_are_refused() {
        let mut config = Config::default();
        let stuck = config.protocol("tcpip,forward", "").unwrap_err();
        assert!(stuck.to_string().contains("-p tcpip forward"), "{stuck}");
        for (mask, code) in [("999", Some(64)), ("1000", Some(64)), ("077", None)] {
            let args = Args::parse_from(["io-pkt", "-u", mask]);
            let refused = config.letters(&args).err().map(|error| error.exit_code());
            assert_eq!(refused, code, "{mask}");
        }
    }

    #[test]
    fn strict_takes_no_word_that_would_be_ignored() {
        let of = |line: &str| {
            let command = Args::command();
            let words = line.split_whitespace().map(std::ffi::OsString::from);
            let crate::argv::Words { words, strays } = crate::argv::split(words, &command);
            let matches = command.get_matches_from(words);
            let args = Args { strays, ..Args::from_arg_matches(&matches).unwrap() };
            Config::of(&args, &matches)
        };
        for (words, named) in [
            ("-p tcpip threads_max=300", "threads_max=300: no effect here"),
            (
                "-p tcpip prefx=/alt",
                "prefx=/alt: unrecognized option, ignored; did you mean prefix?",
            ),
            ("-p tcpip somaxconn=5", "somaxconn=5: counts as 128"),
            ("-p tcpip kern.ident=x", "kern.ident=x: it can only be read"),
            ("-d net_tap iface=x mtu=1400", "mtu=1400: belongs to no option"),
            ("-P 0", "-P 0: ignored"),
            ("-D", "-D has no effect here"),
        ] {
            let lax = of(&format!("io-pkt {words}")).unwrap();
            assert_eq!(lax.notes.len(), 1, "{words}");
            let refused = of(&format!("io-pkt --strict {words}")).unwrap_err();
            assert_eq!(refused.exit_code(), 64, "{words}");
            let text = refused.to_string();
            assert!(text.contains(named) && text.contains("--strict"), "{text}");
        }
        let both = of("io-pkt --strict -p tcpip altq verbose").unwrap_err().to_string();
        assert!(both.contains("altq") && both.contains("verbose"), "{both}");
        assert!(
            of("io-pkt --strict -d net_tap iface=x -p tcpip prefix=/alt,somaxconn=200").is_ok()
        );
    }

    #[test]
    fn a_wrong_metrics_address_is_the_files_fault_or_the_command_lines() {
        for (origin, code) in [("--metrics foo", 64), ("/etc/io-pkt.toml, line 1", 78)] {
            let config = Config {
                metrics: Some(toml::Spanned::new(0..0, "foo".into())),
                metrics_origin: origin.into(),
                ..Config::default()
            };
            let error = config.metrics_address().unwrap_err();
            assert_eq!(error.exit_code(), code);
            assert!(error.to_string().starts_with(origin), "{error}");
        }
    }

    #[test]
    fn mistakes_name_their_line() {
        let error = toml::from_str::<Config>("workers = 1\nworker = 2\n").unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
        let bad = "[[interface]]\ndriver = \"x\"\naddress = [\"198.18.77.2\"]\n";
        let error = toml::from_str::<Config>(bad).unwrap_err().to_string();
        assert!(error.contains("write 198.18.77.2/24"), "{error}");
        let error = toml::from_str::<Config>("[tcp]\necn = 3\n").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("write 0 (never)"), "{error}");
        for mss in [0, 63, 1461, 65_535] {
            let bad = format!("[tcp]\nmss_floor = {mss}\n");
            let error = toml::from_str::<Config>(&bad).unwrap_err().to_string();
            assert!(error.contains("line 2") && error.contains("from 64 to 1460"), "{error}");
        }
        let bad = "[tcp]\nfast_open_key = \"12\"\n";
        let error = toml::from_str::<Config>(bad).unwrap_err().to_string();
        assert!(error.contains("32 hexadecimal digits"), "{error}");
    }

    #[test]
    fn a_pci_device_is_one_with_and_without_its_domain_and_none_without_privilege() {
        let text = "[[interface]]\ndriver = \"03:00.0\"\n[[interface]]\ndriver = \"0000:04:00.1\"\n\
                    [[interface]]\ndriver = \"/a:b:c.so\"\n";
        let mut config: Config = toml::from_str(text).unwrap();
        let found: Vec<_> = config.pci_devices().collect();
        assert_eq!(found, ["0000:03:00.0", "0000:04:00.1"]);
        config.no_io = true;
        assert_eq!(config.pci_devices().next(), None);
    }
}
