//! What the series of pods and of a gateway are called. The defaults are those of Prometheus' client libraries and of Traefik;
//! a small file says what differs.

use std::collections::BTreeMap;

use serde::Deserialize;
use serin_promql::Labels;

use crate::{
    answers::{BOUNDS, Counters},
    relabel::Relabelling,
};

/// All that a file for `--series` may say: how pods' labels become those of series, and the names of metrics.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Series {
    /// Value of the label `job`.
    job: Option<String>,
    /// Further labels: name of the series' label, name of the pod's label.
    from_pod_labels: BTreeMap<String, String>,
    /// Labels with a fixed value.
    fixed: BTreeMap<String, String>,
    /// Labels of series that are dropped; a relabelling without `labelmap` drops `rollouts_pod_template_hash`.
    drop: std::collections::BTreeSet<String>,
    /// What pods call their metrics.
    pods: Option<Partial>,
    /// Which gateway it is, or what it calls its metrics.
    gateway: Option<Gateway>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Gateway {
    Known(String),
    Own(Partial),
}

/// What differs from the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Partial {
    requests: Option<String>,
    durations: Option<String>,
    unit: Option<Unit>,
    code: Option<String>,
    method: Option<String>,
    service: Option<String>,
    fixed: Option<BTreeMap<String, String>>,
}

/// The unit of a histogram's bounds and sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Unit {
    /// As Prometheus recommends.
    Seconds,
    /// As many proxies do.
    Milliseconds,
}

/// Names of metrics and labels of whoever is scraped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The counter of requests.
    requests: String,
    /// The histogram of their durations, without `_bucket`.
    durations: String,
    unit: Unit,
    /// The label with the status code.
    code: String,
    /// The label with the method; empty for none.
    method: String,
    /// The label with the Service that answered; empty for none.
    service: String,
    /// Labels with a fixed value.
    fixed: BTreeMap<String, String>,
}

/// What a series counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counts {
    /// Answers of this status code.
    Code(u16),
    /// Answers within a bound.
    Within(usize),
    /// The time of all together.
    Sum,
    /// Answers.
    All,
}

/// Everything that is called something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposition {
    /// How pods' labels become those of series.
    pub relabelling: Relabelling,
    /// What pods count.
    pub pods: Names,
    /// What the gateway counts.
    pub gateway: Names,
}

impl Default for Exposition {
    fn default() -> Self {
        Self {
            relabelling: Relabelling::default(),
            pods: names("http_requests_total", "http_request_duration_seconds", "code", ""),
            gateway: Names {
                fixed: BTreeMap::from([("protocol".to_owned(), "http".to_owned())]),
                ..names(
                    "traefik_service_requests_total",
                    "traefik_service_request_duration_seconds",
                    "code",
                    "service",
                )
            },
        }
    }
}

fn names(requests: &str, durations: &str, code: &str, service: &str) -> Names {
    Names {
        requests: requests.to_owned(),
        durations: durations.to_owned(),
        unit: if durations.contains("_ms") || durations.contains("milliseconds") {
            Unit::Milliseconds
        } else {
            Unit::Seconds
        },
        code: code.to_owned(),
        method: "method".to_owned(),
        service: service.to_owned(),
        fixed: BTreeMap::new(),
    }
}

/// Gateways that are known by name.
pub const GATEWAYS: [&str; 4] = ["traefik", "istio", "kong", "ingress-nginx"];

/// What a gateway calls its metrics, as its documentation has it.
fn gateway(name: &str) -> Option<Names> {
    Some(match name {
        "traefik" => Exposition::default().gateway,
        "istio" => Names {
            method: String::new(),
            fixed: BTreeMap::from([("reporter".to_owned(), "source".to_owned())]),
            ..names(
                "istio_requests_total",
                "istio_request_duration_milliseconds",
                "response_code",
                "destination_service_name",
            )
        },
        "kong" => Names {
            method: String::new(),
            ..names("kong_http_requests_total", "kong_request_latency_ms", "code", "service")
        },
        "ingress-nginx" => names(
            "nginx_ingress_controller_requests",
            "nginx_ingress_controller_request_duration_seconds",
            "status",
            "service",
        ),
        _ => return None,
    })
}

