//! Runs a script against a stack, line by line.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::peer::{Peer, stream};
use crate::script::{Call, Outcome, Script, SendText, Step, Template, Test, What, errno_name};
use crate::stack::{Observed, Reply, Stack};

/// How far back a call that is repeated looks again.
const RETRY_STEP: Duration = Duration::from_millis(5);

/// The port of peer `a`; the others follow.
const PEER_PORT: u16 = 20_000;

/// Runs all of it. The error says which line failed and how.
pub(crate) fn play(script: &Script, stack: &mut dyn Stack) -> Result<(), String> {
    let mut play = Play::new(stack);
    for step in &script.steps {
        play.step(step).map_err(|what| {
            format!("{}: {}\n      {}", step.place, what.replace('\n', "\n      "), step.text)
        })?;
    }
    let last = script.steps.last().map(|step| step.place.to_string()).unwrap_or_default();
    play.nothing_unexpected().map_err(|what| format!("{last}: after the last line {what}"))
}

/// What a socket of the script is about.
#[derive(Debug, Default)]
struct Socket {
    peer: char,
    /// Bytes written and read.
    written: u32,
    read: u32,
}

struct Play<'a> {
    stack: &'a mut dyn Stack,
    peers: BTreeMap<char, Peer>,
    sockets: BTreeMap<String, Socket>,
    /// When the step before ended.
    reference: Duration,
    /// Seen, and left for a later line.
    seen: VecDeque<Observed>,
    /// The step before was of this kind: sockets and frames go different ways to the stack.
    injected_last: bool,
    called_last: bool,
}

