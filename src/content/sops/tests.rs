//! Files as the real `sops` wrote them (`fixture/`, with a key that guards nothing), read here, and broken here.

use super::{Apart, Identities, Keys, file};
use crate::content::{Document, File, FileKind, Report, document};
use serde_json::{Value, json};
use std::sync::Arc;

const IDENTITY: &str = include_str!("fixture/identity.txt");
const PARTIAL: &str = include_str!("fixture/partial.yaml");
const PARAMS: &str = include_str!("fixture/params.yaml");
const WHOLE: &str = include_str!("fixture/whole.yaml");
const SUFFIX: &str = include_str!("fixture/suffix.yaml");
const JSON: &str = include_str!("fixture/json.yaml");

fn keys() -> Keys {
    Keys::Known(Arc::new(Identities::parse(IDENTITY).unwrap()))
}

fn read(text: &str, keys: Keys) -> (Vec<(Document, Value)>, String) {
    read_at("a.yaml", text, keys)
}

fn read_at(path: &str, text: &str, keys: Keys) -> (Vec<(Document, Value)>, String) {
    let file = File { bytes: Arc::from(text.as_bytes()), kind: FileKind::Regular, blob: None };
    let mut report = Report::with_keys(keys);
    let documents = document::read(path, &file, &mut report);
    (documents, report.into_findings().to_string())
}

/// A param as a job gets it.
fn param(document: &(Document, Value), name: &str) -> Value {
    let written = &document.1["spec"]["params"][name];
    document.0.unseal(written).unwrap_or_else(|| written.clone())
}

