//! Sockets of another node's stack, `SOCK=/net/NODE`: descriptors whose other end a broker has.
//!
//! The kernel moves their bytes and knows when they are ready; what is left for this library is what the kernel
//! cannot know: names, options, connecting, accepting, and why a stream has ended. They are not in the table:
//! the descriptor itself says what it is. A call that reads or writes comes here with what is in no table of sockets: a
//! routing socket, one of these, or the kernel's.

use core::sync::atomic::{AtomicU8, Ordering};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use io_pkt_client::far::{self, Broker, FarCall, FarReply, FarRequest, Stage};
use io_pkt_client::{Family, Transport};
use libc::{c_int, c_void, iovec, msghdr, sockaddr, socklen_t, ssize_t};

use crate::abi::{borrow, is_nonblocking};
use crate::errno::{count, errno, number_of, os, set_errno};
use crate::name::{self, Name};
use crate::{kernel, message, route, table};

/// Has this process anything to do with other nodes' stacks? Nearly none has, and asks nobody then.
static ACTIVE: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const NO: u8 = 1;
const YES: u8 = 2;

/// Between two looks of a program at a listener that is over.
const PAUSE: Duration = Duration::from_millis(50);

fn is_active() -> bool {
    match ACTIVE.load(Ordering::Relaxed) {
        UNKNOWN => {
            let active = if far::is_wanted() { YES } else { NO };
            // Another thread may just have opened one.
            let _ = ACTIVE.compare_exchange(UNKNOWN, active, Ordering::Relaxed, Ordering::Relaxed);
            ACTIVE.load(Ordering::Relaxed) == YES
        }
        active => active == YES,
    }
}

/// Is this descriptor a socket of a stack, here or at another node, or a routing socket?
#[must_use]
pub fn is_ours(fd: c_int) -> bool {
    table::is_ours(fd) || route::is_ours(fd) || known(fd).is_some()
}

/// A socket of another node's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Far {
    fd: c_int,
    secret: u64,
    transport: Transport,
}

/// What is behind a descriptor, if it is one.
pub(crate) fn known(fd: c_int) -> Option<Far> {
    if fd < 0 || !is_active() {
        return None;
    }
    // Past the preload library, whose `getsockopt` asks here.
    let secret = kernel_option::<u64>(fd, libc::SO_MAX_PACING_RATE)?;
    if secret & far::SECRET_MASK != far::SECRET_MARK
        || kernel_option::<c_int>(fd, libc::SO_DOMAIN)? != libc::AF_UNIX
    {
        return None;
    }
    let transport = match kernel_option::<c_int>(fd, libc::SO_TYPE)? {
        libc::SOCK_STREAM => Transport::Stream,
        _ => Transport::Datagram,
    };
    Some(Far { fd, secret, transport })
}

/// What the kernel says of a descriptor; `None`: it is no socket.
fn kernel_option<T: Default + zerocopy::FromBytes>(fd: c_int, name: c_int) -> Option<T> {
    let before = errno();
    let mut value = T::default();
    let mut len = socklen_t::try_from(size_of::<T>()).ok()?;
    let place: *mut T = &raw mut value;
    // SAFETY: room for `len` bytes, any of which make a value.
    let result =
        unsafe { kernel::getsockopt(fd, libc::SOL_SOCKET, name, place.cast(), &raw mut len) };
    if result < 0 {
        // Nobody has asked for it.
        set_errno(before);
        return None;
    }
    Some(value)
}

/// `socket()` at the node that `SOCK` names; `None`: it names none.
pub(crate) fn open(family: Family, transport: Transport) -> Option<io::Result<OwnedFd>> {
    far::is_wanted().then(|| {
        ACTIVE.store(YES, Ordering::Relaxed);
        far::open(family, transport)
    })
}

/// What the broker knows of a socket.
struct State {
    family: Family,
    stage: Stage,
    error: c_int,
}

impl Far {
    fn is_stream(&self) -> bool {
        self.transport == Transport::Stream
    }

    fn state(&self, take_error: bool) -> io::Result<State> {
        let (reply, _) = far::ask(&FarRequest::State { secret: self.secret, take_error })?;
        match reply {
            FarReply::State { family, stage, error, .. } => Ok(State { family, stage, error }),
            _ => Err(os(libc::EPROTO)),
        }
    }

