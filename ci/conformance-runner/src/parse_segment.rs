//! Segments in scripts: `@b SYN,ACK seq=0 ack=1 win=1000 mss=*`.

use crate::parse::ParseError;
use crate::script::{Field, Template, Test, TextSpec};
use crate::segment::{FLAGS, PSH};
use crate::words::Line;

const FIELDS: [(&str, Field); 13] = [
    ("seq", Field::Seq),
    ("ack", Field::Ack),
    ("win", Field::Window),
    ("urg", Field::Urgent),
    ("mss", Field::Mss),
    ("ws", Field::Scale),
    ("sackok", Field::SackPermitted),
    ("ts", Field::TimestampValue),
    ("ecr", Field::TimestampEcho),
    ("sack", Field::Sack),
    ("fo", Field::FastOpen),
    ("raw", Field::Raw),
    ("ecn", Field::Ecn),
];

const ECN: [(&str, i64); 4] = [("none", 0), ("ect1", 1), ("ect0", 2), ("ce", 3)];

/// A segment that the peer sends: every value is one value.
pub(crate) fn injected(line: &mut Line<'_>) -> Result<Template, ParseError> {
    let template = segment(line)?;
    let vague = template.fields.iter().find(|(field, test)| match test {
        Test::Range(low, high) => low != high,
        Test::Any => !matches!(field, Field::SackPermitted | Field::FastOpen),
        Test::Absent => true,
        Test::Blocks(_) | Test::Bytes(_) | Test::Last => false,
    });
    let vague = vague.is_some() || template.optional & !PSH != 0;
    if vague || matches!(template.text, TextSpec::Between(..)) {
        return Err(line.error("what the peer sends must be said exactly"));
    }
    Ok(template)
}

/// A segment that the stack sends: what is not said does not matter, save for control bits and text.
pub(crate) fn expected(line: &mut Line<'_>) -> Result<Template, ParseError> {
    segment(line)
}

fn segment(line: &mut Line<'_>) -> Result<Template, ParseError> {
    let mut template = Template { peer: 'a', count: 1, ..Template::default() };
    let mut word = line.word("control bits: SYN,ACK")?;
    if let Some(peer) = word.strip_prefix('@') {
        let mut letters = peer.chars();
        template.peer = match (letters.next(), letters.next()) {
            (Some(letter @ 'a'..='z'), None) => letter,
            _ => return Err(line.error("a peer is one letter: @b")),
        };
        word = line.word("control bits: SYN,ACK")?;
    }
    template.flags = flags(line, word.split(',').filter(|name| !name.ends_with('?')))?;
    let optional = word.split(',').filter_map(|name| name.strip_suffix('?'));
    template.optional = flags(line, optional)? | (PSH & !template.flags);
    while let Some(word) = line.peek().filter(|word| *word != "after") {
        let _ = line.word("a field")?;
        field(line, word, &mut template)?;
    }
    Ok(template)
}

fn flags<'a>(line: &Line<'_>, mut names: impl Iterator<Item = &'a str>) -> Result<u8, ParseError> {
    names.try_fold(0, |sum, name| {
        let flag = FLAGS.iter().find(|(known, _)| *known == name);
        match flag {
            Some((_, bit)) => Ok(sum | bit),
            None if name == "NONE" => Ok(sum),
            None => Err(line.error(&format!(
                "\"{name}\" is no control bit (SYN,ACK,FIN,RST,PSH,URG,ECE,CWR or NONE)"
            ))),
        }
    })
}

fn field(line: &Line<'_>, word: &str, template: &mut Template) -> Result<(), ParseError> {
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word, None),
    };
    match (name, value) {
        ("len", Some(value)) => return length(line, value, template),
        ("text", Some(value)) => {
            template.text = TextSpec::Literal(line.bytes_of(value)?);
            return Ok(());
        }
        _ => {}
    }
    let absent = name.strip_prefix('-');
    let bare = absent.unwrap_or(name);
    let known = FIELDS.iter().find(|(known, _)| *known == bare);
    let Some((_, field)) = known else {
        return Err(line.error(&format!("\"{bare}\" is no field of a segment")));
    };
    let test = match (absent, value) {
        (Some(_), None) => Test::Absent,
        (Some(_), Some(_)) => return Err(line.error("what is absent has no value")),
        (None, None | Some("*")) => Test::Any,
        (None, Some(value)) => value_of(line, *field, value)?,
    };
    template.fields.push((*field, test));
    Ok(())
}

/// `len=1000`, `len=1..1000`, `len=10*1000` (ten segments, one after the other).
fn length(line: &Line<'_>, value: &str, template: &mut Template) -> Result<(), ParseError> {
    let each = match value.split_once('*') {
        Some((count, each)) => {
            template.count = line.u32_of(count)?;
            each
        }
        None => value,
    };
    template.text = match each.split_once("..") {
        Some((low, high)) => TextSpec::Between(line.u32_of(low)?, line.u32_of(high)?),
        None => TextSpec::Len(line.u32_of(each)?),
    };
    Ok(())
}

fn value_of(line: &Line<'_>, field: Field, value: &str) -> Result<Test, ParseError> {
    match field {
        Field::FastOpen if value == "last" => Ok(Test::Last),
        Field::FastOpen | Field::Raw => line.bytes_of(value).map(Test::Bytes),
        Field::Sack => {
            let blocks: Result<Vec<_>, _> = value
                .split(',')
                .map(|block| match block.split_once('-') {
                    Some((left, right)) => Ok((line.number_of(left)?, line.number_of(right)?)),
                    None => Err(line.error("a SACK block has two edges: sack=1001-2001")),
                })
                .collect();
            blocks.map(Test::Blocks)
        }
        Field::Ecn => match ECN.iter().find(|(name, _)| *name == value) {
            Some((_, bits)) => Ok(Test::Range(*bits, *bits)),
            None => Err(line.error("a codepoint is none, ect0, ect1 or ce")),
        },
        _ => range(line, value),
    }
}

/// `5` or `5..7`.
pub(crate) fn range(line: &Line<'_>, value: &str) -> Result<Test, ParseError> {
    let (low, high) = value.split_once("..").unwrap_or((value, value));
    Ok(Test::Range(line.number_of(low)?, line.number_of(high)?))
}
