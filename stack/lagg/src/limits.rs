//! Every limit and time of an aggregate, with the reason for the number.

use core::time::Duration;

/// Ports of one aggregate: what chips of switches have.
pub const PORTS_MAX: usize = 16;

/// Who does not say otherwise: the middle of what there is (6.3.2).
pub const PRIORITY: u16 = 0x8000;

/// Between two messages to one who wants to hear often (6.4.4).
pub const FAST_PERIODIC: Duration = Duration::from_secs(1);

/// Between two messages to any other (6.4.4).
pub const SLOW_PERIODIC: Duration = Duration::from_secs(30);

/// Who was silent for so long is gone; we ask to be spoken to often (6.4.4).
pub const SHORT_TIMEOUT: Duration = Duration::from_secs(3);

/// A port waits so long before it is used, so that several that come together are used together (6.4.4).
pub const AGGREGATE_WAIT: Duration = Duration::from_secs(2);

/// Messages by one port within [`FAST_PERIODIC`] (6.4.16).
pub const MESSAGES_PER_PERIOD: u8 = 3;

/// Messages that wait to be sent: what all ports may say at once.
pub const MESSAGES_MAX: usize = PORTS_MAX * MESSAGES_PER_PERIOD as usize;
