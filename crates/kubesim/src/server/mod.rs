//! The HTTP front: requests in, responses as a kube-apiserver gives them.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};

use crate::{Cluster, Status};

/// The body of a response.
pub type Body = UnsyncBoxBody<Bytes, tower::BoxError>;

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

    fn call(&mut self, _request: Request<B>) -> Self::Future {
        let (_cluster, _user) = (self.cluster.clone(), self.user.clone());
        async move {
            let status = Status::no_such_path();
            let body = Full::new(Bytes::from(status.json().to_string()))
                .map_err(|e: Infallible| match e {})
                .boxed_unsync();
            let mut response = Response::new(body);
            *response.status_mut() = http::StatusCode::NOT_FOUND;
            Ok(response)
        }
        .boxed()
    }
}
