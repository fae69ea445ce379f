//! Stages that an installer does: no agent is granted anything there, so what may be destroyed is judged before its
//! environment is booted, and its callback is the end.

use super::walk::{Position, destruction_refused};
use super::{Action, Next, Question};
use crate::catalog::MachineView;
use crate::journal::Run;

/// After so many milliseconds held firmware asks again: a commit may have let the installer go.
const ASK_AGAIN_MS: u64 = 15_000;

/// Why an installer is not booted now; `None` where it may be, and where there is none. Read from the newest good
/// revision each time.
pub(super) fn refused(
    question: &Question<'_>,
    view: &MachineView,
    run: &Run,
    position: &Position<'_>,
) -> Option<String> {
    if !position.task.is_installer() {
        return None;
    }
    if let Some(reason) = destruction_refused(question, view, run, position) {
        return Some(reason);
    }
    // Before an agent writes, it looks for the disk's marker. An installer looks for nothing.
    (!view.wipe).then(|| {
        format!(
            "stage {} is an installer's, which overwrites a disk whatever is on it; it runs where spec.wipe is true",
            position.stage.name
        )
    })
}

/// Why the agent that asks stays up instead of booting the installer.
pub(super) fn keeps_agent(
    question: &Question<'_>,
    view: &MachineView,
    run: &Run,
    position: &Position<'_>,
    environment: &str,
) -> Option<String> {
    if let Some(reason) = refused(question, view, run, position) {
        return Some(reason);
    }
    let inside = position.task.is_installer() && position.environment == Some(environment);
    inside.then(|| format!("the installer of stage {} says when it is done", position.stage.name))
}

/// Firmware waits, with the reason on its screen.
pub(super) fn hold(reason: String) -> Next {
    Next { action: Action::Hold { reason }, ask_again_ms: Some(ASK_AGAIN_MS) }
}
