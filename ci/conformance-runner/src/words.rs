//! A script's line as words, each with its column.

use std::rc::Rc;
use std::time::Duration;

use crate::parse::ParseError;
use crate::script::Place;

/// What is left of a line.
pub(crate) struct Line<'a> {
    file: Rc<str>,
    number: usize,
    text: &'a str,
    /// Bytes of `text` that are done.
    at: usize,
    /// Where the word taken last begins.
    last: usize,
}

impl<'a> Line<'a> {
    pub(crate) fn new(file: &Rc<str>, number: usize, text: &'a str) -> Self {
        let text = text.find('#').map_or(text, |at| &text[..at]);
        let mut line = Self { file: Rc::clone(file), number, text, at: 0, last: 0 };
        line.skip_space();
        line.last = line.at;
        line
    }

    fn skip_space(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    /// Where the next word is.
    pub(crate) fn place(&self) -> Place {
        Place { file: Rc::clone(&self.file), line: self.number, column: self.at + 1 }
    }

    /// A mistake at the word taken last.
    pub(crate) fn error(&self, what: &str) -> ParseError {
        let place = Place { file: Rc::clone(&self.file), line: self.number, column: self.last + 1 };
        ParseError { place, what: what.to_owned() }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    /// The next word, not taken. A quoted text is one word.
    pub(crate) fn peek(&self) -> Option<&'a str> {
        let rest = &self.text[self.at..];
        let mut quoted = false;
        let end = rest.find(|c: char| {
            quoted ^= c == '"';
            c.is_whitespace() && !quoted
        });
        let word = &rest[..end.unwrap_or(rest.len())];
        (!word.is_empty()).then_some(word)
    }

    /// Takes the next word if it is `word`.
    pub(crate) fn accept(&mut self, word: &str) -> bool {
        let there = self.peek() == Some(word);
        if there {
            self.take(word.len());
        }
        there
    }

    fn take(&mut self, len: usize) {
        self.last = self.at;
        self.at += len;
        self.skip_space();
    }

    /// The next word, whatever it is; `what` says what should stand there.
    pub(crate) fn word(&mut self, what: &str) -> Result<&'a str, ParseError> {
        let Some(word) = self.peek() else {
            self.last = self.at;
            return Err(self.error(&format!("here the line ends, and should have {what}")));
        };
        self.take(word.len());
        Ok(word)
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> String {
        let rest = self.text[self.at..].trim_end().to_owned();
        self.at = self.text.len();
        rest
    }

    pub(crate) fn end(&mut self) -> Result<(), ParseError> {
        match self.peek() {
            None => Ok(()),
            Some(word) => {
                self.last = self.at;
                Err(self.error(&format!("\"{word}\" is too much")))
            }
        }
    }

    pub(crate) fn number(&mut self, what: &str) -> Result<i64, ParseError> {
        let word = self.word(what)?;
        self.number_of(word)
    }

    pub(crate) fn number_of(&self, word: &str) -> Result<i64, ParseError> {
        let parsed = match word.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(hex, 16),
            None => word.parse(),
        };
        parsed.map_err(|_| self.error(&format!("\"{word}\" is no number")))
    }

    pub(crate) fn u32_of(&self, word: &str) -> Result<u32, ParseError> {
        let number = self.number_of(word)?;
        u32::try_from(number).map_err(|_| self.error(&format!("{number} is out of range")))
    }

    pub(crate) fn duration(&mut self) -> Result<Duration, ParseError> {
        let word = self.word("a time such as 200ms")?;
        self.time_of(word)
    }

    /// `5us`, `200ms`, `1.5s`, `2m`, `25h`.
    pub(crate) fn time_of(&self, word: &str) -> Result<Duration, ParseError> {
        const UNITS: [(&str, f64); 5] =
            [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
        let unit = UNITS.iter().find_map(|(name, factor)| {
            let number: f64 = word.strip_suffix(name)?.parse().ok()?;
            Duration::try_from_secs_f64(number * factor).ok()
        });
        unit.ok_or_else(|| self.error(&format!("\"{word}\" is no time such as 200ms")))
    }

    /// A text in quotes, or bytes as hexadecimal digits.
    pub(crate) fn bytes_of(&self, word: &str) -> Result<Vec<u8>, ParseError> {
        let quoted = word.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        if let Some(text) = quoted {
            return Ok(text.as_bytes().to_vec());
        }
        let digits: Option<Vec<u8>> = word
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        digits.filter(|_| word.len().is_multiple_of(2)).ok_or_else(|| {
            self.error(&format!("\"{word}\" is neither a text in quotes nor pairs of hex digits"))
        })
    }
}
