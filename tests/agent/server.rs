//! A boot server of the tests' own: real TLS by a real authority, scripted jobs, and replies that get lost on purpose.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use formwork::wire::{BootFile, BootFileKind, ExitCodes, JobEnd, JobGrant, MachineInfo, Step, StepAction};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// One request, as it came.
pub struct Asked {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// What comes back.
pub enum Reply {
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// The request was carried out, and nobody hears of it.
    Lost,
}

impl Reply {
    pub fn json(status: u16, body: &Value) -> Self {
        Self::Answer(status, vec![("content-type", "application/json".into())], body.to_string().into_bytes())
    }

    fn problem(status: u16, code: &str) -> Self {
        Self::json(status, &json!({"code": code, "message": code}))
    }
}

/// Everything the server knows; tests look into it and set its tricks.
#[derive(Default)]
pub struct Site {
    /// Jobs not given yet.
    pub jobs: VecDeque<JobGrant>,
    /// The job given and not ended: asked again, the same.
    pub open: Option<JobGrant>,
    pub logs: BTreeMap<String, Vec<u8>>,
    pub ends: Vec<(String, JobEnd)>,
    pub facts: serde_json::Map<String, Value>,
    pub keys_seen: Vec<String>,
    pub exchanges: u32,
    pub check_ins: u32,
    pub heartbeats: u32,
    /// Heartbeats are told to abandon.
    pub abandon: bool,
    /// Of log uploads, every so many is carried out and its reply lost.
    pub lose_every_log: usize,
    pub log_requests: usize,
    /// So many requests are answered with 503 first.
    pub unavailable: u32,
    /// So many files are answered with 503 first: as many are sent as may be.
    pub busy_files: u32,
    /// Tokens are good for one use only, so that each second one meets a 401.
    pub short_tokens: bool,
    /// No token is good any more, and an exchange is refused with this code.
    pub refuses: Option<&'static str>,
    pub token_uses: u32,
    pub end_replies_to_lose: u32,
    /// After the jobs, this is what is next.
    pub afterwards: Option<Value>,
    /// The cluster: keys, and the claim's holder.
    pub cluster: BTreeMap<String, String>,
    pub claim_done: bool,
    pub claim_role: String,
    pub claim_losses: u32,
    pub idempotency_keys: Vec<String>,
    pub renewals: u32,
    /// Files for plain reading, with their bytes; a broken connection after so many bytes, once each.
    pub files: BTreeMap<String, Vec<u8>>,
    pub break_files_at: Vec<usize>,
}

/// A running server. It lives as long as the test's process.
pub struct Server {
    pub address: SocketAddr,
    pub authority: String,
    fingerprint: String,
    pub site: Arc<Mutex<Site>>,
}

impl Server {
    pub fn start() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap().signed_by(&key, &issuer).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let site = Arc::new(Mutex::new(Site { claim_role: "leader".into(), ..Site::default() }));
        let (config, shared) = (Arc::new(config), Arc::clone(&site));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, site) = (Arc::clone(&config), Arc::clone(&shared));
                std::thread::spawn(move || serve(stream, config, &site));
            }
        });
        let digest = ring::digest::digest(&ring::digest::SHA256, issuer.der());
        let fingerprint = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        Self { address, authority: issuer.pem(), fingerprint, site }
    }

    pub fn site(&self) -> MutexGuard<'_, Site> {
        self.site.lock().unwrap()
    }

    pub fn boot_file(&self, kind: BootFileKind) -> BootFile {
        BootFile {
            kind,
            site: "lab".into(),
            server: format!("https://{}", self.address),
            ca_certificate: self.authority.clone(),
            ca_fingerprint: self.fingerprint.clone(),
            ticket: "offer1.secret".into(),
            machine: "node-1".into(),
            environment: "discovery".into(),
            server_time_unix_ms: now_ms(),
        }
    }

    /// Waits until the job has ended.
    pub fn end_of(&self, job: &str, patience: Duration) -> JobEnd {
        self.wait(patience, &format!("the end of {job}"), |site| {
            site.ends.iter().find(|(id, _)| id == job).map(|(_, end)| end.clone())
        })
    }

    /// Waits until something is there.
    pub fn wait<T>(&self, patience: Duration, what: &str, look: impl Fn(&Site) -> Option<T>) -> T {
        let end = Instant::now() + patience;
        loop {
            if let Some(found) = look(&self.site()) {
                return found;
            }
            assert!(Instant::now() < end, "{what} did not come within {patience:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn log_of(&self, job: &str) -> String {
        String::from_utf8_lossy(self.site().logs.get(job).map(Vec::as_slice).unwrap_or_default()).into_owned()
    }
}

/// A job of one script.
pub fn script(job: &str, text: &str) -> JobGrant {
    steps(job, vec![Step { name: "main".into(), action: StepAction::Script { text: text.into() } }])
}

/// A job of these steps.
pub fn steps(job: &str, steps: Vec<Step>) -> JobGrant {
    JobGrant {
        job: job.into(),
        run: 1,
        stage: "stage".into(),
        task: "task".into(),
        attempt: 1,
        timeout_seconds: 60,
        exit_codes: ExitCodes::Formwork,
        machine: MachineInfo { name: "node-1".into(), ..MachineInfo::default() },
        params: json!({"install-disk": "/dev/vda"}).as_object().cloned().unwrap(),
        facts: serde_json::Map::new(),
        steps,
        clusters: vec![],
        destructive: None,
    }
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn token(name: &str, id: u32) -> String {
    let mut payload = json!({ "jti": format!("{name}-{id}") }).to_string().into_bytes();
    payload.extend([0; 64]);
    format!("v4.public.{}", URL_SAFE_NO_PAD.encode(payload))
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, site: &Mutex<Site>) {
    let mut first = [0];
    if stream.peek(&mut first).is_err() {
        return;
    }
    if first[0] == 0x16 {
        let connection = ServerConnection::new(config).unwrap();
        converse(BufReader::new(StreamOwned::new(connection, stream)), site);
    } else {
        converse(BufReader::new(stream), site);
    }
}

fn converse<S: Read + Write>(mut stream: BufReader<S>, site: &Mutex<Site>) {
    while let Some(asked) = read_request(&mut stream) {
        let (reply, cut) = {
            let mut site = site.lock().unwrap();
            let reply = answer(&mut site, &asked);
            let sends = asked.path.starts_with("/files/") && !matches!(reply, Reply::Answer(503, ..));
            let cut = sends.then(|| site.break_files_at.pop()).flatten();
            (reply, cut)
        };
        let Reply::Answer(status, headers, body) = reply else { return };
        let mut text = format!("HTTP/1.1 {status} S\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let writer = stream.get_mut();
        let sent = body.get(..cut.unwrap_or(body.len()).min(body.len())).unwrap_or_default();
        let failed =
            writer.write_all(text.as_bytes()).and_then(|()| writer.write_all(sent)).and_then(|()| writer.flush());
        if failed.is_err() || cut.is_some() {
            return;
        }
    }
}

fn read_request<S: Read>(stream: &mut BufReader<S>) -> Option<Asked> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    Some(Asked { method, path: path.to_owned(), query: query.to_owned(), headers, body })
}

fn tokens(site: &mut Site) -> Value {
    site.token_uses = 0;
    json!({
        "machine": "node-1",
        "token": token("machine", site.exchanges),
        "clusters": [{"cluster": "etcd-lab", "token": token("cluster", site.exchanges)}],
        "generation": 1,
        "renewAfterSeconds": 3600,
        "serverTimeUnixMs": now_ms(),
        "protocol": 1,
    })
}

fn answer(site: &mut Site, asked: &Asked) -> Reply {
    if let Some(name) = asked.path.strip_prefix("/files/") {
        if site.busy_files > 0 {
            site.busy_files -= 1;
            return Reply::Answer(503, vec![("retry-after", "0".into())], Vec::new());
        }
        return file(site, name, asked);
    }
    if site.unavailable > 0 {
        site.unavailable -= 1;
        return Reply::Answer(503, vec![("retry-after", "0".into())], Vec::new());
    }
    let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    if asked.path == "/v1/agent/exchange" {
        assert_eq!(body["ticket"], "offer1.secret");
        verify(&body, "formwork-exchange-v1\noffer1");
        if let Some(code) = site.refuses {
            return Reply::problem(409, code);
        }
        site.exchanges += 1;
        let key = body["publicKey"].as_str().unwrap().to_owned();
        if site.keys_seen.first().is_some_and(|first| *first != key) {
            site.keys_seen.push(key);
            return Reply::problem(409, "quarantined");
        }
        site.keys_seen.push(key);
        return Reply::json(200, &tokens(site));
    }
    let cluster = asked.path.starts_with("/v1/cluster");
    let wanted = format!("Bearer {}", token(if cluster { "cluster" } else { "machine" }, site.exchanges));
    site.token_uses += 1;
    if site.refuses.is_some() {
        return Reply::problem(401, "token-revoked");
    }
    if asked.headers.get("authorization") != Some(&wanted) || (site.short_tokens && site.token_uses > 2) {
        return Reply::problem(401, "token-expired");
    }
    let parts: Vec<&str> = asked.path.split('/').skip(1).collect();
    match (asked.method.as_str(), parts.as_slice()) {
        ("POST", ["v1", "agent", "check-in"]) => {
            assert_eq!(body["environment"], "discovery");
            site.check_ins += 1;
            Reply::json(200, &json!({}))
        }
        ("POST", ["v1", "agent", "next"]) => next(site),
        ("POST", ["v1", "agent", "heartbeat"]) => {
            site.heartbeats += 1;
            Reply::json(200, &json!({ "abandon": site.abandon }))
        }
        ("POST", ["v1", "agent", "facts"]) => {
            for (name, value) in body["facts"].as_object().unwrap() {
                site.facts.insert(name.clone(), value.clone());
            }
            Reply::json(200, &json!({}))
        }
        ("POST", ["v1", "agent", "disk-ticket"]) => Reply::json(
            200,
            &json!({"kind": "disk", "site": "lab", "server": "https://127.0.0.1:1", "caCertificate": "", "caFingerprint": "",
                "ticket": "disk1.secret", "machine": "node-1", "environment": "local", "serverTimeUnixMs": now_ms()}),
        ),
        ("PUT", ["v1", "agent", "jobs", job, "log"]) => log(site, job, asked),
        ("POST", ["v1", "agent", "jobs", job, "end"]) => {
            let end: JobEnd = serde_json::from_value(body).unwrap();
            if !site.ends.iter().any(|(id, _)| id == job) {
                site.ends.push(((*job).to_owned(), end));
            }
            if site.open.as_ref().is_some_and(|open| open.job == *job) {
                site.open = None;
            }
            if site.end_replies_to_lose > 0 {
                site.end_replies_to_lose -= 1;
                return Reply::Lost;
            }
            Reply::json(200, &json!({}))
        }
        (method, ["v1", "cluster", rest @ ..]) => cluster_answer(site, method, rest, asked, &body),
        other => panic!("the agent asked for {other:?}"),
    }
}

fn next(site: &mut Site) -> Reply {
    if site.open.is_none() {
        site.open = site.jobs.pop_front();
    }
    match &site.open {
        Some(job) => {
            let mut answer = serde_json::to_value(job).unwrap();
            answer.as_object_mut().unwrap().insert("action".into(), "job".into());
            Reply::json(200, &answer)
        }
        None => {
            let wait = json!({"action": "wait", "reason": "nothing to do", "askAgainSeconds": 0});
            std::thread::sleep(Duration::from_millis(20));
            Reply::json(200, &site.afterwards.take().unwrap_or(wait))
        }
    }
}

fn log(site: &mut Site, job: &str, asked: &Asked) -> Reply {
    let offset: usize = asked.query.strip_prefix("offset=").unwrap().parse().unwrap();
    assert!(asked.body.len() <= 256 * 1024);
    let log = site.logs.entry(job.to_owned()).or_default();
    if offset != log.len() {
        let length = vec![("formwork-log-length", log.len().to_string())];
        return Reply::Answer(
            409,
            length,
            json!({"code": "wrong-offset", "message": "wrong offset"}).to_string().into(),
        );
    }
    log.extend(&asked.body);
    let length = log.len();
    site.log_requests += 1;
    if site.lose_every_log > 0 && site.log_requests.is_multiple_of(site.lose_every_log) {
        return Reply::Lost;
    }
    Reply::json(200, &json!({ "length": length }))
}

fn cluster_answer(site: &mut Site, method: &str, rest: &[&str], asked: &Asked, body: &Value) -> Reply {
    if let Some(key) = asked.headers.get("idempotency-key") {
        site.idempotency_keys.push(key.clone());
    }
    match (method, rest) {
        ("POST", ["claims", "init"]) => {
            if site.claim_losses > 0 {
                site.claim_losses -= 1;
                return Reply::Lost;
            }
            let state = if site.claim_done { "done" } else { "held" };
            Reply::json(200, &json!({"role": site.claim_role, "fence": 42, "state": state, "takeover": false}))
        }
        ("PUT", ["claims", "init"]) => {
            assert!(asked.query.starts_with("fence=42&ttl="), "{}", asked.query);
            site.renewals += 1;
            Reply::json(200, &json!({}))
        }
        ("POST", ["claims", "init", "done"]) => {
            assert_eq!(asked.query, "fence=42");
            site.claim_done = true;
            for (name, value) in body.as_object().into_iter().flatten() {
                site.cluster.insert(name.clone(), value.as_str().unwrap_or_default().to_owned());
            }
            Reply::json(200, &json!({}))
        }
        ("POST", ["claims", "init", "fail"]) => {
            site.cluster.insert("failed".into(), asked.query.clone());
            Reply::json(200, &json!({}))
        }
        ("PUT", ["keys", key]) => {
            assert!(asked.headers.contains_key("if-match") || asked.headers.contains_key("if-none-match"));
            let value = String::from_utf8(asked.body.clone()).unwrap();
            site.cluster.insert((*key).to_owned(), value);
            Reply::json(201, &json!({}))
        }
        ("GET", ["keys", key]) => match site.cluster.get(*key) {
            Some(value) => Reply::Answer(200, vec![("content-type", "text/plain".into())], value.clone().into()),
            None if asked.query.contains("of=broken") => Reply::problem(424, "vacant"),
            None if asked.query.contains("wait=") => {
                std::thread::sleep(Duration::from_millis(30));
                Reply::problem(408, "not-yet")
            }
            None => Reply::problem(404, "not-found"),
        },
        other => panic!("the agent asked the cluster for {other:?}"),
    }
}

fn file(site: &Site, name: &str, asked: &Asked) -> Reply {
    let Some(bytes) = site.files.get(name) else { return Reply::Answer(404, vec![], vec![]) };
    match asked.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()) {
        Some(from) => Reply::Answer(206, vec![], bytes.get(from..).unwrap_or_default().to_vec()),
        None => Reply::Answer(200, vec![], bytes.clone()),
    }
}

fn verify(body: &Value, message: &str) {
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(body[name].as_str().unwrap()).unwrap();
    ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, bytes("publicKey"))
        .verify(message.as_bytes(), &bytes("signature"))
        .expect("the signature proves possession of the key");
}
