//! `formwork trace MACHINE [FIELD]`: back to file, line, commit and author.

use super::error::CliError;
use super::offline::Place;
use super::output::{Style, Word, table};
use super::sentence::short;
use super::session::{Options, Session};
use super::time::Clock;
use crate::inspect::{OfRepository, Trace, trace};
use clap::Args;

/// Says where a machine comes from: the files that make it, and who last changed them.
///
/// With a field of its declaration (`run`, `spec.workflow`) or one of its params: the one line that says it, whoever gives it, and
/// the commit that wrote that line.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  formwork trace node-1                       all that makes it
  formwork trace node-1 run                   who raised spec.run, and when?
  formwork trace node-1 install-disk          who gives that param
  formwork trace node-1 --repository site.git --path lab")]
pub struct Arguments {
    /// The machine.
    #[arg(value_name = "MACHINE", add = clap_complete::ArgValueCompleter::new(super::completion::machines))]
    machine: String,
    /// A field of its declaration, or one of its params.
    #[arg(value_name = "FIELD")]
    field: Option<String>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    session: Options,
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let Arguments { machine, field, place, session } = arguments;
    let field = field.as_deref();
    let (found, output) = match place.open()? {
        Some(offline) => {
            let view = offline.machine(machine)?;
            let mut found = trace(&offline.catalog, view, field)
                .map_err(|error| CliError::NotFound { message: error.to_string(), hint: error.hint })?;
            offline.tell(&mut found);
            (found, session.output())
        }
        None => {
            let session = Session::open(session)?;
            let found = session.client.trace(machine, field);
            (found.map_err(|error| session.machine_not_found(machine, error))?, session.output)
        }
    };
    let names = || found.origins.iter().map(|origin| format!("{}:{}", origin.place.file, origin.place.line)).collect();
    output.answer(&found, names, |style| draw(&found, &Clock::here(), style))
}

fn draw(found: &Trace, clock: &Clock, style: Style) -> String {
    let rows = found.origins.iter().map(|origin| {
        let mut place = format!("{}:{}", origin.place.file, origin.place.line);
        if let Some(OfRepository { url, file, revision }) = &origin.repository {
            place.push_str(&format!("\n{file}:{} of {url} at {}", origin.place.line, short(revision)));
        }
        let mut row: Vec<Word> = vec![origin.what.as_str().into(), place.into()];
        match &origin.commit {
            // Whoever wrote the oldest commit that is known here need not have written the line.
            Some(commit) if commit.or_before => {
                row.extend([format!("{} or before", short(&commit.id)).into(), "-".into(), "-".into(), "".into()]);
            }
            Some(commit) => row.extend([
                Word::from(short(&commit.id)),
                commit.author.as_str().into(),
                clock.show(commit.at_unix_ms).into(),
                commit.summary.as_str().into(),
            ]),
            None if origin.built_in.is_some() => {
                let version = origin.built_in.as_deref().unwrap_or_default();
                row.extend(["-".into(), format!("built in (formwork {version})").into(), "-".into(), "".into()]);
            }
            None => row.extend(["-", "not known", "-", ""].map(Word::from)),
        }
        row
    });
    table(&["what", "where", "commit", "author", "when", "summary"], rows, style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::Commit;
    use crate::workflow::tests::world::{Content, NODE, PLAIN};

    #[test]
    fn a_machine_is_traced_to_its_lines() {
        let catalog = Content { machine: "workflow: walk, run: 3", ..PLAIN }.compile("0123456789abcdef");
        let view = catalog.machine(NODE).expect("it is declared");
        let whole = trace(&catalog, view, None).expect("all of it");
        let what: Vec<&str> = whole.origins.iter().map(|origin| origin.what.as_str()).collect();
        assert_eq!(what[..4], ["machine node", "workflow walk", "stage look", "boot environment ram"], "{what:?}");
        for field in ["run", "spec.run"] {
            let found = trace(&catalog, view, Some(field)).expect(field);
            assert_eq!((found.origins[0].what.as_str(), found.origins[0].place.line), ("spec.run", 9), "{found:?}");
        }
        let error = trace(&catalog, view, Some("rum")).expect_err("there is none");
        assert!(error.hint.as_deref().is_some_and(|hint| hint.contains("run")), "{error:?}");
    }

    #[test]
    fn what_is_built_in_is_said_to_be_with_the_programs_version() {
        let catalog = PLAIN.compile("0123456789abcdef");
        let view = catalog.machine(NODE).expect("it is declared");
        let mut found = trace(&catalog, view, Some("workflow")).expect("it has one");
        assert_eq!(found.origins[0].built_in, None);
        let place = crate::content::Place { file: "builtin:discovery/pack.yaml".into(), line: 1, column: 1 };
        found.origins[0] = crate::inspect::Origin::new("stage look".to_owned(), place, false);
        let drawn = draw(&found, &Clock::fixed(1_795_384_984_000), Style::default());
        assert!(drawn.contains(concat!("built in (formwork ", env!("CARGO_PKG_VERSION"), ")")), "{drawn}");
    }

    #[test]
    fn what_is_not_committed_says_so() {
        let catalog = PLAIN.compile("0123456789abcdef");
        let view = catalog.machine(NODE).expect("it is declared");
        let mut found = trace(&catalog, view, Some("workflow")).expect("it has one");
        let clock = Clock::fixed(1_795_384_984_000);
        assert!(draw(&found, &clock, Style::default()).contains("not known"));
        found.origins[0].commit = Some(Commit {
            id: "89abcdef0123456789abcdef0123456789abcdef".into(),
            summary: "Raised".into(),
            author: "Ada".into(),
            at_unix_ms: 1_795_384_984_000,
            or_before: false,
        });
        let drawn = draw(&found, &clock, Style::default());
        assert!(drawn.contains("89abcdef01") && drawn.contains("Ada") && drawn.contains("Raised"), "{drawn}");
        // Of a repository elsewhere, its own name for it; where its history is not known, nobody is blamed.
        found.origins[0].repository = Some(OfRepository {
            url: "https://git.example.org/site.git".into(),
            file: "lab/machines.yaml".into(),
            revision: "4f0f5c2b9a1e6d7c8b3a2f1e0d9c8b7a6f5e4d3c".into(),
        });
        if let Some(commit) = &mut found.origins[0].commit {
            commit.or_before = true;
        }
        let drawn = draw(&found, &clock, Style::default());
        let line = found.origins[0].place.line;
        assert!(
            drawn.contains(&format!("lab/machines.yaml:{line} of https://git.example.org/site.git at 4f0f5c2b9a")),
            "{drawn}"
        );
        assert!(drawn.contains("89abcdef01 or before") && !drawn.contains("Ada"), "{drawn}");
    }
}