    fn call(&self, call: FarCall) -> io::Result<FarReply> {
        let call = FarRequest::Call { secret: self.secret, call, stuffed: 0, wait: true };
        Ok(far::ask(&call)?.0)
    }

    /// # Safety
    /// As for `bind(2)`.
    pub(crate) unsafe fn bind(&self, name: *const sockaddr, len: socklen_t) -> io::Result<()> {
        let family = self.state(false)?.family;
        // SAFETY: the caller's promise.
        match unsafe { Name::read(name, len, family) }? {
            Name::Inet(address) => self.call(FarCall::Bind(address)).map(drop),
            Name::Unspecified(_) => Err(os(libc::EAFNOSUPPORT)),
        }
    }

    pub(crate) fn listen(&self, backlog: c_int) -> io::Result<()> {
        if !self.is_stream() {
            return Err(os(libc::EOPNOTSUPP));
        }
        let backlog = u32::try_from(backlog).unwrap_or(u32::MAX);
        self.call(FarCall::Listen { backlog }).map(drop)
    }

    /// # Safety
    /// As for `connect(2)`.
    pub(crate) unsafe fn connect(&self, name: *const sockaddr, len: socklen_t) -> io::Result<()> {
        let state = self.state(false)?;
        // SAFETY: the caller's promise.
        let address = match unsafe { Name::read(name, len, state.family) }? {
            Name::Inet(address) => address,
            Name::Unspecified(_) if self.is_stream() => return Err(os(libc::EOPNOTSUPP)),
            Name::Unspecified(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        let wait = !self.is_stream() || !is_nonblocking(self.fd)?;
        let broker = Broker::dial()?;
        // Until it is decided it is not writable.
        let stuffs = !wait && state.stage == Stage::Fresh;
        let stuffed = if stuffs { far::stuff(borrow(&self.fd))? } else { 0 };
        let call = FarCall::Connect(address);
        let request = FarRequest::Call { secret: self.secret, call, stuffed, wait };
        broker.ask(&request).map(drop)
    }

    /// The next connection with its peer's name, and the socket's family.
    pub(crate) fn accept(&self) -> io::Result<(OwnedFd, SocketAddr, c_int)> {
        let state = self.state(false).inspect_err(|_| {
            // It is over, and the program has been told: one that takes no notice would ask without end.
            io_pkt_client::pause(PAUSE);
        })?;
        match state.stage {
            Stage::Listening => {}
            Stage::Ended => return Err(self.why(os(libc::EINVAL))),
            _ if self.is_stream() => return Err(os(libc::EINVAL)),
            _ => return Err(os(libc::EOPNOTSUPP)),
        }
        let broker = far::take_arrival(borrow(&self.fd)).map_err(|error| self.why(error))?;
        match broker.ask(&FarRequest::Accept { secret: self.secret })? {
            (FarReply::Name(peer), Some(fd)) => Ok((fd, peer, domain(state.family))),
            // There was no room for it.
            (FarReply::Name(_), None) => Err(os(libc::EMFILE)),
            _ => Err(os(libc::EPROTO)),
        }
    }

    /// `getsockname()` or `getpeername()`.
    ///
    /// # Safety
    /// As for these.
    pub(crate) unsafe fn name(
        &self,
        which: FarCall,
        (name, len): (*mut sockaddr, *mut socklen_t),
    ) -> io::Result<()> {
        let family = self.state(false)?.family;
        let FarReply::Name(address) = self.call(which)? else { return Err(os(libc::EPROTO)) };
        // SAFETY: the caller's promise.
        unsafe { name::write_required((address, domain(family)), name, len) }
    }

    /// An option's value; `None`: it is the descriptor's own.
    pub(crate) fn option(&self, level: c_int, name: c_int) -> io::Result<Option<Vec<u8>>> {
        let stream = self.is_stream();
        let known = match (level, name) {
            (libc::SOL_SOCKET, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO) => return Ok(None),
            (libc::SOL_SOCKET, libc::SO_ERROR) => self.state(true)?.error,
            (libc::SOL_SOCKET, libc::SO_DOMAIN) => domain(self.state(false)?.family),
            (libc::SOL_SOCKET, libc::SO_ACCEPTCONN) => {
                c_int::from(self.state(false)?.stage == Stage::Listening)
            }
            (libc::SOL_SOCKET, libc::SO_TYPE) if stream => libc::SOCK_STREAM,
            (libc::SOL_SOCKET, libc::SO_TYPE) => libc::SOCK_DGRAM,
            (libc::SOL_SOCKET, libc::SO_PROTOCOL) if stream => libc::IPPROTO_TCP,
            (libc::SOL_SOCKET, libc::SO_PROTOCOL) => libc::IPPROTO_UDP,
            _ => match self.call(FarCall::Option { level, name })? {
                FarReply::Value(value) => return Ok(Some(value)),
                _ => return Err(os(libc::EPROTO)),
            },
        };
        Ok(Some(known.to_ne_bytes().to_vec()))
    }

    /// Sets an option. `false`: it is the descriptor's own.
    pub(crate) fn set_option(&self, level: c_int, name: c_int, value: &[u8]) -> io::Result<bool> {
        if matches!((level, name), (libc::SOL_SOCKET, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO)) {
            return Ok(false);
        }
        let call = FarCall::SetOption { level, name, value: value.to_vec() };
        self.call(call).map(|_| true)
    }

    /// Why a call has ended that found nobody at the other end.
    fn why(&self, error: io::Error) -> io::Error {
        match self.state(true) {
            Ok(State { error: errno @ 1.., .. }) => os(errno),
            _ => error,
        }
    }

    /// # Safety
    /// `into` is a list of buffers to write to, `header.msg_name` null or has room for `header.msg_namelen`
    /// bytes.
    unsafe fn receive(
        &self,
        into: &[iovec],
        header: &mut msghdr,
        flags: c_int,
    ) -> io::Result<usize> {
        if flags & libc::MSG_ERRQUEUE != 0 {
            // The queue of errors is empty; a unix socket would give bytes.
            return Err(os(libc::EAGAIN));
        }
        let mut head = [0_u8; far::NAME_LEN];
        let first = iovec { iov_base: head.as_mut_ptr().cast(), iov_len: head.len() };
        let mut list: Vec<iovec> = if self.is_stream() { Vec::new() } else { vec![first] };
        list.extend_from_slice(into);
        let mut inner = message_of(&mut list);
        // SAFETY: the list is the caller's and our own head.
        let len = unsafe { kernel::recvmsg(self.fd, &raw mut inner, flags) };
        let len = usize::try_from(len).map_err(|_| os(errno()))?;
        header.msg_flags = inner.msg_flags & libc::MSG_TRUNC;
        header.msg_controllen = 0;
        let mut from = None;
        let wanted = list.iter().any(|buffer| buffer.iov_len > 0);
        let len = if self.is_stream() {
            if len == 0 && wanted {
                let end = io::Error::from(io::ErrorKind::UnexpectedEof);
                let why = self.why(end);
                return if why.raw_os_error().is_some() { Err(why) } else { Ok(0) };
            }
            len
        } else {
            from = far::parse_name(&head).and_then(|(name, _)| name);
            let gone = || self.why(os(libc::ENETDOWN));
            len.checked_sub(head.len()).ok_or_else(gone)?
        };
        let place = header.msg_name.cast::<sockaddr>();
        let family = if from.is_some() && !place.is_null() {
            self.state(false)?.family
        } else {
            Family::Inet
        };
        // SAFETY: the caller's promise.
        unsafe { name::write((from, domain(family)), place, &raw mut header.msg_namelen) }?;
        Ok(len)
    }

    /// # Safety
    /// `from` is a list of buffers to read from, `to` null or points to so many bytes.
    unsafe fn send(
        &self,
        from: &[iovec],
        (to, to_len): (*const sockaddr, socklen_t),
        flags: c_int,
    ) -> io::Result<usize> {
        if flags & libc::MSG_OOB != 0 {
            return Err(os(libc::EOPNOTSUPP));
        }
        let mut list = Vec::with_capacity(from.len().saturating_add(1));
        let mut head = [0; far::NAME_LEN];
        if !self.is_stream() {
            let to = if to.is_null() || to_len == 0 {
                None
            } else {
                let family = self.state(false)?.family;
                // SAFETY: the caller's promise.
                match unsafe { Name::read_destination(to, to_len, family) }? {
                    Name::Inet(to) | Name::Unspecified(to) => Some(to),
                }
            };
            let len = from.iter().fold(head.len(), |sum, piece| sum.saturating_add(piece.iov_len));
            if len > far::DATA_MAX {
                return Err(os(libc::EMSGSIZE));
            }
            head = far::emit_name(to);
            list.push(iovec { iov_base: head.as_mut_ptr().cast(), iov_len: head.len() });
        }
        list.extend_from_slice(from);
        let message = message_of(&mut list);
        let flags_known = flags & libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the list is the caller's and our own head.
        let len = unsafe { kernel::sendmsg(self.fd, &raw const message, flags_known) };
        let Ok(len) = usize::try_from(len) else { return Err(self.not_sent(os(errno()), flags)) };
        Ok(if self.is_stream() { len } else { len.saturating_sub(far::NAME_LEN) })
    }

    fn not_sent(&self, error: io::Error, flags: c_int) -> io::Error {
        if number_of(&error) != libc::EPIPE {
            return error;
        }
        let why = self.why(error);
        let quiet = flags & libc::MSG_NOSIGNAL != 0;
        if number_of(&why) == libc::EPIPE && self.is_stream() && !quiet {
            // SAFETY: no pointers; the signal goes to this thread, as the kernel's does.
            let _ = unsafe { libc::raise(libc::SIGPIPE) };
        }
        why
    }
}

fn domain(family: Family) -> c_int {
    match family {
        Family::Inet => libc::AF_INET,
        Family::Inet6 => libc::AF_INET6,
        Family::Module(number) => number.into(),
    }
}

/// A message without name and control part.
fn message_of(list: &mut [iovec]) -> msghdr {
    let (msg_iov, msg_iovlen) = (list.as_mut_ptr(), list.len());
    // SAFETY: all zeros is a message of nothing.
    let empty = unsafe { core::mem::zeroed::<msghdr>() };
    msghdr { msg_iov, msg_iovlen, ..empty }
}

fn one(base: *mut c_void, len: usize) -> [iovec; 1] {
    [iovec { iov_base: base, iov_len: len }]
}

/// `read` of what is in no table.
///
/// # Safety
/// As for the C call.
pub(crate) unsafe fn read(fd: c_int, buf: *mut c_void, len: usize) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { recvfrom(fd, (buf, len), 0, core::ptr::null_mut(), core::ptr::null_mut()) }
        // SAFETY: the caller's promise.
        .unwrap_or_else(|| unsafe { kernel::read(fd, buf, len) })
}

/// `write` of what is in no table.
///
/// # Safety
/// As for the C call.
pub(crate) unsafe fn write(fd: c_int, buf: *const c_void, len: usize) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { sendto(fd, (buf, len), 0, core::ptr::null(), 0) }
        // SAFETY: the caller's promise.
        .unwrap_or_else(|| unsafe { kernel::write(fd, buf, len) })
}

