//! The sockets in the reactors of mio and tokio; an unmodified hyper serves over them.

mod fake;

use std::convert::Infallible;
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use fake::{Fake, address};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use io_pkt_client::{TcpListener, TcpStream, tokio as on_tokio};
use mio::{Events, Interest, Poll, Token};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// One test: the environment is the process's.
#[test]
fn reactors_wait_for_the_stacks_sockets() {
    let run = std::env::temp_dir().join(format!("io-pkt-loops-{}", std::process::id()));
    std::fs::create_dir_all(run.join("dev")).expect("no directory");
    // SAFETY: no other thread of this process reads the environment yet.
    unsafe { std::env::set_var("IOPKT_RUN", &run) };
    let _fake = Fake::start_at(&run.join("dev/socket"), 2);
    mio_tells_what_is_ready();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("no runtime").block_on(async {
        hyper_serves().await;
        a_lot_comes_back().await;
        datagrams().await;
        let refused = on_tokio::TcpStream::connect(address(99)).await.expect_err("connected");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    });
}

fn mio_tells_what_is_ready() {
    let mut poll = Poll::new().expect("no poll");
    let mut events = Events::with_capacity(8);
    let mut ready = |poll: &mut Poll| {
        poll.poll(&mut events, Some(Duration::from_secs(5))).expect("no poll");
        events.iter().map(mio::event::Event::token).collect::<Vec<_>>()
    };
    let mut listener = TcpListener::bind(address(80)).expect("no listener");
    listener.set_nonblocking(true).expect("no mode");
    poll.registry().register(&mut listener, Token(1), Interest::READABLE).expect("not registered");
    let mut client = TcpStream::connect(address(80)).expect("not connected");
    assert_eq!(ready(&mut poll), [Token(1)]);
    let (mut stream, _) = listener.accept().expect("no accept");
    stream.set_nonblocking(true).expect("no mode");
    poll.registry().register(&mut stream, Token(2), Interest::READABLE).expect("not registered");
    client.write_all(b"hello").expect("no write");
    assert_eq!(ready(&mut poll), [Token(2)]);
    let mut text = [0; 8];
    assert_eq!(stream.read(&mut text).expect("no read"), 5);
    assert_eq!(stream.read(&mut text).expect_err("read").kind(), ErrorKind::WouldBlock);
    poll.registry().deregister(&mut stream).expect("not deregistered");
}

async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from("hello from the stack\n"))))
}

async fn hyper_serves() {
    let listener = on_tokio::TcpListener::bind(address(8080)).expect("no listener");
    let server = tokio::spawn(async move {
        for _ in 0..10 {
            let (stream, _) = listener.accept().await.expect("no accept");
            let io = TokioIo::new(stream);
            http1::Builder::new()
                .serve_connection(io, service_fn(hello))
                .await
                .expect("not served");
        }
    });
    for _ in 0..10 {
        let mut client = on_tokio::TcpStream::connect(address(8080)).await.expect("not connected");
        let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        client.write_all(request).await.expect("no write");
        let mut text = String::new();
        let _ = client.read_to_string(&mut text).await.expect("no read");
        assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with("hello from the stack\n"));
    }
    server.await.expect("panicked");
}

async fn a_lot_comes_back() {
    let listener = on_tokio::TcpListener::bind(address(7)).expect("no listener");
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("no accept");
        let (mut from, mut to) = tokio::io::split(stream);
        let _ = tokio::io::copy(&mut from, &mut to).await.expect("no copy");
        to.shutdown().await.expect("no shutdown");
    });
    let sent: Vec<u8> = (0..3_000_000_u32).map(|i| i.to_le_bytes()[0]).collect();
    let client = on_tokio::TcpStream::connect(address(7)).await.expect("not connected");
    let (mut from, mut to) = tokio::io::split(client);
    let data = sent.clone();
    let writer = tokio::spawn(async move {
        to.write_all(&data).await.expect("no write");
        to.shutdown().await.expect("no shutdown");
        to
    });
    let mut back = Vec::new();
    let _ = from.read_to_end(&mut back).await.expect("no read");
    assert!(back == sent, "{} of {} bytes, or others", back.len(), sent.len());
    drop(writer.await.expect("panicked"));
    server.await.expect("panicked");
}

async fn datagrams() {
    let server = on_tokio::UdpSocket::bind(address(5000)).expect("no socket");
    let client = on_tokio::UdpSocket::bind(address(5001)).expect("no socket");
    let waits = tokio::spawn(async move {
        let mut text = [0; 16];
        server.recv_from(&mut text).await
    });
    tokio::task::yield_now().await;
    assert_eq!(client.send_to(b"hi", address(5000)).await.expect("not sent"), 2);
    assert_eq!(waits.await.expect("panicked").expect("no datagram"), (2, address(5001)));
}
