//! `iopkt nicinfo`, and `iopkt ifconfig IF drvspec`: what a driver knows, and commands of its own.

use std::fmt::Write as _;

use proto::table::NicRow;
use proto::{Reply, Request};
use rustix::io::Errno;

use crate::cli::NicinfoArgs;
use crate::control::{CallError, Control};
use crate::fail::Failure;
use crate::output::{escape, print, show};

/// Runs `nicinfo`.
pub(crate) fn nicinfo(sock: Option<String>, args: &NicinfoArgs) -> Result<(), Failure> {
    let mut control = Control::open(sock)?;
    let names = match &args.interface {
        Some(name) => vec![name.clone()],
        // lo0 has no driver.
        None => control.interfaces()?.into_iter().map(|r| r.name).filter(|n| n != "lo0").collect(),
    };
    let rows = names.iter().map(|name| nic(&mut control, name)).collect::<Result<Vec<_>, _>>()?;
    show(&*rows, args.json, render)
}

/// The lines of `ifconfig -m`: speeds that the wire can have. An interface without a driver has none.
pub(crate) fn media_lines(control: &mut Control, name: &str) -> Result<String, Failure> {
    let words = match control.call(Request::Nic { interface: name.into() }) {
        Ok(Reply::Nic(row)) => row.media,
        Ok(_) => return Err(Failure::other_version(control.path())),
        Err(CallError::Refused(_)) => return Ok(String::new()),
        Err(error) => return Err(refused(error, name, "no media")),
    };
    let mut text = String::from("\tsupported media:\n\t\tmedia autoselect\n");
    for word in &words {
        let (kind, duplex) = word.split_once(' ').unwrap_or((word, ""));
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "\t\tmedia {} mediaopt {}", escape(kind), escape(duplex));
    }
    Ok(text)
}

fn nic(control: &mut Control, name: &str) -> Result<NicRow, Failure> {
    match control.call(Request::Nic { interface: name.into() }) {
        Ok(Reply::Nic(row)) => Ok(*row),
        Ok(_) => Err(Failure::other_version(control.path())),
        Err(error) => Err(refused(error, name, "no counters of its driver")),
    }
}

/// Runs `ifconfig IF drvspec NUMBER [TEXT]`: gives the driver a command and prints its answer.
pub(crate) fn command(control: &mut Control, name: &str, words: &[String]) -> Result<(), Failure> {
    let usage = || Failure::usage("write: iopkt ifconfig IF drvspec NUMBER [TEXT]".into());
    let (number, text) = words.split_first().ok_or_else(usage)?;
    let command = number.parse().map_err(|_| usage())?;
    let data = text.join(" ").into_bytes();
    match control.call(Request::DriverCommand { interface: name.into(), command, data }) {
        Ok(Reply::Value(answer)) if answer.is_empty() => Ok(()),
        Ok(Reply::Value(answer)) => print(&(in_words(&answer) + "\n")),
        Ok(_) => Err(Failure::other_version(control.path())),
        Err(error) => Err(refused(error, name, &format!("command {command}"))),
    }
}

/// Text as it is, other bytes as numbers.
fn in_words(answer: &[u8]) -> String {
    str::from_utf8(answer).map_or_else(
        |_| answer.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "),
        escape,
    )
}

fn refused(error: CallError, name: &str, what: &str) -> Failure {
    match error {
        CallError::Broken(failure) => failure,
        CallError::Refused(errno) => {
            let hint = match Errno::from_raw_os_error(errno) {
                Errno::NXIO => "see: iopkt ifconfig -l",
                Errno::OPNOTSUPP => "its driver knows none",
                _ => "the daemon's log may say more",
            };
            Failure::refused(&format!("{}: {what}", escape(name)), errno, hint)
        }
    }
}

fn render(rows: &[NicRow]) -> String {
    let mut text = String::new();
    for row in rows {
        // Writing to a String cannot fail.
        let _infallible = render_one(&mut text, row);
    }
    text
}

fn render_one(text: &mut String, row: &NicRow) -> std::fmt::Result {
    let on = |on: bool| if on { "yes" } else { "no" };
    writeln!(text, "{}:", escape(&row.interface))?;
    writeln!(text, "  {:<24}{}", "driver", escape(&row.driver))?;
    writeln!(text, "  {:<24}{}", "address", row.mac)?;
    writeln!(text, "  {:<24}{}", "mtu", row.mtu)?;
    writeln!(text, "  {:<24}{}", "link", if row.link { "up" } else { "down" })?;
    if row.speed_mbps > 0 {
        let duplex = if row.full_duplex { "full" } else { "half" };
        writeln!(text, "  {:<24}{} Mbit/s, {duplex} duplex", "media", row.speed_mbps)?;
    }
    writeln!(text, "  {:<24}{}", "queues", row.queues)?;
    writeln!(text, "  {:<24}{}", "capabilities", escape(&row.capabilities.join(" ")))?;
    writeln!(text, "  {:<24}{}", "promiscuous", on(row.promiscuous))?;
    writeln!(text, "  {:<24}{}", "all multicast", on(row.all_multicast))?;
    for counter in &row.counters {
        writeln!(text, "  {:<24}{}", escape(&counter.name), counter.value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proto::table::NicCounter;
    use types::MacAddr;

    use super::*;

    #[test]
    fn answers_are_shown_as_text_or_as_bytes() {
        assert_eq!(in_words(b"loss=5"), "loss=5");
        assert_eq!(in_words(&[0xff, 1]), "ff 01");
    }

    #[test]
    fn a_driver_is_shown_with_the_counters_that_it_keeps() {
        let row = NicRow {
            interface: "tap0".into(),
            driver: "net_tap".into(),
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            link: true,
            speed_mbps: 10_000,
            full_duplex: true,
            queues: 1,
            media: vec!["1000baseT full-duplex".into()],
            capabilities: vec!["chains".into(), "loans".into()],
            promiscuous: false,
            all_multicast: true,
            counters: vec![NicCounter { name: "rxed_ok".into(), value: 7 }],
        };
        let text = render(&[row]);
        for line in [
            "  media                   10000 Mbit/s, full duplex\n",
            "  rxed_ok                 7\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