/// `readv` of what is in no table.
///
/// # Safety
/// As for the C call.
pub(crate) unsafe fn readv(fd: c_int, list: *const iovec, n: c_int) -> ssize_t {
    // SAFETY: the caller's promise.
    if let Some(len) = unsafe { route::readv(fd, list, n) } {
        return len;
    }
    let Some(far) = known(fd) else {
        // SAFETY: the caller's promise.
        return unsafe { kernel::readv(fd, list, n) };
    };
    let list = message::buffer_count(n).and_then(|n| {
        // SAFETY: the caller's promise.
        unsafe { message::list(list, n) }
    });
    let mut header = message_of(&mut []);
    // SAFETY: the caller's promise; no name is asked for.
    count(list.and_then(|list| unsafe { far.receive(list, &mut header, 0) }))
}

/// `writev` of what is in no table.
///
/// # Safety
/// As for the C call.
pub(crate) unsafe fn writev(fd: c_int, list: *const iovec, n: c_int) -> ssize_t {
    // SAFETY: the caller's promise.
    if let Some(len) = unsafe { route::writev(fd, list, n) } {
        return len;
    }
    let Some(far) = known(fd) else {
        // SAFETY: the caller's promise.
        return unsafe { kernel::writev(fd, list, n) };
    };
    let list = message::buffer_count(n).and_then(|n| {
        // SAFETY: the caller's promise.
        unsafe { message::list(list, n) }
    });
    // SAFETY: the caller's promise; no name.
    count(list.and_then(|list| unsafe { far.send(list, (core::ptr::null(), 0), 0) }))
}

