//! What has happened and waits to be read.

use std::collections::VecDeque;

use crate::engine::Event;
use crate::limits::{READY_MAX, UNREAD_MAX};

/// Events in order. Each counts with its message and itself, so that empty ones have a limit too.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    events: VecDeque<Event>,
    len: usize,
}

impl Inbox {
    pub(crate) fn push(&mut self, event: Event) {
        self.len = self.len.saturating_add(cost(&event));
        self.events.push_back(event);
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        self.len = self.len.saturating_sub(cost(&event));
        Some(event)
    }

    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Peers may be told that there is room.
    pub(crate) fn has_room(&self) -> bool {
        self.len <= READY_MAX
    }

    /// Peers have sent more than they were told to.
    pub(crate) fn is_full(&self) -> bool {
        self.len >= UNREAD_MAX
    }
}

fn cost(event: &Event) -> usize {
    let message = if let Event::Message { bytes, .. } = event { bytes.len() } else { 0 };
    message.saturating_add(size_of::<Event>())
}
