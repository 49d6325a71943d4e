//! `libiopkt_preload.so`: puts unmodified programs on a stack.
//!
//! ```text
//! $ LD_PRELOAD=/usr/lib/libiopkt_preload.so python3 -m http.server
//! ```
//!
//! It shadows libc's socket calls and those that take any descriptor. `AF_INET` and `AF_INET6` stream and datagram
//! sockets go to the stack; for every other descriptor the next function of the same name is called,
//! after one look at libiopkt's table. What waits for descriptors (`select`, `poll`, `epoll`) is the
//! kernel's: a stack's socket is a descriptor of the kernel's that is ready when the socket is. Errors alone are added.
//!
//! What a program inherits over `exec`, or receives over a unix socket, is looked at when it comes.
//!
//! * `next`: the functions behind ours, and the macros that define ours.
//! * `transfer`: reading and writing. `control`: naming, options, modes. `number`: closing and copying.
//! * `readiness`: what `poll` and `epoll` say of errors.
//! * `interface`: lists of interfaces.
//! * `socket`: which sockets are the stack's; what happens if there is none.
//! * `stdio`: streams on a socket's descriptor, which reach the kernel past libc's public functions.
//! * `cancel`: calls that block are cancellation points.
//! * `batch`: `sendmmsg`, `recvmmsg`, `sendfile`, by repeating simpler calls; `splice`: the same.
//!
//! Variables: `SOCK` and `IOPKT_RUN` name the stack; `IOPKT_FALLBACK=kernel` lets programs run over
//! the kernel while no stack is there; `IOPKT_LOOPBACK=stack` keeps 127.0.0.0/8 on the stack.
//!
//! Not reached: system calls that go neither through libc's public functions nor through its streams.
//! These are static programs', Go's, libc's own (its resolver, `dprintf`), and `io_uring`.

pub mod batch;
pub mod cancel;
pub mod control;
pub mod interface;
mod next;
pub mod number;
pub mod readiness;
pub mod socket;
pub mod splice;
mod stdio;
pub mod transfer;

/// Run by the loader before the program: what it inherited may be sockets of a stack.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = at_start;

extern "C" fn at_start() {
    stdio::interpose();
    cancel::follow_forks();
    if iopkt::adopt_inherited().is_err() {
        socket::say_that_the_stack_is_silent();
    }
}