#[test]
fn what_sops_wrote_is_read_by_value_and_type_and_the_catalog_sees_references_only() {
    for (text, open_is_encrypted) in [(PARTIAL, false), (PARAMS, true)] {
        let (documents, said) = read(text, keys());
        assert_eq!(said, "");
        let [database, open] = documents.as_slice() else { panic!("{documents:?}") };
        for (name, value) in [
            ("password", json!("correct horse")),
            ("port", json!(5432)),
            ("ratio", json!(0.25)),
            ("enabled", json!(true)),
            ("empty", json!("")),
            ("nothing", Value::Null),
            ("accounts", json!([{"name": "admin", "token": "t0ken"}, {"name": "guest", "token": "gu€st"}])),
        ] {
            assert_eq!(param(database, name), value, "{name}");
        }
        let shown = database.1.to_string();
        assert!(!shown.contains("horse") && !shown.contains("t0ken") && !shown.contains("5432"), "{shown}");
        assert!(shown.contains(r#"{"secret":"sops/password/"#), "{shown}");
        assert!(!format!("{documents:?}").contains("horse"), "nothing of it can be printed");
        assert_eq!(param(open, "size"), json!(10));
        assert_eq!(open.1["spec"]["params"]["size"].is_object(), open_is_encrypted);
        assert!(database.1.get("sops").is_none() && open.1.get("sops").is_none());
    }
    let (documents, said) = read(JSON, keys());
    assert_eq!(
        (said.as_str(), param(&documents[0], "password"), param(&documents[0], "n")),
        ("", json!("from json"), json!(7))
    );
    let (documents, said) = read(SUFFIX, keys());
    assert_eq!(
        (said.as_str(), param(&documents[0], "password"), param(&documents[0], "port")),
        ("", json!("correct horse"), json!(5432))
    );
    assert!(documents[0].1["spec"]["params"]["port"].is_number(), "what is not encrypted is no secret");
}

// Who may push to a mounted source copies a file of the site, as it is encrypted, and has it opened for machines of their own.
#[test]
fn each_of_several_sources_opens_what_is_its_own() {
    let identities = |ours: bool| if ours { Identities::parse(IDENTITY).unwrap() } else { Identities::none() };
    let keys = |site: bool, tenant: bool| {
        let folders = vec![("tenants/a".to_owned(), identities(tenant))];
        Keys::Apart(Arc::new(Apart { site: identities(site), folders }))
    };
    let (own, copied, beside) = ("profiles/x.yaml", "tenants/a/profiles/x.yaml", "tenants/ab/x.yaml");
    for (site, tenant, path, opens) in [
        (true, false, own, true),
        (true, false, copied, false),
        (true, false, beside, true),
        (false, true, own, false),
        (false, true, copied, true),
        (false, true, beside, false),
    ] {
        let (documents, said) = read_at(path, PARTIAL, keys(site, tenant));
        assert_eq!(said.is_empty(), opens, "{path}: {said}");
        let opened = documents.first().map(|document| param(document, "password"));
        assert_eq!(opened == Some(json!("correct horse")), opens, "{path}");
        assert_eq!(said.contains("`ageIdentities`"), !opens && path == copied, "{said}");
    }
}

#[test]
fn without_keys_the_values_are_unknown_and_the_same_references_stand_for_them() {
    let (known, _) = read(PARTIAL, keys());
    let (unknown, said) = read(PARTIAL, Keys::Unknown);
    assert_eq!(said, "");
    assert_eq!(known[0].1, unknown[0].1, "a difference between the two would be a change that is none");
    assert_eq!(unknown[0].0.unseal(&unknown[0].1["spec"]["params"]["password"]), None);
}

#[test]
fn a_reference_opens_what_its_own_document_holds_and_nothing_else() {
    let (documents, _) = read(PARTIAL, keys());
    let reference = documents[0].1["spec"]["params"]["password"].clone();
    assert_eq!(documents[0].0.unseal(&reference), Some(json!("correct horse")));
    assert_eq!(documents[1].0.unseal(&reference), None, "somebody wrote the reference into another document");
    assert_eq!(documents[0].0.unseal(&json!({"secret": "sops/password/00000000"})), None);
}

#[test]
fn what_was_changed_since_it_was_encrypted_is_refused_with_its_place() {
    let other = {
        use age::secrecy::ExposeSecret as _;
        let identity = age::x25519::Identity::generate();
        Keys::Known(Arc::new(Identities::parse(identity.to_string().expose_secret()).unwrap()))
    };
    let line = |text: &str, word: &str| text.lines().position(|line| line.contains(word)).unwrap() + 1;
    let at = |word: &str, column: usize| format!("a.yaml:{}:{column}: error: ", line(PARTIAL, word));
    let token = PARTIAL.lines().find(|line| line.contains("password: ENC")).unwrap().trim();
    let port = PARTIAL.lines().find(|line| line.contains("port: ENC")).unwrap().trim();
    let swapped = token.replace("password", "port");
    for (text, keys, expected) in [
        (PARTIAL.replacen("data:1", "data:2", 1).replacen("data:o6", "data:o7", 1), keys(), at("port: ENC", 15)),
        (PARTIAL.replace(port, &swapped), keys(), format!("{}the encrypted value was changed, or stood elsewhere", at("port: ENC", 15))),
        (PARTIAL.replace(port, "port: 5432"), keys(), format!("{}not an encrypted value", at("port: ENC", 15))),
        (PARTIAL.replace("size: 10", "size: 11"), keys(), format!("{}the MAC does not fit", at(" mac: ENC", 10))),
        (PARTIAL.replace("        size: 10\n", ""), keys(), "the MAC does not fit".to_owned()),
        (PARTIAL.replace("\"2026", "\"2025"), keys(), "the MAC does not fit".to_owned()),
        (PARTIAL.replacen("(password|", "(", 2), keys(), "the MAC does not fit".to_owned()),
        (PARTIAL.to_owned(), other, "encrypted for age1uexmgjdhwrd2064k7kqh965uy7vkqr2sc5h55539w0jsuz6wjv7q7343jw, and none of the identities here opens it".to_owned()),
        (PARTIAL.to_owned(), Keys::Known(Arc::new(Identities::none())), "--age-identities FILE".to_owned()),
        (PARTIAL.replace("YWdlLWVuY3J5", "YWdlLWVuY3J6"), keys(), "the data key is broken".to_owned()),
        (PARTIAL.replace("        - enc:", "        - encoded:"), keys(), "not encrypted for any age recipient".to_owned()),
        (PARTIAL.replace("    version: 3", "    shamir_threshold: 2\n    version: 3"), keys(), "one group".to_owned()),
        (PARTIAL.replace("encrypted_regex: ^(", "encrypted_regex: ^(("), keys(), "not a pattern".to_owned()),
        (PARTIAL.replace("    version: 3", "    encrypted_comment_regex: x\n    version: 3"), keys(), "by comments".to_owned()),
        (WHOLE.to_owned(), keys(), "a.yaml:1:13: error: apiVersion is encrypted, and is there to be shown".to_owned()),
    ] {
        assert_ne!(text, "");
        let (documents, said) = read(&text, keys);
        assert!(said.contains(&expected), "{expected}\n{said}");
        assert!(!format!("{documents:?}{said}").contains("horse"), "{said}");
    }
}

#[test]
fn encrypted_values_in_a_file_that_lost_its_sops_part_are_not_taken_for_plain_ones() {
    let (lost, _) = PARTIAL.split_once("\nsops:").expect("it has one");
    for keys in [keys(), Keys::Unknown] {
        let (_, said) = read(lost, keys);
        let line = lost.lines().position(|line| line.contains("password: ENC")).unwrap() + 1;
        assert!(said.contains(&format!("a.yaml:{line}:19: error: this is an encrypted value")), "{said}");
        assert!(said.contains("`sops:` part"), "{said}");
        let encrypted = lost.matches("ENC[AES256_GCM,").count();
        assert_eq!(said.matches("error: this is an encrypted value").count(), encrypted, "{said}");
    }
    // A text that speaks of it is no such value.
    let (_, said) = read("a: 'ENC[AES256_GCM, as SOPS writes it'\nb: see ENC[AES256_GCM,data:x]\n", keys());
    assert_eq!(said, "");
}

#[test]
fn identities_are_read_as_age_keygen_writes_them_and_never_shown() {
    let identities = Identities::parse(IDENTITY).unwrap();
    assert_eq!(format!("{identities:?} {:?}", keys()), "Identities(1) Known(1)");
    for (text, part) in [("", "no age identity in it"), ("# a\nage1xyz\n", "line 2 is no age identity")] {
        assert!(Identities::parse(text).unwrap_err().to_string().contains(part), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn no_value_and_no_stanza_makes_it_panic(
        data in "[A-Za-z0-9+/=:,\\[\\]]{0,60}",
        field in proptest::sample::select(vec!["mac", "lastmodified", "age", "key_groups", "encrypted_regex", "mac_only_encrypted"]),
        word in "[ -~]{0,12}",
    ) {
        let text = PARTIAL.replacen("data:1TrKDLrLCzhJN+XUXQ==", &format!("data:{data}"), 1);
        let _ = read(&text, keys());
        let mut value: Value = serde_json::from_str(JSON).unwrap();
        value["sops"][field] = Value::String(word);
        let _ = read(&value.to_string(), keys());
        let _ = file::open(Vec::new(), &Keys::Unknown, &mut Report::default());
    }
}
