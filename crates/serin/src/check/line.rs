//! What `serin check` says: one line for each thing that was looked at, and the list of all things that are looked at.

use std::fmt;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    /// As it should be.
    Pass,
    /// Works, or could not be looked at; somebody should know.
    Warn,
    /// Something will not work.
    Fail,
}

impl Status {
    /// For JSON.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// Groups of checks, in the order in which they are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Section {
    Kubernetes,
    Definitions,
    Installing,
    Rights,
    Controller,
    Rollouts,
    Services,
    Routes,
    Metrics,
    Capacity,
}

impl Section {
    /// In the order in which they are printed.
    pub(super) const ALL: [Self; 10] = [
        Self::Kubernetes,
        Self::Definitions,
        Self::Installing,
        Self::Rights,
        Self::Controller,
        Self::Rollouts,
        Self::Services,
        Self::Routes,
        Self::Metrics,
        Self::Capacity,
    ];

    /// As a heading.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Kubernetes => "Kubernetes",
            Self::Definitions => "Resource definitions",
            Self::Installing => "Ready to install",
            Self::Rights => "Rights of the controller",
            Self::Controller => "Controller",
            Self::Rollouts => "Rollouts",
            Self::Services => "Services",
            Self::Routes => "Routes and gateways",
            Self::Metrics => "Prometheus",
            Self::Capacity => "Capacity",
        }
    }

    /// For JSON.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Definitions => "definitions",
            Self::Installing => "installing",
            Self::Rights => "rights",
            Self::Controller => "controller",
            Self::Rollouts => "rollouts",
            Self::Services => "services",
            Self::Routes => "routes",
            Self::Metrics => "prometheus",
            Self::Capacity => "capacity",
        }
    }
}

/// One thing that is looked at. Its id stays the same from release to release; docs/check.md explains each.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) id: &'static str,
    pub(super) section: Section,
    /// What is so when many pass: `12 Rollouts: <fine>`.
    pub(super) fine: &'static str,
}

/// One finding.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) check: &'static Check,
    pub(super) status: Status,
    /// `Kind namespace/name`, empty for what there is only one of.
    pub(super) about: String,
    pub(super) seen: String,
    /// What to do; empty when nothing is wrong.
    pub(super) advice: String,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            check,
            status,
            about,
            seen,
            advice,
        } = self;
        write!(f, "{} {} [{about}] {seen} -> {advice}", status.word(), check.id)
    }
}

impl Check {
    fn line(
        &'static self,
        status: Status,
        about: impl Into<String>,
        seen: impl Into<String>,
        advice: impl Into<String>,
    ) -> Line {
        Line {
            check: self,
            status,
            about: about.into(),
            seen: seen.into(),
            advice: advice.into(),
        }
    }

    pub(super) fn pass(&'static self, about: impl Into<String>, seen: impl Into<String>) -> Line {
        self.line(Status::Pass, about, seen, "")
    }

    pub(super) fn warn(
        &'static self,
        about: impl Into<String>,
        seen: impl Into<String>,
        advice: impl Into<String>,
    ) -> Line {
        self.line(Status::Warn, about, seen, advice)
    }

    pub(super) fn fail(
        &'static self,
        about: impl Into<String>,
        seen: impl Into<String>,
        advice: impl Into<String>,
    ) -> Line {
        self.line(Status::Fail, about, seen, advice)
    }
}

macro_rules! checks {
    ($($name:ident = $section:ident $id:literal $fine:literal;)*) => {
        $(pub(super) static $name: Check = Check { id: $id, section: Section::$section, fine: $fine };)*
        /// All of them, in the order in which they are printed.
        pub(super) static ALL: &[&Check] = &[$(&$name),*];
    };
}

