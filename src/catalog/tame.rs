//! What a template may not do: what would take the engine, or this process, more than its fuel counts.
//!
//! The engine's fuel bounds what a template runs through and how much text it makes. It does not see how deep a value is, nor how often
//! one value lies in another: twenty lines of `{% set x = [x, x] %}` are a million lists, a value in itself is endless, and both are walked
//! to their end by whatever prints or compares them. So a template may build lists and maps out of what it was given, and may name them,
//! but may not build further ones out of those. And an expression has an end: it is read, and given back, by functions that call
//! themselves.

use super::render::RenderError;
use minijinja::machinery::ast::{BinOpKind, Call, CallArg, Expr, Macro, Stmt};
use minijinja::machinery::{Span, Token, parse, parse_expr, tokenize};
use minijinja::syntax::SyntaxConfig;
use std::collections::BTreeSet;

/// So many signs and words such as `is` stand in one tag, or in an `if`; names, text, numbers and commas are not counted.
const SIGNS_MAX: usize = 500;
/// So long is a line, and so many lines has a template with tags: the engine counts columns and lines in 16 bits.
const LINE_MAX: usize = 60_000;
/// The deepest indentation of `tojson`: what it makes is counted only when it is made.
const INDENT_MAX: i64 = 16;
/// So many `elif` stand in one template.
const ELIF_MAX: usize = 200;
/// A list is repeated at most so often, where the template made it.
const REPEATS_MAX: i64 = 4_096;
/// After so many rounds, names that are still found to depend on each other all count as made by the template.
const ROUNDS_MAX: usize = 4;
/// What every template is given; enrollment rules' names have the second line.
const GIVEN: [&str; 10] =
    ["params", "facts", "machine", "server", "boot", "mac", "uuid", "serial", "architecture", "subnet"];
/// Filters whose result is text, a number or a truth.
const PLAIN_FILTERS: [&str; 25] = [
    "length",
    "count",
    "int",
    "float",
    "string",
    "lower",
    "upper",
    "title",
    "capitalize",
    "replace",
    "trim",
    "join",
    "round",
    "abs",
    "bool",
    "indent",
    "format",
    "tojson",
    "pprint",
    "urlencode",
    "escape",
    "e",
    "safe",
    "split",
    "lines",
];
/// Filters whose result holds more lists than what they are given.
const BUILDING_FILTERS: [&str; 7] = ["batch", "slice", "zip", "chain", "groupby", "dictsort", "items"];

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Untamed {
    line: usize,
    range: (usize, usize),
    message: String,
}

impl Untamed {
    fn new(span: Span, message: impl Into<String>) -> Self {
        Self {
            line: usize::from(span.start_line).max(1),
            range: (span.start_offset as usize, span.end_offset as usize),
            message: message.into(),
        }
    }

    /// As an error of rendering.
    pub(super) fn of(self, what: String) -> RenderError {
        RenderError::Failed { what, line: self.line, range: Some(self.range), message: self.message }
    }
}

/// Looks at a template. One that cannot be read is none of this: the engine says what is wrong with it.
///
/// # Errors
/// What it may not do.
pub(super) fn template(text: &str, syntax: &SyntaxConfig) -> Result<(), Untamed> {
    if !text.contains("{{") && !text.contains("{%") {
        return Ok(());
    }
    count(text, false, syntax)?;
    let Ok(tree) = parse(text, "", syntax.clone()) else { return Ok(()) };
    judge(|judge| judge.statement(&tree))
}

/// Looks at an expression, as in `if:`.
///
/// # Errors
/// What it may not do.
pub(super) fn expression(text: &str, syntax: &SyntaxConfig) -> Result<(), Untamed> {
    count(text, true, syntax)?;
    let Ok(tree) = parse_expr(text) else { return Ok(()) };
    judge(|judge| {
        judge.expression(&tree, Place::Printed);
    })
}

/// Bounds what the engine's reader takes in, since it calls itself for each sign of some chains.
fn count(text: &str, in_expression: bool, syntax: &SyntaxConfig) -> Result<(), Untamed> {
    let mut lines = 0;
    for line in text.lines() {
        lines += 1;
        if line.len() > LINE_MAX || lines > LINE_MAX {
            let span = Span { start_line: u16::try_from(lines).unwrap_or(u16::MAX), ..Span::default() };
            let what = if line.len() > LINE_MAX { "bytes in one line" } else { "lines" };
            return Err(Untamed::new(span, format!("a template with tags, of more than {LINE_MAX} {what}")));
        }
    }
    let (mut signs, mut elifs) = (0, 0);
    // What is no token ends it, here and in the engine.
    for (token, span) in tokenize(text, in_expression, syntax.clone()).map_while(Result::ok) {
        match token {
            Token::TemplateData(_) | Token::VariableStart | Token::BlockStart => signs = 0,
            Token::Ident("elif") => elifs += 1,
            Token::Ident("not" | "is" | "if" | "else" | "and" | "or" | "in") => signs += 1,
            Token::Ident(_) | Token::Str(_) | Token::String(_) | Token::Int(_) | Token::Int128(_) | Token::Float(_) => {
            }
            Token::Comma | Token::Colon => {}
            _ => signs += 1,
        }
        if signs > SIGNS_MAX {
            return Err(Untamed::new(span, format!("an expression of more than {SIGNS_MAX} signs")));
        }
        if elifs > ELIF_MAX {
            return Err(Untamed::new(span, format!("more than {ELIF_MAX} `elif`")));
        }
    }
    Ok(())
}

