//! The operator's options.

use core::time::Duration;
use std::path::PathBuf;

use qnet::limits::TICK;
use qnet::{Config, Fqnn, LinkId, Policy};

/// What `iopkt mount` and `-p` take.
pub(crate) const OPTIONS: &str = "bind=IF[:IF...]|ip resolve=ndp|en_ionet|dns host=NAME \
mount=DIR[:.DOMAIN] auto_add=TICKS periodic_ticks=TICKS conn_est_retries=NUMBER \
conn_est_timeout=TICKS conn_up_idle=TICKS do_crc=0|1 \
policy=loadbalance|redundant|preferred:IF|exclusive:IF export=DIR mapany=UID maproot=UID";

/// What the node sends and receives by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bind {
    /// All Ethernet interfaces.
    All,
    /// These.
    Interfaces(Vec<String>),
    /// IPv4, whatever is beneath.
    Ip,
}

/// A policy whose interface has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NamedPolicy {
    LoadBalance,
    Redundant,
    Preferred(String),
    Exclusive(String),
}

impl NamedPolicy {
    /// As it stands behind the `~` of a path: `loadbalance`, `preferred:tap0`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text.split_once(':') {
            None if text == "loadbalance" => Self::LoadBalance,
            None if text == "redundant" => Self::Redundant,
            Some(("preferred", name)) if !name.is_empty() => Self::Preferred(name.into()),
            Some(("exclusive", name)) if !name.is_empty() => Self::Exclusive(name.into()),
            _ => return None,
        })
    }

    /// For the engine, given the number of an interface.
    pub(crate) fn numbered(&self, link: impl FnOnce(&str) -> Option<LinkId>) -> Option<Policy> {
        Some(match self {
            Self::LoadBalance => Policy::LoadBalance,
            Self::Redundant => Policy::Redundant,
            Self::Preferred(name) => Policy::Preferred(link(name)?),
            Self::Exclusive(name) => Policy::Exclusive(link(name)?),
        })
    }
}

impl core::fmt::Display for NamedPolicy {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::LoadBalance => f.write_str("loadbalance"),
            Self::Redundant => f.write_str("redundant"),
            Self::Preferred(name) => write!(f, "preferred:{name}"),
            Self::Exclusive(name) => write!(f, "exclusive:{name}"),
        }
    }
}

/// All of them.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) bind: Bind,
    /// Names that nobody has heard of are asked of the system's resolver.
    pub(crate) dns: bool,
    pub(crate) mount: String,
    pub(crate) policy: NamedPolicy,
    /// The directory that other nodes may use.
    pub(crate) export: Option<PathBuf>,
    /// With whose rights; otherwise its owner's.
    pub(crate) mapany: Option<u32>,
    pub(crate) config: Config,
}

impl Settings {
    /// From the options and the machine's name. A wrong one is told in a sentence.
    pub(crate) fn read(
        option: impl Fn(&str) -> Option<String>,
        machine: &str,
    ) -> Result<Self, String> {
        let bind = match option("bind").as_deref() {
            None | Some("") => Bind::All,
            Some("ip") => Bind::Ip,
            Some(list) => Bind::Interfaces(list.split(':').map(str::to_owned).collect()),
        };
        let dns = match option("resolve").as_deref() {
            None => bind == Bind::Ip,
            Some("dns") if bind == Bind::Ip => true,
            Some("ndp" | "en_ionet") if bind != Bind::Ip => false,
            Some("dns") => return Err("resolve=dns goes with bind=ip only".into()),
            Some(other) => {
                return Err(format!("resolve={other}: it is ndp, en_ionet, or dns with bind=ip"));
            }
        };
        let mount = option("mount").unwrap_or_else(|| "/net".into());
        let (mount, domain) = mount.split_once(":.").unwrap_or((&mount, ""));
        let host = option("host").unwrap_or_else(|| plain(machine));
        let name = Fqnn::new(&host, domain).ok_or_else(|| {
            format!("\"{host}\" in domain \"{domain}\" is no node's name; give one by host=NAME")
        })?;
        let policy = option("policy").unwrap_or_else(|| "loadbalance".into());
        let policy = NamedPolicy::parse(&policy).ok_or_else(|| {
            format!("policy={policy}: it is loadbalance, redundant, preferred:IF or exclusive:IF")
        })?;
        let config = config(&option, name)?;
        let export = option("export").map(PathBuf::from);
        if let Some(path) = export.as_ref().filter(|path| !path.is_absolute()) {
            return Err(format!("export={}: a path from / on is wanted", path.display()));
        }
        let user = |key: &str| {
            let parse = |uid: String| {
                uid.parse().map_err(|_| format!("{key}={uid}: a user's number is wanted"))
            };
            option(key).map(parse).transpose()
        };
        // Calls do not say whose they are, so all are what root's would be.
        let mapany = user("mapany")?.or(user("maproot")?);
        Ok(Self { bind, dns, mount: mount.to_owned(), policy, export, mapany, config })
    }
}

