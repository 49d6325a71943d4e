//! `iopkt route load`: routes by the hundred thousand, from a file; `iopkt fpm` sends them the same way.

use std::io::Read as _;
use std::net::IpAddr;
use std::time::Duration;

use proto::message::{Load, Loaded, NewRoute};
use proto::{Reply, Request};
use rustix::io::Errno;
use serde::Serialize;

use super::{explain_load, parse_new};
use crate::address;
use crate::control::{CallError, Control};
use crate::fail::{Failure, describe};
use crate::output::show;

/// Time between two questions whether it is done.
const PATIENCE: Duration = Duration::from_millis(5);
/// Questions asked at most until somebody else's load is over: half a minute.
const OTHERS_MAX: u32 = 6_000;
/// Questions asked at most: a load that never ends is a broken daemon.
const QUESTIONS_MAX: u32 = 60_000;

/// What became of a load, for `--json`.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Outcome {
    taken: u32,
    refused: u32,
    gone: u32,
}

/// Reads the file (`-`: standard input), sends its routes, and waits until they are in force.
pub(super) fn load(
    control: &mut Control,
    file: &str,
    replace: bool,
    json: bool,
) -> Result<(), Failure> {
    let routes =
        parse_file(&read(file)?).map_err(|why| Failure::failed(format!("{file}: {why}")))?;
    told(&send(control, &routes, &[], replace)?, json)
}

/// Sends routes, and destinations of earlier ones that go, and waits until the workers have them.
pub(crate) fn send(
    control: &mut Control,
    routes: &[NewRoute],
    gone: &[(IpAddr, u8)],
    replace: bool,
) -> Result<Loaded, Failure> {
    wait_for_others(control)?;
    let mut step = |step: Load| match control.call(Request::LoadRoutes(step)) {
        Ok(Reply::Loaded(loaded)) => Ok(loaded),
        Ok(_) => Err(Failure::failed("the daemon's answer is of another kind".into())),
        Err(CallError::Refused(errno)) => Err(explain_load(errno)),
        Err(CallError::Broken(failure)) => Err(failure),
    };
    for part in routes.chunks(Load::ROUTES_MAX) {
        let _ = step(Load::Routes(part.to_vec()))?;
    }
    for part in gone.chunks(Load::ROUTES_MAX) {
        let _ = step(Load::Gone(part.to_vec()))?;
    }
    let mut loaded = step(Load::End { replace })?;
    for _ in 0..QUESTIONS_MAX {
        if !loaded.under_way {
            return Ok(loaded);
        }
        std::thread::sleep(PATIENCE);
        loaded = step(Load::Ask)?;
    }
    Err(Failure::failed(
        "the daemon does not come to an end with the routes; see: iopkt status".into(),
    ))
}

/// Begins a load, as soon as nobody else's is under way.
fn wait_for_others(control: &mut Control) -> Result<(), Failure> {
    for _ in 0..OTHERS_MAX {
        match control.call(Request::LoadRoutes(Load::Begin)) {
            Ok(_) => return Ok(()),
            Err(CallError::Refused(errno)) if errno == Errno::BUSY.raw_os_error() => {
                std::thread::sleep(PATIENCE);
            }
            Err(CallError::Refused(errno)) => return Err(explain_load(errno)),
            Err(CallError::Broken(failure)) => return Err(failure),
        }
    }
    Err(explain_load(Errno::BUSY.raw_os_error()))
}

fn told(loaded: &Loaded, json: bool) -> Result<(), Failure> {
    let &Loaded { taken, refused, gone, first_refused, .. } = loaded;
    show(&Outcome { taken, refused, gone }, json, |_| {
        format!("{taken} routes taken, {refused} refused, {gone} of earlier loads gone\n")
    })?;
    let Some((to, len, errno)) = first_refused else { return Ok(()) };
    Err(Failure::failed(format!(
        "{refused} routes were refused, the first to {}: {}; gateways must be on a network of an interface, \
         and what was added by iopkt route add stays",
        address::destination(to, len),
        describe(errno)
    )))
}

fn read(file: &str) -> Result<String, Failure> {
    let mut text = String::new();
    let read = match file {
        "-" => std::io::stdin().lock().read_to_string(&mut text).map(|_| ()),
        path => std::fs::read_to_string(path).map(|read| text = read),
    };
    read.map(|()| text).map_err(|error| {
        Failure::failed(format!("cannot read {file}: {error}; give a readable file"))
    })
}

/// A route a line, as after `route add`; `#` begins a remark. Sorted: neighbouring routes together cost the
/// daemon less.
fn parse_file(text: &str) -> Result<Vec<NewRoute>, String> {
    let mut routes = Vec::new();
    for (number, line) in (1_u32..).zip(text.lines()) {
        let words: Vec<&str> =
            line.split('#').next().unwrap_or_default().split_whitespace().collect();
        if !words.is_empty() {
            let route = parse_new(words, false);
            routes.push(route.map_err(|why| format!("line {number}: {why}"))?);
        }
    }
    routes.sort_by_key(place);
    Ok(routes)
}

fn place(route: &NewRoute) -> (IpAddr, u8) {
    (route.destination, route.prefix_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_route_a_line() {
        let text =
            "# two routes\n10.1.0.0/16 198.18.77.1 -mtu 1400\n\n  10.0.0.0/16 -blackhole # none\n";
        let routes = parse_file(text).unwrap();
        let first: Vec<String> = routes.iter().map(|r| r.destination.to_string()).collect();
        assert_eq!(first, ["10.0.0.0", "10.1.0.0"], "sorted");
        assert_eq!(routes[1].mtu, Some(1400));
        let error = parse_file("10.1.0.0/16 198.18.77.1\n10.1.0.0\n").unwrap_err();
        assert!(error.starts_with("line 2: "), "{error}");
    }
}
