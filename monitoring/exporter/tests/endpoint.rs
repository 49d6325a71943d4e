//! The endpoint as its peers see it: Prometheus, a person with curl, and those who mean harm.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use exporter::{
    AttachmentSample, BuildInfo, CounterSample, GaugeSample, HistogramSample, InterfaceSample,
    ModuleSample, NeighborSample, PoolSample, Sample, ServeError, Server, Source, WorkerSample,
    render, serve,
};

fn full_sample() -> Sample {
    Sample {
        build: BuildInfo { version: "0.1.0".into(), dpdk: "22.11.11".into() },
        workers: vec![WorkerSample {
            worker: 1,
            busy_ratio: 0.25,
            breaths: 9,
            busy_breaths: 5,
            sleeps: 2,
        }],
        interfaces: vec![InterfaceSample {
            interface: "tap\"0\n".into(),
            rx_packets: 7,
            rx_bytes: 8,
            rx_errors: 9,
            tx_packets: 10,
            tx_bytes: 11,
            tx_errors: 12,
            up: true,
        }],
        modules: vec![
            ModuleSample {
                module: "pair".into(),
                kind: "driver",
                loaded: true,
                failures: 2,
                interfaces: 2,
                failed: 1,
                ..<_>::default()
            },
            ModuleSample {
                module: "noping".into(),
                kind: "protocol",
                loaded: true,
                attachments: vec![AttachmentSample {
                    to: "inet in".into(),
                    interface: String::new(),
                    passed: 5,
                    dropped: 3,
                    taken: 1,
                }],
                variables: vec![("level".into(), -4)],
                ..<_>::default()
            },
            // It is gone; that it had failed is not forgotten.
            ModuleSample { module: "gone".into(), kind: "protocol", failures: 1, ..<_>::default() },
        ],
        drops: vec![3],
        mbufs: vec![PoolSample { pool: "rx0".into(), used: 1, free: 2 }],
        tcp_connections: vec![("established".into(), 2)],
        sockets: vec![("tcp".into(), 3)],
        tcp_rtt: Some(HistogramSample {
            buckets: vec![(0.001, 1), (0.01, 2), (f64::INFINITY, 1)],
            sum: 0.05,
        }),
        neighbors: vec![NeighborSample { family: "inet".into(), state: "stale".into(), count: 1 }],
        clients: 4,
        clients_reaped: vec![("killed".into(), 1)],
        client_violations: 0,
        quota_hits: vec![("sockets".into(), 2)],
        counters: vec![row("tcp", "segments_received", 5), row("tcp", "segments_received", 6)],
        gauges: vec![GaugeSample {
            subsystem: "ipv4".into(),
            name: "fragments_held".into(),
            help: "Fragments held for reassembly.".into(),
            value: 1.0,
        }],
    }
}

fn row(subsystem: &'static str, name: &'static str, value: u64) -> CounterSample {
    let help = "Segments that arrived.".into();
    CounterSample { subsystem: subsystem.into(), name: name.into(), help, value }
}

fn start() -> Server {
    let source: Source = Arc::new(full_sample);
    serve(SocketAddr::from(([127, 0, 0, 1], 0)), source).expect("a free port")
}

/// Sends `request` and returns everything the server says until it closes.
fn ask(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).expect("listening");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    // A server that refuses early may close before the last byte is written.
    let _refused = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer);
    String::from_utf8(answer).expect("text")
}

