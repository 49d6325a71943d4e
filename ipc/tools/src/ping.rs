//! `iopkt ping` and `ping6`: is a host there, and how far away? In NetBSD's words.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::Serialize;
use wire::{icmp, icmp6};
use zerocopy::IntoBytes;

use crate::cli::PingArgs;
use crate::fail::Failure;
use crate::output::{print, show};
use crate::probe::{self, About, Arrived, IPPROTO_IP, IPPROTO_IPV6, Line, Said};

/// `IP_MTU_DISCOVER`, `IPV6_MTU_DISCOVER` and what they are set to by `-D`.
const IP_MTU_DISCOVER: i32 = 10;
const IPV6_MTU_DISCOVER: i32 = 23;
const PMTUDISC_DO: u32 = 2;
/// `-f` sends as soon as an answer has come, and else a hundred a second.
const FLOOD_INTERVAL: Duration = Duration::from_millis(10);

/// What has become of a request.
#[derive(Debug, Serialize)]
struct Row {
    sequence: u16,
    from: IpAddr,
    bytes: usize,
    ttl: Option<u8>,
    ms: Option<f64>,
    /// Why there is no answer.
    error: Option<String>,
}

impl Row {
    fn new(sequence: u16, from: IpAddr) -> Self {
        Self { sequence, from, bytes: 0, ttl: None, ms: None, error: None }
    }

    fn of(arrived: &Arrived, sequence: u16) -> Self {
        let (bytes, ttl) = (arrived.bytes.len(), arrived.ttl);
        Self { bytes, ttl, ..Self::new(sequence, arrived.from) }
    }
}

/// All of it.
#[derive(Debug, Serialize)]
struct Report {
    host: String,
    address: IpAddr,
    size: usize,
    sent: u32,
    received: u32,
    duplicates: u32,
    min_ms: Option<f64>,
    avg_ms: Option<f64>,
    max_ms: Option<f64>,
    stddev_ms: Option<f64>,
    replies: Vec<Row>,
}

/// Runs `ping`; `ipv6` if it was called `ping6`.
pub(crate) fn main(sock: Option<String>, args: &PingArgs, ipv6: bool) -> Result<(), Failure> {
    let want = if ipv6 || args.inet6 { Some(true) } else { args.inet4.then_some(false) };
    let address = probe::resolve(&args.host, want)?;
    let channel = probe::channel(sock)?;
    let failed = |error: io::Error| probe::failed(&format!("ping {}", args.host), &error);
    let (echoes, errors) = open(&channel, args, address).map_err(failed)?;
    let mut session = Session {
        args,
        to: SocketAddr::new(address, 0),
        interrupt: interrupt().map_err(failed)?,
        id: 0,
        echoes,
        errors,
        sent: 0,
        requests: Vec::new(),
        settled: 0,
        duplicates: 0,
        times: Times::default(),
        rows: Vec::new(),
    };
    if !args.json {
        print(&format!("PING {} ({address}): {} data bytes\n", args.host, args.size))?;
    }
    let ended = session.run();
    let report = session.report();
    if report.sent > 0 {
        // Whatever has ended it.
        show(&report, args.json, render)?;
    }
    ended.map_err(failed)?;
    let heard = report.received > 0;
    if heard { Ok(()) } else { Err(Failure::new(crate::fail::FAILED, String::new())) }
}

/// From Ctrl-C on there is something to read in it.
fn interrupt() -> io::Result<UnixStream> {
    let (reads, writes) = UnixStream::pair()?;
    let _ = signal_hook::low_level::pipe::register(signal_hook::consts::SIGINT, writes)?;
    Ok(reads)
}

