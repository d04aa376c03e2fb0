//! One look at a cluster from outside of the loop: every kind listed once, with the rights of whoever asks. What comes of it
//! is what the loop would see. Watches nothing and writes nothing.

use kube::{
    Api, Client,
    api::{ListParams, ObjectList},
};

use crate::{
    kinds::{ClusterTemplate, Kind, NamespacedTemplate, RolloutEntry, RouteEntry, RunEntry, SliceView},
    lean::Lean,
    packed::PackedReplicaSet,
    stores::{Stored, Stores, Watch},
};

/// Objects a page.
const PAGE: u32 = 500;

/// All that decisions about the Rollouts of a namespace may look at, or of all namespaces. Routes are listed where the
/// Rollouts say that they are.
///
/// # Errors
/// The API server does not answer, or refuses to show a kind without which nothing can be said.
pub async fn look(client: &Client, namespace: Option<&str>) -> Result<Stores, kube::Error> {
    let mut stores = Stores::default();
    let here = [namespace];
    list::<RolloutEntry>(&mut stores, client, &here).await?;
    list::<PackedReplicaSet>(&mut stores, client, &here).await?;
    list::<serin_model::ServiceView>(&mut stores, client, &here).await?;
    list::<RunEntry>(&mut stores, client, &here).await?;
    list::<NamespacedTemplate>(&mut stores, client, &here).await?;
    may_be_missing::<ClusterTemplate>(&mut stores, client, &[None]).await?;
    if stores.needs(Kind::EndpointSlice) {
        may_be_missing::<SliceView>(&mut stores, client, &here).await?;
    }
    if stores.needs(Kind::HttpRoute) {
        let named = stores.namespaces_of_routes();
        let named: Vec<_> = named.iter().map(|name| Some(name.as_str())).collect();
        let places = if namespace.is_some() { &named[..] } else { &here };
        may_be_missing::<RouteEntry>(&mut stores, client, places).await?;
    }
    Ok(stores)
}

/// Lists the objects of namespaces; None stands for all of them.
async fn list<T: Stored>(stores: &mut Stores, client: &Client, places: &[Option<&str>]) -> Result<(), kube::Error> {
    let resource = T::KIND.resource();
    T::table(stores).begin_listing();
    for place in places {
        let api: Api<Lean<T>> = match place {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let mut params = ListParams::default().limit(PAGE);
        if T::KIND == Kind::ReplicaSet {
            params = params.labels(serin_api::HASH_LABEL);
        }
        loop {
            let page: ObjectList<Lean<T>> = api.list(&params).await?;
            for object in page.items {
                stores.observe(object);
            }
            let Some(next) = page.metadata.continue_.filter(|token| !token.is_empty()) else {
                break;
            };
            params = params.continue_token(&next);
        }
    }
    stores.end_listing::<T>();
    stores.watches.insert(T::KIND, Watch::Listed);
    Ok(())
}

/// Kinds that some clusters do not have, or that not everybody may read.
async fn may_be_missing<T: Stored>(
    stores: &mut Stores,
    client: &Client,
    places: &[Option<&str>],
) -> Result<(), kube::Error> {
    let state = match list::<T>(stores, client, places).await {
        Ok(()) => return Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Watch::NotServed,
        Err(kube::Error::Api(status)) if status.code == 403 => Watch::Forbidden(status.message.clone()),
        Err(error) => return Err(error),
    };
    stores.end_listing::<T>();
    stores.watches.insert(T::KIND, state);
    Ok(())
}
