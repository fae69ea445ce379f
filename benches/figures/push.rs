//! From the end of `git push` to the first DHCP answer of the new revision, by the real program: a repository of so many
//! machines and commits, one-file commits pushed with real git, and a socket that asks as a relay does until the answer
//! carries the machine's new address. Beside it, in the same run: what it costs to clone the repository and load all of it.
//!
//! The server and its asker live in two network namespaces made for it; root, or a user who may make them.

use super::formwork::disk;
use super::median;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Commits pushed and measured one by one.
const PUSHES: usize = 21;
/// Machines that stand in one folder, as of one rack.
const RACK: usize = 40;
const PARAMS: usize = 20;
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const RELAY: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 2);
/// How long one commit may take before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(300);

/// How machines lie in files.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A file each, a folder a rack.
    Each,
    /// A file each, all in one folder.
    Flat,
    /// A file a rack.
    Racks,
}

impl Layout {
    fn of(word: &str) -> Self {
        match word {
            "flat" => Self::Flat,
            "racks" => Self::Racks,
            _ => Self::Each,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Each => "each",
            Self::Flat => "flat",
            Self::Racks => "racks",
        }
    }

    fn path(self, machine: usize) -> String {
        match self {
            Self::Each => format!("machines/rack-{:04}/node-{machine:05}.yaml", machine / RACK),
            Self::Flat => format!("machines/node-{machine:05}.yaml"),
            Self::Racks => format!("machines/rack-{:04}.yaml", machine / RACK),
        }
    }
}

/// A repository's content, as it stands: which address each machine has.
struct Content {
    layout: Layout,
    addresses: Vec<Ipv4Addr>,
}

impl Content {
    fn new(layout: Layout, machines: usize) -> Self {
        let first = u32::from(Ipv4Addr::new(10, 16, 0, 10));
        let addresses = (first..).take(machines).map(Ipv4Addr::from).collect();
        Self { layout, addresses }
    }

    fn machine(&self, machine: usize) -> String {
        let address = self.addresses[machine];
        let (a, b, c) = (machine >> 16 & 0xff, machine >> 8 & 0xff, machine & 0xff);
        let mut text = format!(
            "apiVersion: formwork.dev/v1alpha1\nkind: Machine\nmetadata: {{name: node-{machine:05}}}\nspec:\n  \
             match: {{macs: [\"52:54:00:{a:02x}:{b:02x}:{c:02x}\"]}}\n  address: {address}\n  \
             profiles: [profile-{}, profile-{}, profile-{}]\n  workflow: write\n  params:\n",
            machine % 10,
            10 + machine % 10,
            20 + machine % 10
        );
        for param in 0..PARAMS {
            let value = if param % 2 == 0 { format!("text-{machine}-{param}") } else { (machine * param).to_string() };
            text.push_str(&format!("    param-{param}: {value}\n"));
        }
        text
    }

    /// The file that a machine stands in.
    fn file(&self, machine: usize) -> String {
        if self.layout != Layout::Racks {
            return self.machine(machine);
        }
        let first = machine / RACK * RACK;
        let all = first..(first + RACK).min(self.addresses.len());
        all.map(|machine| self.machine(machine)).collect::<Vec<_>>().join("---\n")
    }

    /// A commit of one file: a machine gets another address.
    fn change(&mut self, commit: usize) -> usize {
        let machine = commit * 7919 % self.addresses.len();
        let new = u32::from(Ipv4Addr::new(10, 100, 0, 0)) + u32::try_from(commit).expect("few commits");
        self.addresses[machine] = Ipv4Addr::from(new);
        machine
    }
}

/// One stream for `git fast-import`.
struct Import {
    child: Child,
    mark: usize,
}

impl Import {
    fn into(repository: &Path) -> Self {
        let child = Command::new("git")
            .args(["-c", "core.fsync=none", "fast-import", "--quiet", "--done"])
            .current_dir(repository)
            .stdin(Stdio::piped())
            .spawn()
            .expect("git runs");
        Self { child, mark: 0 }
    }

