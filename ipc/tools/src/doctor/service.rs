//! Run directory, daemon, metrics port, preload library.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::Finding;
use super::host::{Answer, Host};
use crate::fail::start_command;
use crate::preload;

/// The port the daemon serves metrics on unless told otherwise.
const METRICS_PORT: u16 = 9478;

/// Whoever may write the directory may put a socket of his own there.
pub(super) fn run_directory(host: &Host) -> Finding {
    let at = host.run_dir.display();
    let uid = host.uid();
    let meta = match fs::metadata(&host.run_dir) {
        Ok(meta) => meta,
        Err(_) if uid == 0 => return Finding::ok(format!("{at} will be made by the daemon")),
        Err(_) => {
            let parent = host.run_dir.parent().is_some_and(|parent| host.may_write(parent));
            return if parent {
                Finding::ok(format!("{at} will be made by the daemon"))
            } else {
                let found = format!("{at} is missing and uid {uid} may not make it");
                Finding::warn(
                    found,
                    format!(
                        "sudo install -d -m 755 -o {uid} {at}, or set IOPKT_RUN to a folder of \
                         yours"
                    ),
                )
            };
        }
    };
    let mode = meta.permissions().mode();
    if !meta.is_dir() {
        return Finding::fail(format!("{at} is not a directory"), format!("sudo rm {at}"));
    }
    if mode & 0o022 != 0 {
        let found =
            format!("{at} has mode {:o}: others could put their own socket there", mode & 0o7777);
        return Finding::fail(found, format!("sudo chmod 755 {at}"));
    }
    if meta.uid() != 0 && meta.uid() != uid {
        let found = format!("{at} belongs to uid {}, neither root nor uid {uid}", meta.uid());
        return Finding::warn(
            found,
            format!("sudo chown {uid} {at}, or set IOPKT_RUN to a folder of yours"),
        );
    }
    if let Some((folder, owner)) = strangers_folder(host) {
        let found = format!(
            "{folder} belongs to uid {owner}, left by a daemon with -U: that user could put a socket \
             there"
        );
        return Finding::warn(
            found,
            format!("sudo chown -R root: {folder} && sudo chmod 755 {folder}"),
        );
    }
    Finding::ok(format!("{at} belongs to uid {}, mode {:o}", meta.uid(), mode & 0o7777))
}

/// The socket's directory with its owner, if that is neither root, nor whoever asks, nor the daemon that
/// serves there.
fn strangers_folder(host: &Host) -> Option<(String, u32)> {
    let socket = proto::paths::socket_path_in(&host.run_dir, &host.prefix);
    let folder = socket.parent()?;
    let owner = fs::metadata(folder).ok()?.uid();
    let daemons = match &host.answer {
        Answer::Here(row) => host.user_of(&row.pid.to_string()),
        _ => None,
    };
    let known = owner == 0 || owner == host.uid() || Some(owner) == daemons;
    (!known).then(|| (folder.display().to_string(), owner))
}

/// Is it there, and may this user talk to it?
pub(super) fn daemon(host: &Host) -> Finding {
    match &host.answer {
        Answer::Here(row) => Finding::ok(format!("pid {}, up {} s", row.pid, row.uptime_ms / 1000)),
        Answer::Absent => Finding::warn("not running (E0201)", start_command(&host.prefix)),
        Answer::Trouble(failure) => {
            let (found, fix) =
                failure.text.split_once("; ").unwrap_or((&failure.text, "iopkt status"));
            Finding::fail(found, fix)
        }
    }
}

/// Client library, tools and daemon are of one build.
pub(super) fn version(host: &Host) -> Finding {
    let ours = env!("CARGO_PKG_VERSION");
    match &host.answer {
        Answer::Here(row) if row.version == ours => {
            Finding::ok(format!("daemon and iopkt are {ours}"))
        }
        Answer::Here(row) => Finding::fail(
            format!("the daemon is {}, iopkt is {ours}", row.version),
            "use the iopkt that was installed with the daemon, or restart the daemon",
        ),
        _ => Finding::ok(format!("iopkt is {ours}; no daemon to compare with")),
    }
}

/// Further stacks are fine if one knows of them.
pub(super) fn other_daemons(host: &Host) -> Finding {
    let own = match &host.answer {
        Answer::Here(row) => Some(row.pid),
        _ => None,
    };
    let comm = |pid: &u32| host.read(&format!("proc/{pid}/comm"));
    let pids = host.names("proc").into_iter().filter_map(|name| name.parse::<u32>().ok());
    let others: Vec<u32> =
        pids.filter(|pid| Some(*pid) != own && comm(pid).as_deref() == Some("io-pkt")).collect();
    let prefixes: Vec<_> =
        host.instances.iter().filter(|prefix| **prefix != host.prefix).cloned().collect();
    if others.is_empty() {
        return Finding::ok(if prefixes.is_empty() {
            "none".into()
        } else {
            format!("sockets of: {}", prefixes.join(" "))
        });
    }
    let list = others.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    let reach = match prefixes.first().map(String::as_str) {
        Some("") => "iopkt --sock / status".to_owned(),
        Some(prefix) => format!("iopkt --sock {prefix} status"),
        None => format!("ps -fp {}", others.first().copied().unwrap_or_default()),
    };
    Finding::warn(format!("further io-pkt processes: {list}"), format!("look at it: {reach}"))
}

/// Somebody else on our port keeps the daemon from serving metrics.
pub(super) fn metrics_port(host: &Host) -> Finding {
    match &host.answer {
        Answer::Here(row) => match row.metrics {
            Some(address) => Finding::ok(format!("http://{address}/metrics")),
            None => Finding::ok("metrics are off"),
        },
        _ if listens(host, METRICS_PORT) => Finding::warn(
            format!("port {METRICS_PORT} is in use by another process"),
            format!(
                "see by whom: sudo ss -ltnp 'sport = :{METRICS_PORT}'; or choose another metrics \
                 address"
            ),
        ),
        _ => Finding::ok(format!("port {METRICS_PORT} is free")),
    }
}

/// Whether a TCP socket of the kernel listens on this port.
fn listens(host: &Host, port: u16) -> bool {
    const LISTEN: &str = "0A";
    let hex = format!(":{port:04X}");
    ["proc/net/tcp", "proc/net/tcp6"].iter().filter_map(|table| host.read(table)).any(|text| {
        text.lines().any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let local = fields.next().is_some_and(|local| local.ends_with(&hex));
            local && fields.nth(1) == Some(LISTEN)
        })
    })
}

/// `iopkt run` needs it.
pub(super) fn preload_library(host: &Host) -> Finding {
    match &host.library {
        Ok(path) => Finding::ok(path.display().to_string()),
        Err(missing) => {
            let text = missing.text();
            let (found, fix) = text.split_once("; ").unwrap_or((&text, "cargo build --release"));
            Finding::warn(format!("{found}: iopkt run will not work"), fix)
        }
    }
}

/// Programs of ordinary users must be able to load it.
pub(super) fn preload_readable(host: &Host) -> Finding {
    let Ok(path) = &host.library else { return Finding::ok("no library to read") };
    match preload::barrier(path) {
        None => Finding::ok("every user can read it"),
        Some(barrier) => Finding::warn(
            format!("ordinary users cannot read it because of {}", barrier.display()),
            format!("sudo install -m 755 {} /usr/local/lib/libiopkt-preload.so", path.display()),
        ),
    }
}
