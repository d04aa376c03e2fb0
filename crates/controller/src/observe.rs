//! From the tables to the World of one Rollout. Reads nothing else: no live list, no request (design section 6).

use std::{collections::BTreeMap, sync::Arc};

use serin_api::selector;
use serin_model::{Endpoints, RouteRef, RouteView, ServiceView, Settings, TemplateView, World};

use crate::{
    context::Memory,
    kinds::{Kind, RolloutEntry, Undecodable},
    stores::{References, Stores, Watch, managed_by, orphans_of, slices_of},
    table::Key,
};

/// What there is to see of a Rollout.
#[derive(Clone, Debug)]
pub enum Observed {
    /// It does not exist.
    Gone,
    /// A kind that it needs has not been listed yet.
    NotReady(Kind),
    /// It exists and cannot be understood.
    Undecodable(Arc<Undecodable>),
    /// All that the next decision may look at.
    World(Box<World>),
}

impl Stores {
    /// The World of a Rollout. From `memory` come names that a creation found taken, and routes that could not be written.
    pub fn world(&self, key: &Key, settings: &Settings, memory: &Memory) -> Observed {
        let rollout = match self.rollouts.get(key).map(AsRef::as_ref) {
            None => return Observed::Gone,
            Some(RolloutEntry::Bad(bad)) => return Observed::Undecodable(Arc::clone(bad)),
            Some(RolloutEntry::Good(packed)) => packed,
        };
        let (packed, rollout) = (rollout, rollout.without_template());
        let none = References::default();
        let references = self.references(key).unwrap_or(&none);
        for (kind, wanted) in [
            (Kind::HttpRoute, !references.routes.is_empty()),
            (Kind::EndpointSlice, !references.services.is_empty()),
        ] {
            if wanted && matches!(self.watch(kind), Watch::Idle | Watch::Listing) {
                return Observed::NotReady(kind);
            }
        }
        let uid = rollout.metadata.uid.clone().unwrap_or_default();
        let own = self
            .replica_sets
            .with_index(&uid)
            .filter(|(k, _)| k.namespace == key.namespace);
        let orphans = orphans_of(&key.namespace);
        let orphans = self.replica_sets.with_index(&orphans).map(|(_, rs)| rs.view());
        let orphans = orphans.filter(|rs| {
            rollout
                .spec
                .selector
                .as_ref()
                .is_some_and(|s| selector::matches(s, &rs.labels).unwrap_or(false))
        });
        let templates = self.reach(&key.namespace, &references.templates);
        Observed::World(Box::new(World {
            rollout: packed.whole(),
            replica_sets: own.map(|(_, rs)| rs.view()).chain(orphans).collect(),
            taken_names: memory.taken_names.clone(),
            services: references
                .services
                .iter()
                .filter_map(|name| {
                    let service = self.services.get(&Key::new(key.namespace.as_str(), name.as_str()))?;
                    Some((name.clone(), service.as_ref().clone()))
                })
                .collect(),
            former_services: self
                .managed_services(key)
                .into_iter()
                .filter(|service| !references.services.contains(&service.name))
                .collect(),
            endpoints: self.endpoints(&key.namespace, references),
            analysis_runs: self
                .runs
                .with_index(&uid)
                .filter(|(k, _)| k.namespace == key.namespace)
                .map(|(_, run)| run.view.clone())
                .collect(),
            templates: templates
                .into_iter()
                .map(|(name, t)| (name, TemplateView::clone(t)))
                .collect(),
            routes: self.route_views(rollout, references, memory),
            settings: settings.clone(),
        }))
    }

    /// Services that carry the name of this Rollout as their manager, whether it exists or not.
    pub fn managed_services(&self, key: &Key) -> Vec<ServiceView> {
        let word = managed_by(&key.namespace, &key.name);
        let managed = self.services.with_index(&word);
        managed.map(|(_, service)| service.as_ref().clone()).collect()
    }

    fn endpoints(&self, namespace: &str, references: &References) -> Option<BTreeMap<String, Endpoints>> {
        if matches!(self.watch(Kind::EndpointSlice), Watch::Forbidden(_) | Watch::NotServed) {
            return None;
        }
        let ready = |service: &String| {
            let word = slices_of(namespace, service);
            let slices = self.slices.with_index(&word);
            Endpoints {
                ready_pods: slices.flat_map(|(_, slice)| slice.ready_pods.iter().cloned()).collect(),
            }
        };
        Some(
            references
                .services
                .iter()
                .map(|service| (service.clone(), ready(service)))
                .collect(),
        )
    }

    fn route_views(
        &self,
        rollout: &serin_api::rollout::Rollout,
        references: &References,
        memory: &Memory,
    ) -> BTreeMap<RouteRef, Result<RouteView, String>> {
        let mut out = BTreeMap::new();
        let namespace = rollout.metadata.namespace.clone().unwrap_or_default();
        if let Some(problem) = &references.routes_problem {
            // There is a router, but it names no route that could be looked up: the problem stands in for one.
            let nameless = RouteRef {
                kind: "HTTPRoute".to_owned(),
                namespace,
                name: String::new(),
            };
            out.insert(nameless, Err(problem.clone()));
        }
        let canary = rollout.spec.strategy.canary.as_ref();
        let service = |pick: fn(&serin_api::rollout::CanaryStrategy) -> &Option<String>| {
            canary.and_then(|c| pick(c).clone()).unwrap_or_default()
        };
        let (canary_service, stable_service) = (service(|c| &c.canary_service), service(|c| &c.stable_service));
        for route in &references.routes {
            let view = match memory.route_trouble.get(route) {
                Some((reason, _)) => Err(reason.clone()),
                None => self.route_view(route, &canary_service, &stable_service),
            };
            out.insert(route.clone(), view);
        }
        out
    }

    fn route_view(&self, route: &RouteRef, canary_service: &str, stable_service: &str) -> Result<RouteView, String> {
        let RouteRef { namespace, name, .. } = route;
        match self.watch(Kind::HttpRoute) {
            Watch::NotServed => {
                return Err(format!(
                    "HTTPRoute {namespace}/{name} cannot be read: this cluster does not serve gateway.networking.k8s.io/v1 \
                     HTTPRoutes; install the Gateway API CRDs (v1.0 or later) and a gateway that implements them"
                ));
            }
            Watch::Forbidden(words) => {
                return Err(format!(
                    "HTTPRoute {namespace}/{name} cannot be read: {words}; grant the controller get, list, watch and patch \
                     of httproutes in gateway.networking.k8s.io"
                ));
            }
            Watch::Idle | Watch::Listing | Watch::Listed => {}
        }
        let Some(entry) = self.routes.get(&Key::new(namespace.as_str(), name.as_str())) else {
            return Err(format!(
                "HTTPRoute {namespace}/{name} does not exist; create it with a rule whose backendRefs name both \
                 {stable_service} and {canary_service}, or correct trafficRouting.plugins[\"argoproj-labs/gatewayAPI\"]"
            ));
        };
        serin_traffic::read(&entry.0, canary_service, stable_service).map_err(|e| e.to_string())
    }
}
