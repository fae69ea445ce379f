//! What keeps a machine from booting or working whatever is decided for it: something that the server itself lacks. The decision
//! stands, so that a machine goes on as soon as it is there; whoever asks how a machine stands is told of it in one line.

use super::Imagined;
use crate::boot::client::Platform;
use crate::catalog::{BootEnv, Catalog, LOCAL};
use crate::content::kinds::{Architecture, FileSource};
use crate::workflow::{Action, Question, position};
use std::collections::BTreeMap;

/// What takes a missing or wrong boot file away.
pub(super) const FILE_REMEDY: &str = "it is served as soon as it is there, with no restart; formwork status names all";
/// What takes away what keeps logs from being written.
pub(super) const LOGS_REMEDY: &str =
    "make room there, raise the quota, or mend the disk; formwork doctor says how much room there is";

/// What the server lacks, as far as it was found out, in sentences that say what to do.
#[derive(Debug, Clone, Copy)]
pub struct Lacks<'a> {
    /// Boot files that are not served and why, by their path in the image folder.
    pub files: &'a BTreeMap<String, String>,
    /// Why no log can be written.
    pub logs: Option<&'a str>,
}

impl Lacks<'static> {
    /// Nothing, or nothing that is known.
    pub const NOTHING: Self = Self { files: &BTreeMap::new(), logs: None };
}

/// What keeps a machine from its next boot, or from a job, in a line each. Pure.
pub fn hindrances(question: &Question<'_>, lacks: &Lacks<'_>) -> Vec<String> {
    // Almost always, and asked for each row of a list.
    if lacks.files.is_empty() && lacks.logs.is_none() {
        return Vec::new();
    }
    let mut imagined = Imagined::of(question);
    let (_, next) = imagined.firmware();
    let run = imagined.state.run.as_ref().filter(|run| run.is_open());
    let logs = lacks.logs.filter(|_| run.is_some()).map(str::to_owned);
    let environment = match &next.action {
        Action::Boot { environment, .. } => Some(environment.as_str()),
        // It waits for something else first.
        _ => run.and_then(|run| position(imagined.pinned()?.workflow(&run.workflow)?, run)?.environment),
    };
    let boot = environment.and_then(|environment| boot(question, &imagined, environment, lacks));
    boot.into_iter().chain(logs).collect()
}

/// Why a boot of an environment cannot be served; `None`: nothing of it is known to be lacking.
pub(super) fn boot(
    question: &Question<'_>,
    imagined: &Imagined<'_>,
    environment: &str,
    lacks: &Lacks<'_>,
) -> Option<String> {
    if environment == LOCAL || lacks.files.is_empty() {
        return None;
    }
    let said = imagined.state.boot.as_ref().map(|boot| &boot.said);
    let architecture = match said.map(|said| said.architecture.as_str()) {
        Some("aarch64") => Architecture::Aarch64,
        _ => Architecture::X86_64,
    };
    let platforms: &[Platform] = match (architecture, said.map(|said| said.firmware.as_str())) {
        (Architecture::Aarch64, _) => &[Platform::UefiArm64],
        (Architecture::X86_64, Some("bios")) => &[Platform::BiosX86],
        (Architecture::X86_64, Some("uefi")) => &[Platform::UefiX64],
        (Architecture::X86_64, _) => &[Platform::BiosX86, Platform::UefiX64],
    };
    let loaders = platforms.iter().filter_map(|platform| Some(format!("loaders/{}", platform.loader()?)));
    let boots =
        |catalog: &Catalog| catalog.boot_env(environment).map(|it| sources(it, architecture)).unwrap_or_default();
    let newest = question.current.map(boots).unwrap_or_default();
    // What was found is about the newest revision: an older one may want other bytes under the same path.
    let wanted = imagined.pinned().map_or_else(|| newest.clone(), boots).into_iter().filter(|it| newest.contains(it));
    let paths = loaders.chain(wanted.filter_map(|source| source.file));
    let lacking: Vec<&str> = paths.filter_map(|path| lacks.files.get(&path)).map(String::as_str).collect();
    (!lacking.is_empty()).then(|| format!("{environment} cannot be booted: {}", lacking.join("; ")))
}

