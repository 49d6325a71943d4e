//! Many scripts at once in real time, and Linux's differences as a list that must be true.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::live::Live;
use crate::parse;
use crate::play;
use crate::script::Script;
use crate::wire::Wire;

/// Scripts that run at the same time: they mostly wait.
const THREADS: usize = 16;
/// When a busy machine is to blame, fewer at a time find that out.
const THREADS_AGAIN: usize = 4;
/// So many more chances has a script that failed: real time is not exact.
const CHANCES: u32 = 2;
/// Scripts that take longer are left to virtual time.
const LENGTH_MAX: Duration = Duration::from_millis(4_000);

/// Which stack is on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trial {
    /// io-pkt's daemon.
    Daemon,
    /// Linux.
    Kernel,
}

/// How a script went.
#[derive(Debug)]
pub(crate) enum Verdict {
    Passed,
    /// It failed, and the list of differences says why.
    Explained(String),
    Failed(String),
    Skipped(String),
}

/// Why a script is not run here, if so.
fn reason_to_skip(script: &Script, trial: Trial) -> Option<String> {
    if let Some(reason) = &script.virtual_only {
        return Some(format!("only in virtual time: {reason}"));
    }
    if let Some(reason) = script.own.as_ref().filter(|_| trial == Trial::Kernel) {
        return Some(format!("not about Linux: {reason}"));
    }
    (script.length() > LENGTH_MAX).then(|| format!("takes longer than {LENGTH_MAX:?}"))
}

/// Runs scripts by name. Each is read by the thread that runs it.
pub(crate) fn run(
    root: &Path,
    names: &[String],
    wire: &Arc<Wire>,
    trial: Trial,
) -> BTreeMap<String, Verdict> {
    let number = AtomicU16::new(1);
    let mut verdicts = BTreeMap::new();
    let mut queue: Vec<String> = names.to_vec();
    for chance in 0..=CHANCES {
        let threads = if chance == 0 { THREADS } else { THREADS_AGAIN };
        if chance > 0 && !queue.is_empty() {
            println!("{} scripts failed; once more, fewer at a time", queue.len());
        }
        for (name, verdict) in round(root, &queue, wire, trial, (&number, threads)) {
            let _ = verdicts.insert(name, verdict);
        }
        queue.retain(|name| matches!(verdicts.get(name), Some(Verdict::Failed(_))));
    }
    verdicts
}

fn round(
    root: &Path,
    names: &[String],
    wire: &Arc<Wire>,
    trial: Trial,
    (number, threads): (&AtomicU16, usize),
) -> Vec<(String, Verdict)> {
    let queue = Mutex::new(names.iter().cloned().collect::<VecDeque<_>>());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let verdicts = Mutex::new(Vec::new());
    let work = || {
        while let Some(name) = next() {
            let verdict = one(root, &name, wire, trial, number);
            verdicts.lock().unwrap_or_else(PoisonError::into_inner).push((name, verdict));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let _joined_at_the_end = scope.spawn(work);
        }
    });
    verdicts.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn one(root: &Path, name: &str, wire: &Arc<Wire>, trial: Trial, number: &AtomicU16) -> Verdict {
    let script = match parse::script(root, name) {
        Ok(script) => script,
        Err(error) => return Verdict::Failed(error.to_string()),
    };
    if let Some(reason) = reason_to_skip(&script, trial) {
        return Verdict::Skipped(reason);
    }
    let number = number.fetch_add(1, Ordering::Relaxed);
    let mut live = match Live::new(wire, number) {
        Ok(live) => live,
        Err(error) => return Verdict::Failed(format!("{name}: no frames: {error}")),
    };
    match play::play(&script, &mut live) {
        Ok(()) => Verdict::Passed,
        Err(what) => Verdict::Failed(what),
    }
}

/// The list of what a stack does otherwise: `| script | reason |` in a page.
pub(crate) fn differences(page: &str) -> BTreeMap<String, String> {
    page.lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.splitn(2, "` |");
            let name = cells.next()?;
            let reason = cells.next()?.trim().trim_end_matches('|').trim();
            Some((name.to_owned(), reason.to_owned()))
        })
        .collect()
}

/// Compares how scripts went with the list; a failure that the list explains is as it should be.
/// Linux does not change from one run to the next, so what passes must not be listed; the daemon is
/// being worked on, and what passes is news.
pub(crate) fn explain(
    verdicts: &mut BTreeMap<String, Verdict>,
    explained: &BTreeMap<String, String>,
    trial: Trial,
    everything: bool,
) {
    for (name, reason) in explained {
        let verdict = match verdicts.get(name) {
            Some(Verdict::Failed(_)) if !reason.is_empty() => Verdict::Explained(reason.clone()),
            Some(Verdict::Failed(_) | Verdict::Explained(_)) => continue,
            Some(Verdict::Passed) if trial == Trial::Daemon => {
                println!("{name} passes now: take it out of daemon-differences.md");
                continue;
            }
            Some(Verdict::Passed) => Verdict::Failed(format!(
                "{name}: Linux passes, but the list of differences says: {reason}"
            )),
            Some(Verdict::Skipped(_)) => {
                Verdict::Failed(format!("{name}: is in the list of differences and was not run"))
            }
            None if everything => {
                Verdict::Failed(format!("{name}: is in the list of differences and no script"))
            }
            None => continue,
        };
        let _ = verdicts.insert(name.clone(), verdict);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_a_table() {
        let page = "# x\n| script | why |\n|---|---|\n| `a/b` | because |\n";
        let list = differences(page);
        assert_eq!(list.get("a/b").map(String::as_str), Some("because"));
        assert_eq!(list.len(), 1);
    }

    #[test]
    fn a_difference_that_vanished_is_a_failure() {
        let list = differences("| `a/b` | because |\n| `a/c` | because |\n");
        let mut verdicts = BTreeMap::from([
            ("a/b".to_owned(), Verdict::Passed),
            ("a/c".to_owned(), Verdict::Failed("x".to_owned())),
        ]);
        explain(&mut verdicts, &list, Trial::Kernel, true);
        assert!(matches!(verdicts["a/b"], Verdict::Failed(_)));
        assert!(matches!(verdicts["a/c"], Verdict::Explained(_)));
    }
}