fn judge<'a>(look: impl Fn(&mut Judge<'a>)) -> Result<(), Untamed> {
    let mut judge = Judge::default();
    for round in 0.. {
        let before = judge.made.len();
        judge.offence = None;
        look(&mut judge);
        if judge.made.len() == before {
            break;
        }
        if round == ROUNDS_MAX {
            judge.made.append(&mut judge.named.clone());
            judge.offence = None;
            look(&mut judge);
            break;
        }
    }
    if let (Some(span), Some((name, _))) = (judge.others, judge.shadows.pop_first()) {
        let message =
            format!("`{name}` is what every template is given, and would be another in those that this one takes in");
        judge.offence.get_or_insert(Untamed::new(span, message));
    }
    judge.offence.map_or(Ok(()), Err)
}

/// What becomes of an expression's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is printed, compared, decided by: nothing goes on from it.
    Printed,
    /// It gets a name, or is given to a macro.
    Kept,
}

/// What is known of an expression's value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Shape {
    /// Text, a number or a truth.
    plain: bool,
    /// A list or map that the expression builds.
    builds: bool,
    /// It has in it what the template made.
    made: bool,
    /// A list is repeated in it.
    repeats: bool,
}

impl Shape {
    const PLAIN: Self = Self { plain: true, builds: false, made: false, repeats: false };

    fn with(self, other: Self) -> Self {
        Self {
            plain: self.plain && other.plain,
            builds: self.builds || other.builds,
            made: self.made || other.made,
            repeats: self.repeats || other.repeats,
        }
    }
}

#[derive(Default)]
struct Judge<'a> {
    /// Names of values that the template made.
    made: BTreeSet<&'a str>,
    /// All that it names.
    named: BTreeSet<&'a str>,
    /// What it is given and gives another value: name, and where.
    shadows: std::collections::BTreeMap<&'a str, ()>,
    /// Where it takes in another template.
    others: Option<Span>,
    offence: Option<Untamed>,
}

impl<'a> Judge<'a> {
    fn offence(&mut self, span: Span, message: impl Into<String>) {
        if self.offence.is_none() {
            self.offence = Some(Untamed::new(span, message));
        }
    }

    fn built(&mut self, span: Span, shape: Shape) -> Shape {
        if shape.made {
            self.offence(span, "a list or map is built out of what the template built, or was handed");
        }
        Shape { plain: false, builds: true, ..shape }
    }

    /// Gives a name, or the names of a pattern, to a value.
    fn name(&mut self, target: &Expr<'a>, shape: Shape) {
        match target {
            Expr::Var(name) => self.name_one(name.id, shape),
            Expr::List(list) => list.items.iter().for_each(|item| self.name(item, shape)),
            Expr::Tuple(tuple) => tuple.items.iter().for_each(|item| self.name(item, shape)),
            other => self.offence(other.span(), "a value is given a name, and nothing is put into a value"),
        }
    }

    fn name_one(&mut self, name: &'a str, shape: Shape) {
        self.named.insert(name);
        if shape.builds || shape.made {
            self.made.insert(name);
            if GIVEN.contains(&name) {
                self.shadows.insert(name, ());
            }
        }
    }

