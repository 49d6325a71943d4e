//! A script's peer: what it has sent and seen, so that scripts can speak in relative numbers.

use std::fmt::Write as _;

use crate::script::{Field, Template, Test, TextSpec};
use crate::segment::{ACK, FLAGS, Options, SYN, Segment, pattern};

/// A peer's first sequence number: close to where the sign of a 32-bit number changes.
const IRS: u32 = 0x7fff_ff00;

/// The window of a segment that does not say another.
const WINDOW: i64 = 60_000;

/// One peer of the stack.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    /// The stack's port of this connection.
    pub(crate) local_port: u16,
    /// The stack's first sequence number, once seen.
    iss: Option<u32>,
    /// The stack's first timestamp.
    first_ts: Option<u32>,
    last_ts: u32,
    /// Relative end of what we sent and of what we saw.
    sent_end: u32,
    seen_end: u32,
    cookie: Vec<u8>,
    /// Text that is not the pattern, by its relative place, in both directions.
    pub(crate) injected: Vec<(u32, Vec<u8>)>,
    pub(crate) written: Vec<(u32, Vec<u8>)>,
}

/// The bytes of a stream from a relative place on.
pub(crate) fn stream(special: &[(u32, Vec<u8>)], from: u32, len: u32) -> Vec<u8> {
    (0..len)
        .map(|i| {
            let at = from.wrapping_add(i);
            let literal = special.iter().rev().find_map(|(start, bytes)| {
                bytes.get(usize::try_from(at.wrapping_sub(*start)).unwrap_or(usize::MAX))
            });
            literal.copied().unwrap_or_else(|| pattern(at))
        })
        .collect()
}

fn low(value: i64) -> u32 {
    u32::try_from(value & i64::from(u32::MAX)).unwrap_or(0)
}

fn low_16(value: i64) -> u16 {
    u16::try_from(value & i64::from(u16::MAX)).unwrap_or(0)
}

impl Peer {
    pub(crate) fn new(local_port: u16) -> Self {
        Self { local_port, ..Self::default() }
    }

    fn iss(&self) -> u32 {
        self.iss.unwrap_or(0)
    }

    /// The segment that a template describes, `index` segments on.
    pub(crate) fn make(&mut self, template: &Template, index: u32) -> Segment {
        let value = |field: Field| {
            template.fields.iter().find_map(|(name, test)| match test {
                Test::Range(low, _) if *name == field => Some(*low),
                _ => None,
            })
        };
        let len = match &template.text {
            TextSpec::Literal(bytes) => u32::try_from(bytes.len()).unwrap_or(0),
            TextSpec::Len(len) => *len,
            TextSpec::None | TextSpec::Between(..) => 0,
        };
        let first = value(Field::Seq).map_or(self.sent_end, low);
        let seq = match value(Field::Seq) {
            Some(seq) => low(seq).wrapping_add(index.wrapping_mul(len)),
            None => first,
        };
        let syn = template.flags & SYN != 0;
        let text_at = seq.wrapping_add(u32::from(syn));
        if let TextSpec::Literal(bytes) = &template.text {
            self.injected.push((text_at, bytes.clone()));
        }
        let ack = value(Field::Ack).map_or(self.seen_end, low);
        let mut segment = Segment {
            seq: IRS.wrapping_add(seq),
            ack: 0,
            flags: template.flags,
            window: low_16(value(Field::Window).unwrap_or(WINDOW)),
            urgent: low_16(value(Field::Urgent).unwrap_or(0)),
            options: self.options(template, &value),
            text: stream(&self.injected, text_at, len),
            ecn: u8::try_from(value(Field::Ecn).unwrap_or(0)).unwrap_or(0),
        };
        if segment.has(ACK) {
            segment.ack = self.iss().wrapping_add(ack);
        }
        let end = text_at.wrapping_add(len).wrapping_add(u32::from(segment.flags & 1));
        if i64::from(end) > i64::from(self.sent_end) && end < 1 << 31 {
            self.sent_end = end;
        }
        segment
    }

