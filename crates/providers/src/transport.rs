//! HTTP behind a trait: the real one is reqwest with rustls; tests answer from memory.

use std::{
    error::Error as StdError,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use reqwest::{Client, Url, dns, header, redirect};

use crate::AddressPolicy;

/// Redirects that are followed.
const MAX_REDIRECTS: usize = 5;

/// The two methods that providers use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// GET.
    Get,
    /// POST with a form.
    Post,
}

impl Method {
    /// As Go's HTTP client writes it at the start of its error texts, which users know from statuses.
    pub fn word(self) -> &'static str {
        match self {
            Self::Get => "Get",
            Self::Post => "Post",
        }
    }
}

/// One request. Headers and credentials may hold secrets, so it cannot be printed whole.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// Method.
    pub method: Method,
    /// Whole URL.
    pub url: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// Name and password.
    pub basic_auth: Option<(String, String)>,
    /// Form, already encoded.
    pub form: Option<String>,
    /// From the start to the last byte.
    pub timeout: Duration,
    /// Do not verify the server's certificate.
    pub insecure: bool,
    /// Longer answers are refused.
    pub max_bytes: usize,
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// One answer, whatever its status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpResponse {
    /// Status code.
    pub status: u16,
    /// Body.
    pub body: Vec<u8>,
}

/// There was no answer. Texts follow Go's where users know them from statuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// Too slow.
    #[error("context deadline exceeded")]
    Timeout,
    /// Nobody there.
    #[error("dial tcp {address}: connect: {reason}")]
    Connect {
        /// Host and port.
        address: String,
        /// Why.
        reason: String,
    },
    /// No such name.
    #[error("dial tcp: lookup {host}: {reason}")]
    Lookup {
        /// The name.
        host: String,
        /// Why.
        reason: String,
    },
    /// The policy forbids it.
    #[error("refused by the address policy: {0}")]
    Refused(String),
    /// Longer than allowed.
    #[error("the answer is longer than {0} bytes; make the query answer less")]
    TooLarge(usize),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// How requests get out. An implementation answers within `request.timeout` or not at all.
#[async_trait]
pub trait HttpTransport: Send + Sync {
    /// Sends one request, follows redirects, reads the whole answer.
    ///
    /// # Errors
    /// When there was no answer; an answer of any status is `Ok`.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError>;
}

/// The real transport. Clients are made when first used and keep their connections.
pub struct ReqwestTransport {
    policy: AddressPolicy,
    verified: OnceLock<Result<Client, String>>,
    unverified: OnceLock<Result<Client, String>>,
    plain: OnceLock<Result<Client, String>>,
}

impl fmt::Debug for ReqwestTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestTransport")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl ReqwestTransport {
    /// A transport under this policy. Proxies from the environment are not used: behind one the policy would not see
    /// the address that is really asked.
    pub fn new(policy: AddressPolicy) -> Self {
        // rustls has no built-in choice here; a program that has chosen already keeps its choice.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            policy,
            verified: OnceLock::new(),
            unverified: OnceLock::new(),
            plain: OnceLock::new(),
        }
    }

    fn client(&self, url: &Url, insecure: bool) -> Result<&Client, TransportError> {
        let secure = |client: &'static str, e: &String| {
            TransportError::Other(format!(
                "tls: cannot make the {client} client: {e}; are CA certificates installed?"
            ))
        };
        if insecure {
            let made = self.unverified.get_or_init(|| build(self.policy, true, true));
            return made.as_ref().map_err(|e| secure("unverified", e));
        }
        match self.verified.get_or_init(|| build(self.policy, false, true)) {
            Ok(client) => Ok(client),
            // Without CA certificates (a bare container image) plain HTTP must still work.
            Err(_) if url.scheme() == "http" => {
                let made = self.plain.get_or_init(|| build(self.policy, true, false));
                made.as_ref().map_err(|e| secure("plain", e))
            }
            Err(e) => Err(secure("verified", e)),
        }
    }
}

