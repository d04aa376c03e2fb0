//! HTTP/1.1 on loopback: servers that can be drained or dropped, and a client that keeps its connections.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1::SendRequest, service::service_fn};
use hyper_util::rt::TokioIo;
use serin_controller::calls::chain;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};

/// A body that is all there.
pub(crate) type Whole = Full<Bytes>;

/// A text as a response.
pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Whole> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Serving,
    /// No new connections, answers under way are finished.
    Draining,
    /// Everything is closed, whatever is under way.
    Dead,
}

/// A listening server. Dropping it closes every socket at once, as the end of a process does.
#[derive(Debug)]
pub(crate) struct Server {
    mode: watch::Sender<Mode>,
    /// Ends with the last connection.
    alive: mpsc::Receiver<Infallible>,
}

impl Server {
    /// Answers whoever connects by calling `answer`.
    pub(crate) fn start<A, F, B>(listener: TcpListener, answer: A) -> Self
    where
        A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response<B>, tower::BoxError>> + Send + 'static,
        B: http_body_util::BodyExt<Data = Bytes> + Send + 'static,
        B::Error: Into<tower::BoxError>,
    {
        let (mode, seen) = watch::channel(Mode::Serving);
        let (held, alive) = mpsc::channel(1);
        tokio::spawn(accept(listener, answer, seen, held));
        Self { mode, alive }
    }

    /// Stops accepting, finishes the answers under way, and returns when the last connection has ended or the time is up.
    pub(crate) async fn drain(mut self, limit: Duration) {
        self.mode.send_replace(Mode::Draining);
        // Nothing is ever sent; the channel ends with the last connection. Whoever is late is cut off.
        let _ = tokio::time::timeout(limit, self.alive.recv()).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.mode.send_replace(Mode::Dead);
    }
}

async fn accept<A, F, B>(listener: TcpListener, answer: A, mode: watch::Receiver<Mode>, held: mpsc::Sender<Infallible>)
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<B>, tower::BoxError>> + Send + 'static,
    B: http_body_util::BodyExt<Data = Bytes> + Send + 'static,
    B::Error: Into<tower::BoxError>,
{
    let mut end = mode.clone();
    loop {
        let ended = async {
            // Without a sender the server was dropped: that is an end, too.
            let _ = end.wait_for(|mode| *mode != Mode::Serving).await;
        };
        let accepted = tokio::select! {
            biased;
            () = ended => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => drop(tokio::spawn(converse(
                stream,
                answer.clone(),
                mode.clone(),
                held.clone(),
            ))),
            // Too many open files, or a client that went away: the next one may fare better.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

async fn converse<A, F, B>(
    stream: TcpStream,
    answer: A,
    mut mode: watch::Receiver<Mode>,
    _held: mpsc::Sender<Infallible>,
) where
    A: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Response<B>, tower::BoxError>> + Send + 'static,
    B: http_body_util::BodyExt<Data = Bytes> + Send + 'static,
    B::Error: Into<tower::BoxError>,
{
    // Small answers must not wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    // Clients keep idle connections for as long as they like: one that is closed under their hands is a failed request.
    let connection = hyper::server::conn::http1::Builder::new()
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service_fn(answer));
    let mut connection = std::pin::pin!(connection);
    loop {
        tokio::select! {
            biased;
            changed = mode.changed() => {
                let now = *mode.borrow_and_update();
                if changed.is_err() || now == Mode::Dead {
                    return;
                }
                connection.as_mut().graceful_shutdown();
            }
            // A connection that broke is the client's affair.
            _ = connection.as_mut() => return,
        }
    }
}

/// Asks servers by their addresses, and keeps connections for the next time.
#[derive(Debug, Default)]
pub(crate) struct Client {
    idle: Mutex<BTreeMap<SocketAddr, Vec<SendRequest<Whole>>>>,
}

/// Connections kept for one server.
const KEPT: usize = 64;

impl Client {
    /// Sends a request with a path as its target, and reads the whole answer.
    ///
    /// # Errors
    /// In words.
    pub(crate) async fn send(
        self: &Arc<Self>,
        to: SocketAddr,
        request: Request<Whole>,
    ) -> Result<Response<Bytes>, String> {
        if let Some(mut sender) = self.take(to) {
            match sender.send_request(copy(&request)).await {
                Ok(response) => return self.finish(to, sender, response).await,
                // The server had closed it, or was just about to: a new connection tells.
                Err(error) if error.is_canceled() => {}
                Err(error) if request.method().is_safe() && (error.is_closed() || error.is_incomplete_message()) => {}
                Err(error) => return Err(chain(&error)),
            }
        }
        let stream = TcpStream::connect(to)
            .await
            .map_err(|e| format!("connect to {to}: {e}"))?;
        let _ = stream.set_nodelay(true);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| chain(&e))?;
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(|e| chain(&e))?;
        self.finish(to, sender, response).await
    }

    async fn finish(
        self: &Arc<Self>,
        to: SocketAddr,
        mut sender: SendRequest<Whole>,
        response: Response<Incoming>,
    ) -> Result<Response<Bytes>, String> {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|e| chain(&e))?.to_bytes();
        let own = Arc::clone(self);
        // It is ready for the next request a moment later, or never.
        tokio::spawn(async move {
            if sender.ready().await.is_ok() {
                own.keep(to, sender);
            }
        });
        Ok(Response::from_parts(parts, body))
    }

    fn take(&self, to: SocketAddr) -> Option<SendRequest<Whole>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.get_mut(&to)?;
        while let Some(sender) = kept.pop() {
            if sender.is_ready() {
                return Some(sender);
            }
        }
        idle.remove(&to);
        None
    }

    fn keep(&self, to: SocketAddr, sender: SendRequest<Whole>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|_, kept| {
            kept.retain(|sender| !sender.is_closed());
            !kept.is_empty()
        });
        let kept = idle.entry(to).or_default();
        if kept.len() < KEPT {
            kept.push(sender);
        }
    }
}

fn copy(request: &Request<Whole>) -> Request<Whole> {
    let mut copy = Request::new(request.body().clone());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}
