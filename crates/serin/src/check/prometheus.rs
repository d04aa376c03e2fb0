//! Asks Prometheus: directly, and where its name is one of the cluster's own that is not known here, through the API server.

use std::{fmt, time::Duration};

use serde_json::Value;
use serin_promql::{Comparison, Matcher, Selected};
use serin_providers::{HttpRequest, HttpTransport, Method, TransportError};

use super::{
    metrics::Hashed,
    observed::Why,
    reader::{Reader, form},
};

/// The first question: long enough for a slow network, short enough for somebody who waits.
const FIRST: Duration = Duration::from_secs(5);
/// All others.
const LIMIT: Duration = Duration::from_secs(20);
const MAX_BYTES: usize = 8 << 20;
/// How many values of a label are shown.
const SHOWN: usize = 5;

/// A Prometheus and how it is asked. May hold secrets, so it cannot be printed whole.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) address: String,
    /// The address without the Secrets that were put into it.
    pub(super) public: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) basic: Option<(String, String)>,
    pub(super) insecure: bool,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("address", &self.shown())
            .finish_non_exhaustive()
    }
}

impl Target {
    /// One that is asked without any credentials.
    pub(super) fn open(address: String) -> Self {
        Self {
            public: address.clone(),
            address,
            headers: Vec::new(),
            basic: None,
            insecure: false,
        }
    }

    /// The address without name and password.
    pub(super) fn shown(&self) -> String {
        let address = self.public.split(['?', '#']).next().unwrap_or_default();
        let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let scheme = if scheme.is_empty() {
            String::new()
        } else {
            format!("{scheme}://")
        };
        format!("{scheme}{host}{path}").trim_end_matches('/').to_owned()
    }

    /// Whether a text is anywhere in it.
    pub(super) fn mentions(&self, text: &str) -> bool {
        let pairs = self.headers.iter().chain(&self.basic);
        self.address.contains(text) || pairs.into_iter().any(|(a, b)| a.contains(text) || b.contains(text))
    }

    fn url(&self, path: &str) -> String {
        let address = self.address.split(['?', '#']).next().unwrap_or_default();
        format!("{}{path}", address.trim_end_matches('/'))
    }

    fn has_credentials(&self) -> bool {
        let in_url = self
            .url("")
            .split_once("://")
            .is_some_and(|(_, rest)| rest.split('/').next().unwrap_or_default().contains('@'));
        in_url
            || self.basic.is_some()
            || self
                .headers
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case("authorization"))
    }
}

/// The Service that a name of the cluster means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServiceName {
    pub(super) namespace: String,
    pub(super) name: String,
    port: u16,
    is_https: bool,
    path: String,
}

impl ServiceName {
    /// `http://prometheus.monitoring.svc:9090/base`; a name without dots is one of the controller's own namespace.
    pub(super) fn of(address: &str, home: &str) -> Option<Self> {
        let (scheme, rest) = address.split_once("://")?;
        let is_https = scheme.eq_ignore_ascii_case("https");
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if authority.starts_with('[') {
            return None;
        }
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (authority, if is_https { 443 } else { 80 }),
        };
        let parts: Vec<&str> = host.trim_end_matches('.').split('.').collect();
        let (name, namespace) = match parts[..] {
            ["localhost"] => return None,
            [name] => (name, home),
            [name, namespace] | [name, namespace, "svc", ..] => (name, namespace),
            _ => return None,
        };
        let is_label = |l: &str| {
            !l.is_empty()
                && l.chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        (is_label(name) && is_label(namespace)).then(|| Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            port,
            is_https,
            path: path.trim_end_matches('/').to_owned(),
        })
    }

    fn proxy(&self, path: &str) -> String {
        let Self {
            namespace, name, port, ..
        } = self;
        let scheme = if self.is_https { "https:" } else { "" };
        format!(
            "/api/v1/namespaces/{namespace}/services/{scheme}{name}:{port}/proxy{}{path}",
            self.path
        )
    }
}

/// How a Prometheus is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As the controller asks it.
    Direct,
    /// Through the API server.
    Proxied(ServiceName),
}

/// Why a Prometheus cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No answer. With it what became of the way through the API server.
    Silent { direct: String, proxied: Option<Proxied> },
    /// It wants other credentials.
    Refused(u16),
    /// It answers with a code and a reason.
    Said(u16, String),
    /// It answers with this code, but not as Prometheus does.
    Strange(u16),
}

/// What became of the way through the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proxied {
    /// There is no such Service.
    NoService(String),
    /// The user may not go that way, or its credentials cannot.
    Closed(String),
    /// Nobody answered there either.
    Silent(String),
}

/// What came of the first question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    pub(super) way: Result<Way, Failure>,
    /// Empty when it is not told.
    pub(super) version: String,
}

