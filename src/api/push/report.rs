//! What git itself says at the end of a push, or where it cannot go on with a clone: read as it goes by. A push that git refuses
//! (objects that are not sound, no room, somebody who was faster) reaches no hook of ours, or is refused behind it.

/// The longest report of a push, and the most that is kept of its complaints, bytes.
const KEPT: usize = 64 * 1024;

/// What went by.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The beginning of a line that is not here in whole.
    rest: Vec<u8>,
    /// The report of a push, lines of git's own in it.
    said: Vec<u8>,
    /// What is for the pusher's terminal.
    complaints: Vec<u8>,
    /// Why git gave up.
    fatal: Option<String>,
    /// It is no language of git's.
    lost: bool,
}

/// A push that was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rejected {
    /// Why, in a line.
    pub reason: String,
    /// A hook said no.
    pub by_hook: bool,
}

impl Report {
    /// One more piece.
    pub(super) fn see(&mut self, piece: &[u8]) {
        if self.lost {
            return;
        }
        self.rest.extend_from_slice(piece);
        let rest = std::mem::take(&mut self.rest);
        let mut left = rest.as_slice();
        loop {
            match line_of(left) {
                Line::Whole(line, more) => {
                    self.line(line);
                    left = more;
                }
                Line::Part => break,
                Line::None => {
                    self.lost = true;
                    return;
                }
            }
        }
        self.rest = left.to_vec();
    }

    fn line(&mut self, line: &[u8]) {
        let keep = |kept: &mut Vec<u8>, text: &[u8]| {
            let room = KEPT.saturating_sub(kept.len());
            kept.extend_from_slice(text.get(..room.min(text.len())).unwrap_or_default());
        };
        match line.split_first() {
            Some((1, text)) => keep(&mut self.said, text),
            Some((2, text)) => keep(&mut self.complaints, text),
            Some((3, text)) => self.fatal = Some(plain(text)),
            _ => {
                if let Some(text) = line.strip_prefix(b"ERR ") {
                    self.fatal = Some(plain(text));
                }
            }
        }
    }

    /// Why a push was not taken; none: it was, or nothing is known.
    pub(super) fn rejected(&self) -> Option<Rejected> {
        let (mut lines, mut left) = (Vec::new(), self.said.as_slice());
        while let Line::Whole(line, more) = line_of(left) {
            lines.push(plain(line));
            left = more;
        }
        let unpack = lines.iter().find_map(|line| line.strip_prefix("unpack ")).filter(|said| *said != "ok");
        let refused: Vec<(&str, &str)> = lines
            .iter()
            .filter_map(|line| {
                let line = line.strip_prefix("ng ")?;
                Some(line.split_once(' ').unwrap_or((line, "no reason is given")))
            })
            .collect();
        if unpack.is_none() && refused.is_empty() {
            return self.fatal.as_ref().map(|why| Rejected { reason: format!("git gave up: {why}"), by_hook: false });
        }
        let by_hook = unpack.is_none() && refused.iter().all(|(_, why)| why.ends_with("hook declined"));
        let complaint = self.complaint().map(|said| format!(" ({said})")).unwrap_or_default();
        let reason = match (unpack, refused.first()) {
            (None, Some((reference, why))) => format!("git did not move {reference}: {why}{complaint}"),
            (said, _) => format!("git could not take it in: {}{complaint}", said.unwrap_or_default()),
        };
        Some(Rejected { reason, by_hook })
    }

    /// Why git could not go on.
    pub(super) fn fatal(&self) -> Option<String> {
        let fatal = self.fatal.as_ref()?;
        Some(self.complaint().map_or_else(|| fatal.clone(), |said| format!("{fatal} ({said})")))
    }

    fn complaint(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.complaints);
        let found = text.split(['\n', '\r']).map(str::trim).find(|line| {
            line.strip_prefix("fatal: ").or_else(|| line.strip_prefix("error: ")).is_some_and(|said| !said.is_empty())
        });
        found.map(|line| plain(line.as_bytes()))
    }
}

enum Line<'a> {
    /// What is in it, and what comes after.
    Whole(&'a [u8], &'a [u8]),
    Part,
    None,
}

/// git's lines begin with their length, four digits of base 16; those shorter than that are marks.
fn line_of(bytes: &[u8]) -> Line<'_> {
    let Some((length, _)) = bytes.split_at_checked(4) else { return Line::Part };
    let length = std::str::from_utf8(length).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
    let Some(length) = length else { return Line::None };
    match bytes.split_at_checked(length.max(4)) {
        Some((line, more)) => Line::Whole(line.get(4..).unwrap_or_default(), more),
        None => Line::Part,
    }
}

/// One line, without what would move a terminal.
fn plain(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &[u8]) -> Vec<u8> {
        [format!("{:04x}", text.len() + 4).as_bytes(), text].concat()
    }

    fn band(number: u8, text: &[u8]) -> Vec<u8> {
        line(&[&[number], text].concat())
    }

    fn report(lines: &[&str]) -> Vec<u8> {
        let said: Vec<u8> = lines.iter().flat_map(|text| line(text.as_bytes())).chain(*b"0000").collect();
        [band(1, &said), b"0000".to_vec()].concat()
    }

    #[test]
    fn what_git_refuses_by_itself_is_found_in_its_answer_however_that_is_cut() {
        let complaint = |text: &str| band(2, text.as_bytes());
        for (answer, expected) in [
            (report(&["unpack ok\n", "ok refs/heads/main\n"]), None),
            (
                report(&["unpack ok\n", "ng refs/heads/main pre-receive hook declined\n"]),
                Some(("git did not move refs/heads/main: pre-receive hook declined", true)),
            ),
            (
                report(&["unpack ok\n", "ng refs/heads/main failed to update ref\n"]),
                Some(("git did not move refs/heads/main: failed to update ref", false)),
            ),
            (
                [
                    complaint("Resolving\rerror: object 12: badTree\nfatal: fsck error\n"),
                    report(&["unpack index-pack abnormal exit\n", "ng refs/heads/main unpacker error\n"]),
                ]
                .concat(),
                Some(("git could not take it in: index-pack abnormal exit (error: object 12: badTree)", false)),
            ),
            (band(3, b"fatal: no\x1b room\n"), Some(("git gave up: fatal: no  room", false))),
            (b"PACK and so on".to_vec(), None),
            (Vec::new(), None),
        ] {
            for size in [1, 7, 10_000] {
                let mut seen = Report::default();
                answer.chunks(size).for_each(|piece| seen.see(piece));
                let expected = expected.map(|(reason, by_hook)| Rejected { reason: reason.to_owned(), by_hook });
                assert_eq!(seen.rejected(), expected, "{size}");
            }
        }
    }

    #[test]
    fn why_a_clone_could_not_be_given_is_found() {
        let mut seen = Report::default();
        seen.see(&[line(b"packfile\n"), band(1, b"PACK..."), band(3, b"fatal: unable to read 12\n")].concat());
        assert_eq!(seen.fatal().as_deref(), Some("fatal: unable to read 12"));
        let mut seen = Report::default();
        seen.see(&line(b"ERR upload-pack: not our ref 12"));
        assert_eq!(seen.fatal().as_deref(), Some("upload-pack: not our ref 12"));
    }
}
