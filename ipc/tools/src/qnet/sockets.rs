//! `iopkt qnet sockets`: other nodes' stacks for programs here (`SOCK=/net/NODE`), and with `--serve` this
//! node's for others.
//!
//! ```text
//!  program ══ descriptor ══ near ── mouth ──▶ the module's path ═ wire ═ ▶ served ── the stack there
//!                                ◀─── ear ───
//! ```
//!
//! * `near`: sockets of programs here. `served`: sockets here, of others. `mouth`: what is to be said.
//!
//! One thread, one `poll`. What other nodes say comes by one connection to the module's path, which always
//! waits; what they are told goes by another.

mod mouth;
mod near;
mod served;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use proto::far::{FarAnswer, FarMessage, FarRequest, Heard, Tell};
use proto::message::{Family, Transport};
use proto::qnet::{HEAR, TELL};
use proto::{MalformedMessage, paths};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, accept_with, bind, connect, listen, recv, sendmsg, socket_with,
    sockopt,
};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::fail::Failure;
use crate::qnet::door::{Door, Doors};
use mouth::{Key, Mouth};
use near::{Answer, Near};
use served::Served;

/// Programs that wait for an answer at a time, of all users and of one but root.
const ASKERS_MAX: usize = 512;
const OF_USER_MAX: usize = 128;

/// A program says what it wants at once; a connection that says nothing is closed after this.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Connections of a listener that wait to be accepted at the other node.
const ARRIVED_MAX: u32 = 16;

/// A request is no longer.
const REQUEST_MAX: usize = 8192;

/// Between two signs of life, so that a node that is gone is noticed within 5 s by the module.
const TICK: Duration = Duration::from_secs(1);

/// The module has no room for what is said: it is asked again after this.
const PAUSE: Duration = Duration::from_millis(2);

/// A program that waits for its answer.
#[derive(Debug)]
struct Asker {
    socket: OwnedFd,
    uid: u32,
    waits: bool,
    /// When it came, or was answered.
    since: Instant,
}

impl Asker {
    /// It has nothing to wait for and says nothing: its place is for others.
    fn is_silent(&self, now: Instant) -> bool {
        !self.waits && now.duration_since(self.since) >= SILENCE_MAX
    }
}

/// A broker with as many askers as these has room for one more of a user.
fn has_room<'a>(askers: impl ExactSizeIterator<Item = &'a Asker>, uid: u32) -> bool {
    let all = askers.len();
    let of_user = askers.filter(|asker| asker.uid == uid).count();
    all < ASKERS_MAX && (uid == 0 || of_user < OF_USER_MAX)
}

/// What a descriptor that is looked at belongs to.
#[derive(Clone, Debug)]
enum Of {
    Ear,
    Path,
    Asker(u64),
    Near(Key),
    Served(Key),
}

struct Broker {
    path: OwnedFd,
    ear: Door,
    voice: Door,
    mouth: Mouth,
    near: Near,
    served: Option<Served>,
    askers: BTreeMap<u64, Asker>,
    last_asker: u64,
    /// There are descriptors for those who ask, as far as is known.
    takes: bool,
    /// How each node was named by those who wanted it: with a policy, perhaps.
    names: BTreeMap<String, String>,
}

/// Runs until the module goes.
pub(crate) fn main(doors: &Doors, prefix: &str, serve: bool) -> Result<(), Failure> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // With fewer descriptors there are fewer sockets.
    let _ = setrlimit(Resource::Nofile, limit);
    let open = || doors.open().map_err(super::closed);
    let (ear, voice) = (open()?, open()?);
    io_pkt_client::set_sock_prefix(prefix);
    let path = paths::broker_path(prefix);
    let wrong = |errno: Errno| Failure::failed(format!("{}: {errno}", path.display()));
    let listener = make_path(&path).map_err(wrong)?;
    let mut random = [0; 8];
    let _all = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(wrong)?;
    let mut broker = Broker {
        path: listener,
        ear,
        voice,
        mouth: Mouth::default(),
        near: Near::new(u64::from_ne_bytes(random)),
        served: serve.then(Served::default),
        askers: BTreeMap::new(),
        last_asker: 0,
        takes: true,
        names: BTreeMap::new(),
    };
    let ended = broker.run();
    // Another one may have its place by now.
    let _ = fs::remove_file(&path);
    ended.map_err(|errno| match errno {
        Errno::BUSY => {
            Failure::failed("there is another one: see: pgrep -af 'qnet sockets'".into())
        }
        errno => super::closed(errno),
    })
}

