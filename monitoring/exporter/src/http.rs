//! The HTTP server: three paths, two methods, one thread.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use prometheus::Registry;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};

use crate::collector::{self, Source};
use crate::limits;

/// A running endpoint; dropping it closes the port.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<Infallible>>,
    stopped: mpsc::Receiver<Infallible>,
}

impl Server {
    /// The address it listens on: the one asked for, with the port chosen if that was 0.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        // The thread never sends; the error that ends the wait is its end, or the time limit.
        let _ended = self.stopped.recv_timeout(limits::STOP_TIME_MAX);
    }
}

/// The endpoint could not be started; the operator has to change something.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another process listens there.
    #[error(
        "metrics address {0} is in use, often by another io-pkt; see by whom: \
         ss -ltnp 'sport = :{port}'; stop it, or choose another address (--metrics, or metrics = in the configuration file), or off",
        port = .0.port()
    )]
    AddressInUse(SocketAddr),
    /// No interface of this host has the address.
    #[error(
        "metrics address {0} is not an address of this host; see which are: ip -br addr; \
         this one always works: \
         --metrics 127.0.0.1:{port}", port = .0.port()
    )]
    AddressNotAvailable(SocketAddr),
    /// A port below 1024, or a policy forbids it.
    #[error(
        "not allowed to listen on metrics address {0}; choose a port from 1024 up: \
         --metrics {ip}:9478", ip = .0.ip()
    )]
    NotAllowed(SocketAddr),
    /// Anything else.
    #[error("cannot serve metrics on {address}: {error}; choose another address, or off")]
    Other {
        /// The address asked for.
        address: SocketAddr,
        /// The system's reason.
        error: io::Error,
    },
}

/// Binds `address` and serves it from a new thread until the [`Server`] is dropped.
///
/// The thread inherits the caller's CPU affinity, so call it before pinning.
///
/// # Errors
/// [`ServeError`] if the address cannot be used; its text says what to do next.
pub fn serve(address: SocketAddr, source: Source) -> Result<Server, ServeError> {
    start(address, source).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => ServeError::AddressInUse(address),
        io::ErrorKind::AddrNotAvailable => ServeError::AddressNotAvailable(address),
        io::ErrorKind::PermissionDenied => ServeError::NotAllowed(address),
        _ => ServeError::Other { address, error },
    })
}

fn start(address: SocketAddr, source: Source) -> io::Result<Server> {
    let registry = collector::registry(source).map_err(io::Error::other)?;
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, asked_to_stop) = oneshot::channel::<Infallible>();
    let (alive, stopped) = mpsc::channel::<Infallible>();
    let run = move || {
        runtime.block_on(async {
            let _detached = tokio::spawn(accept_all(listener, Arc::new(registry)));
            let _dropped = asked_to_stop.await;
        });
        // With the runtime go its tasks and the port, and only then is this thread "stopped".
        drop(runtime);
        drop(alive);
    };
    let _detached = thread::Builder::new().name("metrics".into()).spawn(run)?;
    Ok(Server { address: bound, stop: Some(stop), stopped })
}

async fn accept_all(listener: TcpListener, registry: Arc<Registry>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let places = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _peer)) => {
                let registry = Arc::clone(&registry);
                let _detached = tokio::spawn(async move {
                    let _place = place;
                    serve_connection(stream, registry).await;
                });
            }
            Err(_) => tokio::time::sleep(limits::ACCEPT_RETRY).await,
        }
    }
}

/// One request, one answer, close. How a connection ends is the peer's affair and told to nobody.
async fn serve_connection(stream: TcpStream, registry: Arc<Registry>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), &registry);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(limits::HEAD_LEN_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let _ended = tokio::time::timeout(limits::CONNECTION_TIME_MAX, connection).await;
}

fn respond(method: &Method, path: &str, registry: &Registry) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    if !matches!(path, "/" | "/metrics" | "/healthz") {
        return answer(StatusCode::NOT_FOUND, TEXT, "not found; try /metrics\n".into());
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        let body = "only GET and HEAD\n".into();
        let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, body);
        let _none = response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/metrics" => {
            let families = registry.gather();
            if !collector::has_stack(&families) {
                let body = "the stack did not answer in time; see: iopkt status\n".into();
                return answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, body);
            }
            answer(StatusCode::OK, prometheus::TEXT_FORMAT, collector::text(&families))
        }
        "/healthz" => answer(StatusCode::OK, TEXT, "ok\n".into()),
        _ => answer(StatusCode::OK, "text/html; charset=utf-8", INDEX.into()),
    }
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'"),
        (hyper::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        let _none = response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

const INDEX: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>io-pkt</title>\
<h1>io-pkt</h1><ul><li><a href=\"/metrics\">/metrics</a>: Prometheus\
<li><a href=\"/healthz\">/healthz</a>: is the daemon alive?</ul></html>\n";