/// The line for requests, and one that hears what routers say of them, for who may have that.
fn open(
    channel: &std::sync::Arc<io_pkt_client::Channel>,
    args: &PingArgs,
    address: IpAddr,
) -> io::Result<(Line, Option<Line>)> {
    let ipv6 = address.is_ipv6();
    let echoes = Line::of_echoes(channel, ipv6)?;
    if let Some(from) = args.from {
        echoes.bind(from)?;
    }
    if let Some(ttl) = args.ttl {
        echoes.set_ttl(ipv6, ttl)?;
    }
    if let Some(tos) = args.tos {
        echoes.set_tos(ipv6, tos)?;
    }
    if args.whole {
        let (level, name) =
            if ipv6 { (IPPROTO_IPV6, IPV6_MTU_DISCOVER) } else { (IPPROTO_IP, IP_MTU_DISCOVER) };
        echoes.set(level, name, PMTUDISC_DO)?;
    }
    Ok((echoes, Line::of_icmp(channel, ipv6).ok()))
}

/// The newest request with a sequence number.
struct Request {
    sent: Instant,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Out,
    Failed,
    Answered,
}

/// The times of the answers.
#[derive(Default)]
struct Times {
    count: u32,
    sum: f64,
    squares: f64,
    min: Option<f64>,
    max: Option<f64>,
}

impl Times {
    fn add(&mut self, ms: f64) {
        self.count = self.count.saturating_add(1);
        self.sum += ms;
        self.squares += ms * ms;
        self.min = Some(self.min.map_or(ms, |min| min.min(ms)));
        self.max = Some(self.max.map_or(ms, |max| max.max(ms)));
    }

    fn average(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / f64::from(self.count))
    }

    fn deviation(&self) -> Option<f64> {
        let average = self.average()?;
        // Never less than nothing, however it is rounded.
        Some((self.squares / f64::from(self.count) - average * average).max(0.0).sqrt())
    }
}

struct Session<'a> {
    args: &'a PingArgs,
    to: SocketAddr,
    /// Readable from Ctrl-C on.
    interrupt: UnixStream,
    /// The identifier of the requests, known from the first one on.
    id: u16,
    echoes: Line,
    errors: Option<Line>,
    sent: u32,
    /// By their sequence numbers, of which there are 65536.
    requests: Vec<Request>,
    /// Requests that nothing is to come for any more.
    settled: u32,
    duplicates: u32,
    times: Times,
    /// What `--json` shows; else nothing is kept.
    rows: Vec<Row>,
}

