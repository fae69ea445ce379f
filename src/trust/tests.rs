//! The decision by tables, the policy by its findings, and signatures by the real `ssh-keygen`.

use super::*;
use jiff::tz::TimeZone;
use std::path::Path;
use std::process::Command;

const ALICE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const BOB: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";
const NOW: i64 = 1_800_000_000;

fn policy(check: Check, rewritten: Rewritten) -> Policy {
    let rule = |name: &str, path: &str, signer: &str| Rule {
        name: name.to_owned(),
        paths: vec![path.to_owned()],
        signers: vec![signer.to_owned()],
    };
    Policy {
        check,
        rewritten,
        openpgp: [(ALICE.to_owned(), vec!["alice@x".to_owned()]), (BOB.to_owned(), vec!["bob@x".to_owned()])].into(),
        rules: vec![rule("prod", "machines/prod/**", "alice@*"), rule("keys", "keys/**", BOB)],
        ..Policy::default()
    }
}

fn commit(id: &str, key: Option<&str>, paths: &[&str]) -> CommitEvidence {
    CommitEvidence {
        id: id.to_owned(),
        summary: format!("about {id}"),
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        seal: key.map_or(Seal::None, |key| Seal::OpenPgp(Ok(key.to_owned()))),
    }
}

fn evidence(base: Base, commits: Vec<CommitEvidence>, difference: &[&str]) -> Evidence {
    Evidence {
        tip: commits[0].clone(),
        base,
        commits,
        too_many: false,
        difference: difference.iter().map(|path| (*path).to_owned()).collect(),
        tags: Vec::new(),
    }
}