    fn commit(&mut self, from: Option<&str>, files: &[(String, String)]) {
        let mut text = format!(
            "commit refs/heads/main\nmark :{}\ncommitter Bench <bench@localhost> 1700000000 +0000\n",
            self.mark + 1
        );
        self.mark += 1;
        text.push_str("data 6\nchange\n");
        if let Some(from) = from.filter(|_| self.mark == 1) {
            text.push_str(&format!("from {from}\n"));
        }
        for (path, content) in files {
            text.push_str(&format!("M 100644 inline {path}\ndata {}\n{content}\n", content.len()));
        }
        self.child.stdin.as_mut().expect("a pipe").write_all(text.as_bytes()).expect("git reads");
    }

    fn end(mut self) {
        let mut pipe = self.child.stdin.take().expect("a pipe");
        pipe.write_all(b"done\n").expect("git reads");
        drop(pipe);
        assert!(self.child.wait().expect("git ends").success(), "git fast-import failed");
    }
}

fn git(folder: &Path, arguments: &[&str]) {
    let done =
        Command::new("git").args(arguments).current_dir(folder).stderr(Stdio::null()).stdout(Stdio::null()).status();
    assert!(done.is_ok_and(|status| status.success()), "git {arguments:?} failed");
}

/// Everything that is not a machine.
fn shared() -> Vec<(String, String)> {
    let head = |kind: &str, name: &str| {
        format!("apiVersion: formwork.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\n")
    };
    let mut template = String::from("# made for {{ machine.name }}\n");
    let (mut params, mut declared, mut profiles) = (String::new(), String::new(), String::new());
    for number in 0..PARAMS {
        let schema = if number % 2 == 0 { "{type: string, maxLength: 64}" } else { "{type: integer, minimum: 0}" };
        params.push_str(&format!("---\n{}spec: {{schema: {schema}}}\n", head("Param", &format!("param-{number}"))));
        declared.push_str(&format!("{{name: param-{number}}}, "));
        template.push_str(&format!("value-{number} = {{{{ params['param-{number}'] }}}}\n"));
    }
    for number in 0..30 {
        let name = format!("profile-{number}");
        profiles.push_str(&format!(
            "---\n{}spec: {{params: {{param-0: from-{name}, param-2: {name}, param-1: {number}}}}}\n",
            head("Profile", &name)
        ));
    }
    let workflow = format!(
        "{}spec: {{file: templates/config.j2}}\n---\n{}spec:\n  params: [{declared}]\n  steps: [{{name: write, \
         template: config, to: /etc/config, mode: \"0644\"}}]\n---\n{}spec: {{tasks: [write]}}\n---\n{}spec: \
         {{stages: [write]}}\n---\n{}spec: {{cidr: 10.0.0.0/8}}\n",
        head("Template", "config"),
        head("Task", "write"),
        head("Stage", "write"),
        head("Workflow", "write"),
        head("Subnet", "all"),
    );
    [
        ("site.yaml", head("Site", "figures") + "spec: {}\n"),
        ("params.yaml", params),
        ("profiles.yaml", profiles),
        ("templates/config.j2", template),
        ("workflow.yaml", workflow),
    ]
    .map(|(path, text)| (path.to_owned(), text))
    .to_vec()
}

/// Makes the repository: all machines in one commit, then so many commits of one file.
fn repository(folder: &Path, content: &mut Content, commits: usize) -> PathBuf {
    let bare = folder.join("site.git");
    git(folder, &["init", "-q", "--bare", "-b", "main", "site.git"]);
    let mut import = Import::into(&bare);
    let mut files = shared();
    let step = if content.layout == Layout::Racks { RACK } else { 1 };
    let machines = (0..content.addresses.len()).step_by(step);
    files.extend(machines.map(|machine| (content.layout.path(machine), content.file(machine))));
    import.commit(None, &files);
    for commit in 0..commits {
        let machine = content.change(commit);
        import.commit(None, &[(content.layout.path(machine), content.file(machine))]);
    }
    import.end();
    bare
}

