//! The way from the controller to providers: the real one, except that addresses which exist only inside somebody's cluster
//! lead to the playground's Prometheus, and it is said.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use serin_providers::{HttpRequest, HttpResponse, HttpTransport, TransportError};

use crate::notes::Notes;

/// See the module.
pub(crate) struct Rerouting<T> {
    pub(crate) real: T,
    pub(crate) prometheus: SocketAddr,
    pub(crate) notes: Notes,
    /// By host and port, whether it leads to our Prometheus.
    pub(crate) known: Mutex<BTreeMap<String, bool>>,
}

#[async_trait]
impl<T: HttpTransport> HttpTransport for Rerouting<T> {
    async fn send(&self, mut request: HttpRequest) -> Result<HttpResponse, TransportError> {
        if let Some((authority, path)) = prometheus_api(&request.url)
            && self.is_ours(authority).await
        {
            request.url = format!("http://{}{path}", self.prometheus);
            // What was meant for another server stays here.
            request.headers.clear();
            request.basic_auth = None;
        }
        self.real.send(request).await
    }
}

impl<T> Rerouting<T> {
    async fn is_ours(&self, authority: &str) -> bool {
        let known = |this: &Self| {
            this.known
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(authority)
                .copied()
        };
        if let Some(known) = known(self) {
            return known;
        }
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        let ours = host.parse::<IpAddr>().is_err()
            && (is_of_a_cluster(host) || tokio::net::lookup_host((host, 80)).await.is_err());
        if ours {
            let own = self.prometheus;
            self.notes.say(format!(
                "http://{authority} leads to the playground's Prometheus, http://{own}"
            ));
        }
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(authority.to_owned(), ours);
        ours
    }
}

/// A Service's name: it means nothing outside its cluster, or something else.
fn is_of_a_cluster(host: &str) -> bool {
    host.ends_with(".svc") || host.ends_with(".svc.cluster.local")
}

/// Host and port of an address of Prometheus' API, and the path of the API without any prefix.
fn prometheus_api(url: &str) -> Option<(&str, &str)> {
    let (_, rest) = url.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find('/')?);
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    Some((authority, &path[path.find("/api/v1/query")?..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_prometheus_api_is_rerouted_without_its_prefix() {
        let url = "https://me:secret@prometheus.monitoring.svc:9090/select/0/api/v1/query?time=1";
        let wanted = ("prometheus.monitoring.svc:9090", "/api/v1/query?time=1");
        assert_eq!(prometheus_api(url), Some(wanted));
        assert_eq!(prometheus_api("http://shop.default.svc/orders"), None);
        assert!(is_of_a_cluster("prometheus.monitoring.svc") && !is_of_a_cluster("prometheus.example.org"));
    }
}
