//! What a pusher says with `git push -o WORD`. Pure.

use super::Refusal;
use crate::content::names::is_subdomain;
use crate::git::MayLeave;
use crate::identity::user::{May, Rights};
use std::collections::BTreeSet;

/// The options there are, as they are listed where one is unknown.
const KNOWN: &str = "dry-run, allow-wipe=NAME[,NAME…], allow-wipe=all, allow-leave=NUMBER, allow-leave=NAME[,NAME…], allow-leave=all, \
                     allow-empty, allow-rewrite, allow-site-rename=NAME";
/// More are refused unread.
const OPTIONS_MAX: usize = 32;
/// So many machines may be named.
const NAMES_MAX: usize = 1_000;

/// How a word is said, for whoever is told what is wrong with it.
#[derive(Debug, Clone, Copy)]
pub struct Said {
    /// What a word is called where it is quoted, up to the word.
    called: &'static str,
    /// What stands before a word where it is typed.
    before: &'static str,
}

impl Said {
    /// To git, with a push.
    pub const BY_PUSH: Self = Self { called: "the push option `", before: "-o " };
    /// To `formwork`.
    pub const BY_COMMAND: Self = Self { called: "the option `--", before: "--" };

    /// What stands before a word where it is typed.
    pub const fn before(self) -> &'static str {
        self.before
    }
}

/// The options of one push.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushOptions {
    /// Judge, and change nothing.
    pub dry_run: bool,
    /// Every machine may be wiped that would be.
    pub wipe_all: bool,
    /// These may be wiped.
    pub wipe: BTreeSet<String>,
    /// These may leave Git.
    pub leave: MayLeave,
    /// The site is called this from now on.
    pub rename: Option<String>,
    /// From many objects to none is meant.
    pub empty: bool,
    /// The followed branch may be rewritten.
    pub rewrite: bool,
}

/// Reads them; what is unknown, wrong, or not this pusher's to say is refused, all at once.
///
/// # Errors
/// One [`Refusal`] each.
pub fn parse_options(words: &[String], rights: &Rights, said: Said) -> Result<PushOptions, Vec<Refusal>> {
    let Said { called, before } = said;
    let mut options = PushOptions::default();
    let mut refused = Vec::new();
    if words.len() > OPTIONS_MAX {
        return Err(vec![Refusal::new(
            format!("{} push options are too many", words.len()),
            Some("say each once".into()),
        )]);
    }
    for word in words {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.as_str(), None),
        };
        match (name, value) {
            ("dry-run", None) => options.dry_run = true,
            ("allow-empty", None) => options.empty = true,
            ("allow-rewrite", None) => options.rewrite = true,
            ("allow-wipe", Some("all")) => options.wipe_all = true,
            ("allow-wipe", Some(names)) if !names.is_empty() => match listed(word, names, said) {
                Ok(names) => options.wipe.extend(names.map(str::to_owned)),
                Err(refusal) => refused.push(refusal),
            },
            ("allow-wipe", _) => refused.push(Refusal::new(
                format!("{called}{}` does not say which machines may be wiped", shown(word)),
                Some(format!("write {before}allow-wipe=node-7, with commas for several, or {before}allow-wipe=all")),
            )),
            ("allow-leave", Some("all")) => options.leave.all = true,
            ("allow-leave", Some(words)) if !words.is_empty() => match listed(word, words, said) {
                Ok(words) => words.for_each(|word| options.leave.hear(word)),
                Err(refusal) => refused.push(refusal),
            },
            ("allow-leave", _) => refused.push(Refusal::new(
                format!("{called}{}` does not say which machines may leave", shown(word)),
                Some(format!(
                    "write {before}allow-leave=12, with how many leave, {before}allow-leave=node-7,node-8 or \
                     {before}allow-leave=all"
                )),
            )),
            ("allow-site-rename", Some(name)) if is_subdomain(name) => {
                options.rename = Some(name.to_owned());
            }
            ("allow-site-rename", _) => refused.push(Refusal::new(
                format!("{called}{}` does not say what the site is called from now on", shown(word)),
                Some(format!("write {before}allow-site-rename=NAME, with the new name")),
            )),
            _ => refused.push(Refusal::new(
                format!("there is no push option `{}`", shown(word)),
                Some(format!("there are: {KNOWN}")),
            )),
        }
    }
    for (names, all) in [(&options.wipe, "allow-wipe=all"), (&options.leave.names, "allow-leave=all")] {
        if names.len() > NAMES_MAX {
            let hint = Some(format!("say {before}{all}"));
            refused.push(Refusal::new(format!("more than {NAMES_MAX} machines are named"), hint));
        }
    }
    let spoken = [
        (options.wipe_all || !options.wipe.is_empty(), May::Wipe, "allow-wipe"),
        (options.leave.is_some(), May::Leave, "allow-leave"),
        (options.empty, May::Empty, "allow-empty"),
        (options.rewrite, May::Rewrite, "allow-rewrite"),
        (options.rename.is_some(), May::Rename, "allow-site-rename"),
    ];
    for (spoken, may, word) in spoken {
        if spoken && !rights.may.contains(&may) {
            // With all that they may already: rights are said whole.
            let mut with = rights.clone();
            with.may.insert(may);
            let hint =
                format!("at the server: formwork user change NAME {}; or ask somebody who may", with.as_options());
            refused.push(Refusal::new(format!("you may not say {before}{word}"), Some(hint)));
        }
    }
    if refused.is_empty() { Ok(options) } else { Err(refused) }
}

