//! One simulated machine: what it does next, decided from what happened. No socket and no clock in here; chance comes from its
//! own stream of the seed, but for keys and boot ids, which must be nobody else's.

mod agent;

use super::acts::{Answer, Ask, Asker, Do, Happened, Verdict};
use super::dice::{Dice, Seconds};
use super::key::{self, Key};
use super::record::Fact;
use super::script::{Order, Script};
use super::work::Work;
use crate::wire::{BootFile, HardwareIdentity};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long the server may hold "what is next?", as for a real agent.
const HOLD: Duration = Duration::from_secs(50);
/// Refusals of a ticket after which a machine counts as broken.
const REFUSALS_MAX: u32 = 6;
/// Boots from a disk with nothing on it after which a machine counts as broken.
const EMPTY_DISK_MAX: u32 = 5;
/// Fetches in a row that came to nothing after which a machine counts as broken; about three minutes.
const BOOT_TRIES_MAX: u32 = 24;
/// Pauses before a request is sent again: the first, doubled up to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// A step of a boot or of a job at which chance may strike.
const STEPS: u64 = 10;

/// How machines behave.
#[derive(Debug, Clone)]
pub struct Habits {
    /// The seed.
    pub seed: u64,
    /// Firmware and loader fetch by DHCP.
    pub dhcp: bool,
    /// They fetch a loader by TFTP.
    pub tftp: bool,
    /// They fetch kernels and RAM disks.
    pub files: bool,
    /// From power-on to the first packet, and from the kernel's start to the agent: half each.
    pub boot_seconds: Seconds,
    /// How long a task takes.
    pub task_seconds: Seconds,
    /// How likely a task fails.
    pub fail: f64,
    /// How likely an answer of the API is lost.
    pub drop_replies: f64,
    /// How likely power goes once in a job, or in a boot.
    pub power_cuts: f64,
    /// How likely the agent is killed once in a job.
    pub agent_kills: f64,
}

/// Where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Off,
    Firmware,
    Loader,
    Ipxe,
    Script,
    Files,
    Overlay,
    Kernel,
    Exchange,
    CheckIn,
    Next,
    Job,
    Standing,
}

/// One running system with an agent.
pub(super) struct Boot {
    file: BootFile,
    key: Key,
    pub(super) id: String,
    token: String,
    pub(super) clusters: BTreeMap<String, String>,
    pub(super) facts_said: bool,
}

/// What an install left on the disk.
struct Disk {
    file: BootFile,
    /// Made at the first start from it.
    key: Option<Key>,
}

/// What chance has in store.
#[derive(Clone, Copy)]
struct Blow {
    power: bool,
    steps: u64,
}

/// A machine.
pub struct Machine {
    pub(super) habits: Arc<Habits>,
    pub(super) dice: Dice,
    hardware: HardwareIdentity,
    /// Its name, once a server gave it one.
    pub name: Option<String>,
    phase: Phase,
    pub(super) boot: Option<Boot>,
    disk: Option<Disk>,
    order: Option<(Vec<String>, String)>,
    pub(super) work: Option<Work>,
    pub(super) pending: Option<Ask>,
    /// A question that waits for fresh tokens.
    outer: Option<Ask>,
    tries: u32,
    refusals: u32,
    empty_disk: u32,
    waited: bool,
    blow: Option<Blow>,
    struck_at_boot: bool,
    /// It was given a job.
    pub(super) worked: bool,
    facts: Vec<Fact>,
}

impl Machine {
    /// Machine number `number` of those that the seed makes.
    pub fn new(number: u32, habits: Arc<Habits>) -> Self {
        let [_, a, b, c] = number.to_be_bytes();
        let mac = format!("{}:{a:02x}:{b:02x}:{c:02x}", super::MAC_PREFIX);
        let uuid = format!("f0f0f0f0-5349-4d55-8000-{:012x}", number);
        let dice = Dice::new(habits.seed, u64::from(number));
        let hardware = HardwareIdentity { macs: vec![mac], uuid: Some(uuid), serial: Some(format!("SIM{number:08}")) };
        Self {
            habits,
            dice,
            hardware,
            name: None,
            phase: Phase::Off,
            boot: None,
            disk: None,
            order: None,
            work: None,
            pending: None,
            outer: None,
            tries: 0,
            refusals: 0,
            empty_disk: 0,
            waited: false,
            blow: None,
            struck_at_boot: false,
            worked: false,
            facts: Vec::new(),
        }
    }

