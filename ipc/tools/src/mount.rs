//! `iopkt mount`, `umount` and `modules`: drivers and protocols into a running stack and out of it.

use std::fs;

use proto::table::{AttachmentRow, ModuleRow};
use proto::{Reply, Request};
use rustix::io::Errno;

use crate::cli::{MountArgs, UmountArgs};
use crate::control::{CallError, Control};
use crate::fail::Failure;
use crate::output::{escape, left, print, right, show, table};

/// Runs `mount`.
pub(crate) fn mount(sock: Option<String>, args: &MountArgs) -> Result<(), Failure> {
    let sock = sock.map_or_else(|| prefix_of(args.kind.as_deref()), |sock| Ok(Some(sock)))?;
    let mut control = Control::open(sock)?;
    let driver = driver_path(&args.file);
    let request = Request::Mount { driver: driver.clone(), options: args.options.join(",") };
    control.be_patient()?;
    match control.call(request) {
        Ok(Reply::Mounted { interfaces }) => {
            let names: Vec<_> = interfaces.iter().map(|name| escape(name)).collect();
            print(&(names.join(" ") + "\n"))
        }
        // Most reasons begin with whose they are.
        Ok(Reply::Refused { why }) if why.starts_with(&driver) => {
            Err(Failure::failed(escape(&why)))
        }
        Ok(Reply::Refused { why }) => {
            Err(Failure::failed(format!("{}: {}", escape(&driver), escape(&why))))
        }
        Ok(_) => Err(Failure::other_version(control.path())),
        Err(CallError::Broken(failure)) => Err(failure),
        Err(CallError::Refused(errno)) => {
            let hint = "options are key=value with commas between: -o iface=iop1,mtu=1400";
            Err(Failure::refused(&escape(&driver), errno, hint))
        }
    }
}

/// Runs `umount`.
pub(crate) fn umount(sock: Option<String>, args: &UmountArgs) -> Result<(), Failure> {
    let mut control = Control::open(sock)?;
    if !args.what.contains('/') {
        return destroy(&mut control, &args.what);
    }
    // The daemon knows a file by the path without links.
    let whole = fs::canonicalize(&args.what).map(|path| path.to_string_lossy().into_owned());
    let file = whole.unwrap_or_else(|_| driver_path(&args.what));
    let names = of_file(&control.modules()?, &file);
    if names.is_empty() {
        let file = escape(&file);
        return Err(Failure::failed(format!(
            "{file}: no module of it is in use; see: iopkt modules"
        )));
    }
    names.iter().try_for_each(|name| destroy(&mut control, name))
}

/// What a module's file is in use for: its interfaces, or its protocol.
fn of_file(rows: &[ModuleRow], file: &str) -> Vec<String> {
    let users = |row: &ModuleRow| match row.kind.as_str() {
        "lsm" => vec![row.name.clone()],
        _ => row.interfaces.clone(),
    };
    rows.iter().filter(|row| row.path == file).flat_map(users).collect()
}

/// Takes an interface away, which its module may take its time for.
pub(crate) fn destroy(control: &mut Control, name: &str) -> Result<(), Failure> {
    control.be_patient()?;
    control.change(Request::Destroy { interface: name.into() }).map_err(|error| match error {
        CallError::Broken(failure) => failure,
        CallError::Refused(errno) => {
            let hint = match Errno::from_raw_os_error(errno) {
                Errno::NXIO => "see: iopkt ifconfig -l",
                Errno::INVAL => "lo0 stays",
                Errno::ALREADY => "it is on its way",
                _ => "the daemon's log says more",
            };
            Failure::refused(&format!("{}: cannot destroy it", escape(name)), errno, hint)
        }
    })
}

/// Runs `modules`.
pub(crate) fn modules(sock: Option<String>, json: bool) -> Result<(), Failure> {
    show(&*Control::open(sock)?.modules()?, json, render)
}