impl Exposition {
    /// Reads the file's text.
    ///
    /// # Errors
    /// It is no YAML, has fields that mean nothing, or names a gateway that is not known.
    pub fn parse(text: &str) -> Result<Self, String> {
        let series: Series = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
        let default = Self::default();
        let pods = series.pods.map_or(default.pods.clone(), |own| own.over(default.pods));
        let gateway = match series.gateway {
            None => default.gateway,
            Some(Gateway::Own(own)) => own.over(default.gateway),
            Some(Gateway::Known(name)) => gateway(&name).ok_or_else(|| {
                format!(
                    "gateway: {name}: its metrics are not known; write one of {}, or name them yourself: requests, \
                     durations, unit, code, method, service, fixed",
                    GATEWAYS.join(", ")
                )
            })?,
        };
        Ok(Self {
            relabelling: Relabelling {
                job: series.job,
                from_pod_labels: series.from_pod_labels,
                fixed: series.fixed,
                drop: series.drop,
            },
            pods,
            gateway,
        })
    }
}

impl Partial {
    fn over(self, default: Names) -> Names {
        Names {
            requests: self.requests.unwrap_or(default.requests),
            durations: self.durations.unwrap_or(default.durations),
            unit: self.unit.unwrap_or(default.unit),
            code: self.code.unwrap_or(default.code),
            method: self.method.unwrap_or(default.method),
            service: self.service.unwrap_or(default.service),
            fixed: self.fixed.unwrap_or(default.fixed),
        }
    }
}

impl Names {
    /// The labels of a series, its name included.
    pub fn labels(&self, service: &str, counts: Counts) -> Labels {
        let mut all: Vec<(&str, String)> = self.fixed.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        if !self.method.is_empty() {
            all.push((&self.method, "GET".to_owned()));
        }
        if !service.is_empty() && !self.service.is_empty() {
            all.push((&self.service, service.to_owned()));
        }
        let durations = &self.durations;
        let name = match counts {
            Counts::Code(code) => {
                all.push((&self.code, code.to_string()));
                self.requests.clone()
            }
            Counts::Within(bucket) => {
                let bound = BOUNDS.get(bucket).copied().unwrap_or(f64::INFINITY);
                let bound = if bound.is_finite() {
                    (bound * self.scale()).to_string()
                } else {
                    "+Inf".to_owned()
                };
                all.push(("le", bound));
                format!("{durations}_bucket")
            }
            Counts::Sum => format!("{durations}_sum"),
            Counts::All => format!("{durations}_count"),
        };
        Labels::metric(&name, all.iter().map(|(name, value)| (*name, value.as_str())))
    }

    fn scale(&self) -> f64 {
        match self.unit {
            Unit::Seconds => 1.0,
            Unit::Milliseconds => 1000.0,
        }
    }

    /// What counters show; nothing of what has never been counted, as client libraries do.
    pub fn samples(&self, counters: &Counters, unanswered: u64) -> Vec<(Counts, f64)> {
        let codes = counters.codes.iter();
        let mut out: Vec<(Counts, f64)> = codes.map(|(code, n)| (Counts::Code(*code), *n as f64)).collect();
        if unanswered > 0 {
            out.push((Counts::Code(503), unanswered as f64));
        }
        let all = counters.count();
        if all > 0 {
            let mut below = 0;
            for (bucket, n) in counters.buckets.iter().enumerate() {
                below += n;
                out.push((Counts::Within(bucket), below as f64));
            }
            out.push((Counts::Sum, counters.seconds * self.scale()));
            out.push((Counts::All, all as f64));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(names: &Names, counts: Counts) -> String {
        names
            .labels("checkout", counts)
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn a_file_says_what_pods_and_gateway_call_their_metrics_and_keeps_the_rest() {
        let file = "pods: { requests: app_requests, code: status, method: '' }\ngateway: istio\ndrop: [node]\n";
        let found = Exposition::parse(file).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(
            shown(&found.pods, Counts::Code(200)),
            "__name__=app_requests status=200"
        );
        assert_eq!(
            shown(&found.pods, Counts::All),
            "__name__=http_request_duration_seconds_count"
        );
        assert_eq!(
            shown(&found.gateway, Counts::Within(5)),
            "__name__=istio_request_duration_milliseconds_bucket destination_service_name=checkout le=250 reporter=source"
        );
        assert!(found.relabelling.drop.contains("node"));
    }

    #[test]
    fn a_gateway_that_is_not_known_is_named_with_those_that_are() {
        let problem = Exposition::parse("gateway: nobody").expect_err("it is not known");
        assert!(
            problem.contains("nobody") && problem.contains("ingress-nginx"),
            "{problem}"
        );
    }
}