    /// Its MAC.
    pub fn mac(&self) -> &str {
        self.hardware.macs.first().map_or("", String::as_str)
    }

    /// The path of its boot script, as its iPXE would ask for it.
    pub fn script_path(&self) -> String {
        let uuid = self.hardware.uuid.as_deref().unwrap_or_default();
        let serial = self.hardware.serial.as_deref().unwrap_or_default();
        let mac = self.mac().replace(':', "-");
        format!("{}?mac={mac}&uuid={uuid}&serial={serial}&arch=x86_64&platform=efi", crate::boot::script::SCRIPT_PATH)
    }

    /// What it did and saw since this was last asked.
    pub fn take_facts(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.facts)
    }

    pub(super) fn note(&mut self, fact: Fact) {
        self.facts.push(fact);
    }

    /// What it does next. `now`: time since any fixed moment.
    pub fn step(&mut self, now: Duration, happened: Happened) -> Do {
        if let Some(blow) = &mut self.blow {
            match blow.steps.checked_sub(1) {
                Some(left) => blow.steps = left,
                None => return self.strike(),
            }
        }
        match self.phase {
            Phase::Off => self.power_on(happened),
            Phase::Firmware | Phase::Loader | Phase::Ipxe | Phase::Script | Phase::Files | Phase::Overlay => {
                self.firmware(happened)
            }
            Phase::Kernel => self.exchange(),
            Phase::Standing => self.told(happened),
            Phase::Exchange | Phase::CheckIn | Phase::Next | Phase::Job => match self.settled(happened) {
                Ok(answer) => self.answered(now, &answer),
                Err(next) => next,
            },
        }
    }

    // -- power and chance --

    fn power_on(&mut self, happened: Happened) -> Do {
        if let Happened::Passed = happened
            && !self.waited
        {
            self.waited = true;
            return Do::Pause(self.dice.time(self.habits.boot_seconds) / 2);
        }
        if let Happened::Began = happened {
            self.waited = true;
            return Do::Pause(self.dice.time(self.habits.boot_seconds) / 2);
        }
        // Never two blows in a row: a machine that never comes up is held, which is another story.
        if !self.struck_at_boot && self.dice.happens(self.habits.power_cuts) {
            self.blow = Some(Blow { power: true, steps: self.dice.below(STEPS) });
            self.struck_at_boot = true;
        } else {
            self.struck_at_boot = false;
        }
        self.waited = false;
        self.enter(Phase::Firmware)
    }

    /// Power goes; with [`Do::Disconnect`] the connections go too.
    fn power_off(&mut self) -> Do {
        self.boot = None;
        self.work = None;
        self.order = None;
        self.forget_questions();
        self.phase = Phase::Off;
        self.waited = false;
        Do::Disconnect
    }

    fn forget_questions(&mut self) {
        self.pending = None;
        self.outer = None;
        self.tries = 0;
        self.blow = None;
    }

    fn strike(&mut self) -> Do {
        let power = self.blow.take().is_none_or(|blow| blow.power);
        let (job, lines) = self.work.as_ref().map_or((None, 0), |work| (Some(work.job.clone()), work.lines));
        self.note(Fact::Stops { power, job, lines });
        if power || self.boot.is_none() {
            return self.power_off();
        }
        // The agent starts anew in the same boot: key and job are in its tmpfs, its tokens are not.
        self.forget_questions();
        if let Some(work) = &mut self.work {
            work.agent_was_killed();
        }
        self.phase = Phase::Kernel;
        Do::Disconnect
    }

    /// At each grant it is decided whether something will happen in that job.
    pub(super) fn draw_blow(&mut self) {
        let (power, kill) = (self.habits.power_cuts, self.habits.agent_kills);
        self.blow = if self.dice.happens(power) {
            Some(Blow { power: true, steps: self.dice.below(STEPS) })
        } else if self.dice.happens(kill) {
            Some(Blow { power: false, steps: self.dice.below(STEPS) })
        } else {
            None
        };
    }

    // -- firmware and loader --

    fn enter(&mut self, phase: Phase) -> Do {
        self.phase = phase;
        match phase {
            Phase::Firmware if self.habits.dhcp => Do::Address(Asker::Firmware),
            Phase::Firmware => self.enter(Phase::Loader),
            Phase::Loader if self.habits.tftp => Do::Loader,
            Phase::Loader => self.enter(Phase::Ipxe),
            Phase::Ipxe if self.habits.dhcp => Do::Address(Asker::Ipxe),
            Phase::Files if !self.habits.files => self.enter(Phase::Overlay),
            Phase::Files => Do::Files(self.order.as_ref().map(|(files, _)| files.clone()).unwrap_or_default()),
            Phase::Overlay => Do::Overlay(self.order.as_ref().map(|(_, path)| path.clone()).unwrap_or_default()),
            _ => {
                self.phase = Phase::Script;
                Do::Script
            }
        }
    }

    fn firmware(&mut self, happened: Happened) -> Do {
        match (self.phase, happened) {
            (Phase::Firmware, Happened::Passed) => self.enter(Phase::Loader),
            (Phase::Loader, Happened::Passed) => self.enter(Phase::Ipxe),
            (Phase::Ipxe, Happened::Passed) => self.enter(Phase::Script),
            (Phase::Script, Happened::Script(script)) => self.obey(script),
            (Phase::Files, Happened::Passed) => self.enter(Phase::Overlay),
            (Phase::Overlay, Happened::BootFile(file)) => self.start(*file, None),
            // A pause after something was lost is over: from the script on, as the script itself would.
            (_, Happened::Passed) => self.enter(Phase::Script),
            (_, other) => {
                self.tries += 1;
                if let (Happened::Lost(why), true) = (other, self.tries >= BOOT_TRIES_MAX) {
                    return Do::End(Verdict::Broken(format!("it does not come up: {why}")));
                }
                let again =
                    if matches!(self.phase, Phase::Firmware | Phase::Loader) { Phase::Off } else { Phase::Script };
                self.phase = again;
                self.waited = true;
                Do::Pause(self.backoff())
            }
        }
    }

    fn obey(&mut self, script: Script) -> Do {
        self.tries = 0;
        if script.machine.is_some() {
            self.name = script.machine;
        }
        match script.order {
            Order::Boot { files, overlay } => {
                self.order = Some((files, overlay));
                self.enter(Phase::Files)
            }
            Order::Hold { seconds, .. } => Do::Pause(Duration::from_secs(seconds.clamp(1, 60))),
            Order::Nothing { reason } => Do::End(Verdict::Broken(format!("there is nothing to boot: {reason}"))),
            Order::Local => match &self.disk {
                Some(disk) => {
                    let (file, key) = (disk.file.clone(), disk.key.clone());
                    self.start(file, key)
                }
                // No agent will ever speak from this disk: what became of the run is all there is to know.
                None => self.ask_standing(),
            },
        }
    }

    fn ask_standing(&mut self) -> Do {
        self.phase = Phase::Standing;
        Do::Stand(self.name.clone().unwrap_or_default())
    }

    /// A kernel starts, and an agent in it.
    fn start(&mut self, file: BootFile, key: Option<Key>) -> Do {
        let (Some(key), Some(id)) = (key.or_else(Key::new), key::boot_id()) else {
            return Do::End(Verdict::Broken("the system gives no random numbers".into()));
        };
        if let Some(disk) = self.disk.as_mut().filter(|disk| disk.file.ticket == file.ticket) {
            disk.key = Some(key.clone());
        }
        self.name = Some(file.machine.clone());
        let (token, clusters) = (String::new(), BTreeMap::new());
        self.boot = Some(Boot { file, key, id, token, clusters, facts_said: false });
        self.phase = Phase::Kernel;
        Do::Pause(self.dice.time(self.habits.boot_seconds) / 2)
    }

    pub(super) fn install(&mut self, file: BootFile) {
        self.disk = Some(Disk { file, key: None });
    }
}

/// An answer's body, where it can be read.
pub(super) fn read<T: DeserializeOwned>(answer: &Answer) -> Option<T> {
    serde_json::from_slice(&answer.body).ok()
}
