//! What a boot environment means for one box: kernel, RAM disks, command line and files, with its params. What serves them and
//! what shows them beforehand is this.

use super::desk::ScriptAction;
use super::script::file_url;
use crate::catalog::{
    BootEnv, BootInfo, Catalog, MachineView, RenderError, Scope, ServerInfo, render_arguments, render_boot_template,
};
use crate::content::kinds::{Architecture, FileSource};
use crate::journal::MachineState;
use crate::params::{self, ClusterKeys};
use crate::workflow::machine_info;
use serde_json::Map;
use std::net::IpAddr;

/// A box that boots an environment.
#[derive(Clone, Copy)]
pub struct Kernel<'a> {
    /// The revision of the run, or the newest.
    pub catalog: &'a Catalog,
    /// The machine on it.
    pub view: &'a MachineView,
    /// Its state.
    pub state: &'a MachineState,
    /// The environment, by its name in the catalog.
    pub environment: &'a str,
    /// The offer.
    pub offer: &'a str,
    /// The MAC it boots from.
    pub mac: Option<&'a str>,
    /// The address it asks from.
    pub address: Option<IpAddr>,
    /// Where machines find the server.
    pub server: &'a ServerInfo,
}

impl<'a> Kernel<'a> {
    /// Kernel, RAM disks and command line.
    ///
    /// # Errors
    /// Why this box cannot boot it, in a sentence for its screen.
    pub fn action(&self, architecture: Architecture) -> Result<ScriptAction, String> {
        let boot_env = self.boot_env()?;
        let environment = self.environment;
        let spec = boot_env
            .architectures
            .get(&architecture)
            .ok_or_else(|| format!("environment {environment} has nothing for {}", architecture.as_str()))?;
        let boot = BootInfo::of(self.server, self.offer, boot_env.ends_by, None);
        let arguments = self.rendered(&boot, |scope| render_arguments(self.catalog, boot_env, architecture, scope))?;
        Ok(ScriptAction::Boot {
            environment: environment.to_owned(),
            offer: self.offer.to_owned(),
            kernel: url_of(&spec.kernel).ok_or_else(|| format!("environment {environment} has no kernel"))?,
            initrds: spec.initrds.iter().filter_map(url_of).collect(),
            arguments,
        })
    }

    /// A file of the environment, by the name that its boots ask for. `token` opens the offer's callback; it is secret.
    ///
    /// # Errors
    /// Why it cannot be made, in a sentence.
    pub fn file(&self, name: &str, token: &str) -> Result<String, String> {
        let boot_env = self.boot_env()?;
        let boot = BootInfo::of(self.server, self.offer, boot_env.ends_by, Some(token.to_owned()));
        self.rendered(&boot, |scope| render_boot_template(self.catalog, boot_env, name, scope))
    }

    /// The environment itself.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn boot_env(&self) -> Result<&'a BootEnv, String> {
        let found = self.catalog.boot_env(self.environment);
        found.map(|boot_env| &**boot_env).ok_or_else(|| format!("there is no environment {}", self.environment))
    }

    /// Renders with what a boot's texts may speak of: no facts, nothing secret but the boot's own token.
    fn rendered(
        &self,
        boot: &BootInfo,
        render: impl Fn(&Scope<'_>) -> Result<String, RenderError>,
    ) -> Result<String, String> {
        let resolved = params::resolve(self.catalog, self.view, None, &ClusterKeys::default());
        let mut machine = machine_info(self.view, self.state, &format!("{}/files", self.server.http));
        // The MAC it boots from comes first: it becomes BOOTIF. The address it asks from is the one it has.
        if let Some(mac) = self.mac {
            machine.macs.retain(|other| other != mac);
            machine.macs.insert(0, mac.to_owned());
        }
        if let (None, Some(address)) = (&machine.address, self.address) {
            machine.address = Some(address.to_string());
        }
        let (values, facts) = (resolved.values(), Map::new());
        let scope = Scope { params: &values, facts: &facts, machine: &machine, server: self.server, boot: Some(boot) };
        render(&scope).map_err(|error| error.to_string())
    }
}

/// A held box with the pause after which it asks again.
pub fn hold(reason: String, ask_again_ms: Option<u64>) -> ScriptAction {
    let retry_seconds = ask_again_ms.map_or(15, |ms| u32::try_from(ms.div_ceil(1000).clamp(2, 60)).unwrap_or(60));
    ScriptAction::Hold { reason, retry_seconds }
}

fn url_of(source: &FileSource) -> Option<String> {
    source.file.as_deref().map(file_url).or_else(|| source.url.clone())
}
