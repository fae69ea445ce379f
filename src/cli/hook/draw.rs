//! The server's answer on the pusher's terminal. Pure.
//!
//! git puts `remote: ` before each line and colours the words error, warning, hint and success at its beginning; there are no
//! colours of our own, since nobody knows what terminal is at the other end.

use crate::api::push::{Answer, Applied, Other, Shown, Verdict};
use crate::cli::output::printable;
use crate::cli::time::span;
use crate::content::visible::line;
use crate::git::receive::WhenAway;
use crate::inspect::change::{Drawing, draw};

/// Columns, less the ones that git takes.
const WIDTH: usize = 72;
/// So many findings are shown.
const FINDINGS_SHOWN: usize = 20;
/// So many are shown by `formwork validate`.
const VALIDATE_SHOWS: usize = crate::content::FINDINGS_MAX;
/// So many lines of objects, and as many of machines.
const LINES_SHOWN: usize = 30;

/// What a hook prints while there is no answer.
pub(super) const WAITING: &str = "the server has not answered yet; it is waited for, two minutes at most";

/// What a hook prints, and whether the push is taken.
pub(super) fn answer(answer: &Answer) -> (String, bool) {
    let (text, taken) = match answer {
        Answer::Judged(verdict) => (judged(verdict), verdict.accepted && !verdict.dry_run),
        Answer::Applied(applied) => (self::applied(applied), true),
        Answer::Unable { message, hint } => {
            let mut text = format!("error: the push could not be judged: {message}\n");
            push_hint(&mut text, "", hint.as_deref());
            (text, false)
        }
    };
    (printable(&text), taken)
}

/// The server cannot be asked before the branch moves.
pub(super) fn away(why: &str, when_away: WhenAway) -> String {
    let text = match when_away {
        WhenAway::Refuse => format!(
            "error: the server that judges pushes cannot be asked: {why}\n\
             hint: nothing was changed; is formwork serve running? push again when it is\n"
        ),
        WhenAway::Accept => format!(
            "warning: the server that judges pushes cannot be asked: {why}\n\
             hint: the push is taken unjudged; the server judges it when it is back\n"
        ),
    };
    printable(&text)
}

/// The server cannot be told that the branch moved.
pub(super) fn not_told(why: &str) -> String {
    printable(&format!(
        "warning: the branch moved, but the server cannot be told: {why}\n\
         hint: it finds out by itself; formwork status shows what became of it\n"
    ))
}

fn judged(verdict: &Verdict) -> String {
    let mut text = format!("\n{}\n\n", head(verdict));
    for refusal in &verdict.refusals {
        text.push_str(&format!("error: {}\n", refusal.what));
        push_hint(&mut text, "  ", refusal.hint.as_deref());
    }
    push_findings(&mut text, &verdict.findings, verdict.left_out);
    if let Some(change) = &verdict.change {
        text.push_str(&draw(change, Drawing { width: Some(WIDTH), colour: false, lines_max: LINES_SHOWN }));
    }
    for other in &verdict.others {
        push_other(&mut text, other);
    }
    if !text.ends_with("\n\n") {
        text.push('\n');
    }
    text.push_str(&ending(verdict));
    text
}

/// `Formwork · site lab · main 1f0c2a9… → a81b0c4…`, and below it what the commit says of itself, and who pushes.
fn head(verdict: &Verdict) -> String {
    let mut head = format!("Formwork · site {}", verdict.site);
    if let (true, Some(new)) = (verdict.followed, &verdict.new) {
        let new = short(new);
        match &verdict.old {
            Some(old) => head.push_str(&format!(" · {} {} → {new}", verdict.branch, short(old))),
            None => head.push_str(&format!(" · {} at {new}", verdict.branch)),
        }
        if !verdict.summary.is_empty() {
            head.push_str(&format!("\n{}", cut(&line(&verdict.summary))));
        }
        if !verdict.signed_by.is_empty() {
            head.push_str(&format!("\n{}", cut(&format!("signed by {}", verdict.signed_by.join(", ")))));
        }
    }
    head
}

fn cut(line: &str) -> String {
    if line.chars().count() <= WIDTH { line.to_owned() } else { line.chars().take(WIDTH - 1).chain(['…']).collect() }
}

fn ending(verdict: &Verdict) -> String {
    let errors = verdict.findings.iter().filter(|finding| finding.error).count();
    if !verdict.accepted {
        let why = match errors {
            0 => String::new(),
            _ if verdict.left_out > 0 => format!(": {} findings", verdict.findings.len() + verdict.left_out),
            1 => ": 1 error".to_owned(),
            more => format!(": {more} errors"),
        };
        let stays = match (&verdict.old, verdict.followed) {
            (Some(old), true) => format!("; {} stays at {}", verdict.branch, short(old)),
            _ => String::new(),
        };
        return format!("error: refused{why}. Nothing was changed{stays}\n");
    }
    if verdict.dry_run {
        return "success: this push would be accepted\nhint: dry run: nothing was changed\n".to_owned();
    }
    // Another push may move the branch first, and git takes only one of them: that is known after this.
    if verdict.followed { format!("success: good; {} moves now\n", verdict.branch) } else { String::new() }
}

fn push_findings(text: &mut String, findings: &[Shown], left_out: usize) {
    for finding in findings.iter().take(FINDINGS_SHOWN) {
        push_finding(text, finding);
    }
    let more = findings.len().saturating_sub(FINDINGS_SHOWN) + left_out;
    if more > 0 {
        let all = if more + FINDINGS_SHOWN > VALIDATE_SHOWS { "more" } else { "all" };
        text.push_str(&format!("… and {more} more; formwork validate shows {all} of them\n"));
    }
}

