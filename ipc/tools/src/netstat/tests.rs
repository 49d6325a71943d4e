//! The tables, from fixed rows.

use std::net::Ipv4Addr;

use super::*;
use crate::ifconfig::tests::tap0;

fn socket(protocol: &str, remote: Option<&str>, state: &str, program: &str) -> SocketRow {
    SocketRow {
        protocol: protocol.into(),
        local: "0.0.0.0:80".parse().expect("address"),
        remote: remote.map(|text| text.parse().expect("address")),
        state: state.into(),
        recv_queue: 0,
        send_queue: 1448,
        pid: 42,
        program: program.into(),
        worker: 1,
    }
}

#[test]
fn sockets() {
    let rows = [
        socket("tcp", None, "LISTEN", "nginx"),
        socket("tcp", Some("198.18.77.1:40222"), "ESTABLISHED", "evil\u{1b}[31m\n"),
        SocketRow { pid: 0, ..socket("udp", None, "", "") },
    ];
    let expected = "\
Proto  Recv-Q  Send-Q  Local Address  Foreign Address    State        Worker  PID/Program
tcp         0    1448  *.80           *.*                LISTEN            1  42/nginx
tcp         0    1448  *.80           198.18.77.1.40222  ESTABLISHED       1  42/evil\\u{1b}[31m\\n
udp         0    1448  *.80           *.*                                  1  -
";
    assert_eq!(render_sockets(&rows), expected);
}

#[test]
fn routes() {
    let link = RouteRow {
        destination: Ipv4Addr::new(198, 18, 77, 0).into(),
        prefix_len: 24,
        gateway: None,
        interface: "tap0".into(),
        flags: "UC".into(),
        mtu: None,
    };
    let default = RouteRow {
        destination: Ipv4Addr::UNSPECIFIED.into(),
        prefix_len: 0,
        gateway: Some(Ipv4Addr::new(198, 18, 77, 1).into()),
        flags: "UGS".into(),
        ..link.clone()
    };
    let expected = "\
Routing tables

Internet:
Destination     Gateway      Flags  Interface
default         198.18.77.1  UGS    tap0
198.18.77.0/24  link         UC     tap0

Internet6:
Destination    Gateway  Flags  Interface
2001:db8::/64  link     UC     tap0
";
    let six = RouteRow {
        destination: "2001:db8::".parse().expect("address"),
        prefix_len: 64,
        ..link.clone()
    };
    assert_eq!(render_routes(&[default, six, link]), expected);
}

#[test]
fn interfaces() {
    let mut row = tap0();
    row.up = false;
    let expected = "\
Name    Mtu  Network         Address            Ipkts  Ierrs  Ibytes  Opkts  Oerrs  Obytes
tap0*  1500  <Link>          02:00:00:00:00:01     12      0    3456      7      1     890
tap0*  1500  198.18.77.0/24  198.18.77.2            -      -       -      -      -       -
tap0*  1500  10.0.0.1/32     10.0.0.1               -      -       -      -      -       -
tap0*  1500  fe80::/64       fe80::2                -      -       -      -      -       -
";
    assert_eq!(render_interfaces(&[row]), expected);
}

fn counter(subsystem: &str, name: &str, value: u64, text: &str) -> CounterRow {
    CounterRow { subsystem: subsystem.into(), name: name.into(), value, text: text.into() }
}

#[test]
fn counters_read_as_sentences() {
    let rows = vec![
        counter("tcp", "segments_received", 12, "Segments received."),
        counter("drop", "tcp_checksum", 1, "TCP checksum is wrong."),
        counter("tcp", "segments_sent", 9, ""),
        counter("drop", "ipv4_land", 2, "A packet from ourselves."),
    ];
    let expected = "\
drop:
\t1 TCP checksum is wrong
\t2 a packet from ourselves
tcp:
\t12 segments received
\t9 segments sent
";
    assert_eq!(render_counters(&of_subsystem(rows.clone(), None).unwrap()), expected);
    assert_eq!(of_subsystem(rows.clone(), Some("tcp")).unwrap().len(), 2);
    let unknown = of_subsystem(rows, Some("tpc")).unwrap_err();
    assert!(unknown.text.contains("there is: drop tcp"), "{}", unknown.text);
}

#[test]
fn mbufs() {
    let text = render_mbufs(&Mbufs { used: 300, total: 8192, hugepages: false });
    assert_eq!(text, "300/8192 mbufs in use (3%), 7892 free, in 4 KiB pages\n");
    let none = render_mbufs(&Mbufs { used: 0, total: 0, hugepages: true });
    assert_eq!(none, "0/0 mbufs in use (0%), 0 free, in hugepages\n");
}