fn say(policy: &Policy, evidence: &Evidence) -> Result<Vec<String>, String> {
    match decide(policy, evidence, NOW) {
        Ok(signed) => Ok(signed.0.into_iter().flat_map(|signer| signer.principals).collect()),
        Err(findings) => Err(findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

#[test]
fn in_a_range_every_commit_answers_for_what_it_touches() {
    let policy = policy(Check::Range, Rewritten::Refuse);
    let base = || Base::Ancestor("old".to_owned());
    let (prod, dev, keys) = ("machines/prod/a.yaml", "machines/dev/a.yaml", "keys/k");
    for (commits, expected) in [
        (vec![commit("tip", Some(ALICE), &[prod])], Ok(vec!["alice@x"])),
        (vec![commit("tip", Some(BOB), &[dev])], Ok(vec!["bob@x"])),
        (vec![commit("tip", Some(BOB), &[]), commit("one", Some(ALICE), &[prod])], Ok(vec!["bob@x", "alice@x"])),
        (vec![commit("tip", Some(BOB), &[]), commit("one", None, &[])], Ok(vec!["bob@x"])),
        (
            vec![commit("tip", Some(ALICE), &[dev]), commit("one", Some(BOB), &[keys, dev])],
            Ok(vec!["alice@x", "bob@x"]),
        ),
        (
            vec![commit("tip", None, &[])],
            Err("(the revision):1:1: error: commit tip (“about tip”) is not signed (it touches no file itself)"),
        ),
        (vec![commit("tip", None, &[dev, keys])], Err("is not signed (it touches 2 files)")),
        (
            vec![commit("tip", Some(BOB), &[prod])],
            Err("machines/prod/a.yaml:1:1: error: commit tip (“about tip”) is signed by bob@x (BBBB"),
        ),
        (
            vec![commit("tip", Some(BOB), &[dev, prod])],
            Err("touches machines/prod/a.yaml, which rule `prod` does not allow"),
        ),
        (vec![commit("tip", Some(ALICE), &[keys])], Err("rule `keys` does not allow")),
        (
            vec![commit("tip", Some(ALICE), &[]), commit("one", None, &[prod])],
            Err("commit one (“about one”) is not signed; rule `prod` asks for one"),
        ),
        (
            vec![commit("tip", Some(ALICE), &[]), commit("one", Some("CC"), &[dev])],
            Err("(CC) is by a key that the policy does not name"),
        ),
    ] {
        let answer = say(&policy, &evidence(base(), commits.clone(), &[prod, dev, keys]));
        match (&answer, expected) {
            (Ok(names), Ok(expected)) => assert_eq!(*names, expected, "{commits:?}"),
            (Err(said), Err(part)) => assert!(said.contains(part), "{said}\n{part}"),
            _ => panic!("{commits:?}: {answer:?}"),
        }
    }
}

#[test]
fn of_a_commit_that_is_not_signed_its_own_files_are_counted_apart_from_what_it_answers_for() {
    let (prod, dev) = ("machines/prod/a.yaml", "machines/dev/a.yaml");
    for (check, paths, difference, told) in [
        (
            Check::Range,
            [].as_slice(),
            [prod, dev].as_slice(),
            " (it touches no file itself, and its signer answers for 2 files in all)",
        ),
        (Check::Tip, &[dev], &[prod, dev], " (it touches 1 file, and its signer answers for 2 files in all)"),
        (Check::Tip, &[prod, dev], &[prod, dev], " (it touches 2 files)"),
        (Check::Tip, &[], &[], "is not signed (it touches no file itself)"),
        (Check::Tip, &[dev], &[dev], "rule `dev` asks for one\n"),
    ] {
        let mut policy = policy(check, Rewritten::Refuse);
        policy.rules.push(Rule {
            name: "dev".into(),
            paths: vec!["machines/dev/**".into()],
            signers: vec!["*".into()],
        });
        let said = say(&policy, &evidence(Base::Nothing, vec![commit("tip", None, paths)], difference));
        assert!(said.as_ref().is_err_and(|said| said.contains(told)), "{told}: {said:?}");
    }
}

#[test]
fn one_signature_answers_for_all_where_history_is_not_walked() {
    let (prod, dev) = ("machines/prod/a.yaml", "machines/dev/a.yaml");
    let tip = |key| vec![commit("tip", Some(key), &[dev])];
    for (check, rewritten, base, key, difference, expected) in [
        (Check::Range, Rewritten::Refuse, Base::Nothing, ALICE, [prod, dev].as_slice(), None),
        (Check::Range, Rewritten::Refuse, Base::Nothing, BOB, &[prod, dev], Some("answers for machines/prod/a.yaml")),
        (Check::Range, Rewritten::Refuse, Base::Nothing, BOB, &[dev], None),
        (Check::Tip, Rewritten::Refuse, Base::Ancestor("old".into()), BOB, &[dev], None),
        (Check::Tip, Rewritten::Refuse, Base::Ancestor("old".into()), BOB, &[prod], Some("answers for")),
        (Check::Range, Rewritten::Refuse, Base::Rewritten("old".into()), ALICE, &[dev], Some("was rewritten")),
        (Check::Range, Rewritten::Refuse, Base::Gone("old".into()), ALICE, &[dev], Some("was rewritten")),
        (Check::Range, Rewritten::Follow, Base::Rewritten("old".into()), ALICE, &[prod, dev], None),
        (Check::Range, Rewritten::Follow, Base::Rewritten("old".into()), BOB, &[prod, dev], Some("answers for")),
        (Check::Tip, Rewritten::Follow, Base::Gone("old".into()), BOB, &[prod], Some("answers for")),
        (
            Check::Range,
            Rewritten::Refuse,
            Base::NoAnchor("old".into()),
            ALICE,
            &[dev],
            Some("does not descend from the anchor"),
        ),
        (Check::Range, Rewritten::Refuse, Base::Itself, "expired since", &[], None),
    ] {
        let answer = say(&policy(check, rewritten), &evidence(base.clone(), tip(key), difference));
        match (&answer, expected) {
            (Ok(_), None) => {}
            (Err(said), Some(part)) if said.contains(part) => {}
            _ => panic!("{check:?} {rewritten:?} {base:?} {key} {difference:?}: {answer:?}"),
        }
    }
}

#[test]
fn commits_below_a_rewritten_tip_answer_for_themselves_too() {
    let policy = policy(Check::Range, Rewritten::Follow);
    let commits = vec![commit("tip", Some(ALICE), &["a"]), commit("one", None, &["a"])];
    let said = say(&policy, &evidence(Base::Rewritten("old".into()), commits, &["a"])).unwrap_err();
    assert!(said.contains("commit one"), "{said}");
    let mut many = evidence(Base::Ancestor("old".into()), vec![commit("tip", Some(ALICE), &["a"])], &["a"]);
    many.too_many = true;
    assert!(say(&policy, &many).unwrap_err().contains("more commits"));
}

#[test]
fn a_tag_is_good_under_the_name_it_was_signed_for() {
    let policy = policy(Check::Tag, Rewritten::Refuse);
    let tag = |reference: &str, name: &str, key: Option<&str>| TagEvidence {
        reference: reference.to_owned(),
        name: name.to_owned(),
        seal: key.map_or(Seal::None, |key| Seal::OpenPgp(Ok(key.to_owned()))),
    };
    for (tags, expected) in [
        (vec![tag("v1", "v1", Some(ALICE))], None),
        (vec![tag("v0", "v0", None), tag("v1", "v1", Some(ALICE))], None),
        (vec![], Some("no annotated tag")),
        (vec![tag("v1", "v1", None)], Some("tag v1 of commit tip (“about tip”) is not signed")),
        (vec![tag("v2", "v1", Some(ALICE))], Some("somebody renamed it")),
        (vec![tag("v1", "v1", Some(BOB))], Some("rule `prod` does not allow")),
    ] {
        let unsigned = vec![commit("tip", None, &["machines/prod/a.yaml"])];
        let mut evidence = evidence(Base::Ancestor("old".into()), unsigned, &["machines/prod/a.yaml"]);
        evidence.tags = tags.clone();
        let answer = say(&policy, &evidence);
        match (&answer, expected) {
            (Ok(names), None) => assert_eq!(names, &["alice@x"]),
            (Err(said), Some(part)) if said.contains(part) => {}
            _ => panic!("{tags:?}: {answer:?}"),
        }
    }
}

#[test]
fn a_policy_is_strict_and_says_where() {
    let open = |name: &str| match name {
        "nobody" => Ok(b"# alice was here\n\n".to_vec()),
        "signers" => Ok(b"alice ssh-ed25519 x\n".to_vec()),
        "key.asc" => Ok(b"armored".to_vec()),
        _ => Err("No such file or directory".to_owned()),
    };
    let read = |text: &str| Policy::read("trust.yaml", text.as_bytes(), &TimeZone::UTC, &open);
    let good = "check: tip\nopenpgp:\n  - {principal: alice@x, file: key.asc}\nrules:\n  - {name: all, paths: ['**'], signers: ['*']}\n";
    let policy = read(good).unwrap();
    assert_eq!((policy.check, policy.rewritten, policy.openpgp_files.len()), (Check::Tip, Rewritten::Refuse, 1));
    for (text, expected) in [
        ("", "trust.yaml:1:1: error: nobody may sign"),
        ("check: all\n", "trust.yaml:1:8: error: `all` is not a value of check"),
        ("signers: x\n", "trust.yaml:1:1: error: unknown field `signers`"),
        ("allowedSigners: nope\n", "trust.yaml:1:17: error: `nope`: No such file"),
        ("allowedSigners: signers\n", "signers:1:1: error: not an SSH public key"),
        ("allowedSigners: nobody\n", "trust.yaml:1:17: error: `nobody` has no signer in it: nobody could sign by SSH"),
        (&format!("{good}allowedSigners: nobody\n"), "leave `allowedSigners` out, where all sign by OpenPGP"),
        ("openpgp: [{principal: a}]\n", "trust.yaml:1:11: error: openpgp[0].file is missing"),
        (&format!("{good}anchor: main\n"), "trust.yaml:6:9: error: `main` is not the whole id"),
        (&good.replace("'**'", ""), "trust.yaml:5:24: error: rule `all` has no paths"),
        (&good.replace("'**'", "/machines"), "trust.yaml:5:25: error: `/machines` matches no path"),
        (&format!("{good}---\nx: 1\n"), "a second document"),
        (
            &good.replace("'*'", "12345678"),
            "trust.yaml:5:42: error: rules[0].signers[0]: integer `12345678`, expected text",
        ),
        (
            &good.replace("'*'", "12345678"),
            "hint: put what is written there in quotes: without them it is a number to YAML",
        ),
        (&format!("{good}anchor: 12345678\n"), "trust.yaml:6:9: error: anchor: integer"),
        (&format!("{good}anchor: 12345678\n"), "in quotes"),
        (&format!("{good}anchor: 1234567890123456789012345678901234567890\n"), "in quotes"),
    ] {
        let findings = read(text).unwrap_err().to_string();
        assert!(findings.contains(expected), "{text}\n{findings}");
    }
}

fn keygen(folder: &Path, arguments: &[&str]) {
    let output = Command::new("ssh-keygen").current_dir(folder).args(arguments).output().expect("ssh-keygen runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn sign(folder: &Path, key: &str, namespace: &str, hash: &str) -> Vec<u8> {
    let signature = folder.join("message.sig");
    let _ = std::fs::remove_file(&signature);
    keygen(folder, &["-q", "-Y", "sign", "-f", key, "-n", namespace, "-O", &format!("hashalg={hash}"), "message"]);
    std::fs::read(signature).unwrap()
}

fn allowed(folder: &Path, lines: &[(&str, &str)]) -> AllowedSigners {
    let lines: Vec<String> = lines
        .iter()
        .map(|(before, key)| {
            format!("{before} {}", std::fs::read_to_string(folder.join(format!("{key}.pub"))).unwrap())
        })
        .collect();
    AllowedSigners { lines: parse_allowed_signers(&lines.concat(), &TimeZone::UTC).unwrap(), revoked: Vec::new() }
}

#[test]
fn what_ssh_keygen_signs_is_good_for_every_kind_of_key_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let message = b"tree 1\nauthor a\n\nsubject\n";
    std::fs::write(folder.join("message"), message).unwrap();
    for (name, kind, bits) in [
        ("ed", "ed25519", "256"),
        ("p256", "ecdsa", "256"),
        ("p384", "ecdsa", "384"),
        ("p521", "ecdsa", "521"),
        ("rsa", "rsa", "2048"),
        ("ca", "ed25519", "256"),
    ] {
        keygen(folder, &["-q", "-t", kind, "-b", bits, "-N", "", "-C", name, "-f", name]);
    }
    let check =
        |signature: &[u8], signed: &[u8], allowed: &AllowedSigners| ssh::verify(signature, signed, allowed, NOW);
    for name in ["ed", "p256", "p384", "p521", "rsa"] {
        let who = allowed(folder, &[("someone@x,same@x namespaces=\"git\"", name)]);
        for hash in ["sha256", "sha512"] {
            let signature = sign(folder, name, "git", hash);
            let signer = check(&signature, message, &who).unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"));
            assert_eq!(signer.principals, ["same@x", "someone@x"]);
            assert!(signer.key.starts_with("SHA256:"), "{signer}");
            let tampered = check(&signature, b"tree 2\nauthor a\n\nsubject\n", &who).unwrap_err();
            assert!(tampered.reason.contains("was changed"), "{tampered:?}");
        }
    }
    let good = sign(folder, "ed", "git", "sha512");
    let wrong = sign(folder, "ed", "file", "sha512");
    let ed = |options: &str| allowed(folder, &[(options, "ed")]);
    for (signature, who, part) in [
        (&wrong, ed("a@x"), "namespace `file`"),
        (&good, allowed(folder, &[("a@x", "rsa")]), "no line of the allowed signers"),
        (&good, ed("a@x namespaces=\"file\""), "namespaces `file` only"),
        (&good, ed("a@x valid-before=\"20200101Z\""), "has expired"),
        (&good, ed("a@x valid-after=\"20900101Z\""), "not valid yet"),
        (&good, ed("a@x cert-authority"), "no line of the allowed signers"),
        (&good, AllowedSigners { revoked: vec![ed("a@x").lines[0].key.clone()], ..ed("a@x") }, "revoked"),
        (&b"-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n".to_vec(), ed("a@x"), "is broken"),
        (&b"nonsense".to_vec(), ed("a@x"), "not an SSH signature"),
    ] {
        let refusal = check(signature, message, &who).unwrap_err();
        assert!(refusal.reason.contains(part), "{part}: {refusal:?}");
    }
    // By a certificate: the line names the authority, and patterns of principals.
    keygen(folder, &["-q", "-s", "ca", "-I", "id", "-n", "carol@x,root@y", "-V", "20200101:20400101", "ed.pub"]);
    let by_certificate = sign(folder, "ed-cert.pub", "git", "sha512");
    let authority = |options: &str| allowed(folder, &[(options, "ca")]);
    let signer = check(&by_certificate, message, &authority("*@x cert-authority,namespaces=\"git\"")).unwrap();
    assert_eq!(signer.principals, ["carol@x"]);
    let revoked_authority = authority("*@x cert-authority").lines[0].key.clone();
    for (who, part) in [
        (authority("*@x"), "certificate of the authority"),
        (authority("*@z cert-authority"), "principals that its authority's line does not allow"),
        (ed("a@x"), "certificate of the authority"),
        (AllowedSigners { revoked: vec![revoked_authority], ..authority("*@x cert-authority") }, "revoked"),
    ] {
        let refusal = check(&by_certificate, message, &who).unwrap_err();
        assert!(refusal.reason.contains(part), "{part}: {refusal:?}");
    }
    for (validity, part) in [("20200101:20210101", "has expired"), ("20350101:20400101", "not valid yet")] {
        keygen(folder, &["-q", "-s", "ca", "-I", "id", "-n", "carol@x", "-V", validity, "ed.pub"]);
        // ssh-keygen signs with any certificate; the reader decides.
        let signature = sign(folder, "ed-cert.pub", "git", "sha512");
        let refusal = check(&signature, message, &authority("*@x cert-authority")).unwrap_err();
        assert!(refusal.reason.contains(part), "{part}: {refusal:?}");
    }
    // No byte of a signature can be changed without it being noticed, or making it panic.
    let who = ed("a@x");
    let text = String::from_utf8(good).unwrap();
    for (at, _) in text.char_indices().filter(|(_, c)| c.is_ascii_alphanumeric()).step_by(3) {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let same = bytes == text.as_bytes();
        assert!(same || check(&bytes, message, &who).is_err(), "byte {at}");
    }
}

proptest::proptest! {
    #[test]
    fn no_signature_makes_it_panic(blob in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300), cut in 0usize..300) {
        use base64::Engine as _;
        let mut bytes = b"SSHSIG\0\0\0\x01".to_vec();
        bytes.extend(&blob);
        bytes.truncate(cut.max(10));
        let body = base64::engine::general_purpose::STANDARD.encode(&bytes);
        let armored = format!("-----BEGIN SSH SIGNATURE-----\n{body}\n-----END SSH SIGNATURE-----\n");
        let allowed = AllowedSigners::default();
        proptest::prop_assert!(ssh::verify(armored.as_bytes(), b"x", &allowed, NOW).is_err());
        proptest::prop_assert!(ssh::verify(&blob, b"x", &allowed, NOW).is_err());
    }
}
