//! What `formwork doctor` says of a store in Kubernetes before a server is started on it.

use super::*;
use std::path::Path;
use std::process::Command;

/// Each thing that was looked at with how it stands, and what was seen.
fn doctor(kubeconfig: &Path, state: &Path, more: &[&str]) -> Vec<(String, String, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_formwork"));
    command.args(["doctor", "-o", "json", "--store", "kubernetes", "--store-namespace", "doctor", "--replica", "one"]);
    command.args(more).arg("--state-dir").arg(state).env("KUBECONFIG", kubeconfig);
    let output = command.output().unwrap();
    let checks: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let text = |check: &serde_json::Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
    let checks = checks.as_array().unwrap().iter();
    checks.map(|check| (text(check, "name"), text(check, "verdict"), text(check, "says"))).collect()
}

fn is(checks: &[(String, String, String)], name: &str, verdict: &str, words: &str) {
    let found = checks.iter().find(|(found, ..)| found == name).unwrap_or_else(|| panic!("no {name}: {checks:?}"));
    assert!(found.1 == verdict && found.2.contains(words), "{name} is not {verdict}, {words}: {found:?}");
}

#[test]
fn a_doctor_says_what_a_server_would_meet_in_kubernetes() {
    let Some(cluster) = common("the doctor of a store in Kubernetes") else { return };
    cluster.kubectl(&["create", "namespace", "doctor"]);
    let folder = tempfile::tempdir().unwrap();
    let (state, administrator) = (folder.path().join("state"), cluster.path("kubeconfig"));

    // Nothing is there yet, and nothing is made by asking.
    let checks = doctor(&administrator, &state, &["--kubernetes", "--namespace", "doctor"]);
    is(&checks, "Kubernetes API", "ok", "answers");
    is(&checks, "right on secrets", "ok", "get, list, watch, create, delete");
    is(&checks, "right on leases", "ok", "update");
    is(&checks, "kinds of formwork.dev", "ok", "Machine");
    is(&checks, "right on machines/status", "ok", "patch");
    is(&checks, "store", "fail", "there is no store in namespace doctor");
    is(&checks, "Secret formwork-site", "fail", "no keys of the site");
    is(&checks, "state directory", "ok", "a server with --replica makes it");
    assert!(!state.exists());

    let create = |state: &Path, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_formwork"));
        command.args(["site", "create", "lab", "--fresh", "--state-dir"]).arg(state).args(more);
        let output = command.env("KUBECONFIG", &administrator).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    create(&state, &["--shared", "--store", "kubernetes", "--store-namespace", "doctor"]);
    let checks = doctor(&administrator, &state, &[]);
    is(&checks, "store", "ok", "that of site lab in namespace doctor");
    is(&checks, "Secret formwork-site", "ok", "the same are here");
    is(&checks, "authority", "ok", "");

    // The keys of another site.
    let foreign = folder.path().join("foreign");
    create(&foreign, &[]);
    let checks = doctor(&administrator, &foreign, &[]);
    is(&checks, "store", "fail", "the keys here are those of another");
    is(&checks, "Secret formwork-site", "fail", "another site");

    // An account without rights, and with some.
    let server = folder.path().join("kubeconfig");
    std::fs::write(&server, cluster.kubeconfig(api_server::SERVER, "doctor")).unwrap();
    let checks = doctor(&server, &state, &[]);
    is(&checks, "right on secrets", "fail", "may not get, list, watch, create, delete secrets in namespace doctor");
    is(&checks, "right on leases", "fail", "may not list, create, update, delete leases");
    let role = ["-n", "doctor", "create", "role", "some", "--verb=get,list,watch,create", "--resource=secrets"];
    cluster.kubectl(&role);
    cluster.kubectl(&["-n", "doctor", "create", "rolebinding", "some", "--role=some", "--user=formwork"]);
    cluster.until("the rights are known", || {
        let checks = doctor(&server, &state, &[]);
        let says = |name: &str| checks.iter().find(|check| check.0 == name).map(|check| check.2.clone());
        (says("right on secrets")? == "this account may not delete secrets in namespace doctor").then_some(())
    });
    is(&doctor(&server, &state, &[]), "store", "ok", "site lab");

    // A right that is given by the name of the source, as the chart's Role does, is asked for by its name.
    let role = ["-n", "doctor", "create", "role", "status", "--verb=patch", "--resource-name=site"];
    cluster.kubectl(&[&role[..], &["--resource=contentsources.formwork.dev/status"]].concat());
    cluster.kubectl(&["-n", "doctor", "create", "rolebinding", "status", "--role=status", "--user=formwork"]);
    let follows = ["--kubernetes", "--namespace", "doctor"];
    cluster.until("the right on the status is known", || {
        let checks = doctor(&server, &state, &[&follows[..], &["--content-source", "site"]].concat());
        let found = checks.into_iter().find(|check| check.0 == "right on contentsources/status")?;
        (found.1 == "ok" && found.2.contains("patch of site")).then_some(())
    });
    is(&doctor(&server, &state, &follows), "right on contentsources/status", "fail", "may not patch");

    // Nobody answers.
    let port = free_port();
    let text = std::fs::read_to_string(&administrator).unwrap();
    let at = text.find("https://127.0.0.1:").unwrap() + "https://127.0.0.1:".len();
    let end = at + text[at..].find('"').unwrap();
    std::fs::write(&server, format!("{}{port}{}", &text[..at], &text[end..])).unwrap();
    is(&doctor(&server, &state, &[]), "Kubernetes API", "fail", "cannot be used");
}

fn free_port() -> u16 {
    std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
