//! What the chart makes for whoever scrapes: it has to fit together by names that nothing else holds.

use super::charts::{Helm, of_kind, texts, values};
use serde_json::{Value, json};

/// The entry of a list that has this name.
fn named<'a>(list: &'a Value, name: &str) -> Option<&'a Value> {
    list.as_array().unwrap().iter().find(|entry| entry["name"] == name)
}

#[test]
fn a_scraper_finds_its_way_from_the_service_monitor_to_the_listener() {
    let Some(helm) = Helm::find("a_scraper_finds_its_way_from_the_service_monitor_to_the_listener") else { return };
    let from = "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.name=monitoring";
    let set = "metrics.port=9999,metrics.serviceMonitor.enabled=true,metrics.serviceMonitor.interval=15s,\
               metrics.serviceMonitor.labels.release=prometheus,metrics.dashboard.enabled=true";
    let objects = helm.rendered(&["--values", &values("relay"), "--set", set, "--set", from]);
    let pod = &of_kind(&objects, "StatefulSet")["spec"]["template"];
    let server = &pod["spec"]["containers"][0];
    assert!(texts(&server["args"]).contains(&"--metrics=$(POD_IP):9999".to_owned()), "{server}");
    assert_eq!(named(&server["ports"], "metrics").unwrap()["containerPort"], 9999);

    // A ServiceMonitor selects Services by labels, and of their ports one by its name.
    let monitor = of_kind(&objects, "ServiceMonitor");
    assert_eq!(monitor["apiVersion"], "monitoring.coreos.com/v1");
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    assert_eq!(monitor["spec"]["endpoints"], json!([{"port": "metrics", "interval": "15s"}]));
    assert_eq!(monitor["spec"]["namespaceSelector"]["matchNames"], json!(["machines"]));
    let wanted = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
    let services = objects.iter().filter(|object| object["kind"] == "Service");
    let services =
        services.filter(|service| wanted.iter().all(|(key, value)| service["metadata"]["labels"][key] == *value));
    let ports: Vec<_> = services.filter_map(|service| named(&service["spec"]["ports"], "metrics")).collect();
    // What machines reach has no such port.
    assert!(matches!(ports[..], [port] if port["port"] == 9999 && port["targetPort"] == "metrics"), "{ports:?}");

    let rules = of_kind(&objects, "NetworkPolicy")["spec"]["ingress"].as_array().unwrap();
    let rule = rules.iter().find(|rule| rule["ports"][0]["port"] == "metrics").unwrap();
    assert_eq!(rule["from"], json!([{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]));

    let dashboard = of_kind(&objects, "ConfigMap");
    assert_eq!(dashboard["metadata"]["labels"]["grafana_dashboard"], "1");
    let text = dashboard["data"]["formwork.json"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap()["title"], "Formwork");
}

#[test]
fn without_metrics_nothing_of_them_is_made() {
    let Some(helm) = Helm::find("without_metrics_nothing_of_them_is_made") else { return };
    let text = |words: &[&str]| serde_json::to_string(&helm.rendered(words)).unwrap();
    let relay = values("relay");
    let with = text(&["--values", &relay]);
    assert!(with.contains("--metrics=") && with.contains("\"metrics\""), "{with}");
    assert!(!with.contains("ServiceMonitor") && !with.contains("grafana"), "asked for by name");
    let without = text(&["--values", &relay, "--set", "metrics.enabled=false"]);
    assert!(!without.contains("metrics"), "{without}");
}