/// A discover of a machine's UEFI firmware, as a relay passes it on.
fn discover(machine: usize, xid: u32) -> Vec<u8> {
    let mut packet = vec![1, 1, 6, 1];
    packet.extend(xid.to_be_bytes());
    packet.extend([0; 16]);
    packet.extend(RELAY.octets());
    packet.extend([0x52, 0x54, 0, (machine >> 16) as u8, (machine >> 8) as u8, machine as u8]);
    packet.resize(236, 0);
    packet.extend([99, 130, 83, 99, 53, 1, 1]);
    packet.extend([60, 32]);
    packet.extend(b"PXEClient:Arch:00007:UNDI:003016");
    packet.extend([93, 2, 0, 7, 55, 4, 1, 3, 66, 67, 255]);
    packet
}

/// Asks until the answer is this address; how long that took.
fn until(socket: &UdpSocket, machine: usize, address: Ipv4Addr, xid: &mut u32) -> Duration {
    let began = Instant::now();
    let mut buffer = [0; 2048];
    loop {
        *xid += 1;
        let sent = Instant::now();
        let _ = socket.send_to(&discover(machine, *xid), SocketAddrV4::new(SERVER, 67));
        // Answers to earlier questions are passed over.
        while let Ok((length, _)) = socket.recv_from(&mut buffer) {
            if length > 20 && buffer[4..8] == xid.to_be_bytes() {
                if buffer[16..20] == address.octets() {
                    return began.elapsed();
                }
                break;
            }
        }
        assert!(began.elapsed() < PATIENCE, "machine {machine} does not get {address}");
        std::thread::sleep(Duration::from_millis(1).saturating_sub(sent.elapsed()));
    }
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    fn start(program: &Path, folder: &Path, bare: &Path, namespace: u32) -> Self {
        std::fs::create_dir_all(folder.join("images/loaders")).expect("a folder");
        let log = std::fs::File::create(folder.join("serve.log")).expect("a log");
        let child = Command::new("nsenter")
            .arg(format!("--net=/proc/{namespace}/ns/net"))
            .arg(program)
            .args(["serve", "--address", "10.0.0.1", "--interface", "fw0", "--no-tftp", "--state-dir"])
            .arg(folder.join("state"))
            .arg("--repository")
            .arg(bare)
            .arg("--images")
            .arg(folder.join("images"))
            .env("FORMWORK_LOG", std::env::var("FORMWORK_BENCH_LOG").unwrap_or_else(|_| "warn".to_owned()))
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .expect("nsenter runs");
        Self(child)
    }

    /// Resident memory, megabytes.
    fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<f64>().ok()).unwrap_or(0.0) / 1e3
    }
}

fn run(command: &str) {
    let done = Command::new("sh").args(["-c", command]).status();
    assert!(done.is_ok_and(|status| status.success()), "`{command}` failed");
}

fn seconds_of(command: &mut Command) -> f64 {
    let began = Instant::now();
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.success()), "{command:?} failed");
    began.elapsed().as_secs_f64()
}