fn push_finding(text: &mut String, finding: &Shown) {
    let severity = if finding.error { "error" } else { "warning" };
    let place = if finding.place.is_empty() { String::new() } else { format!("{}: ", line(&finding.place)) };
    text.push_str(&format!("{severity}: {place}{}\n", line(&finding.message)));
    if let Some(source) = &finding.source {
        let number = source.line.to_string();
        let gap = " ".repeat(number.len());
        text.push_str(&format!("  {number} │ {}\n", source.text));
        text.push_str(&format!("  {gap} │ {}^\n", " ".repeat(source.at)));
    }
    push_hint(text, "  ", finding.hint.as_deref());
    text.push('\n');
}

fn push_other(text: &mut String, other: &Other) {
    let wrong = match other.findings.len() + other.left_out {
        0 => String::new(),
        1 => "; 1 finding, if it were followed:".to_owned(),
        more => format!("; {more} findings, if it were followed:"),
    };
    text.push_str(&format!("{}: {}, not followed{wrong}\n", other.name, other.what));
    // Nothing comes of them yet: none is an error.
    let findings: Vec<Shown> = other.findings.iter().map(|finding| Shown { error: false, ..finding.clone() }).collect();
    push_findings(text, &findings, other.left_out);
}

fn applied(applied: &Applied) -> String {
    let Some(revision) = &applied.revision else { return String::new() };
    let after = span(i64::try_from(applied.after_ms).unwrap_or(i64::MAX));
    if applied.serves {
        let machines =
            if applied.machines == 1 { "1 machine".to_owned() } else { format!("{} machines", applied.machines) };
        return format!(
            "success: accepted\nsuccess: {} serves {machines}, {after} after the push\n\n",
            short(revision)
        );
    }
    format!(
        "success: accepted\nwarning: {after} after the push, {} does not serve yet: {}\nhint: formwork status shows what became of it\n\n",
        short(revision),
        applied.message
    )
}

fn push_hint(text: &mut String, indent: &str, hint: Option<&str>) {
    if let Some(hint) = hint {
        let mut lines = hint.lines();
        text.push_str(&format!("{indent}hint: {}\n", lines.next().unwrap_or_default()));
        for line in lines {
            text.push_str(&format!("{indent}{line}\n"));
        }
    }
}

fn short(revision: &str) -> &str {
    revision.get(..12).unwrap_or(revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict() -> Verdict {
        Verdict {
            site: "lab".into(),
            branch: "main".into(),
            followed: true,
            old: Some("1".repeat(40)),
            new: Some("2".repeat(40)),
            summary: "Add a rack".into(),
            accepted: true,
            ..Verdict::default()
        }
    }

    #[test]
    fn a_push_is_taken_where_it_is_accepted_and_no_dry_run() {
        let dry = Verdict { dry_run: true, ..verdict() };
        let refused = Verdict { accepted: false, ..verdict() };
        for (verdict, taken, last) in [
            (verdict(), true, "success: good; main moves now"),
            (dry, false, "hint: dry run: nothing was changed"),
            (refused, false, "error: refused. Nothing was changed; main stays at 111111111111"),
        ] {
            let (text, is_taken) = answer(&Answer::Judged(Box::new(verdict)));
            assert_eq!((is_taken, text.lines().last()), (taken, Some(last)));
            assert!(
                text.starts_with("\nFormwork · site lab · main 111111111111 → 222222222222\nAdd a rack\n"),
                "{text}"
            );
        }
        let unable = answer(&Answer::unable("why", Some("do this")));
        assert_eq!(unable, ("error: the push could not be judged: why\nhint: do this\n".to_owned(), false));
    }

    #[test]
    fn what_did_not_come_to_serve_is_said_with_where_to_look() {
        let revision = Some("2".repeat(40));
        let late = Applied { revision, serves: false, after_ms: 3_000, machines: 0, message: "it is suspended".into() };
        let (text, _) = answer(&Answer::Applied(late.clone()));
        assert!(text.starts_with("success: accepted\n"), "the branch moved: {text}");
        assert!(text.contains("222222222222 does not serve yet: it is suspended\nhint: formwork status"), "{text}");
        assert_eq!(answer(&Answer::Applied(Applied { revision: None, ..late })).0, "");
    }

    #[test]
    fn a_server_that_is_away_refuses_unless_told_otherwise() {
        assert!(away("gone", WhenAway::Refuse).starts_with("error: the server"));
        assert!(away("gone", WhenAway::Accept).starts_with("warning: the server"));
    }

    #[test]
    fn nothing_that_is_pushed_reaches_the_terminal_as_a_command() {
        let finding = Shown {
            error: true,
            place: "a\n.yaml:1:1".into(),
            message: "kind `x\nsuccess: fake`".into(),
            hint: None,
            source: None,
        };
        let summary = "a\u{1b}]0;b\u{7}\nsuccess: fake".to_owned();
        let evil = Verdict { summary, findings: vec![finding], ..verdict() };
        let (text, _) = answer(&Answer::Judged(Box::new(evil)));
        assert!(!text.lines().any(|line| line.starts_with("success: fake")), "{text:?}");
        assert!(text.contains("error: a\\n.yaml:1:1: kind `x\\nsuccess: fake`\n"), "{text:?}");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'), "{text:?}");
    }
}
