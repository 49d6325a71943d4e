//! What other nodes can do with the exported directory, and what they can't.

use std::os::unix::fs::{MetadataExt as _, chown, symlink};
use std::path::PathBuf;
use std::{env, process};

use super::*;

/// A user, and a group, that is not ours.
const NOBODY: u32 = 65534;

/// A directory with a secret beside the exported one.
struct Place {
    folder: PathBuf,
    files: Files,
}

impl Place {
    fn new(name: &str) -> Self {
        let folder = env::temp_dir().join(format!("iopkt-files-{name}-{}", process::id()));
        let export = folder.join("export");
        std::fs::create_dir_all(export.join("sub")).unwrap();
        std::fs::write(folder.join("secret"), "secret").unwrap();
        let files = Files::open(&export, None).unwrap();
        Self { folder, files }
    }

    fn call(&self, call: &FileCall) -> Result<FileReply, Errno> {
        let reply = self.files.call(&proto::emit(call).unwrap())?;
        Ok(proto::parse(&reply).unwrap())
    }

    fn read(&self, path: &str) -> Result<FileReply, Errno> {
        self.call(&FileCall::Read { path: path.into(), offset: 0, len: 100 })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

fn done(result: &Result<FileReply, Errno>) {
    assert!(result.is_ok(), "{result:?}");
}

#[test]
fn a_file_is_made_written_read_renamed_and_removed() {
    let place = Place::new("life");
    let path = || "sub/file".to_owned();
    done(&place.call(&FileCall::Create { path: path(), mode: 0o640, exclusive: true }));
    let again = place.call(&FileCall::Create { path: path(), mode: 0o640, exclusive: true });
    assert_eq!(again, Err(Errno::EXIST));
    let data = b"text".to_vec();
    let written = place.call(&FileCall::Write { path: path(), offset: 2, data });
    assert_eq!(written, Ok(FileReply::Written(4)));
    assert_eq!(place.read("sub/file"), Ok(FileReply::Data(b"\0\0text".to_vec())));
    done(&place.call(&FileCall::SetTime { path: path(), modified: (1000, 5) }));
    done(&place.call(&FileCall::SetMode { path: path(), mode: 0o7600 }));
    let Ok(FileReply::Attributes(now)) = place.call(&FileCall::Resize { path: path(), len: 3 })
    else {
        panic!("not resized");
    };
    assert_eq!((now.kind, now.len, now.mode), (FileKind::File, 3, 0o600));
    done(&place.call(&FileCall::Sync { path: path() }));
    done(&place.call(&FileCall::Rename { path: path(), to: "other".into() }));
    assert_eq!(place.read("sub/file"), Err(Errno::NOENT));
    done(&place.call(&FileCall::Remove { path: "other".into() }));
    done(&place.call(&FileCall::RemoveDirectory { path: "sub".into() }));
    done(&place.call(&FileCall::MakeDirectory { path: "new".into(), mode: 0o755 }));
}

#[test]
fn no_path_leaves_the_directory() {
    let place = Place::new("escape");
    let export = place.folder.join("export");
    let secret = place.folder.join("secret");
    symlink("../secret", export.join("relative")).unwrap();
    symlink(&secret, export.join("absolute")).unwrap();
    symlink("..", export.join("up")).unwrap();
    symlink("/proc/self/root", export.join("sub/magic")).unwrap();
    let absolute = secret.to_str().unwrap().to_owned();
    let outside = [
        "../secret",
        "sub/../../secret",
        "relative",
        "absolute",
        "up/secret",
        &absolute,
        "sub/magic",
        "/",
    ];
    for path in outside.map(str::to_owned) {
        let calls = [
            FileCall::Attributes { path: path.clone() },
            FileCall::List { path: path.clone(), after: String::new() },
            FileCall::Read { path: path.clone(), offset: 0, len: 1 },
            FileCall::Write { path: path.clone(), offset: 0, data: vec![1] },
            FileCall::Create { path: path.clone(), mode: 0o600, exclusive: false },
            FileCall::Resize { path: path.clone(), len: 0 },
            FileCall::SetMode { path: path.clone(), mode: 0 },
            FileCall::SetTime { path: path.clone(), modified: (0, 0) },
            FileCall::Sync { path: path.clone() },
        ];
        for call in calls {
            let said = place.call(&call);
            assert!(matches!(said, Err(Errno::XDEV | Errno::LOOP)), "{call:?}: {said:?}");
        }
    }
    for path in
        ["../new", "up/new", "sub/../../new", "/tmp/new", "..", "sub/..", "."].map(str::to_owned)
    {
        let calls = [
            FileCall::MakeDirectory { path: path.clone(), mode: 0o700 },
            FileCall::Remove { path: path.clone() },
            FileCall::RemoveDirectory { path: path.clone() },
            FileCall::Rename { path: path.clone(), to: "here".into() },
            FileCall::Rename { path: "sub".into(), to: path.clone() },
        ];
        for call in calls {
            let said = place.call(&call);
            assert!(matches!(said, Err(Errno::XDEV | Errno::INVAL)), "{call:?}: {said:?}");
        }
    }
    assert_eq!(std::fs::read(secret).unwrap(), b"secret");
}

#[test]
fn a_link_that_stays_beneath_is_followed() {
    let place = Place::new("link");
    let export = place.folder.join("export");
    std::fs::write(export.join("sub/file"), "text").unwrap();
    symlink("sub/file", export.join("link")).unwrap();
    assert_eq!(place.read("link"), Ok(FileReply::Data(b"text".to_vec())));
    assert_eq!(place.read("sub/../link"), Ok(FileReply::Data(b"text".to_vec())));
}

#[test]
fn pipes_and_devices_are_seen_and_not_opened() {
    let place = Place::new("pipe");
    let pipe = place.folder.join("export/pipe");
    assert!(process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(place.read("pipe"), Err(Errno::OPNOTSUPP));
    let _reader = std::fs::File::options().read(true).write(true).open(&pipe).unwrap();
    let make = FileCall::Create { path: "pipe".into(), mode: 0o600, exclusive: false };
    assert_eq!(place.call(&make), Err(Errno::OPNOTSUPP));
    let list = place.call(&FileCall::List { path: String::new(), after: String::new() });
    let entry = |name: &str, kind| Entry { name: name.into(), kind };
    let entries = vec![entry("pipe", FileKind::Other), entry("sub", FileKind::Directory)];
    assert_eq!(list, Ok(FileReply::Entries { entries, more: false }));
}

#[test]
fn a_long_list_comes_in_parts() {
    let place = Place::new("list");
    let names: Vec<String> = (0..400).map(|n| format!("{n:0200}")).collect();
    for name in &names {
        std::fs::write(place.folder.join("export/sub").join(name), "").unwrap();
    }
    let (mut got, mut parts) = (Vec::new(), 0);
    loop {
        let after = got.last().cloned().unwrap_or_default();
        let Ok(FileReply::Entries { entries, more }) =
            place.call(&FileCall::List { path: "sub".into(), after })
        else {
            panic!("no list");
        };
        got.extend(entries.into_iter().map(|entry| entry.name));
        parts += 1;
        if !more {
            break;
        }
    }
    assert_eq!((got, parts), (names, 2));
}

#[test]
fn what_is_no_call_is_refused() {
    let place = Place::new("nonsense");
    assert_eq!(place.files.call(b"\xff\xff\xff"), Err(Errno::PROTO));
    assert_eq!(place.files.call(b""), Err(Errno::PROTO));
    assert_eq!(place.read(&"x/".repeat(3000)), Err(Errno::NAMETOOLONG));
    assert_eq!(place.read("a\0b"), Err(Errno::INVAL));
}

/// The user that the kernel takes the calling thread for, with files.
fn file_user() -> u32 {
    // No user has this number, so that the call says what is and changes nothing.
    nix::unistd::setfsuid(u32::MAX.into()).as_raw()
}

#[test]
fn the_thread_that_serves_has_the_owners_rights_and_no_other_has() {
    let root = rustix::process::geteuid();
    if !root.is_root() {
        eprintln!("not run: only root may have another user's rights");
        return;
    }
    let place = Place::new("rights");
    chown(place.folder.join("export"), Some(NOBODY), Some(NOBODY)).unwrap();
    let files = Files::open(&place.folder.join("export"), None).unwrap();
    assert_eq!(file_user(), root.as_raw());
    let child = std::thread::spawn(file_user).join().unwrap();
    assert_eq!(child, root.as_raw(), "a thread begins with the rights of the one that starts it");
    let make = FileCall::Create { path: "file".into(), mode: 0o600, exclusive: true };
    let serve = move || {
        let made = files.call(&proto::emit(&make).unwrap());
        (made.is_ok(), file_user())
    };
    assert_eq!(std::thread::spawn(serve).join().unwrap(), (true, NOBODY));
    let made = std::fs::metadata(place.folder.join("export/file")).unwrap();
    assert_eq!((made.uid(), made.gid()), (NOBODY, NOBODY));
    assert_eq!(file_user(), root.as_raw());
}