checks! {
    API_VERSION = Kubernetes "api-version" "new enough";
    GATEWAY_API = Kubernetes "gateway-api" "served";
    READING = Kubernetes "reading" "could be read";
    CRD_FREE = Definitions "crd-free" "free to be created";
    CRD = Definitions "crd" "there, established, v1alpha1 is served";
    CRD_SCHEMA = Definitions "crd-schema" "the schema is the one of this Serin";
    CRD_STORED = Definitions "crd-stored-versions" "everything is stored as v1alpha1";
    INSTALL_NAMESPACE = Installing "install-namespace" "there";
    INSTALL_RIGHTS = Installing "install-rights" "may be created";
    INSTALL_ESCALATION = Installing "install-escalation" "may be granted";
    RIGHTS = Rights "rights" "all that is needed is granted";
    RIGHTS_LEASE = Rights "rights-lease" "may take the Lease";
    RIGHTS_SECRETS = Rights "rights-secrets" "the Secrets of analyses may be read";
    RIGHTS_OWNERS = Rights "rights-owner-references" "may own what it creates";
    CONTROLLER = Controller "controller" "there";
    CONTROLLER_READY = Controller "controller-ready" "all replicas are ready";
    CONTROLLER_VERSION = Controller "controller-version" "same version as this program";
    LEASE = Controller "lease" "held and renewed";
    TWO_CONTROLLERS = Controller "two-controllers" "alone";
    ROLLOUT_SPEC = Rollouts "rollout-spec" "valid, and all analysis templates exist";
    ROLLOUT_UNSUPPORTED = Rollouts "rollout-unsupported" "nothing that is not supported yet";
    ROLLOUT_ATTENDED = Rollouts "rollout-attended" "a controller looks after them";
    SERVICE = Services "service" "there, and nobody else's";
    SERVICE_SELECTOR = Services "service-selector" "the selector fits the pods";
    SERVICE_PORTS = Services "service-ports" "the ports lead to the pods";
    SERVICE_ENDPOINTS = Services "service-endpoints" "there are ready pods behind it";
    ROUTE = Routes "route" "there";
    ROUTE_BACKENDS = Routes "route-backends" "a rule has both Services";
    ROUTE_WEIGHTS = Routes "route-weights" "the weights add up";
    ROUTE_ACCEPTED = Routes "route-accepted" "accepted by its gateway";
    GATEWAY = Routes "gateway" "there and programmed";
    PROMETHEUS_ADDRESS = Metrics "prometheus-address" "an address is known";
    PROMETHEUS = Metrics "prometheus" "answers";
    PROMETHEUS_SECRETS = Metrics "prometheus-secrets" "credentials could be read";
    QUERY = Metrics "query" "can be read";
    HASH_LABEL = Metrics "hash-label" "the hash label reaches the series";
    DISRUPTION_BUDGET = Capacity "disruption-budget" "the budget leaves room for evictions";
    AUTOSCALER = Capacity "autoscaler" "scales the Rollout";
    OLD_DEPLOYMENT = Capacity "old-deployment" "no Deployment with the same pods is left";
    READINESS_PROBE = Capacity "readiness-probe" "there is a readiness probe";
    QUOTA = Capacity "quota" "there is room for the pods of a release";
    LIMIT_RANGE = Capacity "limit-range" "the pods fit the limits";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const DOCS: &str = include_str!("../../../../docs/check.md");

    #[test]
    fn ids_are_unique_kebab_case_and_all_explained_in_the_docs() {
        let ids: BTreeSet<&str> = ALL.iter().map(|check| check.id).collect();
        assert_eq!(ids.len(), ALL.len());
        for id in &ids {
            assert!(id.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{id}");
            assert!(
                DOCS.contains(&format!("| `{id}` |")),
                "docs/check.md does not explain {id}"
            );
        }
        let tables = DOCS.split("\n## ").find(|part| part.starts_with("Every check"));
        let rows = tables
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let unknown: Vec<&str> = rows.filter(|id| !ids.contains(id)).collect();
        assert!(
            unknown.is_empty(),
            "docs/check.md explains what is not checked: {unknown:?}"
        );
    }

    #[test]
    fn sections_are_printed_in_the_order_of_the_table() {
        let mut order: Vec<Section> = ALL.iter().map(|check| check.section).collect();
        order.dedup();
        assert_eq!(order, Section::ALL);
    }
}
