//! `sim trace`: one connection for people to look at.

use core::net::Ipv4Addr;
use core::time::Duration;

use crate::World;
use crate::app::Plan;
use crate::host::HostSettings;
use crate::link::LinkSettings;

/// A client sends `len` bytes, gets as many, and closes, over a path of 10 ms each way and
/// 10 Mbit/s that loses `loss` packets in a million. Returns the lines, and whether all bytes
/// were right.
#[must_use]
pub fn run(seed: u64, len: u64, loss: u32) -> (Vec<String>, bool) {
    let mut world = World::new(seed);
    world.trace.record();
    let client = world.add_host(Ipv4Addr::new(10, 0, 0, 1), HostSettings::default());
    let server = world.add_host(Ipv4Addr::new(10, 0, 0, 2), HostSettings::default());
    let path = LinkSettings {
        rate: Some(1_250_000),
        queue_len: 50_000,
        loss,
        ..LinkSettings::perfect(Duration::from_millis(10))
    };
    let _ = world.add_link(client, server, path);
    let _ = world.add_link(server, client, path);
    world.hosts[server.0].listen(80, 8, Plan::exchange(0, 0));
    let _ = world.connect(client, server, 80, Plan::exchange(len, len));
    let end = world.now() + Duration::from_secs(3_600);
    world.run_until(end);
    let mut ends = world.hosts.iter().flat_map(|host| &host.reports);
    let right = ends.all(|end| end.completed_at.is_some() && !end.wrong);
    (world.trace.take_lines(), right)
}
