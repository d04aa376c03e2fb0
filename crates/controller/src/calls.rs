//! Single requests to the API server: each behind the gate, each with a time limit, each counted, none repeated by itself.

use std::time::Duration;

use http::{Method, Request};
use kube::Client;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::time::timeout;

use crate::{gate::Gate, kinds::Kind, metrics::SharedMetrics};

/// How long the API server may take for one request.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The name under which our writes appear in `managedFields`: upstream's, because people tell Argo CD to leave the fields
/// of this manager alone (`managedFieldsManagers`).
pub const FIELD_MANAGER: &str = "rollouts-controller";

/// The API server's words about a JSON patch that does not fit the object as it is now.
const PATCH_REJECTED: &str = "the server rejected our request due to an error in our request";

/// Why a request did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The object has changed since it was read; nothing was written.
    #[error("{0} has changed meanwhile")]
    Conflict(String),
    /// The name is taken.
    #[error("{0} exists already")]
    AlreadyExists(String),
    /// There is no such object.
    #[error("{0} does not exist")]
    NotFound(String),
    /// We do not lead (any more), or are about to end; nothing was sent.
    #[error("no write is allowed: this process does not hold its lease")]
    NotLeading,
    /// No answer in time; it is unknown whether it was carried out.
    #[error("the API server did not answer within {} s: {what}", .after.as_secs())]
    Timeout {
        /// What was asked.
        what: String,
        /// The limit.
        after: Duration,
    },
    /// The API server said no.
    #[error("{message}")]
    Refused {
        /// Status code.
        code: u16,
        /// The API server's words.
        message: String,
    },
    /// The API server could not be reached.
    #[error("the API server cannot be reached: {0}")]
    Unreachable(String),
}

impl Refusal {
    /// For metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Conflict(_) => "conflict",
            Self::AlreadyExists(_) => "already_exists",
            Self::NotFound(_) => "not_found",
            Self::NotLeading => "not_leading",
            Self::Timeout { .. } => "timeout",
            Self::Refused { .. } => "refused",
            Self::Unreachable(_) => "unreachable",
        }
    }

    /// Whether it says anything about the request itself, and not only about the moment.
    pub fn is_about_the_request(&self) -> bool {
        match self {
            Self::Refused { code, .. } => *code < 500 && *code != 429,
            Self::AlreadyExists(_) | Self::NotFound(_) => true,
            Self::Conflict(_) | Self::NotLeading | Self::Timeout { .. } | Self::Unreachable(_) => false,
        }
    }
}

/// One object of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Kind.
    pub kind: Kind,
    /// Namespace.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
}

impl Target<'_> {
    /// For people.
    pub fn describe(&self) -> String {
        format!("{} {}/{}", self.kind.name(), self.namespace, self.name)
    }
}

/// How requests get out.
#[derive(Clone)]
pub struct Calls {
    client: Client,
    gate: Gate,
    metrics: SharedMetrics,
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calls")
            .field("gate", &self.gate)
            .finish_non_exhaustive()
    }
}

/// A patch's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 7386.
    Merge,
    /// RFC 6902.
    Json,
}

impl Calls {
    /// Requests through this client, as long as the gate is open.
    pub fn new(client: Client, gate: Gate, metrics: SharedMetrics) -> Self {
        Self { client, gate, metrics }
    }

    /// The client itself, for watches.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The gate.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The metrics.
    pub fn metrics(&self) -> &SharedMetrics {
        &self.metrics
    }

