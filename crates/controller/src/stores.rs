//! All tables, and who has to look again when something in them changes.
//!
//! Pure bookkeeping: knows no client and no task. The watch tasks and the answers to writes come in through
//! [`Stores::observe`] and its siblings, each of which says which Rollouts and runs are concerned.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serin_api::{
    analysis::AnalysisTemplateSpec,
    rollout::{AnalysisTemplateRef, Rollout, RolloutAnalysis},
    selector,
};
use serin_model::{RouteRef, ServiceView};

use crate::{
    kinds::{ClusterTemplate, Kind, Lean, NamespacedTemplate, Reduced, RolloutEntry, RouteEntry, RunEntry, SliceView},
    packed::PackedReplicaSet,
    table::{Change, Key, Table, Version},
};

/// How far the watch of a kind is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Watch {
    /// Not begun: nobody needs the kind yet.
    #[default]
    Idle,
    /// Waiting for the first list.
    Listing,
    /// Listed; kept up to date.
    Listed,
    /// The API server does not serve the kind.
    NotServed,
    /// The controller may not read it; the API server's words.
    Forbidden(String),
}

/// Who has to look again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affected {
    /// Rollouts.
    pub rollouts: BTreeSet<Key>,
    /// Analysis runs.
    pub runs: BTreeSet<Key>,
}

impl Affected {
    fn join(&mut self, other: Self) {
        self.rollouts.extend(other.rollouts);
        self.runs.extend(other.runs);
    }
}

/// What a Rollout names outside of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Services, in its own namespace.
    pub services: BTreeSet<String>,
    /// Templates that it names directly.
    pub templates: Vec<AnalysisTemplateRef>,
    /// Routes; or why the router's configuration cannot be used.
    pub routes: Vec<RouteRef>,
    /// Why the router's configuration cannot be used.
    pub routes_problem: Option<String>,
}

impl References {
    /// Reads them off the spec.
    pub fn of(rollout: &Rollout) -> Self {
        let mut out = Self::default();
        let strategy = &rollout.spec.strategy;
        if let Some(canary) = &strategy.canary {
            let ping_pong = canary.ping_pong.iter().flat_map(|p| [&p.ping_service, &p.pong_service]);
            let plain = [&canary.canary_service, &canary.stable_service].into_iter().flatten();
            out.services
                .extend(plain.chain(ping_pong).filter(|s| !s.is_empty()).cloned());
            for step in canary.steps() {
                out.add_templates(step.analysis.as_ref());
            }
            out.add_templates(canary.analysis.as_ref().map(|b| &b.analysis));
            if let Some(routing) = &canary.traffic_routing {
                match serin_traffic::routes(routing, rollout.metadata.namespace.as_deref().unwrap_or_default()) {
                    Ok(routes) => out.routes = routes,
                    Err(problem) => out.routes_problem = Some(problem.to_string()),
                }
            }
        }
        if let Some(blue_green) = &strategy.blue_green {
            let named = std::iter::once(&blue_green.active_service).chain(&blue_green.preview_service);
            out.services.extend(named.filter(|s| !s.is_empty()).cloned());
            out.add_templates(blue_green.pre_promotion_analysis.as_ref());
            out.add_templates(blue_green.post_promotion_analysis.as_ref());
        }
        out
    }

    fn add_templates(&mut self, analysis: Option<&RolloutAnalysis>) {
        self.templates
            .extend(analysis.into_iter().flat_map(|a| a.templates.iter().flatten().cloned()));
    }
}

/// See the module.
#[derive(Debug)]
pub struct Stores {
    /// Rollouts.
    pub rollouts: Table<RolloutEntry>,
    /// ReplicaSets; index: the owner's UID, or [`orphans_of`] the namespace.
    pub replica_sets: Table<PackedReplicaSet>,
    /// Services.
    pub services: Table<ServiceView>,
    /// EndpointSlices; index: [`slices_of`] the Service.
    pub slices: Table<SliceView>,
    /// Analysis runs; index: the owner's UID.
    pub runs: Table<RunEntry>,
    /// AnalysisTemplates.
    pub templates: Table<NamespacedTemplate>,
    /// ClusterAnalysisTemplates.
    pub cluster_templates: Table<ClusterTemplate>,
    /// HTTPRoutes.
    pub routes: Table<RouteEntry>,
    /// How far each kind is.
    pub watches: BTreeMap<Kind, Watch>,
    references: BTreeMap<Key, References>,
    by_uid: BTreeMap<String, Key>,
    by_service: BTreeMap<Key, BTreeSet<Key>>,
    by_route: BTreeMap<Key, BTreeSet<Key>>,
}