fn get(server: &Server, path: &str) -> String {
    ask(server, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
}

#[test]
fn names_and_labels_are_those_of_the_documentation() {
    let text = render(&full_sample());
    for line in [
        "iopkt_build_info{version=\"0.1.0\",dpdk=\"22.11.11\"} 1",
        "iopkt_modules{kind=\"driver\",state=\"running\"} 0",
        "iopkt_modules{kind=\"driver\",state=\"failed\"} 1",
        "iopkt_modules{kind=\"protocol\",state=\"running\"} 1",
        "iopkt_module_failures_total{module=\"pair\",kind=\"driver\"} 2",
        "iopkt_module_failures_total{module=\"gone\",kind=\"protocol\"} 1",
        "iopkt_module_packets_total{module=\"noping\",attachment=\"inet in\",interface=\"\",verdict=\"passed\"} 5",
        "iopkt_module_packets_total{module=\"noping\",attachment=\"inet in\",interface=\"\",verdict=\"dropped\"} 3",
        "iopkt_module_packets_total{module=\"noping\",attachment=\"inet in\",interface=\"\",verdict=\"taken\"} 1",
        "iopkt_module_variable{module=\"noping\",variable=\"level\"} -4",
        "iopkt_module_interfaces_failed{module=\"pair\"} 1",
        "iopkt_interface_receive_packets_total{interface=\"tap\\\"0\\n\"} 7",
        "iopkt_interface_receive_bytes_total{interface=\"tap\\\"0\\n\"} 8",
        "iopkt_interface_receive_errors_total{interface=\"tap\\\"0\\n\"} 9",
        "iopkt_interface_transmit_packets_total{interface=\"tap\\\"0\\n\"} 10",
        "iopkt_interface_transmit_bytes_total{interface=\"tap\\\"0\\n\"} 11",
        "iopkt_interface_transmit_errors_total{interface=\"tap\\\"0\\n\"} 12",
        "iopkt_interface_up{interface=\"tap\\\"0\\n\"} 1",
        "iopkt_worker_breaths_total{worker=\"1\"} 9",
        "iopkt_worker_busy_breaths_total{worker=\"1\"} 5",
        "iopkt_worker_sleeps_total{worker=\"1\"} 2",
        "iopkt_module_interfaces{module=\"pair\"} 2",
        "iopkt_dropped_packets_total{layer=\"ethernet\",reason=\"ethernet_too_short\"} 3",
        "iopkt_dropped_packets_total{layer=\"tcp\",reason=\"tcp_paws\"} 0",
        "iopkt_mbufs{pool=\"rx0\",state=\"free\"} 2",
        "iopkt_mbufs{pool=\"rx0\",state=\"used\"} 1",
        "iopkt_worker_busy_ratio{worker=\"1\"} 0.25",
        "iopkt_tcp_connections{state=\"established\"} 2",
        "iopkt_tcp_rtt_seconds_bucket{le=\"0.01\"} 3",
        "iopkt_tcp_rtt_seconds_count 4",
        "iopkt_sockets{protocol=\"tcp\"} 3",
        "iopkt_client_quota_hits_total{quota=\"sockets\"} 2",
        "iopkt_clients 4",
        "iopkt_client_reaped_total{reason=\"killed\"} 1",
        "iopkt_client_violations_total 0",
        "iopkt_neighbors{family=\"inet\",state=\"stale\"} 1",
        "iopkt_tcp_segments_received_total 11",
        "iopkt_ipv4_fragments_held 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    let reasons = text.lines().filter(|l| l.starts_with("iopkt_dropped_packets_total{")).count();
    assert_eq!(reasons, types::DropReason::COUNT);
}

#[test]
fn every_family_has_a_help_line() {
    let text = render(&full_sample());
    let helped: Vec<_> = text.lines().filter_map(|l| l.strip_prefix("# HELP ")).collect();
    for name in text.lines().filter_map(|l| l.strip_prefix("# TYPE ")) {
        let name = name.split(' ').next().expect("a name");
        assert!(helped.iter().any(|h| h.starts_with(&format!("{name} "))), "{name}");
    }
}

#[test]
fn promtool_has_nothing_to_say() {
    let server = start();
    let answer = get(&server, "/metrics");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("process_resident_memory_bytes"), "{body}");

    let mut command = Command::new("promtool");
    let _ = command.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.stdout(Stdio::piped()).spawn() else {
        eprintln!("skipped: promtool is absent; it is in Debian's package prometheus");
        return;
    };
    child.stdin.take().expect("piped").write_all(body.as_bytes()).expect("promtool reads");
    let output = child.wait_with_output().expect("promtool ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "promtool: {said}\n{body}");
}

#[test]
fn other_paths_and_methods_are_refused() {
    let server = start();
    assert!(get(&server, "/healthz").ends_with("\r\n\r\nok\n"));
    assert!(get(&server, "/").contains("href=\"/metrics\""));
    assert!(get(&server, "/metrics?x=1").starts_with("HTTP/1.1 200"));
    assert!(get(&server, "/../etc/passwd").starts_with("HTTP/1.1 404"));
    let post = ask(&server, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert!(post.starts_with("HTTP/1.1 405") && post.contains("allow: GET, HEAD"), "{post}");
    let head = ask(&server, "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn heads_beyond_the_limit_are_refused() {
    let server = start();
    let long = "a".repeat(16 * 1024);
    let answer =
        ask(&server, &format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n"));
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert!(get(&server, "/healthz").starts_with("HTTP/1.1 200"));
}

#[test]
fn slow_clients_delay_others_by_the_time_limit_at_most() {
    let server = start();
    let begin = Instant::now();
    let drip = || {
        let mut stream = TcpStream::connect(server.address()).expect("listening");
        stream.write_all(b"GET /metrics HT").expect("accepted");
        stream
    };
    let mut slow: Vec<_> = (0..7).map(|_| drip()).collect();
    assert!(get(&server, "/healthz").starts_with("HTTP/1.1 200"));
    assert!(begin.elapsed() < Duration::from_secs(4), "one place was free");

    slow.push(drip());
    assert!(get(&server, "/healthz").starts_with("HTTP/1.1 200"));
    let waited = begin.elapsed();
    assert!(waited > Duration::from_secs(3), "all places were taken, yet served in {waited:?}");
    assert!(waited < Duration::from_secs(9), "{waited:?}");
}

#[test]
fn a_port_in_use_is_explained_and_freed_by_drop() {
    let server = start();
    let address = server.address();
    let error = serve(address, Arc::new(Sample::default)).expect_err("taken");
    assert!(matches!(error, ServeError::AddressInUse(a) if a == address));
    assert!(error.to_string().contains("ss -ltnp"), "{error}");
    drop(server);
    assert!(serve(address, Arc::new(Sample::default)).is_ok());
}

#[test]
fn a_foreign_address_is_explained() {
    let address = SocketAddr::from(([203, 0, 113, 1], 9478));
    let error = serve(address, Arc::new(Sample::default)).expect_err("not ours");
    assert!(matches!(error, ServeError::AddressNotAvailable(_)), "{error}");
}

#[test]
fn a_source_that_panics_costs_one_answer() {
    static FAIL: AtomicBool = AtomicBool::new(true);
    let source: Source = Arc::new(|| {
        assert!(!FAIL.load(Ordering::Relaxed), "the test asks for this panic");
        full_sample()
    });
    let server = serve(SocketAddr::from(([127, 0, 0, 1], 0)), source).expect("a free port");
    assert_eq!(get(&server, "/metrics"), "");
    FAIL.store(false, Ordering::Relaxed);
    assert!(get(&server, "/metrics").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_source_without_an_answer_fails_the_scrape() {
    let source: Source = Arc::new(Sample::default);
    let server = serve(SocketAddr::from(([127, 0, 0, 1], 0)), source).expect("a free port");
    let answer = get(&server, "/metrics");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(!answer.contains("iopkt_"), "zeros would look like a restart: {answer}");
}