impl Session<'_> {
    fn run(&mut self) -> io::Result<()> {
        let interval = if self.args.flood {
            FLOOD_INTERVAL
        } else {
            Duration::from_secs_f64(self.args.interval)
        };
        let started = Instant::now();
        let patience = Duration::from_secs_f64(self.args.wait);
        let ends = self.args.deadline.map(|s| started + Duration::from_secs_f64(s));
        loop {
            self.ask()?;
            let last = self.is_last();
            let next = Instant::now() + if last { patience } else { interval };
            let until = ends.map_or(next, |ends| ends.min(next));
            while !(self.is_done() || (self.args.flood && !last && self.is_settled())) {
                if !self.wait(until)? {
                    break;
                }
                self.hear()?;
            }
            let over = ends.is_some_and(|ends| Instant::now() >= ends);
            if last || over || self.is_interrupted(Instant::now())? || self.is_enough() {
                return Ok(());
            }
            if !self.args.flood && self.is_interrupted(until)? {
                return Ok(());
            }
        }
    }

    /// Waits until something has come. `false`: the time is over, or Ctrl-C was pressed.
    fn wait(&self, until: Instant) -> io::Result<bool> {
        let mut all = vec![self.interrupt.as_fd(), self.echoes.as_fd()];
        all.extend(self.errors.as_ref().map(AsFd::as_fd));
        Ok(probe::wait(&all, until)? && !self.is_interrupted(Instant::now())?)
    }

    /// Was Ctrl-C pressed, or is it until then?
    fn is_interrupted(&self, until: Instant) -> io::Result<bool> {
        probe::wait(&[self.interrupt.as_fd()], until)
    }

    /// Sends the next request. One that cannot be sent is lost, unless it is the first: then none can.
    fn ask(&mut self) -> io::Result<()> {
        let sequence = u16::try_from(self.sent & 0xffff).unwrap_or(0);
        let text: Vec<u8> =
            (0..self.args.size).map(|at| u8::try_from(at & 0xff).unwrap_or(0)).collect();
        // Identifier and checksum are the stack's to fill in.
        let mut message = if self.to.is_ipv6() {
            icmp6::Header::echo_request(0, sequence).as_bytes().to_vec()
        } else {
            icmp::Header::echo_request(0, sequence).as_bytes().to_vec()
        };
        message.extend(text);
        let request = Request { sent: Instant::now(), fate: Fate::Out };
        match self.requests.get_mut(usize::from(sequence)) {
            Some(earlier) => *earlier = request,
            None => self.requests.push(request),
        }
        let sent = self.echoes.send(&message, self.to);
        if self.sent == 0 {
            sent?;
            self.id = self.echoes.port()?;
        } else if let Err(error) = sent {
            let row = Row { error: Some(error.to_string()), ..Row::new(sequence, self.to.ip()) };
            self.trouble(row);
        }
        self.sent = self.sent.saturating_add(1);
        Ok(())
    }

    /// Nothing is to come for the newest request.
    fn is_settled(&self) -> bool {
        let newest = self.sent.wrapping_sub(1) & 0xffff;
        let newest = usize::try_from(newest).ok().and_then(|at| self.requests.get(at));
        newest.is_some_and(|request| request.fate != Fate::Out)
    }

    /// As many have been sent as are wanted.
    fn is_last(&self) -> bool {
        self.args.count.is_some_and(|count| self.sent >= count)
    }

    /// An answer was wanted, and has come.
    fn is_enough(&self) -> bool {
        self.args.once && self.received() > 0
    }

    /// Nothing more is to come.
    fn is_done(&self) -> bool {
        (self.is_last() && self.settled >= self.sent) || self.is_enough()
    }

    fn received(&self) -> u32 {
        self.times.count.saturating_sub(self.duplicates)
    }

    fn hear(&mut self) -> io::Result<()> {
        while let Some(arrived) = self.echoes.receive()? {
            if let Some(Said::Answer { sequence, .. }) = probe::said(&arrived, false) {
                self.answer(&arrived, sequence);
            }
        }
        loop {
            let Some(arrived) = self.errors.as_ref().map(Line::receive).transpose()?.flatten()
            else {
                return Ok(());
            };
            if let Some(Said::Trouble { words, about: About::Request { id, sequence }, to, .. }) =
                probe::said(&arrived, true)
                && (id, to) == (self.id, self.to.ip())
            {
                self.trouble(Row { error: Some(words), ..Row::of(&arrived, sequence) });
            }
        }
    }

    fn answer(&mut self, arrived: &Arrived, sequence: u16) {
        let Some(request) = self.requests.get_mut(usize::from(sequence)) else { return };
        let ms = request.sent.elapsed().as_secs_f64() * 1e3;
        match std::mem::replace(&mut request.fate, Fate::Answered) {
            Fate::Out => self.settled = self.settled.saturating_add(1),
            Fate::Failed => {}
            Fate::Answered => self.duplicates = self.duplicates.saturating_add(1),
        }
        self.times.add(ms);
        self.tell(Row { ms: Some(ms), ..Row::of(arrived, sequence) });
    }

    /// Nothing has come of a request.
    fn trouble(&mut self, row: Row) {
        let request = self.requests.get_mut(usize::from(row.sequence));
        if let Some(request) = request.filter(|request| request.fate == Fate::Out) {
            request.fate = Fate::Failed;
            self.settled = self.settled.saturating_add(1);
        }
        self.tell(row);
    }

    fn tell(&mut self, row: Row) {
        if self.args.json {
            self.rows.push(row);
        } else if !(self.args.quiet || self.args.flood) {
            // Nobody listens any more: the summary will find out.
            let _ = print(&line(&row));
        }
    }

    fn report(self) -> Report {
        Report {
            host: self.args.host.clone(),
            address: self.to.ip(),
            size: self.args.size,
            sent: self.sent,
            received: self.received(),
            duplicates: self.duplicates,
            min_ms: self.times.min,
            avg_ms: self.times.average(),
            max_ms: self.times.max,
            stddev_ms: self.times.deviation(),
            replies: self.rows,
        }
    }
}

