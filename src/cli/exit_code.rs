//! The exit codes: one table, from which come the codes themselves, the help text and the documentation.

/// How a command ends. Scripts rely on these numbers; they do not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// Done, or the thing asked about is so.
    Done,
    /// It is not so, or it failed.
    NotSo,
    /// The command line is wrong.
    Usage,
    /// There is nothing of that name.
    NotFound,
    /// Refused.
    Refused,
    /// The server is away.
    Unreachable,
    /// The time was over first.
    TimedOut,
}

impl Ending {
    /// All of them, by their numbers.
    pub const ALL: [Self; 7] =
        [Self::Done, Self::NotSo, Self::Usage, Self::NotFound, Self::Refused, Self::Unreachable, Self::TimedOut];

    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::NotSo => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Refused => 4,
            Self::Unreachable => 5,
            // As timeout(1) does.
            Self::TimedOut => 124,
        }
    }

    /// What it means.
    pub const fn means(self) -> &'static str {
        match self {
            Self::Done => "done, or the thing asked about is so",
            Self::NotSo => {
                "it is not so, or it failed: content that would be refused, a check that fails, a run that failed; of \
                 `diff`: something differs"
            }
            Self::Usage => "the command line is wrong, or a file that it names cannot be read",
            Self::NotFound => "there is nothing of that name",
            Self::Refused => {
                "refused: not authenticated, not allowed, or not possible as things stand, such as a store that another \
                 process has open"
            }
            Self::Unreachable => "the server cannot be reached, or cannot answer now",
            Self::TimedOut => "the time given was over first",
        }
    }
}

/// The text under `formwork --help`.
pub fn help() -> String {
    let mut text = String::from("Exit codes:\n");
    for ending in Ending::ALL {
        text.push_str(&format!("  {:<4} {}\n", ending.code(), ending.means()));
    }
    text.push_str(
        "\nOn a terminal, answers are tables; in a pipe, JSON. What is text for people is text in a pipe too:\n\
         the findings of validate, what diff shows, the changes that watch tells of, and logs. -o chooses.",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of `docs/daily-use.md`.
    fn markdown() -> String {
        let rows = Ending::ALL.map(|ending| format!("| {} | {} |\n", ending.code(), ending.means()));
        format!("| code | what it means |\n| --- | --- |\n{}", rows.concat())
    }

    #[test]
    fn the_documentation_has_the_same_table() {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/daily-use.md")).unwrap();
        assert!(page.contains(&markdown()), "docs/daily-use.md should have:\n{}", markdown());
    }
}