/// Index word of ReplicaSets that nobody controls.
pub fn orphans_of(namespace: &str) -> String {
    format!("/{namespace}")
}

/// Index word of the Services that a Rollout manages, or did.
pub fn managed_by(namespace: &str, rollout: &str) -> String {
    format!("{namespace}/{rollout}")
}

/// Index word of a Service's slices.
pub fn slices_of(namespace: &str, service: &str) -> String {
    format!("{namespace}/{service}")
}

impl Default for Stores {
    fn default() -> Self {
        Self {
            rollouts: Table::new(|_, _| None),
            replica_sets: Table::new(|key, rs| {
                Some(rs.owner().map_or_else(|| orphans_of(&key.namespace), str::to_owned))
            }),
            services: Table::new(|key, service| {
                service.managed_by().map(|rollout| managed_by(&key.namespace, rollout))
            }),
            slices: Table::new(|key, slice| Some(slices_of(&key.namespace, &slice.service))),
            runs: Table::new(|_, run| run.owner.clone()),
            templates: Table::new(|_, _| None),
            cluster_templates: Table::new(|_, _| None),
            routes: Table::new(|_, _| None),
            watches: BTreeMap::new(),
            references: BTreeMap::new(),
            by_uid: BTreeMap::new(),
            by_service: BTreeMap::new(),
            by_route: BTreeMap::new(),
        }
    }
}

/// A kind that has a table.
pub trait Stored: Reduced {
    /// Its table.
    fn table(stores: &mut Stores) -> &mut Table<Self>;
    /// Who is concerned by a change of it; updates the reverse indexes.
    fn concerns(stores: &mut Stores, change: &Change<Self>) -> Affected;
}

impl Stores {
    /// How far a kind is.
    pub fn watch(&self, kind: Kind) -> Watch {
        self.watches.get(&kind).cloned().unwrap_or_default()
    }

    /// What a known Rollout names.
    pub fn references(&self, rollout: &Key) -> Option<&References> {
        self.references.get(rollout)
    }

    /// The namespaces of the routes that Rollouts name.
    pub fn namespaces_of_routes(&self) -> BTreeSet<String> {
        self.by_route.keys().map(|route| route.namespace.clone()).collect()
    }

    /// Whether any Rollout needs this kind of which not everybody has any.
    pub fn needs(&self, kind: Kind) -> bool {
        match kind {
            Kind::HttpRoute => !self.by_route.is_empty(),
            Kind::EndpointSlice => !self.by_service.is_empty(),
            _ => true,
        }
    }

    /// Takes in an object.
    pub fn observe<T: Stored>(&mut self, object: Lean<T>) -> Affected {
        let change = T::table(self).observe(object.meta.key(), object.meta.version(), object.value);
        self.concerned(change)
    }

    /// The watch said that an object is gone.
    pub fn gone<T: Stored>(&mut self, key: &Key, version: &Version) -> Affected {
        let change = T::table(self).gone(key, version);
        self.concerned(change)
    }

    /// We deleted an object, or a read found nothing.
    pub fn bury<T: Stored>(&mut self, key: &Key, uid: &str) -> Affected {
        let change = T::table(self).bury(key, uid);
        self.concerned(change)
    }

    /// A listing is complete.
    pub fn end_listing<T: Stored>(&mut self) -> Affected {
        let mut affected = Affected::default();
        for change in T::table(self).end_listing() {
            affected.join(T::concerns(self, &change));
        }
        affected
    }

    fn concerned<T: Stored>(&mut self, change: Option<Change<T>>) -> Affected {
        change.map(|change| T::concerns(self, &change)).unwrap_or_default()
    }

    /// All Rollouts that name this route kind or a Service: those that wait for a first list.
    pub fn waiting_for(&self, kind: Kind) -> Affected {
        let index = match kind {
            Kind::HttpRoute => &self.by_route,
            Kind::EndpointSlice => &self.by_service,
            _ => return Affected::default(),
        };
        Affected {
            rollouts: index.values().flatten().cloned().collect(),
            runs: BTreeSet::new(),
        }
    }

