//! `iopkt qnet`: other nodes and their files, through `<run><prefix>/dev/qnet`.

mod ahead;
mod door;
mod fuse;
mod inodes;
mod sockets;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use proto::message::{Family, Transport};
use proto::qnet::{
    Entry, FILE_BYTES_MAX, FileCall, FileKind, FileReply, LinkRow, NodePath, NodeRow, Status,
};
use rustix::io::Errno;
use serde::Serialize;

use crate::cli::{QnetAction, QnetArgs};
use crate::control::prefix;
use crate::fail::{Failure, describe};
use crate::output::{escape, left, print, show, table};
use crate::qnet::ahead::Behind;
use crate::qnet::door::{Door, Doors};

/// Runs `qnet`.
pub(crate) fn main(sock: Option<String>, args: QnetArgs) -> Result<(), Failure> {
    let prefix = prefix(sock);
    let doors = Doors::new(&prefix);
    let door = || doors.open().map_err(closed);
    match args.action {
        QnetAction::Nodes { json } => nodes(&door()?, json),
        QnetAction::Ls { path } => list(&door()?, &Remote::parse(&path)?),
        QnetAction::Get { path, to } => get(&doors, &Remote::parse(&path)?, &to),
        QnetAction::Put { from, path } => put(&doors, &from, &Remote::parse(&path)?),
        QnetAction::Rm { path } => {
            let remote = Remote::parse(&path)?;
            let file = FileCall::Remove { path: remote.path.clone() };
            remote.call(&door()?, &file).map(drop)
        }
        QnetAction::Mkdir { path } => {
            let remote = Remote::parse(&path)?;
            let make = FileCall::MakeDirectory { path: remote.path.clone(), mode: 0o755 };
            remote.call(&door()?, &make).map(drop)
        }
        QnetAction::Mount { folder, allow_other } => {
            let folder = match folder {
                Some(folder) => folder,
                None => door()?.status().map_err(closed)?.mount.into(),
            };
            mount(doors, &folder, allow_other)
        }
        QnetAction::Sockets { serve } => sockets::main(&doors, &prefix, serve),
    }
}

fn closed(errno: Errno) -> Failure {
    let hint = "the module qnet serves it; see: iopkt modules, iopkt mount lsm-qnet.so";
    Failure::refused("dev/qnet", errno.raw_os_error(), hint)
}

/// Can programs here have sockets of the node that a prefix names?
pub(crate) fn look_for_sockets(prefix: &str) -> Result<(), Failure> {
    io_pkt_client::set_sock_prefix(prefix);
    let Err(error) = io_pkt_client::far::open(Family::Inet, Transport::Stream) else {
        return Ok(());
    };
    let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let next = match errno {
        Errno::NETDOWN => "start it here: iopkt qnet sockets &",
        Errno::HOSTUNREACH => "is the node there? see: iopkt qnet nodes",
        Errno::NXIO => "they are not for others; at the node: iopkt qnet sockets --serve &",
        _ => "see: iopkt qnet nodes",
    };
    Err(Failure::failed(format!("sockets of {prefix}: {}; {next}", describe(errno.raw_os_error()))))
}

/// `beta/dir/file`.
struct Remote {
    text: String,
    node: String,
    path: String,
}

impl Remote {
    fn parse(text: &str) -> Result<Self, Failure> {
        let (node, path) = text.split_once('/').unwrap_or((text, ""));
        if node.is_empty() {
            return Err(Failure::usage(format!("\"{}\": NODE/PATH is wanted", escape(text))));
        }
        Ok(Self { text: escape(text), node: node.into(), path: path.into() })
    }

    fn call(&self, door: &Door, call: &FileCall) -> Result<FileReply, Failure> {
        door.call(&self.node, call).map_err(|errno| self.refused(errno))
    }

    /// With the node before the first `/`.
    fn whole(&self) -> String {
        format!("{}/{}", self.node, self.path)
    }

    /// Not this stack refuses it, but the other node.
    fn refused(&self, errno: Errno) -> Failure {
        let hint = match errno {
            Errno::ACCESS | Errno::PERM => "the node acts as one user: see its mapany=",
            _ => "see: iopkt qnet nodes",
        };
        let why = describe(errno.raw_os_error());
        Failure::failed(format!("{}: {why}; {hint}", self.text))
    }

    fn strange(&self) -> Failure {
        Failure::failed(format!("{}: the node answers something else than was asked", self.text))
    }
}

#[derive(Serialize)]
struct Row<'a> {
    node: &'a str,
    number: Option<u16>,
    link: &'a str,
    address: &'a str,
    state: &'a str,
}

