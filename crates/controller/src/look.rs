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

/// All that decisions about the Rollouts of a namespace may look at, or of all namespaces.
///
/// # Errors
/// The API server does not answer, or refuses to show a kind without which nothing can be said.
pub async fn look(client: &Client, namespace: Option<&str>) -> Result<Stores, kube::Error> {
    let mut stores = Stores::default();
    list::<RolloutEntry>(&mut stores, client, namespace).await?;
    list::<PackedReplicaSet>(&mut stores, client, namespace).await?;
    list::<serin_model::ServiceView>(&mut stores, client, namespace).await?;
    list::<RunEntry>(&mut stores, client, namespace).await?;
    list::<NamespacedTemplate>(&mut stores, client, namespace).await?;
    may_be_missing::<ClusterTemplate>(&mut stores, client, None).await?;
    if stores.needs(Kind::EndpointSlice) {
        may_be_missing::<SliceView>(&mut stores, client, namespace).await?;
    }
    if stores.needs(Kind::HttpRoute) {
        may_be_missing::<RouteEntry>(&mut stores, client, namespace).await?;
    }
    Ok(stores)
}

async fn list<T: Stored>(stores: &mut Stores, client: &Client, namespace: Option<&str>) -> Result<(), kube::Error> {
    let resource = T::KIND.resource();
    let api: Api<Lean<T>> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let mut params = ListParams::default().limit(PAGE);
    if T::KIND == Kind::ReplicaSet {
        params = params.labels(serin_api::HASH_LABEL);
    }
    T::table(stores).begin_listing();
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
    stores.end_listing::<T>();
    stores.watches.insert(T::KIND, Watch::Listed);
    Ok(())
}

/// Kinds that some clusters do not have, or that not everybody may read.
async fn may_be_missing<T: Stored>(
    stores: &mut Stores,
    client: &Client,
    namespace: Option<&str>,
) -> Result<(), kube::Error> {
    let state = match list::<T>(stores, client, namespace).await {
        Ok(()) => return Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Watch::NotServed,
        Err(kube::Error::Api(status)) if status.code == 403 => Watch::Forbidden(status.message.clone()),
        Err(error) => return Err(error),
    };
    stores.end_listing::<T>();
    stores.watches.insert(T::KIND, state);
    Ok(())
}
