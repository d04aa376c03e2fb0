//! Lists: selectors, pages, versions.

use kube::{Api, api::ListParams};
use serde_json::{Value, json};
use serin_kubesim::{Cluster, Options};

use crate::support::*;

async fn several() -> Cluster {
    let cluster = cluster();
    for (name, labels) in [
        ("a", json!({"tier": "web", "size": "3"})),
        ("b", json!({"tier": "db"})),
        ("c", json!({})),
        ("d", json!({"tier": "web"})),
    ] {
        let (code, _) = post(&cluster, CONFIG_MAPS, &config_map(name, &labels)).await;
        assert_eq!(code, 201);
    }
    cluster
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap();
    items.iter().map(|i| i["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn label_selectors_select() {
    let cluster = several().await;
    for (selector, expected) in [
        ("tier=web", "a d"),
        ("tier==web", "a d"),
        ("tier!=web", "b c"),
        ("tier", "a b d"),
        ("!tier", "c"),
        ("tier in (web,db)", "a b d"),
        ("tier notin (db)", "a c d"),
        ("tier in (web),size", "a"),
        ("size>2", "a"),
        ("size<3", ""),
        ("", "a b c d"),
    ] {
        let selector_escaped = selector.replace(' ', "%20").replace('>', "%3E").replace('<', "%3C");
        let (code, list) = get(&cluster, &format!("{CONFIG_MAPS}?labelSelector={selector_escaped}")).await;
        assert_eq!((code, names(&list).join(" ").as_str()), (200, expected), "{selector}");
    }
    let (code, refused) = get(&cluster, &format!("{CONFIG_MAPS}?labelSelector=tier%20in%20web")).await;
    assert_eq!(
        (code, refused["message"].as_str().unwrap()),
        (400, "unable to parse requirement: found 'web', expected: '('")
    );
}

#[tokio::test(start_paused = true)]
async fn field_selectors_select_what_the_kind_allows() {
    let cluster = several().await;
    let (_, list) = get(&cluster, &format!("{CONFIG_MAPS}?fieldSelector=metadata.name%3Db")).await;
    assert_eq!(names(&list), ["b"]);
    let (_, list) = get(&cluster, "/api/v1/configmaps?fieldSelector=metadata.namespace!=default").await;
    assert_eq!(names(&list), [""; 0]);
    let (code, refused) = get(&cluster, &format!("{CONFIG_MAPS}?fieldSelector=data.a%3D1")).await;
    assert_eq!(
        (code, refused["message"].as_str().unwrap()),
        (
            400,
            "\"data.a\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        )
    );
    post(&cluster, PODS, &pod("p")).await;
    let (_, list) = get(&cluster, &format!("{PODS}?fieldSelector=spec.nodeName%3D")).await;
    assert_eq!(names(&list), ["p"]);
    let (_, list) = get(&cluster, &format!("{PODS}?fieldSelector=spec.nodeName%3Dn1")).await;
    assert_eq!(names(&list), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn pages_show_one_state_however_long_they_take() {
    let cluster = several().await;
    let (_, first) = get(&cluster, &format!("{CONFIG_MAPS}?limit=2")).await;
    assert_eq!(
        (
            names(&first).join(" ").as_str(),
            &first["metadata"]["remainingItemCount"]
        ),
        ("a b", &json!(2))
    );
    let token = first["metadata"]["continue"].as_str().unwrap();
    post(&cluster, CONFIG_MAPS, &config_map("bb", &json!({}))).await;
    delete(&cluster, &format!("{CONFIG_MAPS}/c"), &Value::Null).await;
    let (_, second) = get(&cluster, &format!("{CONFIG_MAPS}?limit=2&continue={token}")).await;
    assert_eq!(names(&second), ["c", "d"]);
    assert_eq!(
        second["metadata"],
        json!({"resourceVersion": first["metadata"]["resourceVersion"]})
    );
    let (code, refused) = get(&cluster, &format!("{CONFIG_MAPS}?limit=2&continue=abc")).await;
    assert_eq!((code, &refused["reason"]), (400, &json!("BadRequest")));
}

#[tokio::test(start_paused = true)]
async fn a_page_of_a_state_that_is_forgotten_is_gone_but_offers_to_go_on() {
    let cluster = Cluster::new(Options {
        history: 5,
        ..Options::default()
    });
    for i in 0..4 {
        post(&cluster, CONFIG_MAPS, &config_map(&format!("c{i}"), &json!({}))).await;
    }
    let (_, first) = get(&cluster, &format!("{CONFIG_MAPS}?limit=1")).await;
    let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    let version = first["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    for i in 0..6 {
        patch(
            &cluster,
            &format!("{CONFIG_MAPS}/c0"),
            MERGE,
            &json!({"data": {"i": i.to_string()}}),
        )
        .await;
    }
    let (code, gone) = get(&cluster, &format!("{CONFIG_MAPS}?limit=1&continue={token}")).await;
    assert_eq!((code, &gone["reason"]), (410, &json!("Expired")));
    let again = gone["metadata"]["continue"].as_str().unwrap();
    let (code, second) = get(&cluster, &format!("{CONFIG_MAPS}?limit=1&continue={again}")).await;
    assert_eq!((code, names(&second)), (200, vec!["c1"]));
    let exact = format!("{CONFIG_MAPS}?resourceVersion={version}&resourceVersionMatch=Exact");
    assert_eq!(get(&cluster, &exact).await.0, 410);
}

#[tokio::test(start_paused = true)]
async fn versions_of_lists_are_honoured() {
    let cluster = several().await;
    let now = cluster.resource_version();
    delete(&cluster, &format!("{CONFIG_MAPS}/a"), &Value::Null).await;
    let (_, then) = get(
        &cluster,
        &format!("{CONFIG_MAPS}?resourceVersion={now}&resourceVersionMatch=Exact"),
    )
    .await;
    assert_eq!(
        (names(&then), &then["metadata"]["resourceVersion"]),
        (vec!["a", "b", "c", "d"], &json!(now.to_string()))
    );
    let (_, since) = get(
        &cluster,
        &format!("{CONFIG_MAPS}?resourceVersion={now}&resourceVersionMatch=NotOlderThan"),
    )
    .await;
    assert_eq!(names(&since), ["b", "c", "d"]);
    let (code, refused) = get(&cluster, &format!("{CONFIG_MAPS}?resourceVersion=999")).await;
    assert_eq!((code, &refused["reason"]), (504, &json!("Timeout")));
    let (code, refused) = get(&cluster, &format!("{CONFIG_MAPS}?resourceVersionMatch=Exact")).await;
    assert_eq!(
        (code, refused["message"].as_str().unwrap()),
        (
            422,
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden \
             unless resourceVersion is provided"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_lists_typed_objects_and_their_metadata() {
    let cluster = several().await;
    let client = cluster.client("serin");
    let api: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::default_namespaced(client);
    let list = api.list(&ListParams::default().labels("tier=web")).await.unwrap();
    assert_eq!(list.items.len(), 2);
    let partial = api.list_metadata(&ListParams::default()).await.unwrap();
    assert_eq!(partial.items[0].metadata.name.as_deref(), Some("a"));
}