/// The names (or numbers, which are names as well) of a list that stands behind `=`.
///
/// # Errors
/// The first that is none, by what it is.
fn listed<'a>(option: &str, words: &'a str, said: Said) -> Result<impl Iterator<Item = &'a str> + use<'a>, Refusal> {
    let Said { called, before } = said;
    let key = option.split('=').next().unwrap_or_default();
    let of = |what: String, hint: String| Refusal::new(format!("{called}{}` {what}", shown(option)), Some(hint));
    if let Some(wrong) = words.split(',').find(|word| !is_subdomain(word)) {
        let number = wrong.parse::<i64>().is_ok();
        return Err(match wrong {
            "" => of("has an empty name in it".to_owned(), "leave out the comma that is too much".to_owned()),
            _ if number => {
                of(format!("says `{wrong}`, which is no number of machines"), format!("write {before}{key}=12"))
            }
            _ => of(
                format!("names `{}`, which is no name of a machine", shown(wrong)),
                "a name has lower-case letters, digits, `-` and `.`; formwork get machines names them".to_owned(),
            ),
        });
    }
    if words.split(',').any(|word| word == "all") {
        let hint = format!("write {before}{key}=all, or the names alone");
        return Err(of("says `all` and names beside it: one of them is not meant".to_owned(), hint));
    }
    Ok(words.split(','))
}

/// What somebody typed, as it can be shown to them.
fn shown(word: &str) -> String {
    word.chars().filter(|c| !c.is_control()).take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str], rights: &Rights) -> Result<PushOptions, Vec<String>> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        parse_options(&words, rights, Said::BY_PUSH)
            .map_err(|refused| refused.into_iter().map(|refusal| refusal.what).collect())
    }

    #[test]
    fn options_are_read() {
        let all = Rights::all();
        assert_eq!(parse(&[], &all), Ok(PushOptions::default()));
        let read = parse(&["dry-run", "allow-wipe=a,b", "allow-wipe=c", "allow-empty", "allow-rewrite"], &all);
        let wipe = ["a", "b", "c"].map(str::to_owned).into();
        let expected = PushOptions { dry_run: true, wipe, empty: true, rewrite: true, ..PushOptions::default() };
        assert_eq!(read, Ok(expected));
        let left = parse(&["allow-leave=3", "allow-leave=a,b", "allow-site-rename=plant"], &all).expect("read");
        assert_eq!((left.leave.most, left.leave.names.len(), left.rename.as_deref()), (3, 2, Some("plant")));
        assert!(parse(&["allow-leave=all"], &all).is_ok_and(|options| options.leave.all));
        assert!(parse(&["allow-wipe=all"], &all).is_ok_and(|options| options.wipe_all));
    }

    #[test]
    fn what_is_unknown_or_wrong_is_refused_all_at_once() {
        let refused = parse(&["dry-runn", "allow-wipe", "allow-wipe=", "dry-run=yes", "a\x1b[31m"], &Rights::all());
        let refused = refused.expect_err("refused");
        assert_eq!(refused.len(), 5, "{refused:?}");
        let more =
            parse(&["allow-leave", "allow-leave=A", "allow-site-rename", "allow-site-rename=a,b"], &Rights::all());
        assert_eq!(more.expect_err("refused").len(), 4);
        assert_eq!(refused[0], "there is no push option `dry-runn`");
        for (word, said) in [
            ("allow-wipe=m1,m2,mX", "names `mX`, which is no name"),
            ("allow-wipe=m1,,m2", "has an empty name in it"),
            ("allow-wipe=all,m1", "says `all` and names beside it"),
            ("allow-leave=m1,all", "says `all` and names beside it"),
            ("allow-leave=-1", "says `-1`, which is no number of machines"),
            ("allow-leave=m1,m_2", "names `m_2`, which is no name"),
            ("allow-wipe=-m1", "names `-m1`, which is no name"),
        ] {
            let refused = parse(&[word], &Rights::all()).expect_err(word);
            assert!(refused.len() == 1 && refused[0].contains(said), "{word}: {refused:?}");
        }
        assert!(!refused.concat().contains('\x1b'), "nothing a pusher writes reaches a terminal as a command");
        assert!(parse(&["dry-run"; 33], &Rights::all()).is_err());
    }

    #[test]
    fn what_is_wrong_is_told_in_the_way_it_was_said() {
        for (word, expected) in [
            ("allow-wipe=all,m1", "the option `--allow-wipe=all,m1` says `all` and names beside it"),
            ("allow-leave=", "the option `--allow-leave=` does not say which machines may leave"),
        ] {
            let refused = parse_options(&[word.to_owned()], &Rights::all(), Said::BY_COMMAND).expect_err(word);
            let hint = refused[0].hint.clone().unwrap_or_default();
            assert!(refused[0].what.starts_with(expected) && hint.starts_with("write --allow-"), "{refused:?}");
        }
    }

    #[test]
    fn a_word_that_is_not_theirs_is_refused() {
        let nobody = Rights { push: vec!["main".into()], ..Rights::default() };
        for word in
            ["allow-wipe=a", "allow-wipe=all", "allow-leave=3", "allow-empty", "allow-rewrite", "allow-site-rename=a"]
        {
            assert!(parse(&[word], &nobody).is_err_and(|refused| refused.len() == 1), "{word}");
        }
        assert!(parse(&["dry-run"], &nobody).is_ok(), "whoever may push may ask");
    }
}