/// The stack that `-T io-pkt[N]` means: that of `io-pkt -i N`. Without N the one that `$SOCK` says.
fn prefix_of(kind: Option<&str>) -> Result<Option<String>, Failure> {
    let Some(kind) = kind else { return Ok(None) };
    let number = kind.strip_prefix("io-pkt").or_else(|| kind.strip_prefix("io-net"));
    match number {
        Some("" | "0") => Ok(None),
        Some(n) if n.parse::<u16>().is_ok() => Ok(Some(format!("/io-pkt{n}"))),
        _ => Err(Failure::usage(format!("-T {kind:?}: write io-pkt, or io-pktN for io-pkt -i N"))),
    }
}

/// A file from here as the daemon, which is elsewhere, can find it; a name as it is.
fn driver_path(file: &str) -> String {
    if !file.contains('/') {
        return file.into();
    }
    let whole = std::path::absolute(file);
    whole.map_or_else(|_| file.into(), |path| path.to_string_lossy().into_owned())
}

fn render(rows: &[ModuleRow]) -> String {
    // What a protocol is attached to, with the packets that it let pass, dropped and took.
    let users = |row: &ModuleRow| {
        let interfaces = row.interfaces.iter().map(|name| escape(name));
        let attachments = row.attachments.iter().map(|at| {
            let only = at.interface.iter().map(|name| format!(" {}", escape(name)));
            let AttachmentRow { passed, dropped, consumed, .. } = at;
            let only = only.collect::<String>();
            format!("{}{only} ({passed}/{dropped}/{consumed})", escape(&at.to))
        });
        interfaces.chain(attachments).collect::<Vec<_>>().join(",")
    };
    let columns = [
        left("Module", |row: &ModuleRow| escape(&row.name)),
        left("Version", |row| escape(&row.version)),
        left("Kind", |row| escape(&row.kind)),
        right("ABI", |row| row.abi.to_string()),
        left("Threads", |row| escape(&row.threading)),
        left("State", |row| escape(&row.state)),
        right("Failures", |row| row.failures.to_string()),
        right("Rx", |row| row.rx_packets.to_string()),
        right("Tx", |row| row.tx_packets.to_string()),
        left("Users", users),
        left("File", |row| escape(&row.path)),
    ];
    table(&columns, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_type_names_an_instance() {
        assert_eq!(prefix_of(None), Ok(None));
        assert_eq!(prefix_of(Some("io-pkt")), Ok(None));
        assert_eq!(prefix_of(Some("io-net")), Ok(None));
        assert_eq!(prefix_of(Some("io-pkt2")), Ok(Some("/io-pkt2".into())));
        assert!(prefix_of(Some("io-pktx")).is_err());
        assert!(prefix_of(Some("nfs")).is_err());
    }

    #[test]
    fn a_file_gets_its_whole_path_and_a_name_stays() {
        assert_eq!(driver_path("net_tap"), "net_tap");
        assert_eq!(driver_path("/a/devnp-x.so"), "/a/devnp-x.so");
        assert!(driver_path("./devnp-x.so").starts_with('/'));
    }

    #[test]
    fn a_file_stands_for_all_that_it_is_in_use_for() {
        let row = |kind: &str, name: &str, interfaces: &[&str]| ModuleRow {
            name: name.into(),
            version: "1".into(),
            kind: kind.into(),
            path: format!("/m/{kind}-{name}.so"),
            abi: 1,
            threading: "single".into(),
            state: "running".into(),
            interfaces: interfaces.iter().map(|name| (*name).into()).collect(),
            failures: 0,
            rx_packets: 0,
            tx_packets: 0,
            attachments: Vec::new(),
        };
        let rows = [
            row("devnp", "pair", &["pair0", "pair1"]),
            row("devnp", "sim", &["sim0"]),
            row("lsm", "noping", &[]),
            row("devnp", "late", &[]),
        ];
        assert_eq!(of_file(&rows, "/m/devnp-pair.so"), ["pair0", "pair1"]);
        assert_eq!(of_file(&rows, "/m/lsm-noping.so"), ["noping"]);
        assert!(of_file(&rows, "/m/devnp-late.so").is_empty(), "it opens");
        assert!(of_file(&rows, "/other/devnp-sim.so").is_empty());
    }
}
