//! `iopkt sockstat`: whose the sockets are.

use std::collections::HashMap;
use std::fs;

use proto::table::{ClientRow, SocketRow};
use serde::Serialize;

use crate::cli::SockstatArgs;
use crate::control::Control;
use crate::fail::Failure;
use crate::output::{escape, left, right, show, table};

/// A socket and its user.
#[derive(Debug, Serialize)]
struct Row {
    user: String,
    #[serde(flatten)]
    socket: SocketRow,
}

/// Runs `sockstat`.
pub(crate) fn main(sock: Option<String>, args: &SockstatArgs) -> Result<(), Failure> {
    let mut control = Control::open(sock)?;
    let clients = control.clients()?;
    let users = users(&fs::read_to_string("/etc/passwd").unwrap_or_default());
    let sockets = control.sockets()?.into_iter().filter(|socket| is_wanted(socket, args));
    let rows: Vec<Row> =
        sockets.map(|socket| Row { user: user_of(&socket, &clients, &users), socket }).collect();
    show(&*rows, args.json, render)
}

fn is_wanted(socket: &SocketRow, args: &SockstatArgs) -> bool {
    let ipv6 = socket.local.is_ipv6();
    let of_family = !(args.inet4 || args.inet6) || (args.inet4 && !ipv6) || (args.inet6 && ipv6);
    let connected = socket.remote.is_some();
    let of_kind = !(args.connected || args.listening)
        || (args.connected && connected)
        || (args.listening && !connected);
    let of_protocol = args.protocol.as_ref().is_none_or(|protocol| *protocol == socket.protocol);
    let of_port = args.port.is_none_or(|port| {
        socket.local.port() == port || socket.remote.is_some_and(|remote| remote.port() == port)
    });
    of_family && of_kind && of_protocol && of_port
}

/// Names by number, from `passwd(5)`.
fn users(passwd: &str) -> HashMap<u32, String> {
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        Some((fields.nth(1)?.parse().ok()?, name.to_owned()))
    };
    passwd.lines().filter_map(entry).collect()
}

fn user_of(socket: &SocketRow, clients: &[ClientRow], users: &HashMap<u32, String>) -> String {
    let client = clients.iter().find(|client| socket.pid != 0 && client.pid == socket.pid);
    let Some(client) = client else { return "?".into() };
    users.get(&client.uid).cloned().unwrap_or_else(|| client.uid.to_string())
}

fn render(rows: &[Row]) -> String {
    let columns = [
        left("USER", |row: &Row| escape(&row.user)),
        left("COMMAND", |row| {
            if row.socket.program.is_empty() { "?".into() } else { escape(&row.socket.program) }
        }),
        right(
            "PID",
            |row| if row.socket.pid == 0 { "?".into() } else { row.socket.pid.to_string() },
        ),
        left("PROTO", |row| {
            let version = if row.socket.local.is_ipv6() { '6' } else { '4' };
            format!("{}{version}", escape(&row.socket.protocol))
        }),
        left("LOCAL ADDRESS", |row| {
            name(row.socket.local.ip().is_unspecified(), &row.socket.local)
        }),
        left("FOREIGN ADDRESS", |row| {
            row.socket.remote.map_or_else(|| "*:*".into(), |remote| name(false, &remote))
        }),
        left("STATE", |row| escape(&row.socket.state)),
    ];
    table(&columns, rows)
}

fn name(any: bool, address: &std::net::SocketAddr) -> String {
    match (any, address.port()) {
        (true, 0) => "*:*".into(),
        (true, port) => format!("*:{port}"),
        (false, _) => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(protocol: &str, local: &str, remote: Option<&str>, state: &str) -> SocketRow {
        SocketRow {
            protocol: protocol.into(),
            local: local.parse().unwrap(),
            remote: remote.map(|remote| remote.parse().unwrap()),
            state: state.into(),
            recv_queue: 0,
            send_queue: 0,
            pid: 42,
            program: "nginx".into(),
            worker: 0,
        }
    }

    #[test]
    fn each_socket_with_its_user() {
        let users = users("root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/:/bin/false\nbroken\n");
        let client = ClientRow { uid: 33, pid: 42, ..crate::lists::tests::client() };
        let sockets = [
            socket("tcp", "0.0.0.0:80", None, "LISTEN"),
            socket("tcp", "[2001:db8::2]:80", Some("[2001:db8::1]:4000"), "ESTABLISHED"),
            SocketRow { pid: 0, program: String::new(), ..socket("raw", "0.0.0.0:1", None, "") },
        ];
        let rows: Vec<Row> = sockets
            .into_iter()
            .map(|socket| Row {
                user: user_of(&socket, std::slice::from_ref(&client), &users),
                socket,
            })
            .collect();
        let expected = "\
USER  COMMAND  PID  PROTO  LOCAL ADDRESS      FOREIGN ADDRESS       STATE
www   nginx     42  tcp4   *:80               *:*                   LISTEN
www   nginx     42  tcp6   [2001:db8::2]:80   [2001:db8::1]:4000    ESTABLISHED
?     ?          ?  raw4   *:1                *:*
";
        let squeeze = |text: &str| {
            text.lines()
                .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect::<Vec<_>>()
        };
        assert_eq!(squeeze(&render(&rows)), squeeze(expected));
    }

    #[test]
    fn options_choose() {
        let all = SockstatArgs::default();
        let listening = SockstatArgs { listening: true, ..SockstatArgs::default() };
        let six = SockstatArgs { inet6: true, ..SockstatArgs::default() };
        let port = SockstatArgs { port: Some(80), ..SockstatArgs::default() };
        let listener = socket("tcp", "0.0.0.0:80", None, "LISTEN");
        let other = socket("udp", "198.18.77.2:53", Some("198.18.77.1:5353"), "");
        let wanted = |args| [is_wanted(&listener, args), is_wanted(&other, args)];
        assert_eq!(wanted(&all), [true, true]);
        assert_eq!(wanted(&listening), [true, false]);
        assert_eq!(wanted(&six), [false, false]);
        assert_eq!(wanted(&port), [true, false]);
    }
}
