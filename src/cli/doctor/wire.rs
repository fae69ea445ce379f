//! Who else answers DHCP.

use super::Check;
use crate::net::discover::{Answer, who_answers};
use std::io;
use std::net::UdpSocket;
use std::time::Duration;

/// Asks on an interface who answers.
pub(super) fn servers(interface: &str, wait_seconds: u64) -> Check {
    let answers = who_answers(interface, Duration::from_secs(wait_seconds));
    judge(interface, wait_seconds, answers, |answer| UdpSocket::bind((answer.server, 0)).is_ok())
}

/// What the answers mean. `ours`: whether an answer came from this computer.
pub(super) fn judge(
    interface: &str,
    wait_seconds: u64,
    answers: io::Result<Vec<Answer>>,
    ours: impl Fn(&Answer) -> bool,
) -> Check {
    let name = format!("DHCP on {interface}");
    let answers = match answers {
        Ok(answers) => answers,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let there = crate::net::interfaces().unwrap_or_default().join(", ");
            return Check::fail(name, "there is no such interface", format!("there are: {there}"));
        }
        Err(error) => {
            let remedy = "run as root, and see that the interface is up";
            return Check::warn(name, format!("nobody could be asked: {error}"), remedy);
        }
    };
    let (own, others): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| ours(answer));
    if let Some(first) = others.first() {
        let all: Vec<String> = others.iter().map(|answer| said(answer)).collect();
        let boots = others.iter().any(|answer| answer.boots);
        let remedy = if boots {
            format!("two servers that both say what to boot are a lottery: take the boot file out of {}", first.server)
        } else {
            "serve this subnet with `mode: proxy`, or switch the other server off for it".to_owned()
        };
        return Check::warn(name, all.join(", "), remedy);
    }
    match own.first() {
        Some(answer) => Check::ok(name, format!("only this computer answers ({})", answer.server)),
        None => Check::ok(name, format!("nobody answered within {wait_seconds} s")),
    }
}

fn said(answer: &Answer) -> String {
    let gives = if answer.offered.is_unspecified() { String::new() } else { format!(" offers {}", answer.offered) };
    let boots = if answer.boots { ", and says what to boot" } else { "" };
    format!("{}{gives}{boots}", answer.server)
}
