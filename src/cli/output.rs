//! How answers leave: tables for people on a terminal, JSON in a pipe, or what `-o` says.

use super::error::CliError;
use clap::ValueEnum;
use comfy_table::{Cell, Color, ContentArrangement, Table};
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs; streams are one JSON document a line.
    Json,
    /// The same, as YAML; streams are one document each.
    Yaml,
    /// Names only, one a line.
    Name,
}

/// Where answers go and how.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// What was asked for.
    pub chosen: Option<Format>,
    /// Standard output is a terminal.
    pub terminal: bool,
    /// Colours are welcome there.
    pub colour: bool,
}

impl Output {
    /// For this process's standard output; `NO_COLOR` (no-color.org) and `TERM=dumb` are respected.
    pub fn of_process(chosen: Option<Format>) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { chosen, terminal, colour: terminal && !dumb && !no_colour }
    }

    /// The format that holds.
    pub fn format(&self) -> Format {
        self.chosen.unwrap_or(if self.terminal { Format::Table } else { Format::Json })
    }

    /// Columns and rows of the terminal; `None` where there is none.
    pub fn size(&self) -> Option<(usize, usize)> {
        if !self.terminal {
            return None;
        }
        let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
        (size.ws_col > 0 && size.ws_row > 0).then_some((usize::from(size.ws_col), usize::from(size.ws_row)))
    }

    /// Prints text as it is.
    pub fn text(&self, text: &str) -> Result<(), CliError> {
        self.bytes(text.as_bytes())
    }

    /// Prints bytes as they are.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()?;
        Ok(())
    }

    /// Prints one answer: `table` for people, `names` for `-o name`, the value itself otherwise.
    pub fn answer(
        &self,
        value: &impl Serialize,
        names: impl FnOnce() -> Vec<String>,
        table: impl FnOnce(Style) -> String,
    ) -> Result<(), CliError> {
        match self.format() {
            Format::Table => self.text(&table(self.style())),
            Format::Json => self.text(&(json(value, true)? + "\n")),
            Format::Yaml => self.text(&yaml(value)?),
            Format::Name => self.text(&names().into_iter().map(|name| name + "\n").collect::<String>()),
        }
    }

    /// Prints one item of a stream.
    pub fn item(&self, value: &impl Serialize, name: &str, line: impl FnOnce() -> String) -> Result<(), CliError> {
        match self.format() {
            Format::Table => self.text(&(line() + "\n")),
            Format::Json => self.text(&(json(value, false)? + "\n")),
            Format::Yaml => self.text(&format!("---\n{}", yaml(value)?)),
            Format::Name => self.text(&format!("{name}\n")),
        }
    }

    /// What tables may use.
    pub fn style(&self) -> Style {
        Style { width: self.size().map(|(columns, _)| columns), colour: self.colour }
    }
}

fn json(value: &impl Serialize, pretty: bool) -> Result<String, CliError> {
    let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    text.map_err(|error| CliError::NotSo(format!("cannot be shown as JSON: {error}")))
}

fn yaml(value: &impl Serialize) -> Result<String, CliError> {
    let failed = |error: String| CliError::NotSo(format!("cannot be shown as YAML: {error}"));
    // By way of JSON, so that enums look the same in both (this YAML writer would give them tags).
    let value = serde_json::to_value(value).map_err(|error| failed(error.to_string()))?;
    serde_yaml::to_string(&value).map_err(|error| failed(error.to_string()))
}

/// What drawing may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// Columns there are; `None`: as many as it takes.
    pub width: Option<usize>,
    /// Colours may be used.
    pub colour: bool,
}