fn sources(boot_env: &BootEnv, architecture: Architecture) -> Vec<FileSource> {
    let spec = boot_env.architectures.get(&architecture);
    spec.into_iter().flat_map(|spec| std::iter::once(&spec.kernel).chain(&spec.initrds)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::from_tree;
    use crate::content::Tree;
    use crate::inspect::last_said;
    use crate::journal::{MachineState, Run};
    use crate::workflow::tests::world::{Content, PLAIN, World};
    use crate::workflow::{Running, Trust};

    const KERNEL: (&str, &str) = ("a/vmlinuz", "a/vmlinuz is not there");
    const BIOS: (&str, &str) = ("loaders/undionly.kpxe", "no loader for BIOS");
    const UEFI: (&str, &str) = ("loaders/snponly.efi", "no loader for UEFI");

    fn told(world: &World, files: &[(&str, &str)], logs: Option<&str>) -> Vec<String> {
        let files = files.iter().map(|(path, why)| ((*path).to_owned(), (*why).to_owned())).collect();
        world.look(last_said(&world.state), |question| hindrances(question, &Lacks { files: &files, logs }))
    }

    fn world(content: &Content<'_>, happens: impl FnOnce(&mut World)) -> World {
        let mut world = World::new(content);
        happens(&mut world);
        world
    }

    #[test]
    fn a_machine_is_told_of_what_its_next_boot_lacks_and_of_nothing_else() {
        let fresh = world(&PLAIN, |_| {});
        let booted = world(&PLAIN, |world| drop(world.boot()));
        let failed = world(&PLAIN, |world| {
            world.boot();
            world.fails();
        });
        let on_disk = world(&PLAIN, |world| {
            world.boot();
            (0..3).for_each(|_| drop(world.done()));
        });
        let done = world(&PLAIN, World::walk_plain);
        let idle = world(&Content { machine: "run: 1", ..PLAIN }, |_| {});
        let kernel = "ram cannot be booted: a/vmlinuz is not there";
        let all = [KERNEL, BIOS, UEFI];
        for (title, world, files, expected) in [
            ("nothing lacks", &fresh, &[][..], &[][..]),
            ("never seen: its kernel", &fresh, &[KERNEL], &[kernel]),
            (
                "never seen: its firmware is not known",
                &fresh,
                &all,
                &["ram cannot be booted: no loader for BIOS; no loader for UEFI; a/vmlinuz is not there"],
            ),
            ("of another environment", &fresh, &[("b/vmlinuz", "gone")], &[]),
            ("it runs, and would boot the same", &booted, &[KERNEL], &[kernel]),
            ("known firmware: the other one's loader", &booted, &[BIOS], &[]),
            ("known firmware: its own loader", &booted, &[UEFI], &["ram cannot be booted: no loader for UEFI"]),
            ("it waits for a person", &failed, &[KERNEL], &[kernel]),
            ("its disk is next", &on_disk, &all, &[]),
            ("all is done", &done, &all, &[]),
            ("no workflow", &idle, &all, &[]),
        ] {
            assert_eq!(told(world, files, None), expected, "{title}");
        }
    }

    #[test]
    fn logs_that_cannot_be_written_hinder_whoever_has_work_to_do() {
        let done = world(&PLAIN, World::walk_plain);
        let idle = world(&Content { machine: "run: 1", ..PLAIN }, |_| {});
        let booted = world(&PLAIN, |world| drop(world.boot()));
        for (title, world, expected) in [
            ("never seen", &World::new(&PLAIN), &["full"][..]),
            ("it works", &booted, &["full"]),
            ("all is done", &done, &[]),
            ("no workflow", &idle, &[]),
        ] {
            assert_eq!(told(world, &[], Some("full")), expected, "{title}");
        }
    }

    #[test]
    fn what_only_the_newest_revision_wants_does_not_hinder_a_run_that_is_pinned_to_an_older_one() {
        let catalog = |revision: &str, sum: char| {
            let text = "kind: Site\nmetadata: {name: lab}
---
kind: BootEnv
metadata: {name: ram}
spec: {architectures: {x86_64: {kernel: {file: a/vmlinuz, sha256: SUM}}}}
---
kind: Task
metadata: {name: see}
spec: {steps: [{name: s, script: 'true'}]}
---
kind: Stage
metadata: {name: look}
spec: {bootEnv: ram, tasks: [see]}
---
kind: Workflow
metadata: {name: walk}
spec: {stages: [look]}
---
kind: Machine
metadata: {name: node}
spec: {match: {macs: ['52:54:00:00:00:01']}, workflow: walk}
";
            let text = text.replace("SUM", &sum.to_string().repeat(64));
            let text = text.replace("kind:", "apiVersion: formwork.dev/v1alpha1\nkind:");
            from_tree(&Tree::from_texts([("site.yaml", text)]), &BTreeMap::new(), revision).expect("sound")
        };
        let (old, new) = (catalog("r1", 'a'), catalog("r2", 'b'));
        let mut world = World::new(&PLAIN);
        world.boot();
        let files = BTreeMap::from([(KERNEL.0.to_owned(), KERNEL.1.to_owned())]);
        let lacks = Lacks { files: &files, logs: None };
        for (title, pinned, expected) in [("the newest", &new, 1), ("an older one", &old, 0)] {
            let question = Question {
                machine: "node",
                current: Some(&new),
                view: new.machine("node"),
                pinned: Some(pinned),
                state: &MachineState {
                    run: world.state.run.clone().map(|run| Run { revision: pinned.revision.to_string(), ..run }),
                    ..world.state.clone()
                },
                running: Running::Firmware,
                trust: Trust::New,
                now_unix_ms: world.now,
            };
            assert_eq!(hindrances(&question, &lacks).len(), expected, "{title}");
        }
    }
}
