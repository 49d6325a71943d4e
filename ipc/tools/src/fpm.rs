//! `iopkt fpm`: routes from a routing daemon. FRR's zebra connects to it as to any forwarding plane manager
//! and says which routes it has chosen; they become the stack's.
//!
//! * `netlink`: what zebra sends. * `table`: what it has said so far. * `peer`: whose connection it is.

mod netlink;
mod peer;
mod table;

use std::io::{ErrorKind, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use proto::message::{NewRoute, Onward};

use crate::address;
use crate::cli::FpmArgs;
use crate::control::Control;
use crate::fail::{self, Failure, describe};
use crate::output::print;
use crate::route::load;

use self::netlink::{Broken, FRAME_MAX, Prefix, frame_length, parse};
use self::table::{Leads, Table};

/// After so long everything is told once more, where telling has failed.
const AGAIN: Duration = Duration::from_secs(1);
/// What is read before the stack is told, also while more comes: a megabyte, some twenty thousand routes.
const READS_MAX: usize = 16;

/// Runs `fpm`.
pub(crate) fn main(sock: Option<String>, args: &FpmArgs) -> Result<(), Failure> {
    let mut control = Control::open(sock)?;
    // Zebra may not come for hours.
    let _answers = control.daemon()?;
    let listener = TcpListener::bind(args.listen)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|error| cannot_listen(args.listen, &error))?;
    print(&format!("waiting for zebra at {} (-M dplane_fpm_nl)\n", args.listen))?;
    let hold = Duration::from_secs(args.hold.into());
    let users = peer::trusted(args.user.as_deref())?;
    let table = Table::default();
    let mut manager = Manager { control, listener, users, zebra: None, table, hold, due: None };
    loop {
        manager.turn()?;
    }
}

fn cannot_listen(at: SocketAddr, error: &std::io::Error) -> Failure {
    Failure::failed(format!(
        "cannot listen at {at}: {error}; choose another: --listen ADDRESS:PORT"
    ))
}

struct Manager {
    control: Control,
    listener: TcpListener,
    /// Who may give routes.
    users: Vec<u32>,
    zebra: Option<Zebra>,
    table: Table,
    /// So long a session may take to say what it knows, and so long routes stay without one.
    hold: Duration,
    /// Until when.
    due: Option<Instant>,
}

