//! A machine of the test: it boots as real ones do (script, overlay, ticket, key, token), and asks by its cluster token alone.

use super::history::{Last, LastClaim, LastKey, LastMember};
use super::program::{Answer, Holder, Opening, Question};
use super::proxy::agent;
use super::server::{Server, mac, name};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use formwork::wire::{BootFile, ExchangeAnswer, ExchangeRequest, HardwareIdentity, PROTOCOL};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A claim's lifetime in these tests: the shortest there is.
const TTL: &str = "1s";
/// How long one call waits.
const WAIT: &str = "5s";

/// A machine with its cluster token.
pub struct Machine {
    pub name: String,
    token: String,
}

impl Machine {
    /// Boots it: a script, the overlay that the script names, and its ticket for tokens.
    pub fn enlist(server: &Server, number: u64) -> Self {
        let agent = agent(&server.authority());
        let get = |path: &str| {
            let mut response = agent.get(format!("http://{}{path}", server.http)).call().unwrap();
            response.body_mut().read_to_vec().unwrap()
        };
        let path = format!("/boot/script?mac={}&arch=x86_64&platform=efi", mac(number));
        // The first revision is still being loaded when the first of them asks.
        let began = Instant::now();
        let (script, from) = loop {
            let script = String::from_utf8(get(&path)).unwrap();
            match script.find("/boot/overlay/") {
                Some(from) => break (script, from),
                None => assert!(began.elapsed() < Duration::from_secs(60), "no overlay in\n{script}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        let overlay: String = script[from..].chars().take_while(|c| !c.is_whitespace()).collect();
        let archive = get(&overlay);
        let begin = archive.iter().position(|byte| *byte == b'{').unwrap();
        let mut documents = serde_json::Deserializer::from_slice(&archive[begin..]).into_iter::<BootFile>();
        let ticket = documents.next().unwrap().unwrap().ticket;
        let mut seed = [7; 32];
        seed[0] = u8::try_from(number).unwrap();
        let key = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let message = format!("formwork-exchange-v1\n{}", ticket.split('.').next().unwrap());
        let request = ExchangeRequest {
            ticket: ticket.clone(),
            public_key: URL_SAFE_NO_PAD.encode(key.public_key().as_ref()),
            signature: URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()).as_ref()),
            boot_id: format!("boot-of-{number}"),
            protocol: PROTOCOL,
            agent_version: "test".into(),
            hardware: HardwareIdentity { macs: vec![mac(number)], ..HardwareIdentity::default() },
        };
        let mut response = agent.post(format!("https://{}/v1/agent/exchange", server.api)).send_json(&request).unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        let answer: ExchangeAnswer = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(answer.machine, name(number));
        let token = answer.clusters.into_iter().find(|token| token.cluster == "crash").unwrap().token;
        Self { name: answer.machine, token }
    }

    /// A connection of its own.
    pub fn connect(&self, server: SocketAddr) -> Connection<'_> {
        let config = ureq::Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)));
        Connection { machine: self, agent: config.build().new_agent(), base: format!("http://{server}/v1/cluster") }
    }

    /// The whole document, when all is over.
    pub fn last(&self, server: SocketAddr) -> Last {
        let connection = self.connect(server);
        let document = loop {
            match connection.call("GET", "", &[], None) {
                Ok((200, body, _)) => break serde_json::from_slice::<Value>(&body).unwrap(),
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        read_last(&document)
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

fn small(value: &Value) -> u32 {
    u32::try_from(number(value)).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

fn opening(value: &Value) -> Option<Opening> {
    value.is_object().then(|| Opening { version: number(&value["version"]), joined: small(&value["joined"]) })
}

fn read_last(document: &Value) -> Last {
    let mut last = Last { version: number(&document["version"]), ..Last::default() };
    for (name, key) in document["keys"].as_object().unwrap() {
        let key = LastKey { version: number(&key["version"]), value: text(&key["value"]) };
        last.keys.insert(name.clone(), key);
    }
    for (name, claim) in document["claims"].as_object().unwrap() {
        let done = (claim["state"] == "done").then(|| number(&claim["version"]));
        let claim = LastClaim { machine: text(&claim["holder"]), fence: number(&claim["fence"]), done };
        last.claims.insert(name.clone(), claim);
    }
    for (name, set) in document["sets"].as_object().unwrap() {
        let members = set["members"].as_array().unwrap().iter().map(|member| LastMember {
            machine: text(&member["machine"]),
            ordinal: small(&member["ordinal"]),
            version: number(&member["version"]),
        });
        last.sets.insert(name.clone(), members.collect());
        let all = set["barriers"].as_array().unwrap().iter().find(|barrier| barrier["count"] == "all");
        if let Some(opening) = all.and_then(|barrier| opening(&barrier["opened"])) {
            last.openings.insert(name.clone(), opening);
        }
    }
    last
}

/// A machine's connection through the proxy.
pub struct Connection<'a> {
    machine: &'a Machine,
    agent: ureq::Agent,
    base: String,
}

impl Connection<'_> {
    /// Asks once. An error says why there is no answer; the same question may be asked again.
    pub fn ask(&mut self, question: &Question) -> Result<Answer, String> {
        let json = ("accept", "application/json");
        let (status, body, tag) = match question {
            Question::Write { key, value, id } => {
                let headers = [("if-match", "*"), ("idempotency-key", id), ("content-type", "text/plain")];
                self.call("PUT", &format!("/keys/{key}"), &headers, Some(value))
            }
            Question::Read => self.call("GET", "", &[], None),
            Question::Claim { claim } => self.call("POST", &format!("/claims/{claim}?ttl={TTL}"), &[json], Some("")),
            Question::Done { claim, fence, key, value, id } => {
                let body = serde_json::json!({key.as_str(): value}).to_string();
                let headers = [json, ("idempotency-key", id)];
                self.call("POST", &format!("/claims/{claim}/done?fence={fence}"), &headers, Some(&body))
            }
            Question::Await { key, claim } => {
                let path = format!("/keys/{key}?wait={WAIT}&of={claim}");
                self.call("GET", &path, &[("accept", "text/plain")], None)
            }
            Question::Join { set } => {
                self.call("PUT", &format!("/sets/{set}/self?wait={WAIT}&count=all"), &[json], Some(""))
            }
        }?;
        let value = || serde_json::from_slice::<Value>(&body).map_err(|error| error.to_string());
        Ok(match (question, status) {
            (Question::Write { .. }, 200 | 201) => Answer::Written { version: number(&value()?["version"]) },
            (Question::Read, 200) => Answer::Read { version: number(&value()?["version"]) },
            (Question::Claim { .. }, 200) => {
                let claim = value()?;
                let previous = claim
                    .get("previous")
                    .map(|before| Holder { machine: text(&before["machine"]), fence: number(&before["fence"]) });
                Answer::Claim {
                    leader: claim["role"] == "leader",
                    fence: number(&claim["fence"]),
                    done: claim["state"] == "done",
                    previous,
                }
            }
            (Question::Done { .. }, 200) => Answer::Ended { version: number(&value()?["version"]) },
            (Question::Done { .. }, 409) => Answer::FenceLost,
            (Question::Await { .. }, 200) => {
                let version = tag.split_once('.').and_then(|(_, version)| version.parse().ok());
                let version = version.unwrap_or_else(|| panic!("no version in {tag}"));
                Answer::Key { version, value: String::from_utf8_lossy(&body).into_owned() }
            }
            (Question::Await { .. }, 424) => Answer::Vacant,
            (Question::Await { .. } | Question::Join { .. }, 408) => Answer::NotYet,
            (Question::Join { .. }, 200 | 201) => {
                let joined = value()?;
                Answer::Joined { ordinal: small(&joined["ordinal"]), opened: opening(&joined["opened"]) }
            }
            // Asked too often, or a server that is coming or going.
            (_, 429 | 500..=599) => return Err(format!("{status}")),
            _ => panic!("{question:?} was answered {status}: {}", String::from_utf8_lossy(&body)),
        })
    }

    /// Asks once for a claim that holds for so long: whether it leads, and the fence.
    pub fn claim(&self, claim: &str, ttl: &str) -> Result<(bool, u64), String> {
        let path = format!("/claims/{claim}?ttl={ttl}");
        let (status, body, _) = self.call("POST", &path, &[("accept", "application/json")], Some(""))?;
        let text = || String::from_utf8_lossy(&body).into_owned();
        if status != 200 {
            return Err(format!("{status}: {}", text()));
        }
        let claim: Value = serde_json::from_slice(&body).map_err(|_| text())?;
        Ok((claim["role"] == "leader", number(&claim["fence"])))
    }

    /// The status of one try, whatever it is.
    pub fn status_of(&self, question: &Question) -> u16 {
        let Question::Write { key, value, id } = question else { panic!("only writes") };
        let headers = [("if-match", "*"), ("idempotency-key", id.as_str()), ("content-type", "text/plain")];
        self.call("PUT", &format!("/keys/{key}"), &headers, Some(value)).unwrap().0
    }

    fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Result<(u16, Vec<u8>, String), String> {
        let uri = format!("{}{path}", self.base);
        let token = format!("Bearer {}", self.machine.token);
        let mut request = ureq::http::Request::builder().method(method).uri(uri).header("authorization", token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let failed = |error: ureq::Error| error.to_string();
        let mut response = match body {
            Some(body) => self.agent.run(request.body(body.to_owned()).unwrap()),
            None => self.agent.run(request.body(()).unwrap()),
        }
        .map_err(failed)?;
        let tag = response.headers().get("etag").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let tag = tag.trim_matches('"').to_owned();
        let body = response.body_mut().read_to_vec().map_err(failed)?;
        Ok((response.status().as_u16(), body, tag))
    }
}