fn line(row: &Row) -> String {
    let Row { sequence, from, bytes, ttl, ms, error } = row;
    let ttl = ttl.map(|ttl| format!(" ttl={ttl}")).unwrap_or_default();
    match (ms, error) {
        (Some(ms), _) => {
            format!("{bytes} bytes from {from}: icmp_seq={sequence}{ttl} time={ms:.3} ms\n")
        }
        (None, Some(error)) if *bytes == 0 => {
            format!("to {from}: {error} for icmp_seq={sequence}\n")
        }
        (None, Some(error)) => {
            format!("{bytes} bytes from {from}: {error} for icmp_seq={sequence}\n")
        }
        (None, None) => String::new(),
    }
}

fn render(report: &Report) -> String {
    let Report { host, sent, received, duplicates, .. } = report;
    let lost = sent.saturating_sub(*received);
    let percent = f64::from(lost) * 100.0 / f64::from((*sent).max(1));
    let again = if *duplicates > 0 { format!(" +{duplicates} duplicates,") } else { String::new() };
    let mut text = format!(
        "\n----{host} PING Statistics----\n\
         {sent} packets transmitted, {received} packets received,{again} {percent:.1}% packet loss\n"
    );
    if let (Some(min), Some(avg), Some(max), Some(stddev)) =
        (report.min_ms, report.avg_ms, report.max_ms, report.stddev_ms)
    {
        text.push_str(&format!(
            "round-trip min/avg/max/stddev = {min:.3}/{avg:.3}/{max:.3}/{stddev:.3} ms\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            host: "gw".into(),
            address: "198.18.77.1".parse().unwrap(),
            size: 56,
            sent: 4,
            received: 3,
            duplicates: 0,
            min_ms: Some(0.1),
            avg_ms: Some(0.2),
            max_ms: Some(0.3),
            stddev_ms: Some(0.05),
            replies: Vec::new(),
        }
    }

    #[test]
    fn the_summary_is_netbsds() {
        let expected = "
----gw PING Statistics----
4 packets transmitted, 3 packets received, 25.0% packet loss
round-trip min/avg/max/stddev = 0.100/0.200/0.300/0.050 ms
";
        assert_eq!(render(&report()), expected);
        let silent = Report { received: 0, min_ms: None, ..report() };
        assert!(!render(&silent).contains("round-trip"));
    }

    #[test]
    fn a_line_for_each_answer_and_each_error() {
        let row = Row {
            sequence: 2,
            from: "198.18.77.1".parse().unwrap(),
            bytes: 64,
            ttl: Some(64),
            ms: Some(0.1234),
            error: None,
        };
        assert_eq!(line(&row), "64 bytes from 198.18.77.1: icmp_seq=2 ttl=64 time=0.123 ms\n");
        let row = Row { ms: None, error: Some("No route".into()), ..row };
        assert_eq!(line(&row), "64 bytes from 198.18.77.1: No route for icmp_seq=2\n");
        let row = Row { bytes: 0, ..row };
        assert_eq!(line(&row), "to 198.18.77.1: No route for icmp_seq=2\n");
    }

    #[test]
    fn the_spread_of_times_needs_none_of_them_kept() {
        let mut times = Times::default();
        assert_eq!((times.average(), times.deviation()), (None, None));
        [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0].into_iter().for_each(|ms| times.add(ms));
        assert_eq!((times.min, times.max), (Some(2.0), Some(9.0)));
        assert_eq!((times.average(), times.deviation()), (Some(5.0), Some(2.0)));
    }
}
