//! What a script says: its head, and its lines as values. `parse` makes it from text.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// A script.
#[derive(Debug)]
pub(crate) struct Script {
    /// `folder/name`, without the ending.
    pub(crate) name: String,
    /// RFC clauses it shows, as `("9293", "3.10.7.4")`.
    pub(crate) clauses: Vec<(String, String)>,
    /// What must happen, in a sentence.
    pub(crate) title: String,
    /// Why the script says nothing about other stacks.
    pub(crate) own: Option<String>,
    /// Why it makes no sense in real time.
    pub(crate) virtual_only: Option<String>,
    pub(crate) steps: Vec<Step>,
}

impl Script {
    /// Time that passes at least while it runs.
    pub(crate) fn length(&self) -> Duration {
        self.steps
            .iter()
            .map(|step| match &step.what {
                What::Wait(time) | What::Ignore(time) => *time,
                What::Expect { after: Some((_, latest)), template } => {
                    latest.saturating_mul(template.count)
                }
                _ => Duration::ZERO,
            })
            .sum()
    }
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: Rc<str>,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) place: Place,
    /// The line itself, for messages.
    pub(crate) text: Rc<str>,
    pub(crate) what: What,
}

/// What a line asks for.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// `<`: the peer sends this.
    Inject(Template),
    /// `>`: the stack sends this next, at once or within a range of times after the step before.
    Expect { template: Template, after: Option<(Duration, Duration)> },
    /// `>?`: the stack may send this next, at once.
    Maybe(Template),
    /// Time passes, and nothing is sent.
    Wait(Duration),
    /// Time passes, and what is sent does not matter.
    Ignore(Duration),
    /// A socket call with what it must give.
    Call { call: Call, result: Outcome },
}

/// A segment as a script names it: numbers relative to both sides' first ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Template {
    /// Which of the script's peers; `a` unless named.
    pub(crate) peer: char,
    pub(crate) flags: u8,
    /// Control bits that may be there or not: PSH, unless it is written.
    pub(crate) optional: u8,
    pub(crate) fields: Vec<(Field, Test)>,
    /// So many such segments, each after the other in sequence.
    pub(crate) count: u32,
    pub(crate) text: TextSpec,
}

/// A segment's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum TextSpec {
    #[default]
    None,
    /// So many bytes of the stream's pattern.
    Len(u32),
    /// Any number of bytes between.
    Between(u32, u32),
    Literal(Vec<u8>),
}

/// What of a segment is tested or set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Seq,
    Ack,
    Window,
    Urgent,
    Mss,
    Scale,
    SackPermitted,
    TimestampValue,
    TimestampEcho,
    Sack,
    FastOpen,
    Raw,
    Ecn,
}

/// What a field must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    /// `name=5`, `name=5..7`.
    Range(i64, i64),
    /// `name=*`, or a bare `name`: there, whatever its value.
    Any,
    /// `-name`: not there.
    Absent,
    /// `sack=1-2,3-4`.
    Blocks(Vec<(i64, i64)>),
    /// `fo=0102`, `raw=0102`.
    Bytes(Vec<u8>),
    /// `fo=last`: the cookie the stack gave.
    Last,
}

/// A socket call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Socket { socket: String },
    Bind { socket: String },
    Listen { socket: String, backlog: u32 },
    Connect { socket: String, peer: char },
    Accept { socket: String, new: String },
    Send { socket: String, text: SendText, flags: MessageFlags },
    Recv { socket: String, len: u32, flags: MessageFlags },
    Shutdown { socket: String, how: How },
    Close { socket: String },
    Set { socket: String, option: SocketOption, value: i64 },
    Get { socket: String, option: SocketOption },
    Info { socket: String, tests: Vec<(InfoField, Test)> },
}

impl Call {
    /// The socket it is about.
    pub(crate) fn socket(&self) -> &str {
        match self {
            Self::Socket { socket }
            | Self::Bind { socket }
            | Self::Listen { socket, .. }
            | Self::Connect { socket, .. }
            | Self::Accept { socket, .. }
            | Self::Send { socket, .. }
            | Self::Recv { socket, .. }
            | Self::Shutdown { socket, .. }
            | Self::Close { socket }
            | Self::Set { socket, .. }
            | Self::Get { socket, .. }
            | Self::Info { socket, .. } => socket,
        }
    }
}

/// What `send` sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SendText {
    Len(u32),
    Literal(Vec<u8>),
}

/// `MSG_` flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MessageFlags {
    pub(crate) more: bool,
    pub(crate) oob: bool,
    pub(crate) peek: bool,
    pub(crate) fast_open: bool,
}

/// `SHUT_RD`, `SHUT_WR`, `SHUT_RDWR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Read,
    Write,
    Both,
}

/// What a call gives: a value, an error, or one of several values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Any success: for `send`, all of it.
    Fine,
    Value(i64, i64),
    Error(i32),
}

/// Socket options: name in scripts, Linux's level and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketOption {
    pub(crate) name: &'static str,
    pub(crate) level: i32,
    pub(crate) number: i32,
}

const fn option(name: &'static str, level: i32, number: i32) -> SocketOption {
    SocketOption { name, level, number }
}