    /// Reads an object. Needs no gate: it changes nothing.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn get(&self, target: Target<'_>) -> Result<Value, Refusal> {
        let path = target.kind.path(target.namespace, Some(target.name));
        self.send(target.describe(), request(Method::GET, &path, None, Vec::new()))
            .await
    }

    /// Reads a Secret by name. Its values go to the caller and nowhere else.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn get_secret(&self, namespace: &str, name: &str) -> Result<Value, Refusal> {
        let what = format!("Secret {namespace}/{name}");
        let valid = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        };
        if !valid(name) || name.contains("..") {
            // A name that no Secret can have must not become another path.
            return Err(Refusal::NotFound(what));
        }
        self.send(
            what,
            request(
                Method::GET,
                &format!("/api/v1/namespaces/{namespace}/secrets/{name}"),
                None,
                Vec::new(),
            ),
        )
        .await
    }

    /// Creates an object.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn create(&self, target: Target<'_>, object: &Value) -> Result<Value, Refusal> {
        let path = format!(
            "{}?fieldManager={FIELD_MANAGER}",
            target.kind.path(target.namespace, None)
        );
        self.write(
            target,
            "create",
            request(Method::POST, &path, Some("application/json"), bytes(object)),
        )
        .await
    }

    /// Patches an object or its subresource.
    ///
    /// # Errors
    /// See [`Refusal`]. A JSON patch whose `test` fails is a conflict.
    pub async fn patch(
        &self,
        target: Target<'_>,
        subresource: Option<&str>,
        format: Format,
        patch: &Value,
    ) -> Result<Value, Refusal> {
        let mut path = target.kind.path(target.namespace, Some(target.name));
        if let Some(subresource) = subresource {
            path.push('/');
            path.push_str(subresource);
        }
        path.push_str("?fieldManager=");
        path.push_str(FIELD_MANAGER);
        let content_type = match format {
            Format::Merge => "application/merge-patch+json",
            Format::Json => "application/json-patch+json",
        };
        let answer = self
            .write(
                target,
                "patch",
                request(Method::PATCH, &path, Some(content_type), bytes(patch)),
            )
            .await;
        match answer {
            // A failed `test` is answered with 422 and, from a real API server, nothing that says so: an object that is
            // invalid would be answered with what is wrong with it.
            Err(Refusal::Refused { code: 422, message })
                if format == Format::Json && (message.contains("test") || message == PATCH_REJECTED) =>
            {
                Err(Refusal::Conflict(target.describe()))
            }
            other => other,
        }
    }

    /// Deletes an object if it still is the one that was seen.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn delete(&self, target: Target<'_>, uid: &str, resource_version: &str) -> Result<Value, Refusal> {
        let path = target.kind.path(target.namespace, Some(target.name));
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid, "resourceVersion": resource_version},
        });
        self.write(
            target,
            "delete",
            request(Method::DELETE, &path, Some("application/json"), bytes(&options)),
        )
        .await
    }

    /// Records an event; the name is deterministic, so that a repeated one changes nothing.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn create_event(&self, namespace: &str, event: &Value) -> Result<Value, Refusal> {
        if !self.gate.is_open() {
            return Err(Refusal::NotLeading);
        }
        let path = format!("/api/v1/namespaces/{namespace}/events?fieldManager={FIELD_MANAGER}");
        let answer = self
            .send(
                "Event".to_owned(),
                request(Method::POST, &path, Some("application/json"), bytes(event)),
            )
            .await;
        self.metrics.write(
            "events",
            "create",
            answer.as_ref().map_or_else(Refusal::category, |_| "ok"),
        );
        answer
    }

    async fn write(&self, target: Target<'_>, verb: &'static str, request: Request<Vec<u8>>) -> Result<Value, Refusal> {
        // The last moment before the request leaves (rule W9).
        let answer = if self.gate.is_open() {
            self.send(target.describe(), request).await
        } else {
            Err(Refusal::NotLeading)
        };
        let result = answer.as_ref().map_or_else(Refusal::category, |_| "ok");
        self.metrics.write(target.kind.plural(), verb, result);
        answer
    }

    async fn send(&self, what: String, request: Request<Vec<u8>>) -> Result<Value, Refusal> {
        match timeout(REQUEST_TIMEOUT, self.client.request::<Value>(request)).await {
            Err(_) => Err(Refusal::Timeout {
                what,
                after: REQUEST_TIMEOUT,
            }),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) => Err(match (status.code, status.reason.as_str()) {
                (409, "AlreadyExists") => Refusal::AlreadyExists(what),
                (409, _) => Refusal::Conflict(what),
                (404, _) => Refusal::NotFound(what),
                (code, _) => Refusal::Refused {
                    code,
                    message: status.message.clone(),
                },
            }),
            Ok(Err(error)) => Err(Refusal::Unreachable(chain(&error))),
        }
    }
}

/// An error with its causes on one line, none said twice.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}

fn bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("a JSON value can be written as JSON")
}

fn request(method: Method, path: &str, content_type: Option<&str>, body: Vec<u8>) -> Request<Vec<u8>> {
    let mut builder = Request::builder().method(method).uri(path);
    if let Some(content_type) = content_type {
        builder = builder.header(http::header::CONTENT_TYPE, content_type);
    }
    builder
        .body(body)
        .expect("paths are made of names that the API server has accepted")
}
