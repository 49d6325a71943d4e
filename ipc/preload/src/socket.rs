//! `socket`: which sockets are the stack's, and what happens if no stack is there.

use core::cell::Cell;
use std::env;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Once;
use std::sync::OnceLock;

use libc::c_int;

use crate::next::call_next;

thread_local! {
    /// This thread is about to make a socket of a stack. Should anything on the way open a socket
    /// by libc, it gets a kernel's.
    static OPENING: Cell<bool> = const { Cell::new(false) };
}

/// `socket(2)`.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int {
    let whose = whose(family, kind, protocol);
    if whose == Whose::KernelsOrModules {
        // SAFETY: no pointers.
        let fd = unsafe { kernels_socket(family, kind, protocol) };
        if fd >= 0 || iopkt::errno() != libc::EAFNOSUPPORT || OPENING.get() {
            return fd;
        }
        let fd = stacks_socket(family, kind, protocol);
        let errno = iopkt::errno();
        if fd < 0 && (no_module_has_it(errno) || no_stack_is_there(errno)) {
            iopkt::set_errno(libc::EAFNOSUPPORT);
        }
        return fd;
    }
    if whose != Whose::Kernels && !OPENING.get() {
        let fd = stacks_socket(family, kind, protocol);
        if fd >= 0 || !is_kernels_after(iopkt::errno(), whose) {
            return fd;
        }
    }
    // SAFETY: no pointers.
    unsafe { kernels_socket(family, kind, protocol) }
}

/// Is the kernel to be asked after the stack has failed with this errno? A protocol that no module has may be the
/// kernel's; where no stack is there, its modules are as little to be passed by as its own protocols.
fn is_kernels_after(errno: c_int, whose: Whose) -> bool {
    let unknown = whose == Whose::ModulesOrKernels && no_module_has_it(errno);
    unknown || falls_back_after(errno)
}

/// Rather than one that has it and refuses.
fn no_module_has_it(errno: c_int) -> bool {
    matches!(errno, libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT)
}

/// Or it is silent.
fn no_stack_is_there(errno: c_int) -> bool {
    matches!(errno, libc::ENETDOWN | libc::ETIMEDOUT)
}

fn stacks_socket(family: c_int, kind: c_int, protocol: c_int) -> c_int {
    OPENING.set(true);
    let fd = iopkt::abi::iopkt_socket(family, kind, protocol);
    OPENING.set(false);
    fd
}

/// # Safety
/// As for the C call.
unsafe fn kernels_socket(family: c_int, kind: c_int, protocol: c_int) -> c_int {
    call_next!(socket(family => c_int, kind => c_int, protocol => c_int) -> c_int)
}

/// Who is asked for a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Stacks,
    Kernels,
    /// A protocol module of the stack may have it, else the kernel.
    ModulesOrKernels,
    /// The kernel; a family that it does not know a module may have.
    KernelsOrModules,
}

/// TCP, UDP, ICMP and raw packets over IPv4 and IPv6 are the stack's. Other kinds of stream are a module's or refused by
/// the stack, so that a program tries TCP instead of passing it by.
fn whose(family: c_int, kind: c_int, protocol: c_int) -> Whose {
    let kind = kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC);
    match (family, kind, protocol) {
        (libc::AF_INET | libc::AF_INET6, libc::SOCK_STREAM | libc::SOCK_RAW, _)
        | (libc::AF_INET | libc::AF_INET6, libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => {
            Whose::Stacks
        }
        (libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP)
        | (libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_ICMPV6) => Whose::Stacks,
        (
            libc::AF_INET | libc::AF_INET6,
            libc::SOCK_DGRAM,
            libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6,
        ) => Whose::Kernels,
        (libc::AF_INET | libc::AF_INET6, libc::SOCK_DGRAM, _) => Whose::ModulesOrKernels,
        (libc::AF_INET | libc::AF_INET6 | libc::AF_UNIX, _, _) => Whose::Kernels,
        (_, libc::SOCK_DGRAM | libc::SOCK_STREAM, _) => Whose::KernelsOrModules,
        _ => Whose::Kernels,
    }
}

/// After a failure with this errno: is the kernel to be asked instead, as no stack is there? If not, the
/// program's user is told why.
pub(crate) fn falls_back_after(errno: c_int) -> bool {
    if !no_stack_is_there(errno) {
        return false;
    }
    if falls_back() {
        return true;
    }
    if errno == libc::ETIMEDOUT {
        say_that_the_stack_is_silent();
    } else {
        say_that_no_stack_is_there();
    }
    iopkt::set_errno(errno);
    false
}

/// `IOPKT_FALLBACK=kernel`, read once.
fn falls_back() -> bool {
    static ASKED: OnceLock<bool> = OnceLock::new();
    *ASKED.get_or_init(|| env::var_os("IOPKT_FALLBACK").is_some_and(|value| value == "kernel"))
}

fn say_that_no_stack_is_there() {
    let prefix = proto::paths::client_prefix();
    if let Some((here, node)) = proto::paths::far(&prefix) {
        let path = proto::paths::broker_path(here);
        let next = format!("start it (iopkt qnet sockets), to use the stack of node {node}");
        return say("no broker at", &path, &next);
    }
    let path = proto::paths::socket_path(&prefix);
    say("no stack at", &path, "start one (io-pkt -d <driver>), or set IOPKT_FALLBACK=kernel");
}

/// It was asked, and has not answered within the time it has for that.
pub(crate) fn say_that_the_stack_is_silent() {
    say(
        "no answer within 5 s from the stack at",
        &proto::paths::socket_path(&proto::paths::client_prefix()),
        "is io-pkt stopped or overloaded? see: top -H -p $(pidof io-pkt); go on: kill -CONT $(pidof io-pkt)",
    );
}

/// One line, once in a process.
fn say(what: &str, path: &Path, next: &str) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // A program without stderr needs no line.
        let _ = writeln!(io::stderr(), "iopkt: {what} {}; {next}", path.display());
    });
}
