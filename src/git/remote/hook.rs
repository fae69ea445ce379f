//! Whether a webhook comes from who knows its secret. Pure; comparing takes the same time whatever was sent.

use super::secret::Secret;
use super::settings::WebhookKind;
use ring::hmac;

/// Judges a webhook. `header` gives a header's value by its name in lower case.
pub fn is_signed<'a>(
    kind: WebhookKind,
    secret: &Secret,
    header: impl Fn(&str) -> Option<&'a str>,
    body: &[u8],
) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let signed = |name: &str, prefix: &str| {
        let given = header(name).and_then(|value| value.strip_prefix(prefix)).and_then(from_hex);
        given.is_some_and(|given| hmac::verify(&key, body, &given).is_ok())
    };
    match kind {
        WebhookKind::Github => signed("x-hub-signature-256", "sha256="),
        WebhookKind::Gitea => {
            signed("x-gitea-signature", "")
                || signed("x-forgejo-signature", "")
                || signed("x-hub-signature-256", "sha256=")
        }
        WebhookKind::Hmac => signed("x-formwork-signature", "sha256="),
        // The secret itself is sent. Both are hashed, so that neither length nor content shows in how long it takes.
        WebhookKind::Gitlab => header("x-gitlab-token").is_some_and(|given| {
            let expected = hmac::sign(&key, secret.expose().as_bytes());
            hmac::verify(&key, given.as_bytes(), expected.as_ref()).is_ok()
        }),
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    // Of SHA-256, and of nothing else.
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn secret(text: &str) -> Secret {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        Secret::read(&path).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The example of GitHub's own documentation ("Validating webhook deliveries").
    #[test]
    fn githubs_own_example_is_signed_and_one_bit_of_it_is_not() {
        let secret = secret("It's a Secret to Everybody");
        let good = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let judge = |value: Option<&str>, body: &[u8]| {
            is_signed(WebhookKind::Github, &secret, |name| value.filter(|_| name == "x-hub-signature-256"), body)
        };
        assert!(judge(Some(good), b"Hello, World!"));
        assert!(!judge(Some(good), b"Hello, World?"));
        assert!(!judge(Some(&good.replace("757", "756")), b"Hello, World!"));
        assert!(!judge(Some(good.trim_start_matches("sha256=")), b"Hello, World!"));
        for wrong in ["", "sha256=", "sha256=75", "sha1=757107", &"sha256=zz".repeat(8), "sha256=\u{e4}"] {
            assert!(!judge(Some(wrong), b"Hello, World!"), "{wrong}");
        }
        assert!(!judge(None, b"Hello, World!"));
    }

    #[test]
    fn each_kind_has_its_own_header_and_no_other() {
        let secret = secret("hunter22");
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"hunter22");
        let hex: String = hmac::sign(&key, b"{}").as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let prefixed = format!("sha256={hex}");
        let sent = [
            ("x-hub-signature-256", prefixed.as_str(), vec![WebhookKind::Github, WebhookKind::Gitea]),
            ("x-gitea-signature", hex.as_str(), vec![WebhookKind::Gitea]),
            ("x-forgejo-signature", hex.as_str(), vec![WebhookKind::Gitea]),
            ("x-formwork-signature", prefixed.as_str(), vec![WebhookKind::Hmac]),
            ("x-gitlab-token", "hunter22", vec![WebhookKind::Gitlab]),
            ("x-gitlab-token", "hunter2", vec![]),
            ("x-gitlab-token", "hunter222", vec![]),
            ("x-gitlab-token", "", vec![]),
        ];
        for (header, value, good) in sent {
            for kind in [WebhookKind::Github, WebhookKind::Gitea, WebhookKind::Gitlab, WebhookKind::Hmac] {
                let found = is_signed(kind, &secret, |name| Some(value).filter(|_| name == header), b"{}");
                assert_eq!(found, good.contains(&kind), "{header}: {value} for {kind:?}");
            }
        }
    }
}
