//! What a node says, as the kernel is told it.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::qnet::tests::Module;

fn attributes(modified: (i64, u32)) -> Attributes {
    Attributes { modified, ..ROOT }
}

/// The directory `beta`, whose node says the same to every call, and no more than a hundred times.
fn view(says: FileReply) -> (Module, View) {
    let calls = AtomicU32::new(0);
    let module = Module::start(move |_| {
        let many = calls.fetch_add(1, Ordering::Relaxed) >= 100;
        if many { Err(Errno::TIMEDOUT) } else { Ok(says.clone()) }
    });
    let view = View::new(module.doors());
    (module, view)
}

fn entries(count: usize, name_len: usize, more: bool) -> FileReply {
    let entry = Entry { name: "n".repeat(name_len), kind: FileKind::File };
    FileReply::Entries { entries: vec![entry; count], more }
}

#[test]
fn an_errno_is_told_that_the_kernel_takes_and_that_turns_no_call_off() {
    let known = [1, 2, 38, 511, 512, 524, 600, 4095].map(Errno::from_raw_os_error).map(told);
    let wanted = [1, 2, Errno::OPNOTSUPP.raw_os_error(), 511, 5, 5, 5, 5];
    assert_eq!(known.map(fuser::Errno::code), wanted);
}

#[test]
fn any_time_is_a_time() {
    let module = Module::start(|_| Err(Errno::IO));
    let view = View::new(module.doors());
    let shown = |modified| view.shown(2, attributes(modified)).mtime;
    assert_eq!(shown((1000, 5)), UNIX_EPOCH + Duration::new(1000, 5));
    assert_eq!(shown((-1, 0)), UNIX_EPOCH);
    assert_eq!(shown((1000, u32::MAX)), UNIX_EPOCH + Duration::new(1000, 999_999_999));
    assert_eq!(
        shown((i64::MAX, u32::MAX)),
        UNIX_EPOCH + Duration::new(i64::MAX.cast_unsigned(), 999_999_999)
    );
}

#[test]
fn a_directory_has_an_end() {
    let (_module, endless) = view(entries(15_000, 1, true));
    assert_eq!(endless.names("beta").err(), Some(Errno::OVERFLOW));
    let (_module, empty) = view(entries(0, 1, true));
    assert_eq!(empty.names("beta").map(|names| names.len()), Ok(0));
}

#[test]
fn a_name_is_no_longer_than_linux_has_them() {
    let (_module, longest) = view(entries(1, 255, false));
    assert_eq!(longest.names("beta").map(|names| names.len()), Ok(1));
    let (_module, longer) = view(entries(1, 256, false));
    assert_eq!(longer.names("beta").err(), Some(Errno::OVERFLOW));
}

#[test]
fn no_node_gives_more_than_it_was_asked_for() {
    let (_module, gives) = view(FileReply::Data(vec![1; 5]));
    assert_eq!(gives.read("beta/file", 0, 5), Ok(vec![1; 5]));
    assert_eq!(gives.read("beta/file", 0, 4), Err(Errno::PROTO));
}

#[test]
fn no_node_takes_more_than_it_was_given() {
    let (_module, takes) = view(FileReply::Written(u32::MAX));
    assert_eq!(takes.write("beta/file", 0, b"data"), Ok(4));
    assert_eq!(takes.finish("beta/file"), Err(Errno::PROTO));
    assert_eq!(takes.finish("beta/file"), Ok(()), "it was told");
}

#[test]
fn the_last_mount_at_a_place_is_found() {
    let mounts = "36 35 98:0 / /net rw,noatime master:1 - ext3 /dev/root rw\n\
                  40 36 0:47 / /net rw,nosuid - fuse qnet rw\n\
                  41 36 0:48 / /network rw - fuse other rw\n";
    assert_eq!(device_of(mounts, Path::new("/net")), Some("0:47"));
    assert_eq!(device_of(mounts, Path::new("/other")), None);
}