/// The place where programs ask. One that was left behind, where nobody listens, is replaced.
fn make_path(path: &Path) -> Result<OwnedFd, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let new = || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
    };
    if connect(new()?, &address) == Err(Errno::CONNREFUSED) {
        fs::remove_file(path).map_err(|_| Errno::ACCESS)?;
    }
    let socket = new()?;
    // Older kernels do not know it; what comes is dropped by the kernel then.
    let _ = shm::refuse_descriptors(&socket);
    bind(&socket, &address)?;
    fs::set_permissions(path, Permissions::from_mode(0o666)).map_err(|_| Errno::ACCESS)?;
    listen(&socket, 64)?;
    Ok(socket)
}

impl Broker {
    fn run(&mut self) -> Result<(), Errno> {
        self.ear.request(HEAR, &())?;
        let mut next_tick = Instant::now() + TICK;
        loop {
            let waits = self.speak()?;
            self.tell_programs();
            let now = Instant::now();
            if now >= next_tick {
                next_tick = now + TICK;
                self.tick(now);
                continue;
            }
            let patience = if waits { PAUSE } else { next_tick.duration_since(now) };
            for (of, events) in self.wait(patience)? {
                self.attend(of, events)?;
            }
        }
    }

    /// What has happened within a time.
    fn wait(&self, patience: Duration) -> Result<Vec<(Of, PollFlags)>, Errno> {
        let accepts = if self.takes { PollFlags::IN } else { PollFlags::empty() };
        let ours =
            [(Of::Ear, self.ear.as_fd(), PollFlags::IN), (Of::Path, self.path.as_fd(), accepts)];
        let askers = self.askers.iter().map(|(id, asker)| {
            let flags = if asker.waits { PollFlags::empty() } else { PollFlags::IN };
            (Of::Asker(*id), asker.socket.as_fd(), flags)
        });
        let near = self.near.watches(&self.mouth);
        let near = near.map(|(key, fd, flags)| (Of::Near(key.clone()), fd, flags));
        let served = self.served.iter().flat_map(|served| served.watches(&self.mouth));
        let served = served.map(|(key, fd, flags)| (Of::Served(key.clone()), fd, flags));
        let (of, mut fds): (Vec<Of>, Vec<PollFd<'_>>) = ours
            .into_iter()
            .chain(askers)
            .chain(near)
            .chain(served)
            .map(|(of, fd, flags)| (of, PollFd::from_borrowed_fd(fd, flags)))
            .unzip();
        let patience = Timespec {
            tv_sec: patience.as_secs().cast_signed(),
            tv_nsec: patience.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&patience)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let events = fds.iter().map(PollFd::revents);
        Ok(of.into_iter().zip(events).filter(|(_, events)| !events.is_empty()).collect())
    }

    fn attend(&mut self, of: Of, events: PollFlags) -> Result<(), Errno> {
        match of {
            Of::Ear => self.hear()?,
            Of::Path => self.accept(),
            Of::Asker(id) => self.ask(id),
            Of::Near(key) => self.near.ready(&key, events, (&mut self.mouth, Instant::now())),
            Of::Served(key) => {
                if let Some(served) = &mut self.served {
                    served.ready(&key, events, &mut self.mouth);
                }
            }
        }
        Ok(())
    }

    /// Says what there is to say. `true`: there is more.
    fn speak(&mut self) -> Result<bool, Errno> {
        let Self { mouth, voice, names, .. } = self;
        let tell = |node: &str, message: &[u8]| {
            let asked = names.get(node).map_or(node, String::as_str);
            tell(voice, asked, message).map(drop)
        };
        let (lost, waits) = mouth.speak(tell)?;
        for node in lost {
            self.lost(&node);
        }
        Ok(waits)
    }

    fn hear(&mut self) -> Result<(), Errno> {
        let Heard { node, message } = self.ear.reply()?;
        self.ear.request(HEAR, &())?;
        if message.is_empty() {
            self.lost(&node);
            return Ok(());
        }
        let Ok(message) = proto::parse::<FarMessage>(&message) else {
            // Another version.
            self.lost(&node);
            return Ok(());
        };
        self.heard(node, message);
        Ok(())
    }

    fn heard(&mut self, node: String, message: FarMessage) {
        let Self { mouth, near, served, .. } = self;
        let Some(socket) = message.socket() else {
            match message {
                FarMessage::Forget => self.lost(&node),
                _ if self.nodes().contains(&node) => {}
                _ => self.mouth.say(&node, &FarMessage::Forget),
            }
            return;
        };
        let key = Key { node, socket };
        let now = Instant::now();
        match (message, served) {
            (FarMessage::Call { number, call, .. }, Some(served)) => {
                served.called(&key, number, call, mouth);
            }
            (FarMessage::Call { number, .. }, None) => {
                let result = Err(Errno::NXIO.raw_os_error());
                mouth.say(&key.node, &FarMessage::Answer { socket, number, result });
            }
            (message, _) if near.has(&key) => near.heard(&key, message, (mouth, now)),
            (message, Some(served)) if served.has(&key) => {
                served.heard(&key, message, (mouth, now));
            }
            (FarMessage::Close { .. }, _) => {}
            _ => mouth.say(&key.node, &FarMessage::Close { socket }),
        }
    }

    /// The nodes that have sockets here, or of which programs here have some.
    fn nodes(&self) -> BTreeSet<String> {
        let served = self.served.iter().flat_map(Served::nodes);
        self.near.nodes().chain(served).map(str::to_owned).collect()
    }

    fn lost(&mut self, node: &str) {
        self.near.lost(node, Instant::now());
        if let Some(served) = &mut self.served {
            served.lost(node);
        }
    }

    fn tick(&mut self, now: Instant) {
        self.near.tick(now, &mut self.mouth);
        self.takes = true;
        self.askers.retain(|_, asker| !asker.is_silent(now));
        if let Some(served) = &mut self.served {
            served.tick(now);
        }
        let nodes = self.nodes();
        for node in &nodes {
            self.mouth.say(node, &FarMessage::Ping);
        }
        self.names.retain(|node, _| nodes.contains(node));
    }

    fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = match accept_with(&self.path, flags) {
            Ok(socket) => socket,
            Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                // Until the next tick: it would be told of the one who waits again and again.
                self.takes = false;
                return;
            }
            Err(_) => return,
        };
        let Ok(peer) = sockopt::socket_peercred(&socket) else { return };
        let uid = peer.uid.as_raw();
        if has_room(self.askers.values(), uid) {
            self.last_asker += 1;
            let asker = Asker { socket, uid, waits: false, since: Instant::now() };
            let _ = self.askers.insert(self.last_asker, asker);
        }
    }

    /// A program asks, or is gone.
    fn ask(&mut self, id: u64) {
        let Some(asker) = self.askers.get_mut(&id) else { return };
        let mut buffer = [0; REQUEST_MAX];
        let len = match recv(&asker.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((len, whole)) if !asker.waits && len == whole => len,
            Err(Errno::AGAIN | Errno::INTR) => return,
            _ => 0,
        };
        let bytes = buffer.get(..len).filter(|bytes| !bytes.is_empty());
        let Some(Ok(request)) = bytes.map(proto::parse::<FarRequest>) else {
            let _ = self.askers.remove(&id);
            self.near.gone(id);
            return;
        };
        asker.waits = true;
        let uid = asker.uid;
        if let FarRequest::Open { node, family, transport } = request {
            if let Err(errno) = self.open(&node, (id, uid), (family, transport)) {
                let answer = FarAnswer(Err(errno.raw_os_error()));
                self.answer(Answer { asker: id, answer, descriptor: None });
            }
        } else {
            self.near.request(id, request, (&mut self.mouth, Instant::now()));
        }
    }

    /// A new socket at a node, whose whole name the module knows.
    fn open(
        &mut self,
        asked: &str,
        (asker, uid): (u64, u32),
        kind: (Family, Transport),
    ) -> Result<(), Errno> {
        let (socket, message) = self.near.opening(uid, kind.0, kind.1)?;
        let bytes = proto::emit(&message).map_err(|MalformedMessage| Errno::MSGSIZE)?;
        let node = tell(&self.voice, asked, &bytes).map_err(|errno| match errno {
            Errno::AGAIN => Errno::NOBUFS,
            // No such name, or our own: there is no stack to be had.
            Errno::NOENT | Errno::LOOP => Errno::HOSTUNREACH,
            errno => errno,
        })?;
        if node != asked {
            let _ = self.names.insert(node.clone(), asked.to_owned());
        }
        self.near.open(Key { node, socket }, (asker, uid), kind, Instant::now())
    }

    fn tell_programs(&mut self) {
        for answer in self.near.take_answers() {
            self.answer(answer);
        }
    }

    fn answer(&mut self, Answer { asker, answer, descriptor }: Answer) {
        let Some(asker) = self.askers.get_mut(&asker) else { return };
        (asker.waits, asker.since) = (false, Instant::now());
        let Ok(bytes) = proto::emit(&answer) else { return };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptor = descriptor.as_ref().map(|fd| [fd.as_fd()]);
        if let Some(descriptor) = &descriptor {
            // There is room for one.
            let _ = control.push(SendAncillaryMessage::ScmRights(descriptor));
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        // Who does not take it is gone.
        let _ = sendmsg(&asker.socket, &[IoSlice::new(&bytes)], &mut control, flags);
    }
}