fn build(policy: AddressPolicy, skip_verification: bool, follow_to_https: bool) -> Result<Client, String> {
    Client::builder()
        .no_proxy()
        .connect_timeout(Duration::from_secs(10))
        .pool_idle_timeout(Duration::from_secs(90))
        .tls_danger_accept_invalid_certs(skip_verification)
        .dns_resolver(Arc::new(PolicyResolver(policy)))
        .redirect(redirect::Policy::custom(move |attempt| {
            if attempt.previous().len() > MAX_REDIRECTS {
                return attempt.error(RefusedError(format!("more than {MAX_REDIRECTS} redirects")));
            }
            if !follow_to_https && attempt.url().scheme() == "https" {
                return attempt.error(RefusedError(
                    "redirect to https, but no CA certificates are installed".into(),
                ));
            }
            match literal_address(attempt.url()).map(|address| policy.check(address)) {
                Some(Err(why)) => attempt.error(RefusedError(why)),
                _ => attempt.follow(),
            }
        }))
        .user_agent(concat!("serin/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| chain(&e))
}

/// An outer message followed by its sources.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}

fn literal_address(url: &Url) -> Option<IpAddr> {
    url.host_str()?
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

/// Why the policy said no; found again in reqwest's chain of sources.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct RefusedError(String);

/// A name could not be looked up.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct LookupError(String);

struct PolicyResolver(AddressPolicy);

impl dns::Resolve for PolicyResolver {
    fn resolve(&self, name: dns::Name) -> dns::Resolving {
        let policy = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0))
                .await
                .map_err(|e| LookupError(lookup_reason(&e)))?;
            let (mut allowed, mut refused) = (Vec::<SocketAddr>::new(), None);
            for address in found {
                match policy.check(address.ip()) {
                    Ok(()) => allowed.push(address),
                    Err(why) => refused = Some(why),
                }
            }
            match refused {
                Some(why) if allowed.is_empty() => Err(RefusedError(format!("{}: {why}", name.as_str())).into()),
                None if allowed.is_empty() => Err(LookupError("no such host".into()).into()),
                _ => Ok(Box::new(allowed.into_iter()) as dns::Addrs),
            }
        })
    }
}

fn lookup_reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    if text.contains("Name or service not known") || text.contains("No address associated") {
        "no such host".to_owned()
    } else {
        text
    }
}

#[async_trait]
impl HttpTransport for ReqwestTransport {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let url = Url::parse(&request.url).map_err(|e| TransportError::Other(format!("not a URL: {e}")))?;
        let literal = literal_address(&url);
        if let Some(Err(why)) = literal.map(|address| self.policy.check(address)) {
            return Err(TransportError::Refused(why));
        }
        let target = format!(
            "{}:{}",
            url.host_str().unwrap_or_default(),
            url.port_or_known_default().unwrap_or(0)
        );
        let host = url.host_str().unwrap_or_default().to_owned();
        let client = self.client(&url, request.insecure)?;
        let mut outgoing = match request.method {
            Method::Get => client.get(url),
            Method::Post => client.post(url),
        }
        .timeout(request.timeout);
        for (name, value) in &request.headers {
            // Named, because the value may be a secret.
            let value = header::HeaderValue::from_str(value)
                .map_err(|_| TransportError::Other(format!("header {name:?} has a value that HTTP does not allow")))?;
            let name = header::HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| TransportError::Other(format!("header name {name:?} is not allowed in HTTP")))?;
            outgoing = outgoing.header(name, value);
        }
        if let Some((name, password)) = &request.basic_auth {
            outgoing = outgoing.basic_auth(name, Some(password));
        }
        if let Some(form) = request.form {
            outgoing = outgoing
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form);
        }
        let explain = |e: reqwest::Error| explain(e, &target, &host);
        let mut response = outgoing.send().await.map_err(explain)?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(explain)? {
            if body.len() + part.len() > request.max_bytes {
                return Err(TransportError::TooLarge(request.max_bytes));
            }
            body.extend_from_slice(&part);
        }
        Ok(HttpResponse { status, body })
    }
}

/// reqwest's error in Go's words where there are such. The URL is left out: it may hold credentials.
fn explain(error: reqwest::Error, target: &str, host: &str) -> TransportError {
    let error = error.without_url();
    if error.is_timeout() {
        return TransportError::Timeout;
    }
    let mut source: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(inner) = source {
        if let Some(refused) = inner.downcast_ref::<RefusedError>() {
            return TransportError::Refused(refused.0.clone());
        }
        if let Some(lookup) = inner.downcast_ref::<LookupError>() {
            return TransportError::Lookup {
                host: host.to_owned(),
                reason: lookup.0.clone(),
            };
        }
        if let Some(io) = inner.downcast_ref::<std::io::Error>()
            && error.is_connect()
            && let Some(reason) = dial_reason(io)
        {
            return TransportError::Connect {
                address: target.to_owned(),
                reason: reason.to_owned(),
            };
        }
        source = inner.source();
    }
    TransportError::Other(chain(&error))
}

fn dial_reason(error: &std::io::Error) -> Option<&'static str> {
    use std::io::ErrorKind;
    Some(match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused",
        ErrorKind::ConnectionReset => "connection reset by peer",
        ErrorKind::TimedOut => "connection timed out",
        ErrorKind::HostUnreachable => "no route to host",
        ErrorKind::NetworkUnreachable => "network is unreachable",
        _ => return None,
    })
}