impl<'a> Play<'a> {
    fn new(stack: &'a mut dyn Stack) -> Self {
        let reference = stack.now();
        Self {
            stack,
            peers: BTreeMap::new(),
            sockets: BTreeMap::new(),
            reference,
            seen: VecDeque::new(),
            injected_last: false,
            called_last: false,
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        let injects = matches!(step.what, What::Inject(_));
        let calls = matches!(step.what, What::Call { .. });
        if (injects && self.called_last) || (calls && self.injected_last) {
            self.settle(self.stack.pace().settle);
        }
        (self.injected_last, self.called_last) = (injects, calls);
        match &step.what {
            What::Inject(template) => {
                self.nothing_unexpected()?;
                self.inject(template);
            }
            What::Expect { template, after } => {
                for index in 0..template.count {
                    self.expect(template, if index == 0 { *after } else { None }, index)?;
                }
            }
            What::Maybe(template) => self.maybe(template),
            What::Wait(time) => self.wait(*time)?,
            What::Ignore(time) => self.ignore(*time),
            What::Call { call, result } => {
                self.nothing_unexpected()?;
                self.call(call, *result)?;
                self.reference = self.stack.now();
            }
        }
        Ok(())
    }

    /// Gives the stack time, and keeps what it sends for the lines to come.
    fn settle(&mut self, time: Duration) {
        let until = self.stack.now().saturating_add(time);
        while let Some(observed) = self.stack.observe(until) {
            self.seen.push_back(observed);
        }
    }

    fn peer(&mut self, name: char) -> &mut Peer {
        let local_port = self.stack.port();
        self.peers.entry(name).or_insert_with(|| Peer::new(local_port))
    }

    fn inject(&mut self, template: &Template) {
        for index in 0..template.count {
            let peer = self.peer(template.peer);
            let (segment, local_port) = (peer.make(template, index), peer.local_port);
            self.stack.inject(port_of(template.peer), local_port, &segment);
        }
        self.reference = self.stack.now();
    }

    fn observe(&mut self, until: Duration) -> Option<Observed> {
        self.seen.pop_front().or_else(|| self.stack.observe(until))
    }

    fn expect(
        &mut self,
        want: &Template,
        after: Option<(Duration, Duration)>,
        index: u32,
    ) -> Result<(), String> {
        let pace = self.stack.pace();
        let (earliest, latest) = match after {
            None => (Duration::ZERO, pace.at_once),
            Some((low, high)) => {
                (low.saturating_sub(pace.around(low)), high.saturating_add(pace.around(high)))
            }
        };
        let reference = self.reference;
        let Some(observed) = self.observe(reference.saturating_add(latest)) else {
            return Err(format!("nothing was sent within {latest:?}"));
        };
        let elapsed = observed.at.saturating_sub(reference);
        let name = name_of(observed.peer_port);
        let peer = self.peer(want.peer);
        if name != Some(want.peer) {
            let said = peer.describe(&observed.segment);
            return Err(format!("what was sent went to peer {name:?}: {said}"));
        }
        if observed.segment.has(crate::segment::SYN) {
            peer.local_port = observed.local_port;
        }
        peer.saw(&observed.segment, Some(want));
        let wrong = peer.compare(&observed.segment, want, index);
        let said = peer.describe(&observed.segment);
        if !wrong.is_empty() {
            return Err(format!("sent was\n> {said}\nwhich differs in {}", wrong.join(", ")));
        }
        if elapsed < earliest || elapsed > latest {
            return Err(format!(
                "> {said}\ncame after {elapsed:?}, not {earliest:?} to {latest:?}"
            ));
        }
        self.reference = observed.at;
        Ok(())
    }

    /// Takes the next segment if it is this one.
    fn maybe(&mut self, want: &Template) {
        let until = self.reference.saturating_add(self.stack.pace().settle);
        let Some(observed) = self.observe(until) else { return };
        let peer = self.peer(want.peer);
        let same = name_of(observed.peer_port) == Some(want.peer)
            && peer.compare(&observed.segment, want, 0).is_empty();
        if same {
            peer.saw(&observed.segment, Some(want));
            self.reference = observed.at;
        } else {
            self.seen.push_front(observed);
        }
    }

    fn ignore(&mut self, time: Duration) {
        let until = self.reference.saturating_add(time).max(self.stack.now());
        while let Some(observed) = self.observe(until) {
            let peer = self.peer(name_of(observed.peer_port).unwrap_or('a'));
            peer.saw(&observed.segment, None);
        }
        self.reference = until;
    }

    fn wait(&mut self, time: Duration) -> Result<(), String> {
        let until = self.reference.saturating_add(time).max(self.stack.now());
        // A segment just before the end may belong to the line that follows.
        match self.observe(until) {
            None => {}
            Some(observed) if observed.at >= until => self.seen.push_front(observed),
            Some(observed) => {
                let elapsed = observed.at.saturating_sub(self.reference);
                let said = self.unexpected(&observed);
                return Err(format!("nothing should be sent, but after {elapsed:?} {said}"));
            }
        }
        self.reference = until;
        Ok(())
    }

    /// Fails if the stack has sent something that no line has asked for.
    fn nothing_unexpected(&mut self) -> Result<(), String> {
        let now = self.stack.now();
        match self.observe(now) {
            None => Ok(()),
            Some(observed) => Err(format!("nobody expected that {}", self.unexpected(&observed))),
        }
    }

    fn unexpected(&mut self, observed: &Observed) -> String {
        let name = name_of(observed.peer_port).unwrap_or('?');
        let peer = self.peer(name);
        peer.saw(&observed.segment, None);
        format!("the stack sent\n> @{name} {}", peer.describe(&observed.segment))
    }

    fn call(&mut self, call: &Call, want: Outcome) -> Result<(), String> {
        let text = self.text_of(call);
        let peer_port = match call {
            Call::Connect { peer, .. } => port_of(*peer),
            _ => port_of('a'),
        };
        let deadline = self.stack.now().saturating_add(self.stack.pace().retry);
        loop {
            let reply = self.stack.call(call, peer_port, &text);
            let wrong = self.judge(call, want, &reply, &text);
            let Some(wrong) = wrong else {
                self.remember(call, &reply, text);
                return Ok(());
            };
            // What reads can be asked again; anything else has had its effect.
            let repeatable = match call {
                Call::Accept { .. } | Call::Recv { .. } => reply.result == Err(libc::EAGAIN),
                // Reading an error takes it.
                Call::Get { .. } => reply.result == Ok(0),
                Call::Info { .. } => true,
                Call::Send { .. } => reply.result.is_err(),
                _ => false,
            };
            if !repeatable || self.stack.now() >= deadline {
                return Err(wrong);
            }
            self.settle(RETRY_STEP);
        }
    }

    fn text_of(&self, call: &Call) -> Vec<u8> {
        match call {
            Call::Send { text: SendText::Literal(bytes), .. } => bytes.clone(),
            Call::Send { socket, text: SendText::Len(len), .. } => {
                let written = self.sockets.get(socket).map_or(0, |socket| socket.written);
                stream(&[], written.wrapping_add(1), *len)
            }
            _ => Vec::new(),
        }
    }

    /// What is wrong with a call's reply.
    fn judge(&self, call: &Call, want: Outcome, reply: &Reply, text: &[u8]) -> Option<String> {
        let got = match reply.result {
            Ok(value) => value.to_string(),
            Err(errno) => errno_name(errno),
        };
        let fine = match (want, reply.result) {
            (Outcome::Fine, Ok(value)) => {
                !matches!(call, Call::Send { .. }) || usize::try_from(value) == Ok(text.len())
            }
            (Outcome::Value(low, high), Ok(value)) => (low..=high).contains(&value),
            (Outcome::Error(want), Err(got)) => want == got,
            _ => false,
        };
        if !fine {
            return Some(format!("the call gave {got}"));
        }
        match call {
            Call::Recv { socket, .. } => {
                let socket = self.sockets.get(socket)?;
                let injected = self.peers.get(&socket.peer).map(|peer| peer.injected.as_slice());
                let len = u32::try_from(reply.bytes.len()).unwrap_or(0);
                let from = socket.read.wrapping_add(1);
                (reply.bytes != stream(injected.unwrap_or_default(), from, len))
                    .then(|| "the call gave other bytes than were sent".to_owned())
            }
            Call::Info { tests, .. } => {
                let info = reply.info?;
                tests.iter().find_map(|(field, test)| {
                    let value = info.field(*field);
                    let fine = matches!(test, Test::Range(l, h) if (*l..=*h).contains(&value));
                    (!fine).then(|| format!("{field:?} is {value}"))
                })
            }
            _ => None,
        }
    }

    /// What the call has changed.
    fn remember(&mut self, call: &Call, reply: &Reply, text: Vec<u8>) {
        let count = reply.result.ok().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        match call {
            Call::Connect { socket, peer } => {
                let socket = self.sockets.entry(socket.clone()).or_default();
                socket.peer = *peer;
            }
            Call::Accept { new, .. } => {
                let peer = reply.peer_port.and_then(name_of).unwrap_or('a');
                let _ = self.sockets.insert(new.clone(), Socket { peer, ..Socket::default() });
            }
            Call::Send { socket, text: kind, .. } => {
                let socket = self.sockets.entry(socket.clone()).or_default();
                if socket.peer == '\0' {
                    socket.peer = 'a';
                }
                let (name, at) = (socket.peer, socket.written.wrapping_add(1));
                socket.written = socket.written.wrapping_add(count);
                if matches!(kind, SendText::Literal(_)) {
                    self.peer(name).written.push((at, text));
                }
            }
            Call::Recv { socket, flags, .. } if !flags.peek => {
                let socket = self.sockets.entry(socket.clone()).or_default();
                socket.read = socket.read.wrapping_add(count);
            }
            _ => {}
        }
    }
}

fn port_of(peer: char) -> u16 {
    PEER_PORT + u16::try_from(u32::from(peer) - u32::from('a')).unwrap_or(0)
}

fn name_of(port: u16) -> Option<char> {
    let index = u32::from(port.checked_sub(PEER_PORT)?);
    char::from_u32(index + u32::from('a')).filter(char::is_ascii_lowercase)
}
