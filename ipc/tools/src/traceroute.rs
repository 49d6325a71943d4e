//! `iopkt traceroute`: which routers does a packet pass? Each of them says so when it may go no further.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_pkt_client::Channel;
use serde::Serialize;
use wire::{icmp, icmp6};
use zerocopy::IntoBytes;

use crate::cli::TracerouteArgs;
use crate::fail::{Failure, USAGE};
use crate::output::{print, show};
use crate::probe::{self, About, Line, Said, Trouble};

/// What became of one packet.
#[derive(Debug, Serialize)]
struct Answer {
    /// Who has spoken; `None`: nobody.
    from: Option<IpAddr>,
    ms: Option<f64>,
    /// What is amiss, as in `!H`.
    mark: Option<&'static str>,
}

/// All packets that went equally far.
#[derive(Debug, Serialize)]
struct Hop {
    hop: u8,
    answers: Vec<Answer>,
}

/// The whole way.
#[derive(Debug, Serialize)]
struct Way {
    host: String,
    address: IpAddr,
    reached: bool,
    hops: Vec<Hop>,
}

/// Runs `traceroute`.
pub(crate) fn main(sock: Option<String>, args: &TracerouteArgs) -> Result<(), Failure> {
    let (first, max) = (args.first, args.max);
    if first > max {
        let text = format!("hop {first} is beyond the last, {max}: write -m {first} or more");
        return Err(Failure::new(USAGE, text));
    }
    let want = if args.inet6 { Some(true) } else { args.inet4.then_some(false) };
    let address = probe::resolve(&args.host, want)?;
    let channel = probe::channel(sock)?;
    let failed = |error: io::Error| probe::failed(&format!("traceroute {}", args.host), &error);
    let mut tracer = Tracer::open(&channel, args, address).map_err(failed)?;
    if !args.json {
        print(&format!(
            "traceroute to {} ({address}), {} hops max, {} byte packets\n",
            args.host,
            args.max,
            args.size + if address.is_ipv6() { 40 } else { 20 } + 8
        ))?;
    }
    let mut way = Way { host: args.host.clone(), address, reached: false, hops: Vec::new() };
    for hop in first..=max {
        let (answers, ended) = tracer.hop(hop).map_err(failed)?;
        let row = Hop { hop, answers };
        if !args.json {
            print(&line(&row))?;
        }
        way.reached = row.answers.iter().any(|answer| answer.from == Some(address));
        way.hops.push(row);
        if ended {
            break;
        }
    }
    if args.json { show(&way, true, |_| String::new()) } else { Ok(()) }
}

struct Tracer<'a> {
    args: &'a TracerouteArgs,
    to: IpAddr,
    /// What goes out: datagrams, or echo requests.
    probes: Line,
    /// What comes back.
    hears: Line,
    /// Our port, or the identifier of the requests.
    own: u16,
    sent: u16,
}

impl<'a> Tracer<'a> {
    fn open(channel: &Arc<Channel>, args: &'a TracerouteArgs, to: IpAddr) -> io::Result<Self> {
        let ipv6 = to.is_ipv6();
        let hears = Line::of_icmp(channel, ipv6)?;
        let probes =
            if args.icmp { Line::of_echoes(channel, ipv6)? } else { Line::of_udp(channel, ipv6)? };
        let any = if ipv6 { IpAddr::from([0_u16; 8]) } else { IpAddr::from([0_u8; 4]) };
        probes.bind(args.from.unwrap_or(any))?;
        let own = probes.port()?;
        Ok(Self { args, to, probes, hears, own, sent: 0 })
    }

