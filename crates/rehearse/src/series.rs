//! What the series of pods and of a gateway are called. The defaults are those of Prometheus' client libraries and of Traefik;
//! a small file says what differs.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serin_promql::Labels;

use crate::{
    answers::{Bounds, Counters},
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
    drop: BTreeSet<String>,
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
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Partial {
    requests: Option<String>,
    durations: Option<String>,
    unit: Option<Unit>,
    buckets: Option<Vec<f64>>,
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

impl Unit {
    /// How many of it a second has.
    fn of_a_second(self) -> f64 {
        match self {
            Self::Seconds => 1.0,
            Self::Milliseconds => 1000.0,
        }
    }
}

/// Names of metrics and labels of whoever is scraped.
#[derive(Clone, Debug, PartialEq)]
pub struct Names {
    /// The counter of requests.
    requests: String,
    /// The histogram of their durations, without `_bucket`.
    durations: String,
    unit: Unit,
    /// Upper bounds of the histogram's buckets in that unit, ascending, without the infinite one.
    buckets: Vec<f64>,
    /// The label with the status code; empty for none.
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
    /// Answers, where no label tells their status code.
    Requests,
    /// Answers within a bound, by its place; the one after the last is infinite.
    Within(usize),
    /// The time of all together.
    Sum,
    /// Answers.
    All,
}

/// Everything that is called something.
#[derive(Clone, Debug, PartialEq)]
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
                buckets: TRAEFIK_BUCKETS.to_vec(),
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
        buckets: BUCKETS.to_vec(),
        code: code.to_owned(),
        method: "method".to_owned(),
        service: service.to_owned(),
        fixed: BTreeMap::new(),
    }
}

/// In seconds: the default of Prometheus' client libraries, and of ingress-nginx.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// In seconds: Traefik's default.
const TRAEFIK_BUCKETS: [f64; 4] = [0.1, 0.3, 1.2, 5.0];

/// In milliseconds: Envoy's default, which Istio keeps.
const ENVOY_BUCKETS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// In milliseconds: Kong's for what it hands on.
const KONG_BUCKETS: [f64; 13] = [
    25.0, 50.0, 80.0, 100.0, 250.0, 400.0, 700.0, 1000.0, 2000.0, 5000.0, 10_000.0, 30_000.0, 60_000.0,
];

/// Gateways that are known by name.
pub const GATEWAYS: [&str; 4] = ["traefik", "istio", "kong", "ingress-nginx"];