fn nodes(door: &Door, json: bool) -> Result<(), Failure> {
    let status = door.status().map_err(closed)?;
    let Status { name, links, nodes, .. } = &status;
    let own =
        |link: &'_ LinkRow| (name.clone(), None, link.name.clone(), link.address.clone(), "here");
    let far = |node: &NodeRow| {
        let (name, number) = (node.name.clone(), Some(node.number));
        let state = |up: bool| if up { "up" } else { "down" };
        let row = move |path: &NodePath| {
            (name.clone(), number, path.link.clone(), path.address.clone(), state(path.up))
        };
        node.paths.iter().map(row).collect::<Vec<_>>()
    };
    let rows: Vec<_> = links.iter().map(own).chain(nodes.iter().flat_map(far)).collect();
    let rows: Vec<Row<'_>> = rows
        .iter()
        .map(|(node, number, link, address, state)| Row {
            node,
            number: *number,
            link,
            address,
            state,
        })
        .collect();
    show(&rows, json, |rows| {
        let columns = [
            left("Node", |row: &Row<'_>| row.node.to_owned()),
            left("Link", |row| row.link.to_owned()),
            left("Address", |row| row.address.to_owned()),
            left("State", |row| row.state.to_owned()),
        ];
        table(&columns, rows)
    })
}

fn list(door: &Door, remote: &Remote) -> Result<(), Failure> {
    let mut after = String::new();
    loop {
        let call = FileCall::List { path: remote.path.clone(), after: after.clone() };
        let FileReply::Entries { entries, more } = remote.call(door, &call)? else {
            return Err(remote.strange());
        };
        let line = |entry: &Entry| {
            let end = if entry.kind == FileKind::Directory { "/" } else { "" };
            format!("{}{end}\n", escape(&entry.name))
        };
        print(&entries.iter().map(line).collect::<String>())?;
        match entries.into_iter().next_back() {
            Some(last) if more => after = last.name,
            _ => return Ok(()),
        }
    }
}

/// Bytes that are read of a file at once.
const READ_LEN: u32 = 1 << 20;

fn get(doors: &Doors, remote: &Remote, to: &Path) -> Result<(), Failure> {
    let wrong = |error: std::io::Error| Failure::failed(format!("{}: {error}", to.display()));
    let _there = doors.open().map_err(closed)?;
    let read = |offset: u64| -> Result<Vec<u8>, Failure> {
        ahead::read(doors, &remote.whole(), offset, READ_LEN).map_err(|errno| remote.refused(errno))
    };
    // What is here stays if the node has nothing to give.
    let mut data = read(0)?;
    let mut file = File::create(to).map_err(wrong)?;
    let mut offset = 0;
    while !data.is_empty() {
        file.write_all(&data).map_err(wrong)?;
        offset += data.len() as u64;
        data = read(offset)?;
    }
    Ok(())
}

fn put(doors: &Doors, from: &Path, remote: &Remote) -> Result<(), Failure> {
    let wrong = |error: std::io::Error| Failure::failed(format!("{}: {error}", from.display()));
    let file = File::open(from).map_err(wrong)?;
    let door = doors.open().map_err(closed)?;
    let path = || remote.path.clone();
    let _ =
        remote.call(&door, &FileCall::Create { path: path(), mode: 0o644, exclusive: false })?;
    let _ = remote.call(&door, &FileCall::Resize { path: path(), len: 0 })?;
    let (behind, whole, mut offset) = (Behind::default(), remote.whole(), 0);
    loop {
        let mut data = Vec::new();
        let part = (&file).take(FILE_BYTES_MAX.into()).read_to_end(&mut data);
        if part.map_err(wrong)? == 0 {
            behind.finish(doors, &whole).map_err(|errno| remote.refused(errno))?;
            return remote.call(&door, &FileCall::Sync { path: path() }).map(drop);
        }
        let written = behind.write(doors, &whole, offset, &data);
        written.map_err(|errno| remote.refused(errno))?;
        offset += data.len() as u64;
    }
}

/// Shows the nodes' files in a directory until it is unmounted.
fn mount(doors: Doors, folder: &Path, allow_other: bool) -> Result<(), Failure> {
    let _there = doors.open().map_err(closed)?;
    if !Path::new("/dev/fuse").exists() {
        return Err(Failure::failed(
            "there is no /dev/fuse here: modprobe fuse; without it use iopkt qnet get and put"
                .into(),
        ));
    }
    fuse::run(doors, folder, allow_other)
        .map_err(|error| Failure::failed(format!("{}: {error}", folder.display())))
}

#[cfg(test)]
mod tests;