impl Manager {
    fn turn(&mut self) -> Result<(), Failure> {
        self.wait()?;
        match self.listener.accept() {
            Ok((stream, from)) => self.welcome(stream, from)?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(Failure::failed(format!("cannot accept zebra: {error}"))),
        }
        self.hear()?;
        let is_due = self.due.is_some_and(|due| due <= Instant::now());
        match if is_due { self.settle() } else { self.tell() } {
            Ok(()) if is_due => self.due = None,
            Ok(()) => {}
            // An interface that goes ends a load, a daemon may stand still for a while: everything is told once more.
            Err(failure) if failure.code == fail::FAILED || failure.is_silence => {
                print(&format!("{}; all routes are told again\n", failure.text))?;
                self.table.tell_again();
                std::thread::sleep(AGAIN);
                self.control.reopen()?;
            }
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    /// Routes decide where everybody's packets go: only a routing daemon's user gives them, one at a time.
    fn welcome(&mut self, stream: TcpStream, from: SocketAddr) -> Result<(), Failure> {
        let refusal = match peer::owner(&stream) {
            _ if self.zebra.is_some() => Some("zebra is here already".to_owned()),
            Ok(uid) if !self.users.contains(&uid) => {
                Some(format!("it is uid {uid}'s; whose it may be: --user"))
            }
            Ok(_) => None,
            Err(error) if from.ip().is_loopback() => {
                Some(format!("whose it is can't be told: {error}"))
            }
            // The operator listens where others are.
            Err(_) => None,
        };
        match refusal {
            Some(why) => print(&format!("a connection from {from} is refused: {why}\n")),
            None => self.begin_session(stream, from),
        }
    }

    fn wait(&self) -> Result<(), Failure> {
        let mut sources = vec![PollFd::new(&self.listener, PollFlags::IN)];
        sources.extend(self.zebra.as_ref().map(|zebra| PollFd::new(&zebra.stream, PollFlags::IN)));
        let due = self.due.map(|due| due.saturating_duration_since(Instant::now()));
        // What has to be told again is, whether or not zebra says more.
        let left = if self.table.has_changes() { Some(Duration::ZERO) } else { due };
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut sources, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(Failure::failed(format!("cannot wait for zebra: {errno}"))),
        }
    }

    fn begin_session(&mut self, stream: TcpStream, from: SocketAddr) -> Result<(), Failure> {
        let ready = stream.set_nonblocking(true);
        ready.map_err(|error| Failure::failed(format!("cannot serve {from}: {error}")))?;
        self.zebra = Some(Zebra { stream, bytes: Vec::new() });
        self.table.begin_session();
        self.due = Some(Instant::now() + self.hold);
        print(&format!("zebra has connected from {from}\n"))
    }

    /// Takes in what zebra has said.
    fn hear(&mut self) -> Result<(), Failure> {
        let Some(zebra) = &mut self.zebra else { return Ok(()) };
        let end = match zebra.hear(&mut self.table) {
            Ok(()) => return Ok(()),
            Err(end) => end,
        };
        self.zebra = None;
        self.due = Some(Instant::now() + self.hold);
        print(&format!("{end}; its routes stay for {} s\n", self.hold.as_secs()))
    }

    /// Tells the stack what has changed.
    fn tell(&mut self) -> Result<(), Failure> {
        let mut new = Vec::new();
        let mut gone = Vec::new();
        for (to, leads) in self.table.take_changes() {
            match leads {
                Some(leads) => new.extend(routes(to, &leads)),
                None => gone.push(to),
            }
        }
        if new.is_empty() && gone.is_empty() {
            return Ok(());
        }
        self.load(&new, &gone, false)?;
        self.table.forgotten(&gone);
        Ok(())
    }

    /// Everything has been said: what was not is no longer so.
    fn settle(&mut self) -> Result<(), Failure> {
        match self.zebra {
            Some(_) => self.table.forget_older(),
            None => self.table.forget_all(),
        }
        let all = self.table.take_all();
        let all: Vec<_> = all.iter().flat_map(|(to, leads)| routes(*to, leads)).collect();
        self.load(&all, &[], true)
    }

    fn load(&mut self, new: &[NewRoute], gone: &[Prefix], replace: bool) -> Result<(), Failure> {
        let loaded = load::send(&mut self.control, new, gone, replace)?;
        let Some((to, len, errno)) = loaded.first_refused else { return Ok(()) };
        // The next ones may be right.
        print(&format!(
            "{} routes were refused, the first to {}: {}; see: iopkt route show\n",
            loaded.refused,
            address::destination(to, len),
            describe(errno)
        ))
    }
}

/// A route as the daemon takes it: one for each gateway.
fn routes((destination, prefix_len): Prefix, leads: &Leads) -> Vec<NewRoute> {
    let route = |onward| NewRoute { destination, prefix_len, onward, mtu: None };
    match leads {
        Leads::Gateways(gateways) => {
            gateways.iter().map(|gateway| route(Onward::Gateway(*gateway))).collect()
        }
        Leads::Blackhole => vec![route(Onward::Blackhole)],
        Leads::Reject => vec![route(Onward::Reject)],
    }
}

/// zebra's side of a session.
struct Zebra {
    stream: TcpStream,
    /// The beginning of what has not come whole.
    bytes: Vec<u8>,
}

/// Why a session has ended.
enum End {
    Closed,
    Lost(std::io::Error),
    Broken(Broken),
}

impl core::fmt::Display for End {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Closed => f.write_str("zebra has closed the session"),
            Self::Lost(error) => write!(f, "zebra is lost: {error}"),
            Self::Broken(Broken(what)) => write!(f, "what has connected is no zebra: {what}"),
        }
    }
}

impl Zebra {
    /// Reads what there is, but not for ever.
    fn hear(&mut self, table: &mut Table) -> Result<(), End> {
        let mut space = vec![0; FRAME_MAX];
        for _ in 0..READS_MAX {
            match self.stream.read(&mut space) {
                Ok(0) => return Err(End::Closed),
                Ok(length) => self.bytes.extend(space.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(End::Lost(error)),
            }
            self.read_frames(table).map_err(End::Broken)?;
        }
        Ok(())
    }

    fn read_frames(&mut self, table: &mut Table) -> Result<(), Broken> {
        let mut rest = self.bytes.as_slice();
        while let Some(frame) = frame_length(rest)?.and_then(|length| rest.get(..length)) {
            parse(frame)?.into_iter().for_each(|message| table.apply(message));
            rest = rest.get(frame.len()..).unwrap_or_default();
        }
        self.bytes = rest.to_vec();
        Ok(())
    }
}
