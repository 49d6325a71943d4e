//! What the daemon is to do: the configuration file, with the command line over it.

use core::net::{Ipv4Addr, SocketAddr};
use core::ops::RangeInclusive;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use inet::network::TcpSettings;
use serde::Deserialize;

use crate::args::{Args, pairs};
use crate::error::StartError;
use crate::privileges::User;
use crate::stack_options;
use crate::tuning::Tuning;

/// What an idle worker does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Idle {
    /// Spin while there is work, then sleep until something happens.
    #[default]
    Adaptive,
    /// Never sleep: for cores that nobody else needs.
    Spin,
}

/// Where driver modules are, if nobody says.
const MODULE_PATH: [&str; 2] = ["/usr/local/lib/io-pkt", "/usr/lib/io-pkt"];

/// How many workers there may be: a client's memory has a lane for each.
const WORKERS: RangeInclusive<u16> = 1..=shm::layout::LANES_MAX;

/// How often `-w` may look: a worker that sleeps breathes every half second.
const WATCH_S: RangeInclusive<u32> = 1..=3600;

/// An address with its prefix length, as text `198.18.77.2/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct AddressLen {
    /// Address.
    pub address: Ipv4Addr,
    /// Prefix length, 1 to 32.
    pub prefix_len: u8,
}

impl core::str::FromStr for AddressLen {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not an address: write 198.18.77.2/24");
        let (address, len) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let prefix_len: u8 = len.parse().map_err(|_| wrong())?;
        if !(1..=32).contains(&prefix_len) || address.is_unspecified() || address.is_multicast() {
            return Err(wrong());
        }
        Ok(Self { address, prefix_len })
    }
}

impl TryFrom<String> for AddressLen {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// One `[[interface]]`, or one `-d`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Interface {
    /// Driver name, as after `-d`.
    pub driver: String,
    /// Options, commas between.
    #[serde(default)]
    pub options: String,
    /// Addresses, primary first.
    #[serde(default)]
    pub address: Vec<AddressLen>,
}

/// One `[[route]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    /// `default` or `10.0.0.0/8`.
    pub destination: String,
    /// Next hop.
    pub gateway: Ipv4Addr,
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
}

/// `[tcp]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TcpSection {
    /// A peer's MSS below this one counts as this one [default: 536]. Lower it for peers that really
    /// take no 576-byte datagrams.
    pub mss_floor: Option<u16>,
    /// ECN in the numbers of Linux's `tcp_ecn` [default: 2].
    #[serde(default)]
    pub ecn: Ecn,
    /// Pace CUBIC and NewReno too, as BBR always is [default: false].
    #[serde(default)]
    pub pacing: bool,
    /// Tell peers of `TCP_USER_TIMEOUT` and believe theirs (RFC 5482) [default: false].
    #[serde(default)]
    pub user_timeout_option: bool,
    /// SYN cookies [default: auto].
    #[serde(default)]
    pub syncookies: SynCookies,
    /// Key of Fast Open cookies, 32 hexadecimal digits, dashes as you like: servers behind one address
    /// need the same [default: a secret of the daemon's own, a new one at each start].
    pub fast_open_key: Option<FastOpenKey>,
}

/// Explicit congestion notification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub(crate) enum Ecn {
    /// 0: never.
    Off,
    /// 1: ask for it, and accept.
    Ask,
    /// 2: accept it from peers that ask.
    #[default]
    Accept,
}

impl TryFrom<u8> for Ecn {
    type Error = &'static str;
    fn try_from(number: u8) -> Result<Self, Self::Error> {
        match number {
            0 => Ok(Self::Off),
            1 => Ok(Self::Ask),
            2 => Ok(Self::Accept),
            _ => Err("write 0 (never), 1 (ask) or 2 (accept)"),
        }
    }
}

/// When SYNs are answered with cookies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SynCookies {
    /// Never.
    Off,
    /// While many connections of a listener are half-open.
    #[default]
    Auto,
    /// Always.
    Always,
}

/// 16 bytes, as text of 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct FastOpenKey(pub [u8; 16]);

impl TryFrom<String> for FastOpenKey {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digits = text.replace('-', "");
        let is_key = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let number = u128::from_str_radix(&digits, 16).ok().filter(|_| is_key);
        number.map(|number| Self(number.to_be_bytes())).ok_or("write 32 hexadecimal digits")
    }
}