/// Those that scripts may name.
pub(crate) const OPTIONS: [SocketOption; 24] = [
    option("ERROR", libc::SOL_SOCKET, libc::SO_ERROR),
    option("KEEPALIVE", libc::SOL_SOCKET, libc::SO_KEEPALIVE),
    option("RCVBUF", libc::SOL_SOCKET, libc::SO_RCVBUF),
    option("SNDBUF", libc::SOL_SOCKET, libc::SO_SNDBUF),
    option("OOBINLINE", libc::SOL_SOCKET, libc::SO_OOBINLINE),
    option("REUSEADDR", libc::SOL_SOCKET, libc::SO_REUSEADDR),
    option("REUSEPORT", libc::SOL_SOCKET, libc::SO_REUSEPORT),
    // The value is the time in seconds; -1 turns it off.
    option("LINGER", libc::SOL_SOCKET, libc::SO_LINGER),
    option("NODELAY", libc::IPPROTO_TCP, libc::TCP_NODELAY),
    option("MAXSEG", libc::IPPROTO_TCP, libc::TCP_MAXSEG),
    option("CORK", libc::IPPROTO_TCP, libc::TCP_CORK),
    option("KEEPIDLE", libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
    option("KEEPINTVL", libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
    option("KEEPCNT", libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
    option("SYNCNT", libc::IPPROTO_TCP, libc::TCP_SYNCNT),
    option("LINGER2", libc::IPPROTO_TCP, libc::TCP_LINGER2),
    option("DEFER_ACCEPT", libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT),
    option("WINDOW_CLAMP", libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP),
    option("QUICKACK", libc::IPPROTO_TCP, libc::TCP_QUICKACK),
    option("USER_TIMEOUT", libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT),
    option("FASTOPEN", libc::IPPROTO_TCP, libc::TCP_FASTOPEN),
    option("FASTOPEN_CONNECT", libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT),
    option("NOTSENT_LOWAT", libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT),
    // The value is an algorithm's number: 0 reno, 1 cubic, 2 bbr.
    option("CONGESTION", libc::IPPROTO_TCP, libc::TCP_CONGESTION),
];

/// What `info` can look at (Linux's `tcp_info`, whole segments, microseconds).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InfoField {
    State,
    Retransmits,
    Rto,
    Rtt,
    Rttvar,
    Mss,
    Cwnd,
    Ssthresh,
    Unacked,
    SendScale,
    ReceiveScale,
    Timestamps,
}

/// The fields' names in scripts.
pub(crate) const INFO_FIELDS: [(&str, InfoField); 12] = [
    ("state", InfoField::State),
    ("retransmits", InfoField::Retransmits),
    ("rto", InfoField::Rto),
    ("rtt", InfoField::Rtt),
    ("rttvar", InfoField::Rttvar),
    ("mss", InfoField::Mss),
    ("cwnd", InfoField::Cwnd),
    ("ssthresh", InfoField::Ssthresh),
    ("unacked", InfoField::Unacked),
    ("snd_wscale", InfoField::SendScale),
    ("rcv_wscale", InfoField::ReceiveScale),
    ("timestamps", InfoField::Timestamps),
];

/// Linux's numbers of the states, in RFC 9293's words.
pub(crate) const STATES: [(&str, i64); 11] = [
    ("ESTABLISHED", 1),
    ("SYN-SENT", 2),
    ("SYN-RECEIVED", 3),
    ("FIN-WAIT-1", 4),
    ("FIN-WAIT-2", 5),
    ("TIME-WAIT", 6),
    ("CLOSED", 7),
    ("CLOSE-WAIT", 8),
    ("LAST-ACK", 9),
    ("LISTEN", 10),
    ("CLOSING", 11),
];

/// Errors that scripts may name.
pub(crate) const ERRNOS: [(&str, i32); 19] = [
    ("EAGAIN", libc::EAGAIN),
    ("EACCES", libc::EACCES),
    ("EALREADY", libc::EALREADY),
    ("EADDRINUSE", libc::EADDRINUSE),
    ("EBADF", libc::EBADF),
    ("ECONNABORTED", libc::ECONNABORTED),
    ("ECONNREFUSED", libc::ECONNREFUSED),
    ("ECONNRESET", libc::ECONNRESET),
    ("EHOSTUNREACH", libc::EHOSTUNREACH),
    ("EINPROGRESS", libc::EINPROGRESS),
    ("EINVAL", libc::EINVAL),
    ("EISCONN", libc::EISCONN),
    ("EMSGSIZE", libc::EMSGSIZE),
    ("ENETUNREACH", libc::ENETUNREACH),
    ("ENOBUFS", libc::ENOBUFS),
    ("ENOPROTOOPT", libc::ENOPROTOOPT),
    ("ENOTCONN", libc::ENOTCONN),
    ("EPIPE", libc::EPIPE),
    ("ETIMEDOUT", libc::ETIMEDOUT),
];

/// The name of an error.
pub(crate) fn errno_name(errno: i32) -> String {
    let known = ERRNOS.iter().find(|(_, number)| *number == errno);
    known.map_or_else(|| format!("errno {errno}"), |(name, _)| (*name).to_owned())
}