    /// The spec of a template that a Rollout in `namespace` names, if it exists and can be understood.
    pub fn template(&self, namespace: &str, name: &AnalysisTemplateRef) -> Option<&Arc<serin_model::TemplateView>> {
        if name.cluster_scope {
            self.cluster_templates
                .get(&Key::new("", name.template_name.as_str()))?
                .0
                .as_ref()
                .ok()
        } else {
            self.templates
                .get(&Key::new(namespace, name.template_name.as_str()))?
                .0
                .as_ref()
                .ok()
        }
    }

    /// All templates that the given ones reach and that exist, through however many others.
    pub fn reach(
        &self,
        namespace: &str,
        from: &[AnalysisTemplateRef],
    ) -> BTreeMap<AnalysisTemplateRef, &Arc<serin_model::TemplateView>> {
        let mut found = BTreeMap::new();
        let mut waiting: Vec<AnalysisTemplateRef> = from.to_vec();
        while let Some(name) = waiting.pop() {
            if found.contains_key(&name) {
                continue;
            }
            if let Some(template) = self.template(namespace, &name) {
                waiting.extend(inner(&template.spec).cloned());
                found.insert(name, template);
            }
        }
        found
    }

    /// Rollouts that reach the template, whether it exists or not. Templates change rarely, so a walk over the Rollouts
    /// that use any is cheap enough.
    fn users_of_template(&self, namespace: Option<&str>, name: &str) -> Affected {
        let wanted = AnalysisTemplateRef {
            template_name: name.to_owned(),
            cluster_scope: namespace.is_none(),
        };
        let uses = |key: &Key, references: &References| {
            if references.templates.is_empty() || namespace.is_some_and(|n| n != key.namespace) {
                return false;
            }
            let reached = self.reach(&key.namespace, &references.templates);
            references.templates.contains(&wanted)
                || reached.contains_key(&wanted)
                || reached.values().any(|t| inner(&t.spec).any(|i| *i == wanted))
        };
        let rollouts = self
            .references
            .iter()
            .filter(|(key, r)| uses(key, r))
            .map(|(key, _)| key.clone())
            .collect();
        Affected {
            rollouts,
            runs: BTreeSet::new(),
        }
    }

    fn owner_of(&self, uid: Option<&str>) -> Option<Key> {
        self.by_uid.get(uid?).cloned()
    }

    fn forget(&mut self, rollout: &Key) {
        let Some(references) = self.references.remove(rollout) else {
            return;
        };
        for service in references.services {
            unlink(
                &mut self.by_service,
                &Key::new(rollout.namespace.as_str(), service),
                rollout,
            );
        }
        for route in references.routes {
            unlink(&mut self.by_route, &Key::new(route.namespace, route.name), rollout);
        }
    }

    fn learn(&mut self, rollout: &Key, references: References) {
        for service in &references.services {
            let service = Key::new(rollout.namespace.as_str(), service.as_str());
            self.by_service.entry(service).or_default().insert(rollout.clone());
        }
        for route in &references.routes {
            let route = Key::new(route.namespace.as_str(), route.name.as_str());
            self.by_route.entry(route).or_default().insert(rollout.clone());
        }
        self.references.insert(rollout.clone(), references);
    }
}

fn inner(spec: &AnalysisTemplateSpec) -> impl Iterator<Item = &AnalysisTemplateRef> {
    spec.templates.iter().flatten()
}

fn unlink(index: &mut BTreeMap<Key, BTreeSet<Key>>, from: &Key, to: &Key) {
    if let Some(keys) = index.get_mut(from) {
        keys.remove(to);
        if keys.is_empty() {
            index.remove(from);
        }
    }
}

fn rollouts(keys: impl IntoIterator<Item = Key>) -> Affected {
    Affected {
        rollouts: keys.into_iter().collect(),
        runs: BTreeSet::new(),
    }
}

impl Stored for RolloutEntry {
    fn table(stores: &mut Stores) -> &mut Table<Self> {
        &mut stores.rollouts
    }