/// What there is of a selector that asks for a hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Series of exactly this.
    pub(super) exact: u64,
    /// Series of other values of the label, the first few with their number.
    pub(super) others: Vec<(String, u64)>,
    /// Series when the label is not asked for.
    pub(super) without: u64,
    /// Series of the metric, whatever the conditions.
    pub(super) by_name: u64,
    /// Whether any series of this Prometheus has the label.
    pub(super) is_label_known: bool,
    /// Whether a rule records the metric; unknown when the rules are not told.
    pub(super) rule: Option<bool>,
}

/// Both ways to a Prometheus.
pub(super) struct Asker<'a> {
    pub(super) reader: &'a Reader,
    pub(super) transport: &'a dyn HttpTransport,
    /// The controller's namespace.
    pub(super) home: &'a str,
}

impl Asker<'_> {
    async fn direct(&self, target: &Target, path: &str, limit: Duration) -> Result<(u16, Vec<u8>), TransportError> {
        let request = HttpRequest {
            method: Method::Get,
            url: target.url(path),
            headers: target.headers.clone(),
            basic_auth: target.basic.clone(),
            form: None,
            timeout: limit,
            insecure: target.insecure,
            max_bytes: MAX_BYTES,
        };
        let sent = tokio::time::timeout(limit, self.transport.send(request)).await;
        let answer = sent.unwrap_or(Err(TransportError::Timeout))?;
        Ok((answer.status, answer.body))
    }

    /// Finds the way to a Prometheus.
    pub(super) async fn reach(&self, target: &Target) -> Reached {
        const FIRST_QUESTION: &str = "/api/v1/query?query=vector(1)";
        let way = match self.direct(target, FIRST_QUESTION, FIRST).await {
            Ok((status, body)) => judge(status, &body).map(|()| Way::Direct),
            Err(error) => {
                let direct = match error {
                    TransportError::Timeout => format!("no answer within {} s", FIRST.as_secs()),
                    other => other.to_string(),
                };
                match ServiceName::of(&target.address, self.home) {
                    None => Err(Failure::Silent { direct, proxied: None }),
                    Some(service) => match self.through(target, &service, FIRST_QUESTION).await {
                        Ok((status, body)) => judge(status, &body).map(|()| Way::Proxied(service)),
                        Err(why) => Err(Failure::Silent {
                            direct,
                            proxied: Some(why),
                        }),
                    },
                }
            }
        };
        let mut version = String::new();
        if let Ok(way) = &way
            && let Ok(info) = self.ask(target, way, "/api/v1/status/buildinfo").await
        {
            version = info["version"].as_str().unwrap_or_default().to_owned();
        }
        Reached { way, version }
    }

    /// The same question by the API server's proxy, if there is such a Service.
    async fn through(&self, target: &Target, service: &ServiceName, path: &str) -> Result<(u16, Vec<u8>), Proxied> {
        let ServiceName { namespace, name, .. } = service;
        let object = format!("/api/v1/namespaces/{namespace}/services/{name}");
        if let Ok(None) = self.reader.get("the Service", &object).await {
            return Err(Proxied::NoService(format!("{namespace}/{name}")));
        }
        if target.has_credentials() {
            return Err(Proxied::Closed(
                "credentials do not pass the API server, which takes them for its own".to_owned(),
            ));
        }
        match self.reader.proxied(&service.proxy(path), &target.headers).await {
            Ok(answer) => Ok(answer),
            Err(trouble) if trouble.why == Why::Forbidden => Err(Proxied::Closed(trouble.message)),
            Err(trouble) => Err(Proxied::Silent(trouble.message)),
        }
    }

    /// The `data` of an answer.
    async fn ask(&self, target: &Target, way: &Way, path: &str) -> Result<Value, String> {
        let (status, body) = match way {
            Way::Direct => self.direct(target, path, LIMIT).await.map_err(|e| e.to_string())?,
            Way::Proxied(service) => self
                .reader
                .proxied(&service.proxy(path), &target.headers)
                .await
                .map_err(|e| e.message)?,
        };
        let mut answer: Value =
            serde_json::from_slice(&body).map_err(|_| format!("it answers {status} and no JSON"))?;
        if answer["status"] != "success" {
            let said = answer["error"].as_str().unwrap_or("no reason").to_owned();
            return Err(format!("it answers {status}: {said}"));
        }
        Ok(answer["data"].take())
    }

    async fn elements(&self, target: &Target, way: &Way, query: &str) -> Result<Vec<(Value, u64)>, String> {
        let data = self
            .ask(target, way, &format!("/api/v1/query?query={}", form(query)))
            .await?;
        let elements = data["result"].as_array().into_iter().flatten();
        Ok(elements
            .map(|element| {
                let number = element
                    .pointer("/value/1")
                    .and_then(Value::as_str)
                    .and_then(|n| n.parse().ok());
                (element["metric"].clone(), number.unwrap_or(0.0_f64) as u64)
            })
            .collect())
    }

    async fn count(&self, target: &Target, way: &Way, selected: &Selected) -> Result<u64, String> {
        let elements = self.elements(target, way, &format!("count({selected})")).await?;
        Ok(elements.first().map_or(0, |(_, number)| *number))
    }

    /// What there is of a selector, and if there is nothing, where its conditions begin to exclude all.
    pub(super) async fn counts(&self, target: &Target, way: &Way, hashed: &Hashed) -> Result<Counts, String> {
        let mut counts = Counts {
            exact: self.count(target, way, &hashed.selected).await?,
            ..Counts::default()
        };
        if counts.exact > 0 {
            return Ok(counts);
        }
        let label = &hashed.label;
        let any = hashed.of_any_revision();
        let mut labelled = any.clone();
        labelled.matchers.push(Matcher {
            label: label.clone(),
            comparison: Comparison::NotEqual,
            value: String::new(),
        });
        let mut others = self
            .elements(target, way, &format!("count by ({label}) ({labelled})"))
            .await?;
        others.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts.others = others
            .into_iter()
            .take(SHOWN)
            .map(|(labels, count)| (labels[label].as_str().unwrap_or_default().to_owned(), count))
            .collect();
        if !counts.others.is_empty() {
            counts.is_label_known = true;
            return Ok(counts);
        }
        counts.without = if any.metric.is_some() || !any.matchers.is_empty() {
            self.count(target, way, &any).await?
        } else {
            0
        };
        if counts.without > 0 {
            return Ok(counts);
        }
        if let Some(metric) = &any.metric {
            let bare = Selected {
                metric: Some(metric.clone()),
                matchers: Vec::new(),
            };
            counts.by_name = self.count(target, way, &bare).await?;
            if metric.contains(':') {
                counts.rule = self.records(target, way, metric).await;
            }
        }
        let values = self
            .ask(target, way, &format!("/api/v1/label/{}/values?limit=1", form(label)))
            .await;
        // Where the question is not known, nothing is concluded from it.
        counts.is_label_known = values.map_or(true, |values| values.as_array().is_some_and(|v| !v.is_empty()));
        Ok(counts)
    }

    /// Whether a recording rule makes this metric.
    async fn records(&self, target: &Target, way: &Way, metric: &str) -> Option<bool> {
        let rules = self.ask(target, way, "/api/v1/rules?type=record").await.ok()?;
        let groups = rules["groups"].as_array()?;
        let mut rules = groups.iter().filter_map(|g| g["rules"].as_array()).flatten();
        Some(rules.any(|rule| rule["name"] == metric))
    }
}