/// In a network namespace of its own, as its first process: one row of the table.
pub fn row(machines: usize, commits: usize, layout: &str, more: usize) {
    let layout = Layout::of(layout);
    let program = std::env::var_os("FORMWORK_BENCH_PROGRAM")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_formwork")), PathBuf::from);
    let folder = tempfile::tempdir_in(disk()).expect("a folder");
    let folder = folder.path();
    let mut content = Content::new(layout, machines);
    let bare = repository(folder, &mut content, commits);

    // The server's end of a wire in one namespace, ours in another.
    let mut there = Command::new("unshare").args(["--net", "sleep", "3600"]).spawn().expect("unshare runs");
    std::thread::sleep(Duration::from_millis(300));
    let namespace = there.id();
    let enter = format!("nsenter --net=/proc/{namespace}/ns/net");
    run("ip link set lo up && ip link add fw1 type veth peer name fw0");
    run(&format!(
        "ip link set fw0 netns {namespace} && {enter} ip link set lo up && {enter} ip addr add {SERVER}/8 dev fw0"
    ));
    run(&format!("{enter} ip link set fw0 up && ip addr add {RELAY}/8 dev fw1 && ip link set fw1 up"));
    let socket = UdpSocket::bind((RELAY, 67)).expect("port 67");
    socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");

    let state = folder.join("state");
    let made =
        Command::new(&program).args(["site", "create", "figures", "--fresh", "--state-dir"]).arg(&state).output();
    assert!(made.is_ok_and(|output| output.status.success()), "the site cannot be made");
    let began = Instant::now();
    let server = Server::start(&program, folder, &bare, namespace);
    let mut xid = 1;
    until(&socket, 0, content.addresses[0], &mut xid);
    let first = began.elapsed().as_secs_f64();
    drop(server);
    // The second start finds its revision in the mirror.
    let began = Instant::now();
    let server = Server::start(&program, folder, &bare, namespace);
    until(&socket, 0, content.addresses[0], &mut xid);
    let cold = began.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_secs(2));
    let idle = server.memory();

    git(folder, &["clone", "-q", "--bare", "--single-branch", "site.git", "work.git"]);
    let work = folder.join("work.git");
    git(&work, &["remote", "add", "there", "../site.git"]);
    let mut waits = Vec::new();
    for push in 0..PUSHES {
        let machine = content.change(commits + push);
        let mut import = Import::into(&work);
        import.commit(Some("refs/heads/main^0"), &[(layout.path(machine), content.file(machine))]);
        import.end();
        git(&work, &["push", "-q", "there", "main"]);
        waits.push(until(&socket, machine, content.addresses[machine], &mut xid).as_secs_f64() * 1e3);
        std::thread::sleep(Duration::from_millis(200));
    }
    let worst = waits.iter().copied().fold(0.0, f64::max);

    let mut grown = String::from("–");
    if more > 0 {
        std::thread::sleep(Duration::from_secs(2));
        let before = server.memory();
        for commit in 0..more {
            let machine = content.change(commits + PUSHES + commit);
            let mut import = Import::into(&bare);
            import.commit(Some("refs/heads/main^0"), &[(layout.path(machine), content.file(machine))]);
            import.end();
            until(&socket, machine, content.addresses[machine], &mut xid);
        }
        std::thread::sleep(Duration::from_secs(2));
        grown = format!("{before:.0} MB, {:.0} MB ({more})", server.memory());
    }

    let clone =
        seconds_of(Command::new("git").args(["clone", "-q", "--no-hardlinks"]).arg(&bare).arg(folder.join("clone")));
    let validate = seconds_of(Command::new(&program).arg("validate").arg(folder.join("clone")));
    println!(
        "| {machines} ({}), {commits} | {:.0} ms | {worst:.0} ms | {:.2} s | {first:.2} s | {cold:.2} s | {idle:.0} MB | {grown} |",
        layout.word(),
        median(waits),
        clone + validate
    );
    if std::env::var_os("FORMWORK_BENCH_LOG").is_some() {
        let log = std::fs::read_to_string(folder.join("serve.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        eprintln!("{}", lines[lines.len().saturating_sub(60)..].join("\n"));
    }
    drop(server);
    let _ = there.kill();
    let _ = there.wait();
}

/// The table; `rows` in place of its own rows.
pub fn print(rows: &[&str]) {
    println!(
        "| machines (how they lie), commits of history | push to DHCP answer, median | worst | `git clone` and `formwork validate` \
         | first start | start | memory | before and after (so many) commits more |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    );
    let own = [
        "1000:5000:each:0",
        "10000:1:each:0",
        "10000:5000:each:1000",
        "10000:5000:racks:0",
        "10000:500:flat:0",
        "50000:5000:each:0",
    ];
    for row in if rows.is_empty() { &own } else { rows } {
        let me = std::env::current_exe().expect("this program");
        let words: Vec<&str> = row.split(':').collect();
        let status = Command::new("unshare")
            .args(["--net", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"])
            .arg(me)
            .arg("push-row")
            .args(words)
            .status()
            .expect("unshare runs");
        assert!(status.success(), "the row {row} failed");
    }
}