    fn statements(&mut self, statements: &[Stmt<'a>]) {
        for statement in statements {
            self.statement(statement);
        }
    }

    fn statement(&mut self, statement: &Stmt<'a>) {
        const HANDED: Shape = Shape { plain: false, builds: false, made: true, repeats: false };
        match statement {
            Stmt::Template(template) => self.statements(&template.children),
            Stmt::EmitExpr(emit) => drop(self.expression(&emit.expr, Place::Printed)),
            Stmt::EmitRaw(_) => {}
            Stmt::ForLoop(each) => {
                let mut shape = self.expression(&each.iter, Place::Kept);
                shape.made |= shape.builds || each.recursive;
                // A part of what was given is as good as the whole.
                shape.builds = false;
                self.name(&each.target, shape);
                if let Some(filter) = &each.filter_expr {
                    self.expression(filter, Place::Printed);
                }
                self.statements(&each.body);
                self.statements(&each.else_body);
            }
            Stmt::IfCond(condition) => {
                self.expression(&condition.expr, Place::Printed);
                self.statements(&condition.true_body);
                self.statements(&condition.false_body);
            }
            Stmt::WithBlock(with) => {
                for (target, value) in &with.assignments {
                    let shape = self.expression(value, Place::Kept);
                    self.name(target, shape);
                }
                self.statements(&with.body);
            }
            Stmt::Set(set) => {
                let shape = self.expression(&set.expr, Place::Kept);
                self.name(&set.target, shape);
            }
            Stmt::SetBlock(set) => {
                self.statements(&set.body);
                let shape = set.filter.as_ref().map_or(Shape::PLAIN, |filter| self.expression(filter, Place::Kept));
                self.name(&set.target, shape);
            }
            Stmt::AutoEscape(escape) => {
                self.expression(&escape.enabled, Place::Printed);
                self.statements(&escape.body);
            }
            Stmt::FilterBlock(filter) => {
                self.expression(&filter.filter, Place::Printed);
                self.statements(&filter.body);
            }
            Stmt::Block(block) => {
                self.others.get_or_insert(block.span());
                self.statements(&block.body);
            }
            Stmt::Extends(extends) => drop(self.others.get_or_insert(extends.span())),
            Stmt::Include(include) => drop(self.others.get_or_insert(include.span())),
            Stmt::Import(import) => {
                self.others.get_or_insert(import.span());
                self.name(&import.name, HANDED);
            }
            Stmt::FromImport(import) => {
                self.others.get_or_insert(import.span());
                for (name, alias) in &import.names {
                    self.name(alias.as_ref().unwrap_or(name), HANDED);
                }
            }
            Stmt::Macro(declared) => self.declared(declared, HANDED),
            Stmt::CallBlock(block) => {
                self.call(&block.call, block.call.span());
                self.declared(&block.macro_decl, HANDED);
            }
            Stmt::Do(call) => drop(self.call(&call.call, call.call.span())),
        }
    }

    fn declared(&mut self, declared: &Macro<'a>, handed: Shape) {
        for default in &declared.defaults {
            self.expression(default, Place::Kept);
        }
        for argument in &declared.args {
            self.name(argument, handed);
        }
        self.statements(&declared.body);
    }

    fn expression(&mut self, expression: &Expr<'a>, place: Place) -> Shape {
        match expression {
            // What an including template names is here a name that nobody gave.
            Expr::Var(var) => {
                let handed = !GIVEN.contains(&var.id) && !self.named.contains(var.id);
                Shape { made: handed || self.made.contains(var.id), ..Shape::default() }
            }
            Expr::Const(_) => Shape::PLAIN,
            Expr::Slice(slice) => {
                for bound in [&slice.start, &slice.stop, &slice.step].into_iter().flatten() {
                    self.expression(bound, Place::Printed);
                }
                Shape { plain: false, ..self.expression(&slice.expr, place) }
            }
            Expr::UnaryOp(operation) => {
                self.expression(&operation.expr, Place::Printed);
                Shape::PLAIN
            }
            Expr::Compare(compare) => {
                self.expression(&compare.expr, Place::Printed);
                for operand in &compare.ops {
                    self.expression(&operand.expr, Place::Printed);
                }
                Shape::PLAIN
            }
            Expr::Test(test) => {
                self.expression(&test.expr, Place::Printed);
                self.arguments(&test.args, Place::Printed);
                Shape::PLAIN
            }
            Expr::BinOp(operation) => {
                let left = self.expression(&operation.left, place);
                let right = self.expression(&operation.right, place);
                let span = expression.span();
                match operation.op {
                    BinOpKind::ScAnd | BinOpKind::ScOr => left.with(right),
                    // Nothing but text is added to text, and nothing but numbers to numbers.
                    BinOpKind::Add if left.plain || right.plain => Shape::PLAIN,
                    BinOpKind::Add if place == Place::Printed => left.with(right),
                    BinOpKind::Add => self.built(span, left.with(right)),
                    BinOpKind::Mul if left.plain && right.plain => Shape::PLAIN,
                    BinOpKind::Mul => self.repeated(expression, left.with(right), place),
                    _ => Shape::PLAIN,
                }
            }
            Expr::IfExpr(either) => {
                self.expression(&either.test_expr, Place::Printed);
                let first = self.expression(&either.true_expr, place);
                either.false_expr.as_ref().map_or(first, |second| first.with(self.expression(second, place)))
            }
            Expr::Filter(filter) => {
                let input = filter.expr.as_ref().map_or(Shape::default(), |input| self.expression(input, place));
                let arguments = self.arguments(&filter.args, place);
                let maps = filter.name == "map" && !filter.args.iter().all(is_constant);
                if filter.name == "tojson" && !filter.args.iter().all(is_small) {
                    self.offence(
                        expression.span(),
                        format!("the indentation of `tojson` is a number to {INDENT_MAX}, written out"),
                    );
                }
                match filter.name {
                    name if PLAIN_FILTERS.contains(&name) => Shape::PLAIN,
                    name if BUILDING_FILTERS.contains(&name) => self.built(expression.span(), input.with(arguments)),
                    _ if maps => {
                        self.offence(expression.span(), "what `map` is told is written out");
                        Shape::default()
                    }
                    "map" if filter.args.iter().any(|argument| matches!(argument, CallArg::Pos(_))) => {
                        self.built(expression.span(), input)
                    }
                    _ => Shape { plain: false, ..input.with(arguments) },
                }
            }
            Expr::GetAttr(attribute) => {
                let counted = matches!(&attribute.expr, Expr::Var(var) if var.id == "loop")
                    && !matches!(attribute.name, "previtem" | "nextitem");
                if counted { Shape::PLAIN } else { Shape { plain: false, ..self.expression(&attribute.expr, place) } }
            }
            Expr::GetItem(item) => {
                self.expression(&item.subscript_expr, Place::Printed);
                Shape { plain: false, ..self.expression(&item.expr, place) }
            }
            Expr::Call(call) => self.call(call, expression.span()),
            Expr::List(list) => self.literal(list.items.iter(), expression.span()),
            Expr::Tuple(tuple) => self.literal(tuple.items.iter(), expression.span()),
            Expr::Map(map) => self.literal(map.keys.iter().chain(&map.values), expression.span()),
        }
    }

    /// A list of text and numbers holds nothing that could grow.
    fn literal<'b>(&mut self, items: impl Iterator<Item = &'b Expr<'a>>, span: Span) -> Shape
    where
        'a: 'b,
    {
        let mut whole = Shape::PLAIN;
        for item in items {
            let shape = self.expression(item, Place::Kept);
            if !shape.plain {
                whole = whole.with(shape);
            }
        }
        if whole.plain { Shape::default() } else { self.built(span, whole) }
    }

    /// A list times a number.
    fn repeated(&mut self, expression: &Expr<'a>, shape: Shape, place: Place) -> Shape {
        let Expr::BinOp(operation) = expression else { return shape };
        let few = [&operation.left, &operation.right]
            .into_iter()
            .filter_map(Expr::as_const)
            .any(|times| i64::try_from(times).is_ok_and(|times| times <= REPEATS_MAX));
        if shape.repeats {
            self.offence(expression.span(), "what is repeated is repeated again");
        } else if shape.made && !(few && place == Place::Printed) {
            self.offence(expression.span(), "what the template made, or was handed, is repeated");
        }
        Shape { builds: true, repeats: true, ..shape }
    }

    fn arguments(&mut self, arguments: &[CallArg<'a>], place: Place) -> Shape {
        let mut whole = Shape::PLAIN;
        for argument in arguments {
            let (CallArg::Pos(value)
            | CallArg::Kwarg(_, value)
            | CallArg::PosSplat(value)
            | CallArg::KwargSplat(value)) = argument;
            let shape = self.expression(value, place);
            if !shape.plain {
                whole = whole.with(shape);
            }
        }
        whole
    }

    fn call(&mut self, call: &Call<'a>, span: Span) -> Shape {
        let arguments = self.arguments(&call.args, Place::Kept);
        if !matches!(call.expr, Expr::Var(_)) {
            self.expression(&call.expr, Place::Printed);
        }
        match &call.expr {
            Expr::Var(name) if name.id == "namespace" => {
                self.offence(span, "there is no `namespace`");
                Shape::PLAIN
            }
            Expr::Var(name) if name.id == "dict" => self.built(span, arguments),
            Expr::Var(name) if name.id == "range" => Shape::default(),
            // Macros, blocks and loops give text.
            _ => Shape::PLAIN,
        }
    }
}

fn is_constant(argument: &CallArg<'_>) -> bool {
    matches!(argument, CallArg::Pos(Expr::Const(_)) | CallArg::Kwarg(_, Expr::Const(_)))
}

fn is_small(argument: &CallArg<'_>) -> bool {
    let (CallArg::Pos(Expr::Const(value)) | CallArg::Kwarg(_, Expr::Const(value))) = argument else { return false };
    value.value.kind() == minijinja::value::ValueKind::Bool
        || i64::try_from(value.value.clone()).is_ok_and(|indent| (0..=INDENT_MAX).contains(&indent))
}
