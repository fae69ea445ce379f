//! How answers leave: tables for people on a terminal, JSON in a pipe, or what `-o` says.

use super::error::CliError;
use super::stdout::{remember, stdout};
use crate::content::visible;
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

    /// Prints text for people. Nothing in it steers the terminal but the colours that drawing gave it.
    pub fn text(&self, text: &str) -> Result<(), CliError> {
        let text = if self.colour { visible::drawn(text) } else { visible::lines(text) };
        self.bytes(text.as_bytes())
    }

    /// Prints bytes as they are.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut out = stdout();
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
            Format::Json => self.bytes((json(value, true)? + "\n").as_bytes()),
            Format::Yaml => self.bytes(yaml(value)?.as_bytes()),
            Format::Name => {
                let names: String = names().iter().map(|name| format!("{}\n", visible::line(name))).collect();
                self.bytes(names.as_bytes())
            }
        }
    }

    /// Prints one item of a stream.
    pub fn item(&self, value: &impl Serialize, name: &str, line: impl FnOnce() -> String) -> Result<(), CliError> {
        match self.format() {
            Format::Table => self.text(&(line() + "\n")),
            Format::Json => self.bytes((json(value, false)? + "\n").as_bytes()),
            Format::Yaml => self.bytes(format!("---\n{}", yaml(value)?).as_bytes()),
            Format::Name => self.bytes(format!("{}\n", visible::line(name)).as_bytes()),
        }
    }

    /// What tables may use.
    pub fn style(&self) -> Style {
        Style { width: self.size().map(|(columns, _)| columns), colour: self.colour }
    }
}

fn json(value: &impl Serialize, pretty: bool) -> Result<String, CliError> {
    let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    let text = text.map_err(|error| CliError::NotSo(format!("cannot be shown as JSON: {error}")))?;
    Ok(visible::json(&text).into_owned())
}

fn yaml(value: &impl Serialize) -> Result<String, CliError> {
    let failed = |error: String| CliError::NotSo(format!("cannot be shown as YAML: {error}"));
    // By way of JSON, so that enums look the same in both (this YAML writer would give them tags).
    let value = serde_json::to_value(value).map_err(|error| failed(error.to_string()))?;
    visible::yaml(&value).map_err(|error| failed(error.to_string()))
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

    /// What stands above all else: text that stands out, folded at the terminal's width.
    pub fn heading(&self, text: &str) -> String {
        let folded = self.indented("", text);
        folded.lines().map(|line| format!("{}\n", self.bold(line))).collect()
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

/// A table with upper-case heads and no lines, as kubectl draws it. Cells wrap where the terminal ends; a line end in the first
/// is shown and not made: no cell can look like another row.
pub fn table(heads: &[&str], rows: impl IntoIterator<Item = Vec<Word>>, style: Style) -> String {
    table_headed(heads.iter().map(|head| head.to_uppercase()).collect(), rows, style)
}

/// The same with heads as they are: a name in one stays a name.
pub fn table_headed(heads: Vec<String>, rows: impl IntoIterator<Item = Vec<Word>>, style: Style) -> String {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(heads);
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
        table.add_row(row.into_iter().enumerate().map(|(column, word)| {
            let cell = Cell::new(if column == 0 { visible::line(&word.text) } else { visible::lines(&word.text) });
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
/// other than a newline and a tab are shown as escapes.
pub fn printable(text: &str) -> String {
    visible::lines(text).into_owned()
}

/// Says a line of what was done on standard output. Where it cannot be written the deed is done all the same, and the command
/// ends with that.
pub fn say(text: &str) {
    remember(write_to(stdout(), text));
}

/// Says a line on standard error, beside the answer. Where nobody reads any more it is let go.
pub fn note(text: &str) {
    let _ = write_to(std::io::stderr().lock(), text);
}

fn write_to(mut out: impl Write, text: &str) -> std::io::Result<()> {
    // As one piece, so that lines of several programs do not mix.
    out.write_all(format!("{}\n", visible::lines(text)).as_bytes()).and_then(|()| out.flush())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heading_is_folded_and_each_of_its_lines_stands_out() {
        let style = Style { width: Some(20), colour: true };
        assert_eq!(
            style.heading("node-1 waits: it is protected"),
            "\x1b[1mnode-1 waits: it is\x1b[0m\n\x1b[1m  protected\x1b[0m\n"
        );
        let style = Style { width: None, colour: false };
        assert_eq!(style.heading("node-1 waits: it is protected"), "node-1 waits: it is protected\n");
    }

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
        assert_eq!(printable("a\x1b[2Jb\r\x07\u{9b}\u{202e}\n"), "a\\u{1b}[2Jb\\r\\u{7}\\u{9b}\\u{202e}\n");
        let rows = vec![vec![Word::from("a\nnode-2  ready"), Word::from("\x1b[2J\x1b[32m")]];
        let drawn = table(&["name", "is"], rows, Style::default());
        assert_eq!(drawn, "NAME              IS\na\\nnode-2  ready  \\u{1b}[2J\\u{1b}[32m\n");
    }

    #[test]
    fn json_has_escapes_of_its_own_for_what_steers_a_terminal() {
        assert_eq!(json(&"\x1b\u{9b}\u{202e}", false).unwrap(), r#""\u001b\u009b\u202e""#);
    }

    #[test]
    fn no_command_prints_with_what_panics_where_nobody_reads() {
        let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli"))];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|ending| ending == "rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    for ending in ["ln", ""] {
                        assert!(!text.contains(&format!("print{ending}!(")), "{}: use say, note", path.display());
                    }
                    let way = path.file_name().is_some_and(|name| name == "stdout.rs");
                    assert!(way || !text.contains(&format!("stdout(){}", ".lock")), "{}: use Output", path.display());
                }
            }
        }
    }

    #[test]
    fn a_reader_that_went_away_makes_nothing_panic() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let written = write_to(writer, "said to nobody");
        assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
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
