//! A module's own thread: opens it, does what would block a worker, closes it.

use std::collections::VecDeque;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use loader::Alarm;

use crate::answers::Answers;
use crate::error::ProtocolError;
use crate::host::{Argument, Event, Health, Host};
use crate::instance::Instance;
use crate::library::Library;
use crate::limits::{EVENTS_MAX, WORK_MAX};
use crate::modules::{Id, Loading, Report};
use crate::path::PathServer;
use crate::variable::Variables;

/// Something for the thread to do.
#[derive(Debug)]
pub(crate) enum Job {
    /// What the module wants done.
    Work(Argument),
    /// The network has changed.
    Event(Event),
    /// No worker is in the module any more: the end.
    Close,
}

/// What waits for the thread.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    queue: Mutex<VecDeque<Job>>,
    more: Condvar,
}

impl Jobs {
    /// `false`: too many wait.
    pub(crate) fn push(&self, job: Job) -> bool {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let most = match job {
            Job::Work(_) => WORK_MAX,
            Job::Event(_) => EVENTS_MAX,
            Job::Close => usize::MAX,
        };
        if queue.len() >= most {
            return false;
        }
        queue.push_back(job);
        self.more.notify_one();
        true
    }

    fn next(&self) -> Job {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = queue.pop_front() {
                return job;
            }
            queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn rest(&self) -> VecDeque<Job> {
        core::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Where the thread reports to.
#[derive(Clone, Debug)]
pub(crate) struct Reports {
    pub(crate) to: Sender<Report>,
    pub(crate) alarm: Alarm,
}

impl Reports {
    fn send(&self, report: Report) {
        // Nobody is there any more when the daemon ends.
        if self.to.send(report).is_ok() {
            self.alarm.ring();
        }
    }
}

/// The thread's whole life.
pub(crate) fn run(id: Id, loading: Loading, reports: &Reports) {
    match open(loading) {
        Ok(instance) => {
            // Without it nobody is served there.
            let paths = PathServer::start(&instance);
            reports.send(Report::Opened(id, Ok(Arc::clone(&instance))));
            serve(&instance);
            if let Some(paths) = paths {
                paths.stop();
            }
            close(instance);
            reports.send(Report::Closed(id));
        }
        Err(error) => reports.send(Report::Opened(id, Err(error))),
    }
}

fn open(loading: Loading) -> Result<Arc<Instance>, ProtocolError> {
    let Loading { file, options, surroundings, jobs } = loading;
    let library = Library::load(file)?;
    let workers = surroundings.workers;
    if let Some((option, _)) = options.iter().find(|(key, _)| !library.knows(key)) {
        return Err(ProtocolError::UnknownOption {
            module: library.name.clone(),
            option: option.clone(),
            known: library.options.clone(),
        });
    }
    let answers = Answers::new().map_err(|errno| ProtocolError::Open {
        module: library.name.clone(),
        reason: errno.to_string(),
    })?;
    let host = Host {
        name: library.name.clone(),
        options,
        pool: surroundings.pool.clone(),
        network: Arc::clone(&surroundings.network),
        wake: Arc::clone(&surroundings.wake),
        // A module of one thread is the first worker's.
        mailboxes: (0..if library.is_single() { 1 } else { workers })
            .map(|_| Default::default())
            .collect(),
        jobs,
        attachments: Mutex::new(Some(Vec::new())),
        variables: Variables::default(),
        folder: surroundings.folder.clone(),
        paths: Mutex::default(),
        answers: Arc::new(answers),
        health: Health::new(surroundings.alarm.clone()),
    };
    Instance::open(library, host, &surroundings).map(Arc::new)
}

fn serve(instance: &Instance) {
    loop {
        match instance.host().jobs.next() {
            Job::Work(argument) => instance.work(&argument, false),
            Job::Event(event) => instance.event(&event),
            Job::Close => return,
        }
    }
}

/// What waits is given back to the module to be freed. The control thread and the workers have given
/// up their shares before it said so; if not, the module stays open rather than being used after its
/// end.
fn close(instance: Arc<Instance>) {
    let Some(instance) = Arc::into_inner(instance) else {
        return tracing::error!("a module is still in use and stays open");
    };
    for job in instance.host().jobs.rest() {
        if let Job::Work(argument) = job {
            instance.work(&argument, true);
        }
    }
    instance.discard_calls();
}