/// `recvfrom`; `None`: it is the kernel's.
///
/// # Safety
/// As for the C call.
pub(crate) unsafe fn recvfrom(
    fd: c_int,
    (buf, len): (*mut c_void, usize),
    flags: c_int,
    from: *mut sockaddr,
    from_len: *mut socklen_t,
) -> Option<ssize_t> {
    // SAFETY: the caller's promise.
    if let Some(len) = unsafe { route::recvfrom(fd, (buf, len), flags, from_len) } {
        return Some(len);
    }
    let far = known(fd)?;
    let mut header = message_of(&mut []);
    // SAFETY: null or valid by the caller's promise.
    let place = unsafe { from_len.as_mut() };
    header.msg_name = from.cast();
    header.msg_namelen = place.as_ref().map_or(0, |len| **len);
    // SAFETY: the caller's promise.
    let received = unsafe { far.receive(&one(buf, len), &mut header, flags) };
    if let Some(place) = place {
        *place = header.msg_namelen;
    }
    Some(count(received))
}

/// `sendto`; `None`: it is the kernel's.
///
/// # Safety
/// As for the C call.
pub(crate) unsafe fn sendto(
    fd: c_int,
    (buf, len): (*const c_void, usize),
    flags: c_int,
    to: *const sockaddr,
    to_len: socklen_t,
) -> Option<ssize_t> {
    // SAFETY: the caller's promise.
    if let Some(len) = unsafe { route::sendto(fd, buf, len) } {
        return Some(len);
    }
    let far = known(fd)?;
    // SAFETY: the caller's promise.
    Some(count(unsafe { far.send(&one(buf.cast_mut(), len), (to, to_len), flags) }))
}