    fn options(&self, template: &Template, value: &dyn Fn(Field) -> Option<i64>) -> Options {
        let mut options = Options {
            mss: value(Field::Mss).map(low_16),
            scale: value(Field::Scale).map(|shift| u8::try_from(shift).unwrap_or(255)),
            timestamps: value(Field::TimestampValue).map(|ts| {
                let echo = value(Field::TimestampEcho)
                    .map_or(self.last_ts, |ecr| low(ecr).wrapping_add(self.first_ts.unwrap_or(0)));
                (low(ts), echo)
            }),
            ..Options::default()
        };
        for (field, test) in &template.fields {
            match (field, test) {
                (Field::SackPermitted, _) => options.sack_permitted = true,
                (Field::Sack, Test::Blocks(blocks)) => {
                    let edge = |at: i64| self.iss().wrapping_add(low(at));
                    options.sack = blocks.iter().map(|(l, r)| (edge(*l), edge(*r))).collect();
                }
                (Field::FastOpen, Test::Any) => options.fast_open = Some(Vec::new()),
                (Field::FastOpen, Test::Last) => options.fast_open = Some(self.cookie.clone()),
                (Field::FastOpen, Test::Bytes(bytes)) => options.fast_open = Some(bytes.clone()),
                (Field::Raw, Test::Bytes(bytes)) => options.raw.clone_from(bytes),
                _ => {}
            }
        }
        options
    }

    /// A segment of the stack was seen.
    pub(crate) fn saw(&mut self, segment: &Segment, template: Option<&Template>) {
        let fresh = template.is_some_and(|template| {
            template.flags & SYN != 0 && !template.fields.iter().any(|(f, _)| *f == Field::Seq)
        });
        if segment.has(SYN) && (self.iss.is_none() || fresh) {
            self.iss = Some(segment.seq);
            self.seen_end = 0;
        }
        if let Some((value, _)) = segment.options.timestamps {
            let _ = self.first_ts.get_or_insert(value);
            self.last_ts = value;
        }
        if let Some(cookie) = &segment.options.fast_open {
            self.cookie.clone_from(cookie);
        }
        let len = u32::try_from(segment.text.len()).unwrap_or(0)
            + u32::from(segment.has(SYN))
            + u32::from(segment.flags & 1);
        let end = segment.seq.wrapping_sub(self.iss()).wrapping_add(len);
        if end > self.seen_end && end < 1 << 31 {
            self.seen_end = end;
        }
    }

    /// What differs between a segment and what is expected.
    pub(crate) fn compare(&self, segment: &Segment, want: &Template, index: u32) -> Vec<String> {
        let mut wrong = Vec::new();
        let mask = !want.optional;
        if segment.flags & mask != want.flags & mask {
            wrong.push("the control bits".to_owned());
        }
        let each = match &want.text {
            TextSpec::Len(len) => *len,
            _ => 0,
        };
        for (field, test) in &want.fields {
            let test = match (field, test) {
                (Field::Seq, Test::Range(l, h)) => {
                    let step = i64::from(index) * i64::from(each);
                    &Test::Range(l + step, h + step)
                }
                _ => test,
            };
            if !self.agrees(segment, *field, test) {
                wrong.push(format!("{field:?}"));
            }
        }
        if let Some(what) = self.text_differs(segment, &want.text) {
            wrong.push(what);
        }
        wrong
    }

    fn text_differs(&self, segment: &Segment, want: &TextSpec) -> Option<String> {
        let len = u32::try_from(segment.text.len()).unwrap_or(u32::MAX);
        let range = match want {
            TextSpec::None => 0..=0,
            TextSpec::Len(len) => *len..=*len,
            TextSpec::Between(low, high) => *low..=*high,
            TextSpec::Literal(bytes) if *bytes == segment.text => return None,
            TextSpec::Literal(_) => return Some("the text".to_owned()),
        };
        if !range.contains(&len) {
            return Some("the text's length".to_owned());
        }
        let at = segment.seq.wrapping_sub(self.iss()).wrapping_add(u32::from(segment.has(SYN)));
        // A probe of a window or of a peer may repeat a byte or send one of no meaning.
        let probe = len == 1 && at <= 1;
        (!probe && segment.text != stream(&self.written, at, len))
            .then(|| "the bytes of the text".to_owned())
    }