/// Has the module pass something on: the node's whole name.
fn tell(voice: &Door, node: &str, message: &[u8]) -> Result<String, Errno> {
    let tell = Tell { node: node.into(), message: message.to_vec() };
    voice.request(TELL, &tell)?;
    voice.reply()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_leaves_room_for_others_to_ask() {
        let mut askers = BTreeMap::new();
        let mut come = |uid| {
            let room = has_room(askers.values(), uid);
            if room {
                let socket = fs::File::open("/dev/null").unwrap().into();
                let asker = Asker { socket, uid, waits: false, since: Instant::now() };
                let _ = askers.insert(askers.len(), asker);
            }
            room
        };
        assert_eq!((0..ASKERS_MAX).filter(|_| come(1000)).count(), OF_USER_MAX);
        assert_eq!((0..ASKERS_MAX).filter(|_| come(1001)).count(), OF_USER_MAX);
        assert_eq!((0..ASKERS_MAX).filter(|_| come(0)).count(), ASKERS_MAX - 2 * OF_USER_MAX);
        assert!(!come(0));
    }

    #[test]
    fn who_comes_and_says_nothing_goes_after_five_seconds() {
        let since = Instant::now();
        let socket = fs::File::open("/dev/null").unwrap().into();
        let mut asker = Asker { socket, uid: 1000, waits: false, since };
        let after = |ms| since + Duration::from_millis(ms);
        assert!(!asker.is_silent(after(4999)) && asker.is_silent(after(5000)));
        asker.waits = true;
        assert!(!asker.is_silent(after(600_000)), "it waits for us");
    }
}
