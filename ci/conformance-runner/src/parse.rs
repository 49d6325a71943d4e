//! From text to a [`Script`], with messages that say file, line and column.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use crate::script::{Place, Script, Step, What};
use crate::words::Line;

/// A mistake in a script.
#[derive(Debug)]
pub(crate) struct ParseError {
    pub(crate) place: Place,
    pub(crate) what: String,
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Scripts may begin with others, which may begin with others, so many times.
const GIVEN_DEPTH: usize = 8;

/// Reads `root/name.tcp`, and what it builds on from `root/given/`.
pub(crate) fn script(root: &Path, name: &str) -> Result<Script, ParseError> {
    let path = root.join(format!("{name}.tcp"));
    let file: Rc<str> = path.display().to_string().into();
    let text = read(&path, &file)?;
    let mut script = Script {
        name: name.to_owned(),
        clauses: Vec::new(),
        title: String::new(),
        own: None,
        virtual_only: None,
        steps: Vec::new(),
    };
    head(&mut script, &file, &text)?;
    body(&mut script, root, &file, &text, 0)?;
    Ok(script)
}

fn read(path: &Path, file: &Rc<str>) -> Result<String, ParseError> {
    std::fs::read_to_string(path).map_err(|error| ParseError {
        place: Place { file: Rc::clone(file), line: 1, column: 1 },
        what: format!("cannot read it: {error}"),
    })
}

/// The first line names RFC clauses, the comment lines that follow say what must happen.
fn head(script: &mut Script, file: &Rc<str>, text: &str) -> Result<(), ParseError> {
    let fail = |line: usize, what: &str| {
        let place = Place { file: Rc::clone(file), line, column: 1 };
        Err(ParseError { place, what: what.to_owned() })
    };
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let Some(list) = first.strip_prefix("# RFC ") else {
        return fail(1, "the first line names what is shown: # RFC 9293 3.10.7.4; RFC 5961 3.2");
    };
    for clause in list.split(';') {
        let clause = clause.trim().trim_start_matches("RFC ");
        let Some((rfc, section)) = clause.split_once(' ') else {
            return fail(1, "a clause is a number and a section: RFC 9293 3.10.7.4");
        };
        if !rfc.chars().all(|c| c.is_ascii_digit()) {
            return fail(1, "an RFC is a number: RFC 9293 3.10.7.4");
        }
        script.clauses.push((rfc.to_owned(), section.trim().to_owned()));
    }
    let title: Vec<&str> = lines
        .take_while(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim())
        .collect();
    script.title = title.join(" ");
    if script.title.is_empty() {
        return fail(2, "the second line says what must happen: # A RST closes the connection.");
    }
    Ok(())
}

fn body(
    script: &mut Script,
    root: &Path,
    file: &Rc<str>,
    text: &str,
    depth: usize,
) -> Result<(), ParseError> {
    for (number, raw) in text.lines().enumerate() {
        let mut line = Line::new(file, number.saturating_add(1), raw);
        if line.is_at_end() {
            continue;
        }
        if line.accept("given") {
            let name = line.word("what is given: given established")?;
            if depth >= GIVEN_DEPTH {
                return Err(line.error("too many files that build on one another"));
            }
            let path = root.join("given").join(format!("{name}.tcp"));
            if !path.exists() {
                return Err(line.error(&format!("there is no {}", path.display())));
            }
            let given: Rc<str> = path.display().to_string().into();
            let text = read(&path, &given)?;
            body(script, root, &given, &text, depth.saturating_add(1))?;
        } else if line.accept("own") {
            script.own = Some(line.rest());
            continue;
        } else if line.accept("virtual") {
            script.virtual_only = Some(line.rest());
            continue;
        } else {
            let place = line.place();
            let what = statement(&mut line)?;
            script.steps.push(Step { place, text: raw.trim().into(), what });
        }
        line.end()?;
    }
    Ok(())
}

fn statement(line: &mut Line<'_>) -> Result<What, ParseError> {
    if line.accept("<") {
        return crate::parse_segment::injected(line).map(What::Inject);
    }
    if line.accept(">") {
        let template = crate::parse_segment::expected(line)?;
        let after = if line.accept("after") { Some(range_of_time(line)?) } else { None };
        return Ok(What::Expect { template, after });
    }
    if line.accept(">?") {
        return crate::parse_segment::expected(line).map(What::Maybe);
    }
    if line.accept("wait") {
        return Ok(What::Wait(line.duration()?));
    }
    if line.accept("ignore") {
        return Ok(What::Ignore(line.duration()?));
    }
    crate::parse_call::call(line)
}

/// `200ms` or `200ms..300ms`.
fn range_of_time(line: &mut Line<'_>) -> Result<(Duration, Duration), ParseError> {
    let word = line.word("a time: after 200ms, after 200ms..300ms")?;
    match word.split_once("..") {
        Some((low, high)) => Ok((line.time_of(low)?, line.time_of(high)?)),
        None => line.time_of(word).map(|time| (time, time)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let file: Rc<str> = "a.tcp".into();
        let mut line = Line::new(&file, 3, text);
        let result = statement(&mut line).and_then(|_| line.end());
        result.expect_err("a mistake").to_string()
    }

    #[test]
    fn mistakes_name_their_place_and_what_is_wrong() {
        for (text, place, what) in [
            ("< SIN seq=0", "a.tcp:3:3", "\"SIN\" is no control bit"),
            ("> ACK sequence=0", "a.tcp:3:7", "\"sequence\" is no field"),
            ("> ACK seq=x", "a.tcp:3:7", "\"x\" is no number"),
            ("< ACK seq=1..2", "a.tcp:3:7", "must be said exactly"),
            ("> ACK after soon", "a.tcp:3:13", "\"soon\" is no time"),
            ("wait", "a.tcp:3:5", "here the line ends"),
            ("sned c 10", "a.tcp:3:1", "\"sned\" is neither"),
            ("recv c 10", "a.tcp:3:8", "needs a result"),
            ("get c COLOUR = 1", "a.tcp:3:7", "no socket option"),
            ("close c now", "a.tcp:3:9", "\"now\" is too much"),
            ("info c state=OPEN", "a.tcp:3:8", "\"OPEN\" is no state"),
        ] {
            let said = error(text);
            assert!(said.starts_with(&format!("{place}: ")), "{text}: {said}");
            assert!(said.contains(what), "{text}: {said}");
        }
    }

    #[test]
    fn a_line_becomes_what_it_says() {
        let file: Rc<str> = "a.tcp".into();
        let mut line = Line::new(&file, 1, "  > @b SYN,ACK ack=1 -ts len=2*10 after 1s..2s # why");
        let what = statement(&mut line).expect("a good line");
        let What::Expect { template, after } = what else { panic!("{what:?}") };
        assert_eq!((template.peer, template.flags, template.count), ('b', 0x12, 2));
        assert_eq!(template.fields.len(), 2);
        assert_eq!(after, Some((Duration::from_secs(1), Duration::from_secs(2))));
    }
}
