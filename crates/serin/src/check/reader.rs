//! Asks the API server. Every refusal becomes a [`Trouble`]; nothing is written (reviews of access are not stored).

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::{Method, Request};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use serin_controller::kinds::strip;

use super::observed::{Read, Trouble, Version, Why};

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(15);
/// Objects in one answer.
const PAGE: usize = 500;

/// The API server with a user's rights.
#[derive(Clone)]
pub(super) struct Reader {
    client: Client,
}

impl Reader {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    async fn ask(&self, what: &str, method: Method, path: &str, body: Option<&Value>) -> Read<Value> {
        let trouble = |why: Why, message: String| Trouble {
            what: what.to_owned(),
            why,
            message,
        };
        let mut request = Request::builder().method(method).uri(path);
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let bytes = body.map(|b| b.to_string().into_bytes()).unwrap_or_default();
        let request = request
            .body(bytes)
            .map_err(|e| trouble(Why::Failed, format!("{path} is no path: {e}")))?;
        match tokio::time::timeout(LIMIT, self.client.request(request)).await {
            Err(_) => Err(trouble(Why::Failed, format!("no answer within {} s", LIMIT.as_secs()))),
            Ok(Ok(value)) => Ok(value),
            Ok(Err(kube::Error::Api(status))) => {
                let why = match status.code {
                    401 | 403 => Why::Forbidden,
                    404 | 405 => Why::NotServed,
                    _ => Why::Failed,
                };
                let message = match status.message.trim() {
                    "" => format!("the API server answers {}", status.code),
                    text => text.to_owned(),
                };
                Err(trouble(why, message))
            }
            Ok(Err(error)) => Err(trouble(Why::Failed, chain(&error))),
        }
    }

    /// The API server's version and its time of day, if it tells.
    pub(super) async fn version(&self) -> Result<(Version, Option<DateTime<Utc>>), Trouble> {
        let trouble = |message: String| Trouble {
            what: "reach the API server".to_owned(),
            why: Why::Failed,
            message,
        };
        let request = Request::get("/version")
            .body(Body::empty())
            .map_err(|e| trouble(e.to_string()))?;
        let asked = tokio::time::timeout(LIMIT, self.client.send(request)).await;
        let answer = asked
            .map_err(|_| trouble(format!("no answer within {} s", LIMIT.as_secs())))?
            .map_err(|e| trouble(chain(&e)))?;
        let date = answer.headers().get("date").and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok());
        let said = self.ask("ask for the version", Method::GET, "/version", None).await?;
        let number = |field: &str| {
            let text = said[field].as_str().unwrap_or_default();
            // Some say 29+.
            let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().unwrap_or(0)
        };
        let version = Version {
            major: number("major"),
            minor: number("minor"),
            text: said["gitVersion"].as_str().unwrap_or_default().to_owned(),
        };
        Ok((version, date.map(|date| date.with_timezone(&Utc))))
    }

    /// One object; nothing when there is none.
    pub(super) async fn get(&self, what: &str, path: &str) -> Read<Option<Value>> {
        match self.ask(&format!("get {what}"), Method::GET, path, None).await {
            Ok(mut object) => {
                strip(&mut object);
                Ok(Some(object))
            }
            Err(trouble) if trouble.why == Why::NotServed => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// All objects of a kind. `base` is like `/apis/apps/v1`, `filter` like `labelSelector=…`.
    pub(super) async fn list(
        &self,
        base: &str,
        namespace: Option<&str>,
        plural: &str,
        filter: &str,
    ) -> Read<Vec<Value>> {
        let (path, what) = match namespace {
            Some(namespace) => (
                format!("{base}/namespaces/{namespace}/{plural}"),
                format!("list {plural} in namespace {namespace}"),
            ),
            None => (format!("{base}/{plural}"), format!("list {plural}")),
        };
        let mut found = Vec::new();
        let mut next = String::new();
        loop {
            let mut query = format!("{path}?limit={PAGE}");
            if !filter.is_empty() {
                query.push('&');
                query.push_str(filter);
            }
            if !next.is_empty() {
                let encoded = form(&next);
                query.push_str(&format!("&continue={encoded}"));
            }
            let mut page = self.ask(&what, Method::GET, &query, None).await?;
            let kind = page["kind"]
                .as_str()
                .unwrap_or_default()
                .trim_end_matches("List")
                .to_owned();
            if let Some(Value::Array(objects)) = page.get_mut("items").map(Value::take) {
                found.extend(objects.into_iter().map(|mut object| {
                    strip(&mut object);
                    if object["kind"].is_null() && object.is_object() {
                        object["kind"] = kind.clone().into();
                    }
                    object
                }));
            }
            match page.pointer("/metadata/continue").and_then(Value::as_str) {
                Some(more) if !more.is_empty() => next = more.to_owned(),
                _ => return Ok(found),
            }
        }
    }

    /// Whether somebody may do something; `spec` is that of the review.
    pub(super) async fn review(&self, kind: &str, spec: Value) -> Read<bool> {
        let plural = format!("{}s", kind.to_lowercase());
        let body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec});
        let path = format!("/apis/authorization.k8s.io/v1/{plural}");
        let what = format!("create {plural}.authorization.k8s.io");
        let answer = self.ask(&what, Method::POST, &path, Some(&body)).await?;
        Ok(answer
            .pointer("/status/allowed")
            .and_then(Value::as_bool)
            .unwrap_or(false))
    }

    /// What a path below the API server's proxy answers: status and body.
    ///
    /// # Errors
    /// The API server did not pass the request on.
    pub(super) async fn proxied(&self, path: &str, headers: &[(String, String)]) -> Result<(u16, Vec<u8>), Trouble> {
        let trouble = |why: Why, message: String| Trouble {
            what: "ask through the API server".to_owned(),
            why,
            message,
        };
        let failed = |message: String| trouble(Why::Failed, message);
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Body::empty()).map_err(|e| failed(e.to_string()))?;
        let whole = async {
            let answer = self.client.send(request).await.map_err(|e| failed(chain(&e)))?;
            let status = answer.status().as_u16();
            let body = answer.into_body().collect_bytes().await;
            Ok((status, body.map_err(|e| failed(chain(&e)))?.to_vec()))
        };
        let (status, body): (u16, Vec<u8>) = tokio::time::timeout(LIMIT, whole)
            .await
            .map_err(|_| failed(format!("no answer within {} s", LIMIT.as_secs())))??;
        // The API server's own refusals are objects of kind Status; what is behind it never says that.
        let own: Option<Value> = serde_json::from_slice(&body).ok();
        if status >= 400
            && let Some(own) = own.filter(|v| v["kind"] == "Status" && v["apiVersion"] == "v1")
        {
            let why = if status == 403 { Why::Forbidden } else { Why::Failed };
            return Err(trouble(why, own["message"].as_str().unwrap_or_default().to_owned()));
        }
        Ok((status, body))
    }
}

/// For a query of a URL.
pub(super) fn form(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// An error with its causes, each once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let said = inner.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = inner.source();
    }
    text
}
