//! Socket calls in scripts: `recv c 1000 = 500`, `get c ERROR = ECONNRESET`.

use crate::parse::ParseError;
use crate::script::{
    Call, ERRNOS, How, INFO_FIELDS, InfoField, MessageFlags, OPTIONS, Outcome, STATES, SendText,
    SocketOption, Test, What,
};
use crate::words::Line;

/// A call and what it must give.
pub(crate) fn call(line: &mut Line<'_>) -> Result<What, ParseError> {
    let verb = line.word("a call")?;
    let wrong = line.error(&format!(
        "\"{verb}\" is neither <, >, wait, ignore, given, own, virtual nor a call (socket bind listen \
         connect accept send recv shutdown close set get info)"
    ));
    const VERBS: [&str; 12] = [
        "socket", "bind", "listen", "connect", "accept", "send", "recv", "shutdown", "close",
        "set", "get", "info",
    ];
    if !VERBS.contains(&verb) {
        return Err(wrong);
    }
    let socket = line.word("the socket's name")?.to_owned();
    let call = match verb {
        "socket" => Call::Socket { socket },
        "bind" => Call::Bind { socket },
        "listen" => Call::Listen { socket, backlog: optional_number(line, 5)? },
        "connect" => Call::Connect { socket, peer: peer(line)? },
        "accept" => {
            let new = if line.accept("as") { line.word("the new socket's name")? } else { "" };
            Call::Accept { socket, new: new.to_owned() }
        }
        "send" => Call::Send { socket, text: send_text(line)?, flags: message_flags(line) },
        "recv" => {
            let word = line.word("how many bytes")?;
            Call::Recv { socket, len: line.u32_of(word)?, flags: message_flags(line) }
        }
        "shutdown" => Call::Shutdown { socket, how: how(line)? },
        "close" => Call::Close { socket },
        "set" => {
            let option = option(line)?;
            Call::Set { socket, option, value: line.number("the option's value")? }
        }
        "get" => Call::Get { socket, option: option(line)? },
        _ => Call::Info { socket, tests: info(line)? },
    };
    let result = result(line, &call)?;
    Ok(What::Call { call, result })
}

fn optional_number(line: &mut Line<'_>, default: u32) -> Result<u32, ParseError> {
    match line.peek().filter(|word| *word != "=") {
        Some(word) => {
            let _ = line.word("a number")?;
            line.u32_of(word)
        }
        None => Ok(default),
    }
}

fn peer(line: &mut Line<'_>) -> Result<char, ParseError> {
    let Some(word) = line.peek().filter(|word| word.starts_with('@')) else { return Ok('a') };
    let _ = line.word("a peer")?;
    word.chars().nth(1).ok_or_else(|| line.error("a peer is one letter: @b"))
}

fn send_text(line: &mut Line<'_>) -> Result<SendText, ParseError> {
    let word = line.word("how many bytes, or a text in quotes")?;
    if word.starts_with('"') {
        return line.bytes_of(word).map(SendText::Literal);
    }
    line.u32_of(word).map(SendText::Len)
}

fn message_flags(line: &mut Line<'_>) -> MessageFlags {
    let mut flags = MessageFlags::default();
    loop {
        if line.accept("more") {
            flags.more = true;
        } else if line.accept("oob") {
            flags.oob = true;
        } else if line.accept("peek") {
            flags.peek = true;
        } else if line.accept("fastopen") {
            flags.fast_open = true;
        } else {
            return flags;
        }
    }
}

fn how(line: &mut Line<'_>) -> Result<How, ParseError> {
    match line.word("which side: rd, wr or both")? {
        "rd" => Ok(How::Read),
        "wr" => Ok(How::Write),
        "both" => Ok(How::Both),
        other => Err(line.error(&format!("\"{other}\" is neither rd, wr nor both"))),
    }
}

fn option(line: &mut Line<'_>) -> Result<SocketOption, ParseError> {
    let name = line.word("an option's name")?;
    let known = OPTIONS.iter().find(|option| option.name == name);
    known.copied().ok_or_else(|| line.error(&format!("\"{name}\" is no socket option we know")))
}

fn info(line: &mut Line<'_>) -> Result<Vec<(InfoField, Test)>, ParseError> {
    let mut tests = Vec::new();
    while let Some(word) = line.peek() {
        let _ = line.word("a field")?;
        let Some((name, value)) = word.split_once('=') else {
            return Err(line.error("a field has a value: cwnd=10"));
        };
        let Some((_, field)) = INFO_FIELDS.iter().find(|(known, _)| *known == name) else {
            return Err(line.error(&format!("\"{name}\" is no field of TCP_INFO we know")));
        };
        tests.push((*field, info_value(line, *field, value)?));
    }
    Ok(tests)
}

fn info_value(line: &Line<'_>, field: InfoField, value: &str) -> Result<Test, ParseError> {
    match field {
        InfoField::State => match STATES.iter().find(|(name, _)| *name == value) {
            Some((_, number)) => Ok(Test::Range(*number, *number)),
            None => Err(line.error(&format!("\"{value}\" is no state"))),
        },
        InfoField::Rto | InfoField::Rtt | InfoField::Rttvar => {
            let (low, high) = value.split_once("..").unwrap_or((value, value));
            let micros = |word| {
                let time = line.time_of(word)?.as_micros();
                i64::try_from(time).map_err(|_| line.error("too long"))
            };
            Ok(Test::Range(micros(low)?, micros(high)?))
        }
        _ => crate::parse_segment::range(line, value),
    }
}

fn result(line: &mut Line<'_>, call: &Call) -> Result<Outcome, ParseError> {
    if !line.accept("=") {
        return match call {
            Call::Recv { .. } | Call::Get { .. } => {
                Err(line.error("this call needs a result: = 100"))
            }
            _ => Ok(Outcome::Fine),
        };
    }
    let word = line.word("a result")?;
    if let Some((_, errno)) = ERRNOS.iter().find(|(name, _)| *name == word) {
        // SO_ERROR is a value that is an error.
        return Ok(match call {
            Call::Get { option, .. } if option.name == "ERROR" => {
                Outcome::Value(i64::from(*errno), i64::from(*errno))
            }
            _ => Outcome::Error(*errno),
        });
    }
    match crate::parse_segment::range(line, word)? {
        Test::Range(low, high) => Ok(Outcome::Value(low, high)),
        _ => Err(line.error("a result is a number or an error")),
    }
}