    fn concerns(stores: &mut Stores, change: &Change<Self>) -> Affected {
        let uid = |entry: &Arc<Self>| entry.good().and_then(|r| r.metadata.uid.clone());
        if let Some(uid) = change.old.as_ref().and_then(uid) {
            stores.by_uid.remove(&uid);
        }
        stores.forget(&change.key);
        if let Some(new) = &change.new {
            if let Some(uid) = uid(new) {
                stores.by_uid.insert(uid, change.key.clone());
            }
            if let Some(rollout) = new.good() {
                stores.learn(&change.key, References::of(rollout));
            }
        }
        rollouts([change.key.clone()])
    }
}

impl Stored for PackedReplicaSet {
    fn table(stores: &mut Stores) -> &mut Table<Self> {
        &mut stores.replica_sets
    }

    fn concerns(stores: &mut Stores, change: &Change<Self>) -> Affected {
        let mut affected = BTreeSet::new();
        for packed in change.old.iter().chain(&change.new) {
            if let Some(owner) = packed.owner() {
                affected.extend(stores.owner_of(Some(owner)));
                continue;
            }
            // Nobody's: whoever selects it may adopt it (compat 2.1.5).
            let view = packed.view();
            let selects = |entry: &RolloutEntry| {
                entry
                    .good()
                    .and_then(|r| r.spec.selector.as_ref())
                    .is_some_and(|s| selector::matches(s, &view.labels).unwrap_or(false))
            };
            let all = stores.rollouts.in_namespace(&change.key.namespace);
            affected.extend(all.filter(|(_, entry)| selects(entry)).map(|(key, _)| key.clone()));
        }
        rollouts(affected)
    }
}

impl Stored for ServiceView {
    fn table(stores: &mut Stores) -> &mut Table<Self> {
        &mut stores.services
    }

    fn concerns(stores: &mut Stores, change: &Change<Self>) -> Affected {
        let namespace = change.key.namespace.as_str();
        let managers = change
            .old
            .iter()
            .chain(&change.new)
            .filter_map(|service| service.managed_by());
        // Also one that does not exist: then the Service is to be released.
        let managers: Vec<Key> = managers.map(|name| Key::new(namespace, name)).collect();
        rollouts(
            stores
                .by_service
                .get(&change.key)
                .into_iter()
                .flatten()
                .cloned()
                .chain(managers),
        )
    }
}

impl Stored for SliceView {
    fn table(stores: &mut Stores) -> &mut Table<Self> {
        &mut stores.slices
    }

    fn concerns(stores: &mut Stores, change: &Change<Self>) -> Affected {
        if change.old == change.new {
            return Affected::default();
        }
        let services: BTreeSet<&String> = change.old.iter().chain(&change.new).map(|s| &s.service).collect();
        rollouts(services.into_iter().flat_map(|service| {
            let key = Key::new(change.key.namespace.as_str(), service.as_str());
            stores.by_service.get(&key).into_iter().flatten().cloned()
        }))
    }
}

impl Stored for RunEntry {
    fn table(stores: &mut Stores) -> &mut Table<Self> {
        &mut stores.runs
    }

    fn concerns(stores: &mut Stores, change: &Change<Self>) -> Affected {
        let owners = change
            .old
            .iter()
            .chain(&change.new)
            .filter_map(|run| stores.owner_of(run.owner.as_deref()));
        Affected {
            rollouts: owners.collect(),
            runs: [change.key.clone()].into(),
        }
    }
}

impl Stored for NamespacedTemplate {
    fn table(stores: &mut Stores) -> &mut Table<Self> {
        &mut stores.templates
    }

    fn concerns(stores: &mut Stores, change: &Change<Self>) -> Affected {
        stores.users_of_template(Some(&change.key.namespace), &change.key.name)
    }
}

impl Stored for ClusterTemplate {
    fn table(stores: &mut Stores) -> &mut Table<Self> {
        &mut stores.cluster_templates
    }

    fn concerns(stores: &mut Stores, change: &Change<Self>) -> Affected {
        stores.users_of_template(None, &change.key.name)
    }
}

impl Stored for RouteEntry {
    fn table(stores: &mut Stores) -> &mut Table<Self> {
        &mut stores.routes
    }

    fn concerns(stores: &mut Stores, change: &Change<Self>) -> Affected {
        rollouts(stores.by_route.get(&change.key).into_iter().flatten().cloned())
    }
}

#[cfg(test)]
#[path = "stores_tests.rs"]
mod tests;
