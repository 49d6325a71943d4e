//! `iopkt ping` and `ping6`: is a host there, and how far away? In NetBSD's words.

use std::io;
use std::net::{IpAddr, SocketAddr};
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
    let (echoes, errors) = open(&channel, args, address)
        .map_err(|error| probe::failed(&format!("ping {}", args.host), &error))?;
    let mut session = Session {
        args,
        to: SocketAddr::new(address, 0),
        id: 0,
        echoes,
        errors,
        sent: Vec::new(),
        answered: Vec::new(),
        rows: Vec::new(),
        duplicates: 0,
    };
    if !args.json {
        print(&format!("PING {} ({address}): {} data bytes\n", args.host, args.size))?;
    }
    session.run().map_err(|error| probe::failed(&format!("ping {}", args.host), &error))?;
    let report = session.report();
    show(&report, args.json, render)?;
    let heard = report.received > 0;
    if heard { Ok(()) } else { Err(Failure::new(crate::fail::FAILED, String::new())) }
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

struct Session<'a> {
    args: &'a PingArgs,
    to: SocketAddr,
    /// The identifier of the requests, known from the first one on.
    id: u16,
    echoes: Line,
    errors: Option<Line>,
    /// When each request went out.
    sent: Vec<Instant>,
    answered: Vec<bool>,
    rows: Vec<Row>,
    duplicates: u32,
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
            let last = self.args.count.is_some_and(|count| self.sent.len() >= count as usize);
            let next = Instant::now() + if last { patience } else { interval };
            let until = ends.map_or(next, |ends| ends.min(next));
            while !(self.is_done() || (self.args.flood && !last && self.is_answered())) {
                let lines: Vec<&Line> =
                    [Some(&self.echoes), self.errors.as_ref()].into_iter().flatten().collect();
                if !probe::wait(&lines, until)? {
                    break;
                }
                self.hear()?;
            }
            let over = ends.is_some_and(|ends| Instant::now() >= ends);
            if last || over || (self.args.once && self.received() > 0) {
                return Ok(());
            }
            if !self.args.flood {
                std::thread::sleep(until.saturating_duration_since(Instant::now()));
            }
        }
    }

    /// Sends the next request.
    fn ask(&mut self) -> io::Result<()> {
        let sequence = u16::try_from(self.sent.len() & 0xffff).unwrap_or(0);
        let text: Vec<u8> =
            (0..self.args.size).map(|at| u8::try_from(at & 0xff).unwrap_or(0)).collect();
        // Identifier and checksum are the stack's to fill in.
        let mut message = if self.to.is_ipv6() {
            icmp6::Header::echo_request(0, sequence).as_bytes().to_vec()
        } else {
            icmp::Header::echo_request(0, sequence).as_bytes().to_vec()
        };
        message.extend(text);
        self.sent.push(Instant::now());
        self.answered.push(false);
        self.echoes.send(&message, self.to)?;
        self.id = self.echoes.port()?;
        Ok(())
    }

    fn is_answered(&self) -> bool {
        self.answered.last().copied().unwrap_or(false)
    }

    /// Nothing more is to come.
    fn is_done(&self) -> bool {
        let all = self.args.count.is_some_and(|count| self.sent.len() >= count as usize)
            && self.answered.iter().all(|answered| *answered);
        all || (self.args.once && self.received() > 0)
    }

    fn received(&self) -> u32 {
        let answers = self.rows.iter().filter(|row| row.ms.is_some()).count();
        u32::try_from(answers).unwrap_or(u32::MAX).saturating_sub(self.duplicates)
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
                self.trouble(&arrived, sequence, words);
            }
        }
    }

    fn answer(&mut self, arrived: &Arrived, sequence: u16) {
        // The last request with that number.
        let at = (0..self.sent.len()).rev().find(|at| at & 0xffff == usize::from(sequence));
        let Some(at) = at else { return };
        let ms = self.sent.get(at).map(|sent| sent.elapsed().as_secs_f64() * 1e3);
        if let Some(answered) = self.answered.get_mut(at) {
            self.duplicates += u32::from(*answered);
            *answered = true;
        }
        let (from, bytes, ttl) = (arrived.from, arrived.bytes.len(), arrived.ttl);
        self.tell(Row { sequence, from, bytes, ttl, ms, error: None });
    }

    fn trouble(&mut self, arrived: &Arrived, sequence: u16, words: String) {
        if let Some(answered) = self.answered.get_mut(usize::from(sequence)) {
            *answered = true;
        }
        let (from, bytes, ttl) = (arrived.from, arrived.bytes.len(), arrived.ttl);
        self.tell(Row { sequence, from, bytes, ttl, ms: None, error: Some(words) });
    }

    fn tell(&mut self, row: Row) {
        if !(self.args.json || self.args.quiet || self.args.flood) {
            // Nobody listens any more: the summary will find out.
            let _ = print(&line(&row));
        }
        self.rows.push(row);
    }

    fn report(self) -> Report {
        let times: Vec<f64> = self.rows.iter().filter_map(|row| row.ms).collect();
        let count = times.len() as f64;
        let some = |value: f64| (!times.is_empty()).then_some(value);
        let avg = times.iter().sum::<f64>() / count.max(1.0);
        let variance = times.iter().map(|ms| (ms - avg).powi(2)).sum::<f64>() / count.max(1.0);
        Report {
            host: self.args.host.clone(),
            address: self.to.ip(),
            size: self.args.size,
            sent: u32::try_from(self.sent.len()).unwrap_or(u32::MAX),
            received: self.received(),
            duplicates: self.duplicates,
            min_ms: times.iter().copied().reduce(f64::min),
            avg_ms: some(avg),
            max_ms: times.iter().copied().reduce(f64::max),
            stddev_ms: some(variance.sqrt()),
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
    }
}