    fn agrees(&self, segment: &Segment, field: Field, test: &Test) -> bool {
        let options = &segment.options;
        match (field, test) {
            (Field::Sack, Test::Blocks(blocks)) => {
                let edge = |at: &i64| IRS.wrapping_add(low(*at));
                let want: Vec<_> = blocks.iter().map(|(l, r)| (edge(l), edge(r))).collect();
                return options.sack == want;
            }
            (Field::Sack, Test::Any) => return !options.sack.is_empty(),
            (Field::Sack, Test::Absent) => return options.sack.is_empty(),
            (Field::FastOpen, Test::Bytes(bytes)) => {
                return options.fast_open.as_ref() == Some(bytes);
            }
            (Field::FastOpen, Test::Any) => return options.fast_open.is_some(),
            (Field::FastOpen, Test::Absent) => return options.fast_open.is_none(),
            _ => {}
        }
        match (self.number(segment, field), test) {
            (value, Test::Any) => value.is_some(),
            (value, Test::Absent) => value.is_none(),
            (Some(value), Test::Range(low, high)) => (*low..=*high).contains(&value),
            _ => false,
        }
    }

    /// A field as a relative number, if the segment has it.
    fn number(&self, segment: &Segment, field: Field) -> Option<i64> {
        let options = &segment.options;
        let relative = |value: u32, base: u32| {
            let distance = value.wrapping_sub(base);
            // Just below the base is a small negative number.
            i64::from(i32::from_ne_bytes(distance.to_ne_bytes()))
        };
        match field {
            Field::Seq => Some(relative(segment.seq, self.iss())),
            Field::Ack => segment.has(ACK).then(|| relative(segment.ack, IRS)),
            Field::Window => Some(i64::from(segment.window)),
            Field::Urgent => Some(i64::from(segment.urgent)),
            Field::Mss => options.mss.map(i64::from),
            Field::Scale => options.scale.map(i64::from),
            Field::SackPermitted => options.sack_permitted.then_some(1),
            Field::TimestampValue => {
                options.timestamps.map(|(value, _)| relative(value, self.first_ts.unwrap_or(value)))
            }
            Field::TimestampEcho => options.timestamps.map(|(_, echo)| i64::from(echo)),
            Field::Ecn => Some(i64::from(segment.ecn)),
            Field::Sack | Field::FastOpen | Field::Raw => None,
        }
    }

    /// A segment in the scripts' own words.
    pub(crate) fn describe(&self, segment: &Segment) -> String {
        let names: Vec<&str> =
            FLAGS.iter().filter(|(_, bit)| segment.has(*bit)).map(|(name, _)| *name).collect();
        let mut out = if names.is_empty() { "NONE".to_owned() } else { names.join(",") };
        const SHOWN: [(&str, Field); 8] = [
            ("seq", Field::Seq),
            ("ack", Field::Ack),
            ("win", Field::Window),
            ("mss", Field::Mss),
            ("ws", Field::Scale),
            ("sackok", Field::SackPermitted),
            ("ts", Field::TimestampValue),
            ("ecr", Field::TimestampEcho),
        ];
        for (name, field) in SHOWN {
            if let Some(value) = self.number(segment, field) {
                let _ = write!(out, " {name}={value}");
            }
        }
        if !segment.options.sack.is_empty() {
            let edges = segment
                .options
                .sack
                .iter()
                .map(|(l, r)| format!("{}-{}", l.wrapping_sub(IRS), r.wrapping_sub(IRS)));
            let _ = write!(out, " sack={}", edges.collect::<Vec<_>>().join(","));
        }
        if let Some(cookie) = &segment.options.fast_open {
            let _ = write!(out, " fo={cookie:02x?}");
        }
        if segment.ecn != 0 {
            let _ = write!(out, " ecn={}", segment.ecn);
        }
        if segment.urgent != 0 {
            let _ = write!(out, " urg={}", segment.urgent);
        }
        if !segment.text.is_empty() {
            let _ = write!(out, " len={}", segment.text.len());
        }
        out
    }
}