impl Style {
    /// Text that stands out, where colours are welcome (ECMA-48 8.3.117, bold).
    pub fn bold(&self, text: &str) -> String {
        if self.colour { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Text folded at the terminal's width, each line behind an indent, the folded ones two further in.
    pub fn indented(&self, indent: &str, text: &str) -> String {
        let width = self.width.unwrap_or(usize::MAX).max(indent.len() + 20);
        let mut out = String::new();
        for line in text.lines() {
            let (mut row, mut first) = (indent.to_owned(), true);
            let mut empty = true;
            for word in line.split(' ') {
                let length = row.chars().count() + usize::from(!empty) + word.chars().count();
                if !empty && length > width {
                    out.push_str(row.trim_end());
                    out.push('\n');
                    row = format!("{indent}  ");
                    (first, empty) = (false, true);
                }
                if !empty {
                    row.push(' ');
                }
                row.push_str(word);
                empty = false;
            }
            if !row.trim().is_empty() || first {
                out.push_str(row.trim_end());
                out.push('\n');
            }
        }
        out
    }
}

/// What a word in a table says about the world.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Something is done.
    Busy,
    /// It waits.
    Waiting,
    /// A person is needed.
    Bad,
}

impl Tone {
    /// The SGR parameter (ECMA-48 8.3.117) of its colour.
    pub fn sgr(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("32"),
            Self::Busy => Some("36"),
            Self::Waiting => Some("33"),
            Self::Bad => Some("31"),
        }
    }

    fn colour(self) -> Option<Color> {
        match self {
            Self::Plain => None,
            Self::Good => Some(Color::DarkGreen),
            Self::Busy => Some(Color::DarkCyan),
            Self::Waiting => Some(Color::DarkYellow),
            Self::Bad => Some(Color::DarkRed),
        }
    }
}

/// Text with a tone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Word {
    /// The text.
    pub text: String,
    /// The tone.
    pub tone: Tone,
}

impl Word {
    /// Text with a tone.
    pub fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }
}

impl From<String> for Word {
    fn from(text: String) -> Self {
        Self { text, tone: Tone::Plain }
    }
}

impl From<&str> for Word {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// A table with upper-case heads and no lines, as kubectl draws it. Cells wrap where the terminal ends.
pub fn table(heads: &[&str], rows: impl IntoIterator<Item = Vec<Word>>, style: Style) -> String {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(heads.iter().map(|head| head.to_uppercase()));
    match style.width {
        Some(width) => {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
        }
        None => {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    }
    if style.colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    for row in rows {
        table.add_row(row.into_iter().map(|word| {
            let cell = Cell::new(printable(&word.text));
            match word.tone.colour().filter(|_| style.colour) {
                Some(colour) => cell.fg(colour),
                None => cell,
            }
        }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Text that cannot move the cursor or change the terminal: names, serials and messages come from machines. Control characters
/// other than a newline and a tab are shown in caret notation.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            '\0'..='\x1f' => {
                out.push('^');
                out.push(char::from(u8::try_from(u32::from(c)).unwrap_or(0) + b'@'));
            }
            '\x7f' => out.push_str("^?"),
            // C1 controls and the marks that turn the direction of text around.
            '\u{80}'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_gets_json_and_a_terminal_tables_unless_told_otherwise() {
        let output = |chosen, terminal| Output { chosen, terminal, colour: false }.format();
        assert_eq!(output(None, true), Format::Table);
        assert_eq!(output(None, false), Format::Json);
        assert_eq!(output(Some(Format::Yaml), true), Format::Yaml);
        assert_eq!(output(Some(Format::Table), false), Format::Table);
    }

    #[test]
    fn a_table_wraps_at_the_width_of_the_terminal() {
        let rows =
            vec![vec![Word::from("a1"), Word::from("waits for the leader of claim init to publish the join key")]];
        insta::assert_snapshot!(table(&["name", "waits for"], rows, Style { width: Some(40), colour: false }), @r"
        NAME  WAITS FOR
        a1    waits for the leader of claim
              init to publish the join key
        ");
    }

    #[test]
    fn what_a_machine_reports_cannot_steer_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\r\x07\u{9b}\u{202e}\n"), "a^[[2Jb^M^G\u{fffd}\u{fffd}\n");
    }

    proptest::proptest! {
        #[test]
        fn no_control_character_is_left_in_what_is_shown(text in ".*") {
            proptest::prop_assert!(!printable(&text).chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
        }
    }

    #[test]
    fn yaml_has_the_same_shape_as_json() {
        let value = crate::journal::Stream::Machine("a1".to_owned());
        assert_eq!(yaml(&value).unwrap(), "machine: a1\n");
    }
}