/// What a gateway calls its metrics, as its documentation has it.
fn gateway(name: &str) -> Option<Names> {
    Some(match name {
        "traefik" => Exposition::default().gateway,
        "istio" => Names {
            method: String::new(),
            fixed: BTreeMap::from([("reporter".to_owned(), "source".to_owned())]),
            buckets: ENVOY_BUCKETS.to_vec(),
            ..names(
                "istio_requests_total",
                "istio_request_duration_milliseconds",
                "response_code",
                "destination_service_name",
            )
        },
        "kong" => Names {
            method: String::new(),
            buckets: KONG_BUCKETS.to_vec(),
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
    /// The names of all series that are scraped here.
    pub fn names(&self) -> BTreeSet<String> {
        let exposed = [&self.pods, &self.gateway].into_iter().flat_map(|names| {
            let of_durations = ["bucket", "sum", "count"].map(|part| format!("{}_{part}", names.durations));
            of_durations.into_iter().chain([names.requests.clone()])
        });
        exposed.chain(serin_promql::REPORTS.map(str::to_owned)).collect()
    }

    /// Where durations have to be told apart for all histograms to be counted.
    pub fn bounds(&self) -> Bounds {
        Bounds::of(self.pods.bounds().chain(self.gateway.bounds()))
    }

    /// Reads the file's text.
    ///
    /// # Errors
    /// It is no YAML, has fields that mean nothing, buckets that do not ascend, or names a gateway that is not known.
    pub fn parse(text: &str) -> Result<Self, String> {
        let series: Series = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
        let default = Self::default();
        let pods = series
            .pods
            .map_or(Ok(default.pods.clone()), |own| own.over("pods", default.pods))?;
        let gateway = match series.gateway {
            None => default.gateway,
            Some(Gateway::Own(own)) => own.over("gateway", default.gateway)?,
            Some(Gateway::Known(name)) => gateway(&name).ok_or_else(|| {
                format!(
                    "gateway: {name}: its metrics are not known; write one of {}, or name them yourself: requests, \
                     durations, unit, buckets, code, method, service, fixed",
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
    fn over(self, place: &str, default: Names) -> Result<Names, String> {
        let unit = self.unit.unwrap_or(default.unit);
        let scale = unit.of_a_second() / default.unit.of_a_second();
        let buckets = match self.buckets {
            None => default.buckets.iter().map(|bound| bound * scale).collect(),
            Some(own) => {
                let rises = own.windows(2).all(|pair| pair[0] < pair[1]);
                if own.is_empty() || !rises || own.iter().any(|bound| !bound.is_finite() || *bound <= 0.0) {
                    return Err(format!(
                        "{place}.buckets: {own:?}: write the upper bounds of the histogram in its own unit, ascending, \
                         without the infinite one, such as [0.1, 0.5, 1, 5]"
                    ));
                }
                own
            }
        };
        Ok(Names {
            requests: self.requests.unwrap_or(default.requests),
            durations: self.durations.unwrap_or(default.durations),
            unit,
            buckets,
            code: self.code.unwrap_or(default.code),
            method: self.method.unwrap_or(default.method),
            service: self.service.unwrap_or(default.service),
            fixed: self.fixed.unwrap_or(default.fixed),
        })
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
            Counts::Requests => self.requests.clone(),
            Counts::Within(bucket) => {
                let bound = self.buckets.get(bucket);
                all.push(("le", bound.map_or_else(|| "+Inf".to_owned(), ToString::to_string)));
                format!("{durations}_bucket")
            }
            Counts::Sum => format!("{durations}_sum"),
            Counts::All => format!("{durations}_count"),
        };
        Labels::metric(&name, all.iter().map(|(name, value)| (*name, value.as_str())))
    }

    /// Upper bounds of its histogram in seconds, without the infinite one.
    fn bounds(&self) -> impl Iterator<Item = f64> {
        self.buckets.iter().map(|bound| bound / self.unit.of_a_second())
    }

    /// What counters show; nothing of what has never been counted, as client libraries do.
    pub fn samples(&self, counters: &Counters, unanswered: u64) -> Vec<(Counts, f64)> {
        let all = counters.count();
        let mut out: Vec<(Counts, f64)> = Vec::new();
        if self.code.is_empty() {
            if all + unanswered > 0 {
                out.push((Counts::Requests, (all + unanswered) as f64));
            }
        } else {
            let codes = counters.codes.iter();
            out.extend(codes.map(|(code, n)| (Counts::Code(*code), *n as f64)));
            if unanswered > 0 {
                out.push((Counts::Code(503), unanswered as f64));
            }
        }
        if all > 0 {
            for (place, bound) in self.bounds().chain([f64::INFINITY]).enumerate() {
                out.push((Counts::Within(place), counters.within(bound) as f64));
            }
            out.push((Counts::Sum, counters.seconds * self.unit.of_a_second()));
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
            shown(&found.gateway, Counts::Within(7)),
            "__name__=istio_request_duration_milliseconds_bucket destination_service_name=checkout le=250 reporter=source"
        );
        assert!(found.relabelling.drop.contains("node"));
    }

    #[test]
    fn histograms_have_the_buckets_that_a_file_gives_them_in_their_unit() {
        let of = |text: &str| Exposition::parse(text).unwrap_or_else(|e| panic!("{e}")).pods;
        let own = of("pods: { unit: milliseconds, buckets: [80, 1200.5] }");
        let shown: Vec<_> = (0..3).map(|place| own.labels("", Counts::Within(place))).collect();
        let bounds: Vec<_> = shown.iter().map(|labels| labels.get("le")).collect();
        assert_eq!(bounds, ["80", "1200.5", "+Inf"]);
        assert_eq!(own.bounds().collect::<Vec<_>>(), [0.08, 1.2005]);
        let default = of("pods: { unit: milliseconds }");
        assert_eq!(default.labels("", Counts::Within(0)).get("le"), "5");
        assert_eq!(default.bounds().next(), Some(0.005));
        for wrong in ["[]", "[1, 0.5]", "[0, 1]", "[1, 1]", "[.inf]"] {
            let problem = Exposition::parse(&format!("pods: {{ buckets: {wrong} }}")).expect_err(wrong);
            assert!(problem.starts_with("pods.buckets: ["), "{problem}");
        }
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
