//! A repository of the server's own that the disk has damaged.

use crate::site::{Person, Site, until};

#[test]
fn what_the_servers_own_repository_has_lost_of_what_serves_is_put_back() {
    let site = Site::hosted();
    let ada = site.person();
    ada.begin();
    for name in ["HEAD:machines", "HEAD:site.yaml", "HEAD^{tree}"] {
        let id = ada.git(&["rev-parse", name]).taken().text.trim().to_owned();
        let (folder, rest) = id.split_at(2);
        let object = site.repository().join("objects").join(folder).join(rest);
        let whole = std::fs::read(&object).expect("a loose object");
        std::fs::remove_file(&object).expect("removed");
        std::fs::write(&object, &whole[..whole.len() / 2]).expect("cut in half");
        let sound = || {
            let mut git = std::process::Command::new("git");
            let said = git.args(["cat-file", "-e", &id]).current_dir(site.repository()).status();
            said.is_ok_and(|status| status.success())
                && std::fs::metadata(&object).is_ok_and(|about| about.len() > whole.len() as u64 / 2)
        };
        until("it is put back", sound);
        let other = Person::new(&site, "administrator", &site.administrator());
        other.git(&["fetch", "-q", "origin", "main"]).taken();
    }
    assert!(site.log().contains("put back from the mirror"), "{}", site.log());
    ada.commit("It goes on", &[("README", "x")]);
    ada.push(&["origin", "main"]).taken();
}