impl TcpSection {
    /// In the stack's words.
    #[must_use]
    pub(crate) fn settings(&self) -> TcpSettings {
        TcpSettings {
            mss_floor: self.mss_floor.unwrap_or(tcp::limits::MSS_FLOOR),
            ecn: match self.ecn {
                Ecn::Off => tcp::EcnMode::Off,
                Ecn::Ask => tcp::EcnMode::Ask,
                Ecn::Accept => tcp::EcnMode::Accept,
            },
            pacing: self.pacing,
            user_timeout_option: self.user_timeout_option,
            syn_cookies: match self.syncookies {
                SynCookies::Off => tcp::SynCookies::Off,
                SynCookies::Auto => tcp::SynCookies::Auto,
                SynCookies::Always => tcp::SynCookies::Always,
            },
            fast_open_key: self.fast_open_key.map(|key| key.0),
            ..TcpSettings::default()
        }
    }
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
    pub metrics: Option<String>,
    /// Serve 127.0.0.0/8 for clients too.
    #[serde(default)]
    pub claim_loopback: bool,
    /// EAL.
    #[serde(default)]
    pub eal: EalSection,
    /// TCP.
    #[serde(default)]
    pub tcp: TcpSection,
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
    /// Interfaces.
    #[serde(default, rename = "interface")]
    pub interfaces: Vec<Interface>,
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
            config.protocol(&name, &options);
        }
        check_workers("-t ", args.workers).map_err(StartError::Usage)?;
        config.workers = args.workers.or(config.workers);
        config.idle = args.idle.unwrap_or(config.idle);
        config.metrics = args.metrics.clone().or(config.metrics);
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
        Ok(config)
    }

    fn read(path: &Path) -> Result<Self, StartError> {
        let wrong = |what: String| StartError::Config { path: path.into(), what };
        let text = fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
        let mut config: Self = toml::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        config.tuning.tcp = config.tcp.settings();
        for (name, value) in core::mem::take(&mut config.sysctl) {
            let set = config.tuning.set(&name, &plain(&value));
            set.map_err(|error| wrong(format!("[sysctl] {name}: {error}")))?;
        }
        match check_workers("workers = ", config.workers) {
            Ok(()) => Ok(config),
            Err(what) => Err(wrong(what)),
        }
    }

    /// Letters with a number or a name. A number out of range is noted and ignored, as QNX does it.
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
            match u32::from_str_radix(text, 8).ok().filter(|mask| *mask <= 0o777) {
                Some(mask) => self.umask = mask,
                None => self.notes.push(format!("-u {text}: ignored; write octal digits: -u 007")),
            }
        }
        if let Some(text) = &args.user {
            let wrong = |what: String| StartError::Usage(format!("-U {text}: {what}"));
            self.user = Some(text.parse().map_err(wrong)?);
        }
        Ok(())
    }

    /// Permissions of the stack's path.
    pub(crate) fn path_mode(&self) -> u32 {
        (0o666 & !self.umask) | self.min_fperms
    }

    /// `-p`: only the built-in stack for now.
    fn protocol(&mut self, name: &str, options: &str) {
        if !name.contains("tcpip") {
            self.notes.push(format!("-p {name}: no such protocol module; ignored"));
            return;
        }
        stack_options::apply(self, options);
    }

    /// Address of the metrics endpoint, `None` if it is off.
    ///
    /// # Errors
    /// [`StartError::Usage`] if the text is no address.
    pub(crate) fn metrics_address(&self) -> Result<Option<SocketAddr>, StartError> {
        match self.metrics.as_deref() {
            Some("off") => Ok(None),
            None => Ok(Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9478)))),
            Some(text) => text.parse().map(Some).map_err(|_| {
                StartError::Usage(format!(
                    "--metrics {text}: write an address and port, 127.0.0.1:9478, or off"
                ))
            }),
        }
    }
}

/// Takes `address=` out of a driver's options: it is the stack's business, not the driver's.
pub(crate) fn interface(driver: String, options: &str) -> Result<Interface, StartError> {
    let mut address = Vec::new();
    let mut others = Vec::new();
    for option in options.split(',').filter(|o| !o.is_empty()) {
        match option.strip_prefix("address=") {
            Some(text) => address.push(
                text.parse()
                    .map_err(|what: String| StartError::Usage(format!("-d {driver}: {what}")))?,
            ),
            None => others.push(option),
        }
    }
    Ok(Interface { driver, options: others.join(","), address })
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
        assert_eq!((tcp.mss_floor, tcp.ecn), (88, tcp::EcnMode::Ask));
        assert_eq!((tcp.pacing, tcp.user_timeout_option), (true, true));
        assert_eq!(tcp.syn_cookies, tcp::SynCookies::Always);
        assert_eq!(tcp.fast_open_key, Some(core::array::from_fn(|at| u8::try_from(at).unwrap())));
        assert_eq!(config.interfaces[0].address[0].prefix_len, 24);
        assert_eq!(config.metrics_address().unwrap(), None);
    }

    #[test]
    fn what_the_tcp_section_says_is_what_its_tunable_tells() {
        let text = "[tcp]\nmss_floor = 88\necn = 1\npacing = true\nuser_timeout_option = true\n\
                    syncookies = \"always\"\nfast_open_key = \"00112233445566778899aabbccddeeff\"\n";
        let config: Config = toml::from_str(text).unwrap();
        let tuning = Tuning { tcp: config.tcp.settings(), ..Tuning::default() };
        let rows = tuning.rows();
        for (name, value) in [
            ("net.inet.tcp.minmss", "88"),
            ("net.inet.tcp.ecn.enable", "1"),
            ("net.inet.tcp.pacing", "1"),
            ("net.inet.tcp.user_timeout_option", "1"),
            ("net.inet.tcp.syncookies", "2"),
            ("net.inet.tcp.fastopen.setkey", "1"),
        ] {
            assert_eq!(rows.iter().find(|row| row.name == name).unwrap().value, value, "{name}");
        }
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
        let error = read("[sysctl]\n\"kern.somaxcon\" = 200\n").unwrap_err();
        assert_eq!(error.exit_code(), 78);
        assert!(error.to_string().contains("did you mean kern.somaxconn?"), "{error}");
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
        let bad = "[tcp]\nfast_open_key = \"12\"\n";
        let error = toml::from_str::<Config>(bad).unwrap_err().to_string();
        assert!(error.contains("32 hexadecimal digits"), "{error}");
    }

    #[test]
    fn the_address_option_is_not_the_drivers() {
        let got =
            interface("net_tap".into(), "iface=x,address=10.0.0.1/8,mac=020000000001").unwrap();
        assert_eq!(got.options, "iface=x,mac=020000000001");
        assert_eq!(got.address[0].address, Ipv4Addr::new(10, 0, 0, 1));
    }
}
