//! The events: what happened, in the past tense, never edited.

use super::state::MachineState;
use super::{Ask, RefusedCommit};
use crate::wire::{CheckInRequest, JobOutcome, JobRequest};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", tag = "type")]
pub enum Event {
    // -- site --
    /// A site was made by `formwork site create`.
    SiteCreated {
        /// Its name.
        site: String,
        /// The person who made it said that no machine of this site was ever installed: declared machines may start at once.
        fresh: bool,
    },
    /// A person said that machines without a journal are new from now on, and may start.
    SiteAdopted {
        /// Who.
        by: String,
        /// Why; may be empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// A revision was loaded whole and serves.
    RevisionApplied {
        /// The revision.
        revision: String,
        /// Its subject line.
        summary: String,
        /// How many machines it declares.
        machines: usize,
        /// What it calls the site; empty in what was written before that was kept.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        site: String,
        /// Who signed it and what led to it, its own signer first; empty where signatures are not asked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        signed_by: Vec<String>,
    },
    /// A revision was refused; the last good one goes on serving.
    RevisionRefused {
        /// The revision.
        revision: String,
        /// Its subject line.
        summary: String,
        /// The findings as shown to people, the first twenty.
        findings: Vec<String>,
        /// How many there are in all.
        count: usize,
    },
    /// A followed branch was rewritten, or a followed tag moved.
    SourceRewritten {
        /// The source, by its name in the server's sources.yaml.
        source: String,
        /// The branch or tag.
        reference: String,
        /// The commit before.
        from: String,
        /// The commit that it shows now.
        to: String,
        /// Whether it is followed there, or held where it was.
        followed: bool,
    },
    /// What was fetched of a source was damaged on the server's disk, and was fetched again.
    SourceFetchedAgain {
        /// The source.
        source: String,
        /// The repository in the state directory.
        path: String,
        /// What was wrong with it.
        why: String,
    },
    /// A person said that a source's branch, which was rewritten and held, is followed from where it is.
    SourceAccepted {
        /// The source.
        source: String,
        /// The commit before.
        from: String,
        /// The commit that is followed now.
        to: String,
        /// Who.
        by: String,
        /// Why; may be empty.
        reason: String,
    },
    /// A commit of one of several sources was refused by itself; its last good one goes on, and so do all others.
    SourceRefused(RefusedCommit),
    /// A commit of one of several sources is signed as the policy of that source asks, and is used from now on.
    SourceTrusted {
        /// The source.
        source: String,
        /// The commit: the next one has to follow it.
        revision: String,
        /// Who signed it and what led to it.
        signed_by: Vec<String>,
    },
    /// A push to the followed branch was accepted; git moves the branch next.
    RevisionPushed {
        /// Who pushed.
        by: String,
        /// The branch.
        branch: String,
        /// The revision.
        revision: String,
        /// Its subject line.
        summary: String,
        /// What the push allowed it beyond the guards, in its words.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        words: Vec<String>,
    },
    /// A person allowed a revision that the source shows already, or that is gone back to, more than the guards do.
    RevisionAllowed {
        /// Who.
        by: String,
        /// The revision; it allows nothing to any other.
        revision: String,
        /// Its subject line.
        summary: String,
        /// What, in the words of a push: `allow-wipe=node-7`.
        words: Vec<String>,
        /// Why; may be empty.
        reason: String,
    },
    /// A person said that nothing the source shows is applied until the word is taken back; it is still looked at.
    FollowingSuspended {
        /// Who.
        by: String,
        /// Why; may be empty.
        reason: String,
    },
    /// A person went back to an earlier good revision: it serves, whatever the source shows, until the word is taken back.
    RevisionPinned {
        /// Who.
        by: String,
        /// The revision.
        revision: String,
        /// Its subject line.
        summary: String,
        /// Why.
        reason: String,
    },
    /// A person took both words back: the source is followed again.
    FollowingResumed {
        /// Who.
        by: String,
        /// Why; may be empty.
        reason: String,
    },
    /// A file of the image folder is not there or not what the applied revision declares; it is not served.
    FileWrong {
        /// The file.
        file: String,
        /// In what.
        reason: String,
    },
    /// It is there, and what the revision declares (again).
    FileRight {
        /// The file.
        file: String,
    },
    // -- boxes and machines --
    /// A box showed itself on the network (at most one a minute a box).
    Seen {
        /// Its MAC.
        mac: String,
        /// The subnet.
        subnet: Option<String>,
        /// By what: `dhcp`, `ipxe`.
        by: String,
        /// Its architecture where it said.
        architecture: Option<String>,
    },
    /// An unknown box became a machine by a rule. Sticky.
    Enrolled {
        /// The rule.
        rule: String,
        /// Its MAC.
        mac: String,
        /// Its UUID, unless junk.
        uuid: Option<String>,
        /// Its serial, unless junk.
        serial: Option<String>,
        /// Its architecture.
        architecture: Option<String>,
    },
    /// A person (or a Git declaration with its MAC) took over what a store did not know.
    Adopted {
        /// Who.
        by: String,
        /// The highest run taken as already done: only a higher one starts.
        run: u64,
        /// The workflow taken as already walked.
        workflow: Option<String>,
        /// The MAC addresses that it was declared with then: its box may never have shown them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        macs: Vec<String>,
        /// Why; may be empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// A person said to forget a machine that Git does not declare: it may be enrolled again, as new.
    Forgotten {
        /// Who.
        by: String,
        /// Why; may be empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// A machine known before is gone from the applied revision.
    Left {
        /// The revision without it.
        revision: String,
    },
    /// A machine that had left is declared again.
    Returned {
        /// The revision with it.
        revision: String,
    },
    /// An address was leased (a new lease; renewals are not events).
    Leased {
        /// To which MAC.
        mac: String,
        /// The address.
        address: Ipv4Addr,
        /// How long, seconds.
        seconds: u32,
        /// The subnet.
        subnet: String,
    },
    /// A boot script was served. Not yet a boot.
    Offered {
        /// The offer's id, unique in the site.
        offer: String,
        /// The environment offered (qualified name, or `local`).
        environment: String,
        /// The address it was offered to.
        address: Option<Ipv4Addr>,
        /// The MAC it was offered to.
        mac: String,
        /// `bios` or `uefi`.
        firmware: String,
        /// Why this environment.
        reason: String,
        /// The run it serves, where one is open.
        run: Option<u64>,
    },
    /// The machine is held at boot: it gets no environment until a person or a new revision says so.
    Held {
        /// Why.
        reason: String,
    },
    /// It is expected to say something and does not, for longer than a boot or an agent may take. Written once a silence.
    Overdue {
        /// What is awaited, and what to do.
        reason: String,
    },
    /// Two keys used one ticket: the identity's tokens are dead and destructive work stops until a person approves.
    Quarantined {
        /// Why.
        reason: String,
    },
    /// A machine of which more than a ticket is asked presented its first: it waits for an administrator.
    ApprovalAwaited {
        /// The ticket's id.
        ticket: String,
        /// SHA-256 of the key it was presented with, hexadecimal: what an approval is for.
        key: String,
        /// From which address.
        address: String,
    },
    /// A ticket was exchanged for tokens.
    Exchanged {
        /// The ticket's id (an offer's id, or `disk-…`).
        ticket: String,
        /// SHA-256 of the agent's public key, hexadecimal.
        key: String,
        /// The boot it was done in.
        boot_id: String,
        /// The generation of the tokens.
        generation: u64,
    },
    /// A one-exchange ticket was made for the installed system.
    DiskTicketPlanted {
        /// The ticket's id.
        ticket: String,
        /// The job that planted it.
        job: String,
        /// The run it was planted in.
        run: u64,
    },
    /// All tokens of earlier generations are dead.
    GenerationRaised {
        /// The new generation.
        generation: u64,
        /// Why.
        reason: String,
    },
    /// An agent lives: this is a boot.
    CheckedIn {
        /// What it said.
        #[serde(flatten)]
        check_in: CheckInRequest,
        /// The offer it came from, where known.
        offer: Option<String>,
    },
    /// Facts were reported.
    FactsReported {
        /// The facts that changed (`null`: removed).
        facts: serde_json::Map<String, serde_json::Value>,
        /// The job that reported them.
        job: Option<String>,
    },
    /// Retention dropped what happened to the machine up to here, and this is what all of it came to.
    Folded {
        /// The site's last sequence when this was folded.
        made_at: u64,
        /// MACs that led to this machine then, and to no other that showed them too.
        macs: Vec<String>,
        /// The machine's state.
        #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
        state: Box<MachineState>,
    },
    /// The store came back from a backup (on the site's stream, and on each machine's): what happened after the backup is
    /// not known here, so the machine is held until a person says how it stands.
    StoreRestored {
        /// When the backup's last event was written, Unix milliseconds.
        backup_unix_ms: i64,
    },
    // -- runs --
    /// A run began.
    RunStarted {
        /// Its number (`spec.run`).
        run: u64,
        /// The workflow.
        workflow: String,
        /// The revision it is pinned to.
        revision: String,
        /// Why: `first workflow`, `workflow changed from X`, `spec.run raised from N`.
        reason: String,
        /// The number was raised on purpose (or it is the first): destructive stages may run.
        destructive_allowed: bool,
    },
    /// A run goes on with a newer revision after a fix.
    RunResumed {
        /// Its number.
        run: u64,
        /// The newer revision.
        revision: String,
        /// Why.
        reason: String,
    },
    /// A run is not going on by itself: what is done differs from what the new revision would do.
    RunDiverged {
        /// Its number.
        run: u64,
        /// The revision that was looked at.
        revision: String,
        /// In what it differs.
        reason: String,
    },
    /// All stages are done.
    RunFinished {
        /// Its number.
        run: u64,
    },
    /// A run was ended before its end.
    RunCancelled {
        /// Its number.
        run: u64,
        /// Who or what.
        by: String,
        /// Why.
        reason: String,
    },
    // -- jobs --
    /// A job was granted. Durable before the script leaves.
    JobGranted {
        /// Its id.
        job: String,
        /// The run.
        run: u64,
        /// The stage's place in the workflow, from 0.
        stage_index: u32,
        /// The stage.
        stage: String,
        /// The task's place in the stage, from 0.
        task_index: u32,
        /// The task.
        task: String,
        /// Of what the task is made: its digest.
        digest: String,
        /// 1 for the first try.
        attempt: u32,
        /// The boot it was granted in.
        boot_id: String,
        /// Leave to change disks was in it.
        destructive: bool,
        /// Its timeout, seconds.
        timeout_seconds: u64,
    },
    /// A job ended, by the agent's word or by the server's (timeout, interrupted boot).
    JobEnded {
        /// Its id.
        job: String,
        /// How.
        outcome: JobOutcome,
        /// Exit code.
        exit_code: Option<i32>,
        /// What went wrong.
        message: Option<String>,
        /// What the task asked for.
        requests: Vec<JobRequest>,
        /// Where it wrote a log: of several servers, the one whose state directory has it; empty, where there is one server.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        log_at: Option<String>,
    },
    /// A person took a task as done without its being done.
    TaskSkipped {
        /// The run.
        run: u64,
        /// The stage's place in the workflow, from 0.
        stage_index: u32,
        /// The stage.
        stage: String,
        /// The task's place in the stage, from 0.
        task_index: u32,
        /// The task.
        task: String,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// An installer called back: its environment's boot is over.
    InstallerFinished {
        /// The offer of that boot.
        offer: String,
        /// The run.
        run: u64,
        /// The stage's place in the workflow, from 0.
        stage_index: u32,
        /// The stage.
        stage: String,
        /// The task that stands for the installer.
        task: String,
        /// Of what it is made: its digest.
        digest: String,
        /// Whether it said that it succeeded.
        success: bool,
        /// What it said.
        message: Option<String>,
    },
    // -- people --
    /// A person asked for something.
    Asked {
        /// Who.
        by: String,
        /// What.
        #[serde(flatten)]
        what: Ask,
        /// Why; may be empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    // -- clusters --
    /// The cluster is built anew: its epoch rose.
    EpochRaised {
        /// The new epoch.
        epoch: u64,
        /// Why.
        reason: String,
    },
    /// Machines change nothing in the cluster's document from now on, or may again.
    ClusterFrozen {
        /// Who said so.
        by: String,
        /// Why; `None`: they may again.
        reason: Option<String>,
    },
    /// A claim changed hands or ended.
    Claim {
        /// The claim.
        claim: String,
        /// `granted`, `done`, `failed`, `revoked`, `expired`.
        change: String,
        /// Whose.
        machine: Option<String>,
        /// The fence.
        fence: u64,
        /// Why.
        reason: Option<String>,
    },
    /// A barrier opened.
    BarrierOpened {
        /// The set.
        set: String,
        /// With how many members.
        count: u32,
    },
}