fn judge(status: u16, body: &[u8]) -> Result<(), Failure> {
    if matches!(status, 401 | 403) {
        return Err(Failure::Refused(status));
    }
    let answer: Option<Value> = serde_json::from_slice(body).ok();
    match answer {
        Some(answer) if answer["status"] == "success" => Ok(()),
        Some(answer) if answer["error"].is_string() => {
            let said = answer["error"].as_str().unwrap_or_default();
            Err(Failure::Said(status, said.to_owned()))
        }
        _ => Err(Failure::Strange(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_cluster_are_told_from_others() {
        let of = |address: &str| ServiceName::of(address, "argo-rollouts").map(|s| s.proxy("/q"));
        let whole = |s: &str| Some(s.to_owned());
        for (address, expected) in [
            (
                "http://prometheus.monitoring.svc:9090",
                whole("/api/v1/namespaces/monitoring/services/prometheus:9090/proxy/q"),
            ),
            (
                "http://prometheus.monitoring.svc.cluster.local:9090/",
                whole("/api/v1/namespaces/monitoring/services/prometheus:9090/proxy/q"),
            ),
            (
                "https://u:p@thanos.m/base/",
                whole("/api/v1/namespaces/m/services/https:thanos:443/proxy/base/q"),
            ),
            (
                "http://prometheus:9090",
                whole("/api/v1/namespaces/argo-rollouts/services/prometheus:9090/proxy/q"),
            ),
            ("http://10.0.0.1:9090", None),
            ("http://127.0.0.1:9090", None),
            ("http://localhost:9090", None),
            ("http://[::1]:9090", None),
            ("https://prometheus.example.com", None),
            ("prometheus.monitoring:9090", None),
        ] {
            assert_eq!(of(address), expected, "{address}");
        }
    }

    #[test]
    fn an_address_is_shown_without_its_credentials() {
        let target = |address: &str| Target {
            public: address.to_owned(),
            address: address.to_owned(),
            headers: vec![("Authorization".into(), "Bearer hunter2".into())],
            basic: Some(("me".into(), "hunter2".into())),
            insecure: false,
        };
        let one = target("https://me:hunter2@prometheus.example/base/?token=hunter2");
        assert_eq!(one.shown(), "https://prometheus.example/base");
        assert_eq!(one.url("/api"), "https://me:hunter2@prometheus.example/base/api");
        assert!(!format!("{one:?}").contains("hunter2"));
    }
}
