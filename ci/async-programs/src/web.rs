//! A web server on axum.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::routing::get;
use axum::serve::Listener;
use io_pkt_client::tokio::{TcpListener, TcpStream};

/// A listener of the stack's as axum wants it.
struct Stack(TcpListener);

impl Listener for Stack {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.0.accept().await {
                Ok(accepted) => return accepted,
                // No descriptors, say.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().local_addr()
    }
}

/// Serves without end.
pub(crate) async fn serve(address: SocketAddr) -> io::Result<()> {
    let zeros = |Path(len): Path<usize>| async move { vec![0_u8; len] };
    let echo = |body: Bytes| async move { body };
    let hello = || async { "hello from axum\n" };
    let routes = Router::new().route("/", get(hello).post(echo)).route("/zeros/{len}", get(zeros));
    let listener = Stack(TcpListener::bind(address)?);
    println!("ready");
    axum::serve(listener, routes).await
}
