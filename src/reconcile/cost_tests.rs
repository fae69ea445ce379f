//! What a commit costs, from a real repository to the catalog, in counts and not in seconds: it is what the commit changes,
//! whatever the size of the site and however long its history.

use crate::catalog::{Compiler, builtin_packs};
use crate::git::test_repository::TestRepository;
use crate::git::{Follower, Source};

const HEAD: &str = "apiVersion: formwork.dev/v1alpha1\nkind: ";

fn machine(number: usize, address: usize) -> (String, String) {
    let text = format!(
        "{HEAD}Machine\nmetadata: {{name: n{number}}}\nspec:\n  match: {{macs: [\"52:54:00:00:00:{number:02x}\"]}}\n  \
         address: 10.0.{address}.{number}\n  profiles: [base]\n"
    );
    (format!("machines/rack-{}/n{number}.yaml", number / 10), text)
}

async fn costs(machines: usize, history: usize) -> (usize, usize) {
    let repository = TestRepository::new();
    let mut files: Vec<(String, String)> = (1..=machines).map(|number| machine(number, 0)).collect();
    files.push(("site.yaml".into(), format!("{HEAD}Site\nmetadata: {{name: lab}}\nspec: {{}}\n")));
    files.push(("subnet.yaml".into(), format!("{HEAD}Subnet\nmetadata: {{name: all}}\nspec: {{cidr: 10.0.0.0/16}}\n")));
    files.push(("base.yaml".into(), format!("{HEAD}Profile\nmetadata: {{name: base}}\nspec: {{params: {{}}}}\n")));
    let borrowed: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let mut id = repository.push("all", &borrowed);
    let source = Source::Bare { path: repository.bare(), branch: Some("main".to_owned()), subpath: None };
    let follower = Follower::start(source, &repository.beside("mirror.git")).expect("a mirror");
    let mut compiler = Compiler::new(builtin_packs(), crate::content::sops::Keys::Unknown);
    compiler.compile(&follower.tree(&id).await.expect("a tree"), &id).expect("it compiles");
    for commit in 1..=history {
        let (path, text) = machine(1 + commit % machines, commit);
        id = repository.commit("one", &[(&path, &text)]);
    }
    repository.git(&["push", "-q", "origin", "HEAD:main"]);
    compiler.compile(&follower.tree(&id).await.expect("a tree"), &id).expect("it compiles");
    let (path, text) = machine(7, 200);
    let id = repository.push("the one that counts", &[(&path, &text)]);
    let catalog = compiler.compile(&follower.tree(&id).await.expect("a tree"), &id).expect("it compiles");
    let work = compiler.work();
    assert_eq!((work.machines, work.files), (machines, machines + 3));
    assert_eq!(catalog.machine("n7").and_then(|view| view.address), Some([10, 0, 200, 7].into()));
    (work.files_parsed, work.machines_compiled)
}

#[tokio::test]
async fn a_commit_of_one_machine_costs_one_machine_in_a_small_site_and_a_large_one_after_one_commit_and_after_many() {
    for (machines, history) in [(10, 1), (10, 30), (90, 1), (90, 30)] {
        assert_eq!(costs(machines, history).await, (1, 1), "{machines} machines, {history} commits");
    }
}
