//! The words after `formwork agent`: what stands by its place, and `--options`.

use std::collections::BTreeMap;
use std::time::Duration;

/// Options that take no value; all others take one.
const SWITCHES: [&str; 7] = ["create", "overwrite", "final", "json", "print", "secret", "help"];
/// The longest wait that can be asked for: a typing error must not hold a job for years.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Words, sorted out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    places: Vec<String>,
    options: BTreeMap<String, String>,
}

impl Words {
    /// Sorts words out; only options in `known` are taken. `--` ends options.
    pub fn parse(words: &[String], known: &[&str]) -> Result<Self, String> {
        let mut sorted = Self::default();
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            let Some(option) = word.strip_prefix("--") else {
                sorted.places.push(word.clone());
                continue;
            };
            if option.is_empty() {
                sorted.places.extend(rest.cloned());
                break;
            }
            let (name, inline) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (option, None),
            };
            if !known.contains(&name) {
                return Err(format!("there is no option --{name} here; see formwork agent help"));
            }
            let value = match inline {
                Some(value) => value,
                None if SWITCHES.contains(&name) => String::new(),
                None => rest.next().cloned().ok_or_else(|| format!("--{name} wants a value"))?,
            };
            sorted.options.insert(name.to_owned(), value);
        }
        Ok(sorted)
    }

    /// The word at a place, from 0.
    pub fn place(&self, index: usize, what: &str) -> Result<&str, String> {
        self.places.get(index).map(String::as_str).ok_or_else(|| format!("{what} is missing; see formwork agent help"))
    }

    /// The word at a place, from 0, where there is one.
    pub fn optional_place(&self, index: usize) -> Option<&str> {
        self.places.get(index).map(String::as_str)
    }

    /// Refuses more words than a command takes.
    pub fn at_most(&self, count: usize) -> Result<(), String> {
        match self.places.get(count) {
            Some(word) => Err(format!("`{word}` is one word too many; quote words that belong together")),
            None => Ok(()),
        }
    }

    /// An option's value.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    /// Whether a switch is there.
    pub fn switch(&self, name: &str) -> bool {
        self.options.contains_key(name)
    }

    /// An option that is a length of time.
    pub fn duration(&self, name: &str) -> Result<Option<Duration>, String> {
        self.option(name).map(|text| duration(text).map_err(|error| format!("--{name}: {error}"))).transpose()
    }
}

/// `500ms`, `55s`, `20m`, `2h`, `1d`; a bare number is an error, since nobody remembers of what.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no length of time; write 55s, 20m, 2h");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    let length = Duration::from_millis(number.saturating_mul(milliseconds));
    if length > LONGEST { Err(format!("{text} is longer than 7d")) } else { Ok(length) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sorted(line: &str, known: &[&str]) -> Result<Words, String> {
        Words::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>(), known)
    }

    #[test]
    fn words_stand_by_their_place_and_options_anywhere() {
        let words = sorted("key --wait 20m --create other --of=init", &["wait", "create", "of"]).unwrap();
        assert_eq!(words.place(0, "KEY"), Ok("key"));
        assert_eq!(words.place(1, "OTHER"), Ok("other"));
        assert!(words.switch("create"));
        assert_eq!(words.option("of"), Some("init"));
        assert_eq!(words.duration("wait"), Ok(Some(Duration::from_secs(1200))));
        assert!(words.at_most(1).is_err());
    }

    #[test]
    fn a_wrong_option_is_never_ignored() {
        assert!(sorted("key --wiat 20m", &["wait"]).unwrap_err().contains("wiat"));
        assert!(sorted("key --wait", &["wait"]).unwrap_err().contains("wants a value"));
        assert_eq!(sorted("-- --create", &["create"]).unwrap().place(0, "TEXT"), Ok("--create"));
    }

    #[test]
    fn lengths_of_time_have_a_unit() {
        let table = [
            ("55s", Some(55_000)),
            ("20m", Some(1_200_000)),
            ("500ms", Some(500)),
            ("1d", Some(86_400_000)),
            ("20", None),
            ("", None),
            ("m", None),
            ("1w", None),
            ("8d", None),
            ("99999999999999999999s", None),
            ("99999999999999999h", None),
            ("1µs", None),
        ];
        for (text, wanted) in table {
            assert_eq!(duration(text).ok(), wanted.map(Duration::from_millis), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_duration_reader_panic(text in ".{0,20}") {
            let _ = duration(&text);
        }
    }
}
