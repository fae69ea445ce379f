//! The rest of the server, small: a fixed network, a store in memory, a script for whoever asks.

use bytes::Bytes;
use formwork::boot::Mac;
use formwork::boot::desk::{
    BootDesk, BootPermit, InstallerRefusal, InstallerSaid, ScriptAction, ScriptAnswer, ScriptAsk, SeenBox,
};
use formwork::boot::leases::LeaseTable;
use formwork::boot::network::{Network, Subnet};
use formwork::metrics::Dhcp;
use formwork::net::dhcp::{DhcpConfig, DhcpService};
use formwork::store::{BoxFuture, Lease, StoreError};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// The one offer there is an overlay for.
pub const OFFER: &str = "offer-0123456789";

pub struct Desk {
    network: Arc<Network>,
    leases: Arc<LeaseTable>,
    /// What was stored, by key.
    pub stored: Mutex<BTreeMap<String, Lease>>,
    /// Boxes that were asked about.
    pub seen: Mutex<Vec<SeenBox>>,
    /// Scripts that were asked for.
    pub asked: Mutex<Vec<ScriptAsk>>,
    /// What is answered.
    pub action: Mutex<ScriptAction>,
    /// What the one offer's overlay holds.
    pub overlay: Mutex<Bytes>,
}

impl Desk {
    /// A desk after a start, with what an earlier one stored.
    pub fn new(stored: BTreeMap<String, Lease>) -> Arc<Self> {
        Self::in_mode("server", stored)
    }

    /// A desk on a subnet where Formwork is the `server` or a `proxy`.
    pub fn in_mode(mode: &str, stored: BTreeMap<String, Lease>) -> Arc<Self> {
        let spec = serde_json::json!({
            "cidr": "10.77.0.0/24", "gateway": "10.77.0.1", "mode": mode, "leaseTime": "10m",
            "pools": [{"first": "10.77.0.100", "last": "10.77.0.101"}],
            "options": {"domain-name-servers": ["10.77.0.1"], "domain-name": "lab.test", "ntp-servers": ["10.77.0.1"]},
        });
        let subnet = Subnet::new("rack-1", &serde_json::from_value(spec).expect("a spec")).expect("a subnet");
        let machine: Mac = "52:54:00:00:00:01".parse().expect("a MAC");
        let network = Network::new(vec![subnet], [("node-1", vec![machine], Some([10, 77, 0, 11].into()))]);
        let action = ScriptAction::Hold { reason: "the test looks at this".to_owned(), retry_seconds: 60 };
        Arc::new(Self {
            network: Arc::new(network),
            leases: Arc::new(LeaseTable::load(stored.values().cloned(), 0)),
            stored: Mutex::new(stored),
            seen: Mutex::default(),
            asked: Mutex::default(),
            action: Mutex::new(action),
            overlay: Mutex::new(Bytes::from_static(b"an overlay")),
        })
    }
}

impl BootDesk for Desk {
    fn network(&self) -> Arc<Network> {
        Arc::clone(&self.network)
    }

    fn leases(&self) -> Arc<LeaseTable> {
        Arc::clone(&self.leases)
    }

    fn put_lease(&self, lease: Lease, _new: bool) -> BoxFuture<'_, Result<(), StoreError>> {
        self.stored.lock().expect("a lock").insert(lease.mac.clone(), lease);
        Box::pin(async { Ok(()) })
    }

    fn boot_permitted(&self, seen: SeenBox) -> BoxFuture<'_, BootPermit> {
        self.seen.lock().expect("a lock").push(seen);
        Box::pin(async { BootPermit::Granted })
    }

    fn script(&self, ask: ScriptAsk) -> BoxFuture<'_, ScriptAnswer> {
        self.asked.lock().expect("a lock").push(ask);
        let answer = ScriptAnswer {
            machine: Some("node-1".to_owned()),
            revision: Some("0123abc".to_owned()),
            waits_for: Some("the test".to_owned()),
            action: self.action.lock().expect("a lock").clone(),
        };
        Box::pin(async { answer })
    }

    fn overlay(&self, offer: String, _peer: IpAddr) -> BoxFuture<'_, Option<Bytes>> {
        let overlay = self.overlay.lock().expect("a lock").clone();
        Box::pin(async move { (offer == OFFER).then_some(overlay) })
    }

    fn boot_file(&self, _: String, _: String, _: IpAddr) -> BoxFuture<'_, Option<Result<String, String>>> {
        Box::pin(async { None })
    }

    fn installer_ended(&self, _: String, _: InstallerSaid) -> BoxFuture<'_, Result<(), InstallerRefusal>> {
        Box::pin(async { Err(InstallerRefusal::Unknown) })
    }
}

/// Starts DHCP alone.
pub fn dhcp(desk: &Arc<Desk>, config: DhcpConfig, counted: Dhcp, tasks: &mut tokio::task::JoinSet<()>) {
    let service = DhcpService::bind(Arc::clone(desk), config, Instant::now(), counted).expect("DHCP binds");
    tasks.spawn(service.serve());
}

/// The services, running until this is dropped.
pub struct Server {
    tasks: tokio::task::JoinSet<()>,
    pub metrics: formwork::metrics::Metrics,
}

impl Server {
    /// Starts DHCP on a device, TFTP and HTTP on all addresses.
    pub fn start(desk: &Arc<Desk>, device: &str, images: &Path) -> Self {
        Self::advertised(desk, device, images, None)
    }

    /// The same behind a load balancer, whose address clients are told.
    pub fn advertised(desk: &Arc<Desk>, device: &str, images: &Path, advertised: Option<Ipv4Addr>) -> Self {
        use formwork::net::{files, http, tftp};
        let mut tasks = tokio::task::JoinSet::new();
        let interfaces = vec![device.to_owned()];
        let config = DhcpConfig { interfaces, advertised, ..DhcpConfig::default() };
        let metrics = formwork::metrics::Metrics::default();
        dhcp(desk, config, metrics.dhcp.clone(), &mut tasks);
        let loaders = Arc::new(tftp::Loaders::read(images, 8080));
        let (everywhere, counted) = (([0, 0, 0, 0], 69).into(), metrics.tftp.clone());
        let service = tftp::TftpService::bind(everywhere, Arc::clone(&loaders), counted).expect("TFTP binds");
        tasks.spawn(async move { service.serve().await.expect("TFTP serves") });
        let config = http::HttpConfig {
            images: Arc::new(files::Folder::open(images).expect("a folder")),
            loaders,
            ca_pem: Bytes::from_static(b"-----BEGIN CERTIFICATE-----\n"),
            http_port: 8080,
            own: Ipv4Addr::LOCALHOST.into(),
        };
        let routes = http::routes(Arc::clone(desk), config, metrics.boot.clone());
        tasks.spawn(async move {
            let listener = tokio::net::TcpListener::bind(("0.0.0.0", 8080)).await.expect("HTTP binds");
            let service = routes.into_make_service_with_connect_info::<std::net::SocketAddr>();
            axum::serve(listener, service).await.expect("HTTP serves");
        });
        Self { tasks, metrics }
    }

    /// Stops it as a kill would: nothing is told to anybody.
    pub async fn kill(mut self) {
        self.tasks.shutdown().await;
    }
}