/// `sendmsg`; `None`: it is the kernel's. Control messages have no meaning.
///
/// # Safety
/// As for the C call.
pub(crate) unsafe fn sendmsg(fd: c_int, header: *const msghdr, flags: c_int) -> Option<ssize_t> {
    // SAFETY: the caller's promise.
    if let Some(len) = unsafe { route::sendmsg(fd, header) } {
        return Some(len);
    }
    let far = known(fd)?;
    // SAFETY: null or valid by the caller's promise.
    let Some(header) = (unsafe { header.as_ref() }) else {
        return Some(count(Err(os(libc::EFAULT))));
    };
    // SAFETY: the caller's promise.
    let list = unsafe { message::list(header.msg_iov, header.msg_iovlen) };
    let to = (header.msg_name.cast_const().cast(), header.msg_namelen);
    // SAFETY: the caller's promise.
    Some(count(list.and_then(|list| unsafe { far.send(list, to, flags) })))
}

/// `recvmsg`; `None`: it is the kernel's.
///
/// # Safety
/// As for the C call.
pub(crate) unsafe fn recvmsg(fd: c_int, header: *mut msghdr, flags: c_int) -> Option<ssize_t> {
    // SAFETY: the caller's promise.
    if let Some(len) = unsafe { route::recvmsg(fd, header, flags) } {
        return Some(len);
    }
    let far = known(fd)?;
    // SAFETY: null or valid, and nobody else's, by the caller's promise.
    let Some(header) = (unsafe { header.as_mut() }) else {
        return Some(count(Err(os(libc::EFAULT))));
    };
    // SAFETY: the caller's promise.
    let list = unsafe { message::list(header.msg_iov, header.msg_iovlen) };
    // SAFETY: the caller's promise.
    Some(count(list.and_then(|list| unsafe { far.receive(list, header, flags) })))
}

/// `FIONREAD` of a datagram socket counts the name before the datagram.
pub(crate) fn readable(fd: c_int) -> Option<io::Result<usize>> {
    let far = known(fd).filter(|far| !far.is_stream())?;
    let mut len: c_int = 0;
    let place: *mut c_int = &raw mut len;
    // SAFETY: the request writes an int.
    let result = unsafe { kernel::ioctl(far.fd, libc::FIONREAD, place.cast()) };
    if result < 0 {
        return Some(Err(os(errno())));
    }
    Some(Ok(usize::try_from(len).unwrap_or(0).saturating_sub(far::NAME_LEN)))
}
