//! Every limit of the endpoint, with the reason for the number.

use std::time::Duration;

/// Connections served at once; more wait in the kernel's backlog. A site has one or two Prometheus
/// servers and a person with curl.
pub(crate) const CONNECTIONS_MAX: usize = 8;

/// Bytes of a request's head. Prometheus sends about 400; it is also the least hyper can be told.
pub(crate) const HEAD_LEN_MAX: usize = 8 * 1024;

/// Time a connection may take from accept to close, so that eight slow clients can hold the
/// endpoint for five seconds and no longer.
pub(crate) const CONNECTION_TIME_MAX: Duration = Duration::from_secs(5);

/// How long dropping the server waits for its thread. The thread may be inside the source, and the
/// source may be waiting for the thread that drops the server.
pub(crate) const STOP_TIME_MAX: Duration = Duration::from_secs(1);

/// Pause after `accept` failed, which is EMFILE in practice: without it the loop would spin.
pub(crate) const ACCEPT_RETRY: Duration = Duration::from_millis(100);
