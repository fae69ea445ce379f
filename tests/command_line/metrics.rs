//! A live server is scraped: what happened is in the numbers, and nobody's name is.

use super::site::Site;

/// The value of a series.
fn value(told: &str, series: &str) -> f64 {
    let line = told.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in:\n{told}")).trim().parse().expect("a number")
}

#[test]
fn what_happened_is_told_to_whoever_scrapes_and_no_name_of_a_machine() {
    let site = Site::start();
    let mac = "52:54:00:00:00:01";
    let script = site.firmware_asks(mac);
    assert!(script.contains("web-1"), "a machine of the example asked: {script}");
    assert!(site.boot_server_gives("/files/discovery/vmlinuz").ends_with("anything"));
    assert!(site.boot_server_gives("/nowhere/web-1").starts_with("HTTP/1.1 404"));
    assert!(site.type_in(&["describe", "machine", "web-1"]).status.success());

    let told = site.metrics_give("/metrics", "*/*");
    let (head, told) = told.split_once("\r\n\r\n").expect("a body");
    let head = head.to_lowercase();
    assert!(head.starts_with("http/1.1 200") && head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    for (series, wanted) in [
        (r#"formwork_build_info{version="0.1.0"}"#, 1.0),
        (r#"formwork_content_condition{condition="Ready"}"#, 1.0),
        (r#"formwork_content_condition{condition="Stalled"}"#, 0.0),
        (r#"formwork_reconcile_duration_seconds_count{outcome="applied"}"#, 1.0),
        (r#"formwork_source_up{source="site"}"#, 1.0),
        (r#"formwork_source_refused{source="site"}"#, 0.0),
        (r#"formwork_machines{phase="booting"}"#, 1.0),
        (r#"formwork_machines{phase="failed"}"#, 0.0),
        (r#"formwork_runs_started_total"#, 1.0),
        (r#"formwork_boot_scripts_total{action="boot"}"#, 1.0),
        (r#"formwork_boot_files_sent_bytes_total"#, 8.0),
        (r#"formwork_http_requests_total{listener="boot",method="GET",route="/boot/script",status="2xx"}"#, 1.0),
        (r#"formwork_http_requests_total{listener="boot",method="GET",route="unmatched",status="4xx"}"#, 1.0),
        (r#"formwork_http_requests_total{listener="api",method="GET",route="/v1/machines/{name}",status="2xx"}"#, 1.0),
        (r#"formwork_store_condition{condition="Ready"}"#, 1.0),
        (r#"formwork_dhcp_pool_addresses{subnet="rack-1"}"#, 100.0),
        ("formwork_leader", 1.0),
        ("formwork_replicas", 1.0),
        ("formwork_store_log_segment", 0.0),
        (r#"formwork_mirror_backlog{kind="Machine"}"#, 0.0),
    ] {
        let is = value(told, series);
        assert!((is - wanted).abs() < f64::EPSILON, "{series} is {is}, not {wanted}");
    }
    for series in [
        "formwork_store_bytes",
        "process_resident_memory_bytes",
        "process_open_fds",
        r#"formwork_store_commits_total{result="done"}"#,
    ] {
        assert!(value(told, series) > 0.0, "{series}");
    }
    for secret in ["web-1", mac, "127.0.0.1"] {
        assert!(!told.contains(secret), "{secret} is told:\n{told}");
    }

    let told = site.metrics_give("/metrics", "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.2");
    assert!(told.to_lowercase().contains("content-type: application/openmetrics-text; version=1.0.0"), "{told}");
    assert!(told.trim_end().ends_with("# EOF"));
    // Nothing else is there, and what is there is nowhere else.
    assert!(site.metrics_give("/v1/status", "*/*").starts_with("HTTP/1.1 404"));
    assert!(site.boot_server_gives("/metrics").starts_with("HTTP/1.1 404"));
}
