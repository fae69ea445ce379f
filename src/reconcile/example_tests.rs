//! The example site from a real repository to a catalog, with the packs that come with the program.

use super::catalogs;
use crate::catalog::{Catalog, LOCAL, Scope, ServerInfo, render_arguments, render_steps};
use crate::content::kinds::Architecture;
use crate::git::test_repository::TestRepository;
use crate::git::{Follower, Source};
use crate::params;
use crate::wire::{MachineInfo, StepAction};
use serde_json::Map;
use std::path::Path;
use std::sync::Arc;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("the example") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

async fn build(repository: &TestRepository, id: &str) -> Result<Arc<Catalog>, Vec<String>> {
    let source = Source::Bare { path: repository.bare(), branch: Some("main".to_owned()), subpath: None };
    let follower = Follower::start(source, &repository.beside("mirror.git")).expect("a mirror");
    let tree = follower.tree(id).await.expect("a tree");
    catalogs(crate::content::sops::Keys::Unknown)(&tree, id, &crate::content::Stop::default())
        .map(|built| built.catalog)
}

fn example() -> TestRepository {
    let repository = TestRepository::new();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/etcd-cluster"), &repository.work());
    repository
}

#[tokio::test]
async fn the_example_compiles_and_every_task_of_its_workflow_can_be_given_to_a_machine() {
    let repository = example();
    let id = repository.push("the example", &[]);
    let catalog = build(&repository, &id).await.expect("no findings");
    assert_eq!((catalog.machines().count(), catalog.warnings.0.len()), (2, 0), "{}", catalog.warnings);
    let machine = catalog.machine("node-1").expect("node-1");
    let workflow = catalog.workflow(machine.workflow.as_deref().expect("a workflow")).expect("etcd-node");
    let info = MachineInfo {
        name: machine.name.clone(),
        address: machine.address.map(|address| address.to_string()),
        macs: machine.macs.clone(),
        files: "http://10.77.0.1:8080/files".to_owned(),
        ..MachineInfo::default()
    };
    let (facts, server) = (Map::new(), ServerInfo::default());
    let mut environments = Vec::new();
    let mut destructive = Vec::new();
    for stage in &workflow.stages {
        let resolved = params::resolve(&catalog, machine, Some(stage), &params::ClusterKeys::new());
        environments.push(stage.boot_env.as_deref().unwrap_or_default().to_owned());
        if stage.destructive {
            destructive.push(stage.name.to_string());
        }
        for task in &stage.tasks {
            assert_eq!(resolved.missing(task), Vec::<&str>::new(), "{}", task.name);
            let values = resolved.for_task(task);
            let scope = Scope { params: &values, facts: &facts, machine: &info, server: &server, boot: None };
            let steps = render_steps(&catalog, task, &scope).unwrap_or_else(|e| panic!("{}: {e}", task.name));
            for step in steps {
                match step.action {
                    StepAction::Script { text } => assert!(text.starts_with("#!/bin/sh\n"), "{}", step.name),
                    StepAction::File { to, content, .. } if to == "/etc/default/etcd" => {
                        assert!(content.contains("ETCD_ADVERTISE_CLIENT_URLS=http://10.77.0.11:2379\n"), "{content}");
                    }
                    StepAction::File { .. } => {}
                }
            }
        }
    }
    assert_eq!(
        environments,
        ["discovery.discovery", "discovery.burn-in", "discovery.discovery", "discovery.discovery", LOCAL]
    );
    assert_eq!(destructive, ["hardware.scrub", "image.install"]);
    let values = params::resolve(&catalog, machine, None, &params::ClusterKeys::new()).values();
    let scope = Scope { params: &values, facts: &facts, machine: &info, server: &server, boot: None };
    let environment = catalog.boot_env("discovery.discovery").expect("discovery");
    let arguments = render_arguments(&catalog, environment, Architecture::X86_64, &scope).expect("arguments");
    assert!(arguments.ends_with(" formwork.name=node-1 BOOTIF=01-52-54-00-00-00-01"), "{arguments}");
}

#[tokio::test]
async fn a_broken_commit_is_refused_with_file_line_and_column() {
    let repository = example();
    let file = repository.work().join("machines/node-1.yaml");
    let text = std::fs::read_to_string(&file).expect("node-1");
    let broken = text.replace("workflow: etcd-node\n", "workflow: etcd-nodes\n");
    let id = repository.push("broken", &[("machines/node-1.yaml", &broken)]);
    let findings = build(&repository, &id).await.expect_err("a finding");
    let place = "machines/node-1.yaml:8:13: error: ";
    assert!(findings.len() == 1 && findings[0].starts_with(place), "{findings:?}");
    assert!(findings[0].contains("etcd-nodes") && findings[0].contains("hint"), "{findings:?}");
}