fn config(option: &impl Fn(&str) -> Option<String>, name: Fqnn) -> Result<Config, String> {
    let number = |key: &str| {
        let parse = |text: String| {
            text.parse::<u32>().map_err(|_| format!("{key}={text}: a whole number is wanted"))
        };
        option(key).map(parse).transpose()
    };
    let ticks = |key: &str| number(key).map(|ticks| ticks.map(|ticks| TICK.saturating_mul(ticks)));
    let mut config = Config::new(name);
    if let Some(time) = ticks("auto_add")? {
        config.auto_add = (time > Duration::ZERO).then_some(time);
    }
    config.periodic = ticks("periodic_ticks")?.unwrap_or(config.periodic).max(TICK);
    config.conn_est_timeout =
        ticks("conn_est_timeout")?.unwrap_or(config.conn_est_timeout).max(TICK);
    config.conn_est_retries = number("conn_est_retries")?.unwrap_or(config.conn_est_retries);
    config.conn_up_idle = ticks("conn_up_idle")?.unwrap_or(config.conn_up_idle).max(TICK);
    config.crc = match number("do_crc")? {
        None => config.crc,
        Some(on @ 0..=1) => on == 1,
        Some(other) => return Err(format!("do_crc={other}: it is 0 or 1")),
    };
    Ok(config)
}

/// The machine's name up to its first dot, without what no node's name has.
fn plain(machine: &str) -> String {
    let first = machine.split('.').next().unwrap_or_default();
    first.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[(&str, &str)]) -> Result<Settings, String> {
        let find = |key: &str| options.iter().find(|(k, _)| *k == key);
        Settings::read(|key| find(key).map(|(_, value)| (*value).to_owned()), "box-1.example")
    }

    #[test]
    fn without_options_a_node_has_the_machines_name_and_all_interfaces() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.config.name, Fqnn::new("box-1", "").unwrap());
        assert_eq!(
            (settings.bind, settings.dns, settings.mount.as_str()),
            (Bind::All, false, "/net")
        );
        assert_eq!(settings.policy, NamedPolicy::LoadBalance);
    }

    #[test]
    fn options_are_qnets() {
        let settings = read(&[
            ("bind", "tap0:tap1"),
            ("host", "alpha"),
            ("mount", "/nodes:.lab.example"),
            ("auto_add", "0"),
            ("conn_est_timeout", "5"),
            ("conn_est_retries", "2"),
            ("do_crc", "0"),
            ("policy", "preferred:tap1"),
        ]);
        let settings = settings.unwrap();
        assert_eq!(settings.bind, Bind::Interfaces(vec!["tap0".into(), "tap1".into()]));
        assert_eq!(settings.config.name.to_string(), "alpha.lab.example");
        assert_eq!(settings.mount, "/nodes");
        assert_eq!(settings.policy, NamedPolicy::Preferred("tap1".into()));
        assert_eq!(settings.config.auto_add, None);
        assert_eq!(settings.config.conn_est_timeout, Duration::from_secs(1));
        assert_eq!((settings.config.conn_est_retries, settings.config.crc), (2, false));
    }

    #[test]
    fn one_user_acts_for_all_of_another_node() {
        let mapped = |options: &[(&str, &str)]| read(options).unwrap().mapany;
        assert_eq!(mapped(&[]), None);
        assert_eq!(mapped(&[("maproot", "99")]), Some(99));
        assert_eq!(mapped(&[("maproot", "99"), ("mapany", "65534")]), Some(65534));
    }

    #[test]
    fn ip_asks_dns_and_ethernet_its_wire() {
        assert!(read(&[("bind", "ip")]).unwrap().dns);
        assert!(read(&[("bind", "ip"), ("resolve", "dns")]).unwrap().dns);
        for wrong in [("bind", "tap0", "dns"), ("bind", "ip", "ndp")] {
            assert!(read(&[(wrong.0, wrong.1), ("resolve", wrong.2)]).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (key, value) in [
            ("auto_add", "soon"),
            ("do_crc", "2"),
            ("host", "a b"),
            ("policy", "preferred"),
            ("policy", "preferred:"),
            ("policy", "fastest"),
            ("export", "files"),
            ("mapany", "nobody"),
            ("maproot", "nobody"),
        ] {
            assert!(read(&[(key, value)]).unwrap_err().contains(value), "{key}={value}");
        }
    }
}
