//! The HTTP front: requests in, responses as a kube-apiserver gives them.
//!
//! [`Service`] does what happens to every request: its record, its latency, faults, a broken connection. What the request
//! means is in `handle`, how the answer looks in `respond`; watches go on by themselves in `watch`.

mod body;
mod discovery;
mod handle;
mod openapi;
mod options;
mod path;
mod read;
mod respond;
mod watch;

use std::{
    convert::Infallible,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};

use self::{handle::Asks, respond::Answer};
use crate::{Asked, Call, Cluster, Interception};

/// The body of a response.
pub type Body = UnsyncBoxBody<Bytes, tower::BoxError>;

/// Nobody answers any more.
#[derive(Debug, thiserror::Error)]
#[error("connection reset by peer")]
struct Broken;

/// A tower service: what a `kube::Client` or an HTTP server puts requests into.
#[derive(Clone, Debug)]
pub struct Service {
    cluster: Cluster,
    user: String,
}

impl Service {
    pub(crate) fn new(cluster: Cluster, user: &str) -> Self {
        Self {
            cluster,
            user: user.to_owned(),
        }
    }

    fn is_cut(&self) -> bool {
        self.cluster.state().cut.contains(&self.user)
    }

    /// Waits for ever, or until the connection is broken.
    async fn hang(&self) -> Broken {
        let mut cuts = self.cluster.inner.cuts.subscribe();
        while !self.is_cut() {
            cuts.changed().await;
        }
        Broken
    }

    async fn wait(&self, time: Duration) -> Result<(), Broken> {
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
        if self.is_cut() { Err(Broken) } else { Ok(()) }
    }

    /// What happens to every request.
    async fn answer(self, request: Request<Bytes>) -> Result<Response<Body>, Broken> {
        let (parts, body) = request.into_parts();
        let asks = Asks::new(parts, body);
        let index = self.record(&asks);
        let result = self.serve(&asks).await;
        if let (Some(index), Ok(response)) = (index, &result)
            && let Some(asked) = self.cluster.state().requests.get_mut(index)
        {
            asked.code = response.status().as_u16();
        }
        result
    }

    fn record(&self, asks: &Asks) -> Option<usize> {
        if !self.cluster.inner.options.record {
            return None;
        }
        let at = self.cluster.elapsed();
        let mut state = self.cluster.state();
        state.requests.push(Asked {
            at,
            user: self.user.clone(),
            method: asks.method.to_string(),
            path: asks.uri.clone(),
            body: asks.body.clone(),
            code: 0,
        });
        Some(state.requests.len() - 1)
    }

    async fn serve(&self, asks: &Asks) -> Result<Response<Body>, Broken> {
        self.wait(self.cluster.inner.options.latency).await?;
        let intercept = self.cluster.state().intercept.clone();
        let interception = intercept.map_or(Interception::Pass, |intercept| {
            let call = Call {
                user: &self.user,
                method: asks.method.as_str(),
                verb: asks.verb(),
                group: &asks.path.group,
                resource: &asks.path.resource,
                subresource: &asks.path.subresource,
                namespace: &asks.path.namespace,
                name: &asks.path.name,
                body: &asks.body,
            };
            intercept.request(&call)
        });
        let mut stale = 0;
        match &interception {
            Interception::Delay(time) => self.wait(*time).await?,
            Interception::Before(status) => return Ok(whole(Answer::refusal(status))),
            Interception::HangBefore => return Err(self.hang().await),
            Interception::DisconnectBefore => return Err(Broken),
            Interception::Stale(versions) => stale = *versions,
            Interception::Pass | Interception::After(_) | Interception::HangAfter | Interception::DisconnectAfter => {}
        }
        let outcome = asks.handle(&self.cluster, &self.user, stale);
        match interception {
            Interception::After(status) => return Ok(whole(Answer::refusal(&status))),
            Interception::HangAfter => return Err(self.hang().await),
            Interception::DisconnectAfter => return Err(Broken),
            _ => {}
        }
        if self.is_cut() {
            return Err(Broken);
        }
        Ok(match outcome {
            handle::Outcome::Answer(answer) => whole(answer),
            handle::Outcome::Log(body) => {
                let mut response = Response::new(body);
                let text = header::HeaderValue::from_static("text/plain");
                response.headers_mut().insert(header::CONTENT_TYPE, text);
                response
            }
            handle::Outcome::Watch(watch, warnings) => {
                let mut response = Response::new(watch.body());
                let json = header::HeaderValue::from_static("application/json");
                response.headers_mut().insert(header::CONTENT_TYPE, json);
                warn(response.headers_mut(), warnings);
                response
            }
        })
    }
}

fn whole(answer: Answer) -> Response<Body> {
    let body = Full::new(answer.body)
        .map_err(|e: Infallible| match e {})
        .boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(answer.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(answer.content_type),
    );
    warn(headers, answer.warnings);
    response
}

fn warn(headers: &mut HeaderMap, warnings: Vec<String>) {
    for warning in warnings {
        let text = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = header::HeaderValue::from_str(&format!("299 - \"{text}\"")) {
            headers.append(header::WARNING, value);
        }
    }
}

impl<B> tower::Service<Request<B>> for Service
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<tower::BoxError>,
{
    type Response = Response<Body>;
    type Error = tower::BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(Into::into)?.to_bytes();
            service
                .answer(Request::from_parts(parts, body))
                .await
                .map_err(Into::into)
        }
        .boxed()
    }
}
