//! Whatever a node says: what becomes of a file here, and of a call under way.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use proto::MESSAGE_MAX;
use proto::path::{PathAnswer, PathCall, PathReply};
use proto::qnet::FileRequest;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketType, accept, bind, listen, recv,
    send, socket,
};

use super::*;

/// A module whose only other node, which every name is, does as a test says.
pub(super) struct Module {
    folder: tempfile::TempDir,
}

impl Module {
    pub(super) fn start(
        node: impl Fn(FileCall) -> Result<FileReply, Errno> + Send + Sync + 'static,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        bind(&listener, &SocketAddrUnix::new(folder.path().join("qnet")).unwrap()).unwrap();
        listen(&listener, 16).unwrap();
        let node = Arc::new(node);
        let _detached = thread::spawn(move || {
            while let Ok(client) = accept(&listener) {
                let node = Arc::clone(&node);
                let _detached = thread::spawn(move || serve(&client, &*node));
            }
        });
        Self { folder }
    }

    pub(super) fn doors(&self) -> Doors {
        Doors::at(self.folder.path().join("qnet"))
    }

    fn get(&self) -> (PathBuf, Result<(), Failure>) {
        let here = self.folder.path().join("here");
        std::fs::write(&here, "what was here").unwrap();
        let remote = Remote::parse("beta/file").unwrap();
        let got = get(&self.doors(), &remote, &here);
        (here, got)
    }
}

fn serve(client: &OwnedFd, node: &impl Fn(FileCall) -> Result<FileReply, Errno>) {
    let say = |result| {
        let bytes = proto::emit(&PathAnswer(result)).unwrap();
        send(client, &bytes, SendFlags::NOSIGNAL).is_ok()
    };
    let mut going = say(Ok(PathReply::Opened));
    let mut buffer = vec![0; MESSAGE_MAX];
    while going && let Ok((_, len @ 1..)) = recv(client, &mut buffer[..], RecvFlags::empty()) {
        let PathCall::Ioctl { data, .. } = proto::parse(&buffer[..len]).unwrap() else {
            panic!("no ioctl");
        };
        let request: FileRequest = proto::parse(&data).unwrap();
        let reply = node(proto::parse(&request.call).unwrap());
        let data = reply.map(|reply| PathReply::Data(proto::emit(&reply).unwrap()));
        going = say(data.map_err(Errno::raw_os_error));
    }
}

#[test]
fn what_is_here_stays_if_the_node_has_nothing_to_give() {
    let module = Module::start(|_| Err(Errno::ACCESS));
    let (here, got) = module.get();
    assert!(got.is_err());
    assert_eq!(std::fs::read(here).unwrap(), b"what was here");
}

#[test]
fn a_file_is_got_in_pieces_until_an_empty_one() {
    let file = b"one and two";
    let module = Module::start(|call| {
        let FileCall::Read { offset, .. } = call else { panic!("{call:?}") };
        let rest = file.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        Ok(FileReply::Data(rest[..rest.len().min(4)].to_vec()))
    });
    let (here, got) = module.get();
    got.unwrap();
    assert_eq!(std::fs::read(here).unwrap(), file);
}

/// In a process of its own: other tests are not to be stopped in the midst of theirs.
#[test]
fn a_call_outlives_a_stop_of_the_process() {
    const ALONE: &str = "IOPKT_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let mut alone = Command::new(std::env::current_exe().unwrap());
        let name = "qnet::tests::a_call_outlives_a_stop_of_the_process";
        let output = alone.args(["--exact", name]).env(ALONE, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let module = Module::start(|_| {
        // While the other thread waits for this answer, all of the process stops and goes on.
        let stop = format!("kill -STOP {0}; sleep 0.1; kill -CONT {0}", std::process::id());
        assert!(Command::new("sh").args(["-c", &stop]).status().unwrap().success());
        thread::sleep(Duration::from_millis(50));
        Ok(FileReply::Done)
    });
    let sync = FileCall::Sync { path: "file".into() };
    assert_eq!(module.doors().open().unwrap().call("beta", &sync), Ok(FileReply::Done));
}