    /// Asks how far packets get with so many hops. `true`: no further.
    fn hop(&mut self, hop: u8) -> io::Result<(Vec<Answer>, bool)> {
        self.probes.set_ttl(self.to.is_ipv6(), hop)?;
        let mut answers = Vec::new();
        let mut ended = false;
        for _ in 0..self.args.queries {
            let sent = Instant::now();
            let about = self.send()?;
            let patience = Duration::from_secs_f64(self.args.wait);
            match self.listen(about, sent + patience)? {
                Some((from, mark)) => {
                    let ms = Some(sent.elapsed().as_secs_f64() * 1e3);
                    let mark = match mark {
                        Some(Trouble::TooFar) => None,
                        Some(Trouble::Other(mark)) => {
                            ended = true;
                            Some(mark)
                        }
                        Some(Trouble::NoPort) | None => {
                            ended = true;
                            None
                        }
                    };
                    answers.push(Answer { from: Some(from), ms, mark });
                }
                None => answers.push(Answer { from: None, ms: None, mark: None }),
            }
        }
        Ok((answers, ended))
    }

    /// Sends one, and says what will be spoken of.
    fn send(&mut self) -> io::Result<About> {
        let (sequence, own) = (self.sent, self.own);
        self.sent = self.sent.wrapping_add(1);
        if self.args.icmp {
            let head = if self.to.is_ipv6() {
                icmp6::Header::echo_request(0, sequence).as_bytes().to_vec()
            } else {
                icmp::Header::echo_request(0, sequence).as_bytes().to_vec()
            };
            let message = [head, vec![0; self.args.size]].concat();
            self.probes.send(&message, SocketAddr::new(self.to, 0))?;
            return Ok(About::Request { id: own, sequence });
        }
        let port = self.args.port.wrapping_add(sequence).max(1);
        let sent = self.probes.send(&vec![0; self.args.size], SocketAddr::new(self.to, port));
        // What became of an earlier one is heard elsewhere.
        match sent {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            sent => sent?,
        }
        Ok(About::Datagram { from: own, to: port })
    }

    /// Who speaks of it first, and how.
    fn listen(&self, ours: About, until: Instant) -> io::Result<Option<(IpAddr, Option<Trouble>)>> {
        loop {
            while let Some(arrived) = self.hears.receive()? {
                match probe::said(&arrived, true) {
                    Some(Said::Trouble { to, mark, about, .. })
                        if to == self.to && about == ours =>
                    {
                        return Ok(Some((arrived.from, Some(mark))));
                    }
                    Some(Said::Answer { id, sequence })
                        if ours == (About::Request { id, sequence }) =>
                    {
                        return Ok(Some((arrived.from, None)));
                    }
                    _ => {}
                }
            }
            if !probe::wait(&[self.hears.as_fd()], until)? {
                return Ok(None);
            }
        }
    }
}

/// BSD's line: an address is said once for all that come from there.
fn line(hop: &Hop) -> String {
    let mut text = format!("{:>2} ", hop.hop);
    let mut last = None;
    for answer in &hop.answers {
        let (Some(from), Some(ms)) = (answer.from, answer.ms) else {
            text.push_str(" *");
            continue;
        };
        if last != Some(from) {
            text.push_str(&format!(" {from}"));
            last = Some(from);
        }
        text.push_str(&format!("  {ms:.3} ms"));
        if let Some(mark) = answer.mark {
            text.push_str(&format!(" {mark}"));
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_each_router_once() {
        let answer = |from: Option<&str>, mark| Answer {
            from: from.map(|from| from.parse().unwrap()),
            ms: from.map(|_| 0.5),
            mark,
        };
        let (near, far) = (Some("198.18.77.2"), Some("198.18.78.2"));
        let answers = vec![answer(near, None), answer(near, None), answer(None, None)];
        let expected = " 1  198.18.77.2  0.500 ms  0.500 ms *\n";
        assert_eq!(line(&Hop { hop: 1, answers }), expected);
        let answers = vec![answer(near, Some("!H")), answer(far, None)];
        let expected = "12  198.18.77.2  0.500 ms !H 198.18.78.2  0.500 ms\n";
        assert_eq!(line(&Hop { hop: 12, answers }), expected);
    }
}
