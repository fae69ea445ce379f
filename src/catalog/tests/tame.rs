//! What templates may do, and what they may not.

use crate::catalog::render;
use crate::catalog::tame;

fn chain(begin: &str, repeated: &str, times: usize, end: &str) -> String {
    format!("{begin}{}{end}", repeated.repeat(times))
}

/// What the rules, and else the engine, say of a template.
fn said(text: &str) -> Result<String, String> {
    let syntax = render::syntax();
    if let Err(untamed) = tame::template(text, &syntax) {
        return Err(untamed.of("it".to_owned()).to_string());
    }
    let given = serde_json::json!({
        "params": {"disks": ["sda", "sdb"], "users": [{"name": "ada", "keys": ["k1", "k2"]}, {"name": "bo", "keys": []}], "n": 3},
        "server": {"http": "http://x"},
        "facts": {}, "machine": {"name": "m"},
    });
    let given = minijinja::Value::from(minijinja::value::Serde(given));
    render::environment().render_str(text, given).map_err(|error| format!("{error:#}"))
}

#[test]
fn what_people_write_goes_on() {
    for (text, becomes) in [
        ("no tag", "no tag"),
        ("{% set disk = params.disks[0] %}/dev/{{ disk }}", "/dev/sda"),
        ("{% set all = params.disks + ['sdc'] %}{{ all | join(',') }}", "sda,sdb,sdc"),
        ("{% set url = server.http + '/a' %}{% set url = url + '/b' %}{{ url }}", "http://x/a/b"),
        ("{% for user in params.users %}{{ loop.index + 1 }}{{ user.name ~ ':' }}{% endfor %}", "2ada:3bo:"),
        (
            "{% for user in params.users if user.keys %}{% for key in user.keys %}{{ key }}{% endfor %}{% endfor %}",
            "k1k2",
        ),
        ("{% set names = params.users | map(attribute='name') | sort | list %}{{ names | join(' ') }}", "ada bo"),
        ("{% for key, value in params.users[0] | items %}{{ key }} {% endfor %}", "keys name "),
        ("{% for key, value in {'a': params.n, 'b': 2} | dictsort %}{{ key }}{{ value }}{% endfor %}", "a3b2"),
        ("{% macro twice(n, word='x') %}{{ n * 2 }}{{ word }}{{ n + params.n }}{% endmacro %}{{ twice(2) }}", "4x5"),
        (
            "{% macro line(server) %}{{ server.name }};{% endmacro %}{% for u in params.users %}{{ line(u) }}{% endfor %}",
            "ada;bo;",
        ),
        ("{% set parts = [machine.name ~ '-a', params.n | string] %}{{ parts | join('/') }}", "m-a/3"),
        ("{{ '-' * 5 }}{% set rule = '=' * params.n %}{{ rule }}", "-----==="),
        ("{% with user = params.users[0] %}{{ user.name }}{% endwith %}", "ada"),
        ("{% if params.disks | length > 1 and 'sda' in params.disks %}two{% elif 0 %}{% else %}one{% endif %}", "two"),
        ("{{ params.users | selectattr('keys') | map(attribute='name') | first }}", "ada"),
        ("{{ params | tojson | length > 20 }}{{ range(3) | list }}", "True[0, 1, 2]"),
        ("{{ params.users[0] | tojson(indent=2) | length }}{{ [1] | tojson(true) | length > 2 }}", "55True"),
        ("{% set text %}a{{ params.n }}{% endset %}{{ text | upper }}", "A3"),
        ("{{ params.missing | default([]) | length }}", "0"),
    ] {
        assert_eq!(said(text).as_deref(), Ok(becomes), "{text}");
    }
}

#[test]
fn what_would_take_the_process_along_is_refused() {
    let cases = [
        // Values that hold themselves.
        ("{% set x = namespace(a=1) %}{% set x.a = x %}{{ x }}".to_owned(), "`namespace`"),
        ("{% set params.a = params %}".to_owned(), "nothing is put into a value"),
        // What doubles, and what gets ever deeper.
        (chain("{% set x = [1] %}", "{% set x = [x, x] %}", 30, "{{ x }}"), "what the template built"),
        (chain("{% set x = [1] %}", "{% set x = x + x %}", 40, "{{ x | length }}"), "what the template built"),
        (chain("{% set x = [1] %}", "{% set x = {'a': x} %}", 30, "{{ x }}"), "what the template built"),
        (chain("{% set x = [1] %}", "{% set x = x | zip(x) %}", 30, "{{ x }}"), "what the template built"),
        (chain("{% set x = [1] %}", "{% set x = x | map('batch', 1) %}", 30, "{{ x }}"), "what the template built"),
        (chain("{% set x = [1] %}", "{% set x = dict(a=x) %}", 30, "{{ x }}"), "what the template built"),
        // By two names that take turns, and through a loop's name.
        (
            chain("{% set x = [1] %}", "{% set y = [x, x] %}{% set x = [y, y] %}", 30, "{{ x }}"),
            "what the template built",
        ),
        (
            "{% set y = [params] %}{% for x in y %}{% set z = [x, x] %}{{ z }}{% endfor %}".to_owned(),
            "what the template built",
        ),
        ("{% for i in range(9) %}{% set y = [x] %}{% set x = y %}{% endfor %}".to_owned(), "what the template built"),
        // Through macros.
        ("{% macro m(x) %}{{ m([x, x]) }}{% endmacro %}{{ m(1) }}".to_owned(), "what the template built"),
        ("{% macro m(x) %}{{ m(x + x) }}{% endmacro %}{{ m([1]) }}".to_owned(), "what the template built"),
        (
            "{% macro m(x) %}{% call m([x]) %}{% endcall %}{% endmacro %}{{ m(1) }}".to_owned(),
            "what the template built",
        ),
        // Through templates that it takes in, which see its names.
        ("{% set a = [b, b] %}{% include 'next' %}".to_owned(), "what the template built"),
        ("{% set server = [params, params] %}{% include 'next' %}".to_owned(), "`server`"),
        // Repeated again and again.
        ("{{ ([params.disks * 1000] * 1000) | list }}".to_owned(), "is repeated again"),
        ("{{ params.users | map(attribute='q', default=params) | list }}".to_owned(), "`map`"),
        // Text that is counted only when it is there.
        ("{{ params | tojson(indent=3000000000) }}".to_owned(), "`tojson`"),
        ("{{ params | tojson(params.n) }}".to_owned(), "`tojson`"),
        ("{{ params | tojson(-1) }}".to_owned(), "`tojson`"),
        // Lines that the engine cannot count.
        (chain("{{ '", "a", 1_000_000, "' }}"), "bytes in one line"),
        (chain("{% raw %}", "x", 900_000, "{% endraw %}"), "bytes in one line"),
        (chain("{{ 1 }}", "\n", 70_000, "{{ 1 }}"), "lines"),
        // Expressions without end.
        (chain("{{ 1", "+1", 4_000, " }}"), "signs"),
        (chain("{{ ", "-", 4_000, "1 }}"), "signs"),
        (chain("{{ ", "not ", 4_000, "1 }}"), "signs"),
        (chain("{{ 'a'", "~'a'", 4_000, " }}"), "signs"),
        (chain("{{ params", ".a", 4_000, " }}"), "signs"),
        (chain("{{ params", "[0]", 4_000, " }}"), "signs"),
        (chain("{{ params", "|int", 4_000, " }}"), "signs"),
        (chain("{{ params", "()", 4_000, " }}"), "signs"),
        (chain("{{ 1", "**1", 4_000, " }}"), "signs"),
        (chain("{{ 1", " or 1", 4_000, " }}"), "signs"),
        (chain("{{ 1", " is defined", 4_000, " }}"), "signs"),
        (chain("{{ ", "1 if 0 else ", 4_000, "1 }}"), "signs"),
        (chain("{% if 0 %}", "{% elif 0 %}", 4_000, "{% endif %}"), "`elif`"),
        // And these the engine refuses by itself.
        ("{{ debug() }}".to_owned(), "unknown"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned(), "recursion"),
        (chain("{{ ", "[", 5_000, " }}"), "signs"),
        (chain("", "{% if 1 %}", 5_000, ""), "recursion"),
    ];
    for (text, wanted) in cases {
        let told = said(&text).expect_err(&text.chars().take(80).collect::<String>());
        assert!(told.contains(wanted), "{}: {told}", text.chars().take(80).collect::<String>());
    }
}

#[test]
fn the_longest_expressions_that_pass_fit_into_a_threads_stack() {
    // As small as the stack of a thread that answers machines.
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(|| {
        for text in [
            chain("{{ 1", "+1", 490, " }}"),
            chain("{{ ", "-", 490, "1 }}"),
            chain("{{ ", "not ", 490, "1 }}"),
            chain("{{ ", "1 if 0 else ", 240, "1 }}"),
            chain("{{ 'a'", "~'a'", 490, " }}"),
            chain("{{ 1", "|int", 490, " }}"),
            chain("{% if 0 %}", "{% elif 0 %}", 199, "{% endif %}"),
            chain("{{ ", "[", 60, &format!("1{} }}}}", "]".repeat(60))),
            format!("{}{}", "{% if 1 %}".repeat(60), "{% endif %}".repeat(60)),
            "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(20) }}".to_owned(),
        ] {
            assert!(said(&text).is_ok(), "{}: {:?}", text.chars().take(60).collect::<String>(), said(&text));
        }
        // Refused by its depth, without a harm.
        assert!(said("{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}").is_err());
    });
    thread.expect("a thread").join().expect("it fits");
}

#[test]
fn an_expression_is_held_to_the_same() {
    let syntax = render::syntax();
    assert_eq!(tame::expression("params.disks | length > 1 and facts.memory is defined", &syntax), Ok(()));
    for text in [chain("", "-", 60_000, "1"), chain("1", "+1", 60_000, ""), "namespace(a=1)".to_owned()] {
        assert!(tame::expression(&text, &syntax).is_err());
    }
}

#[test]
fn what_is_printed_is_counted_before() {
    let mut value = minijinja::Value::from(vec![1]);
    for _ in 0..40 {
        value = minijinja::Value::from(vec![value.clone(), value]);
    }
    let printed = render::environment().render_str("{{ x }}", minijinja::context! { x => value });
    assert!(printed.expect_err("too much").to_string().contains("too many values"));
    let mut value = minijinja::Value::from(1);
    for _ in 0..200 {
        value = minijinja::Value::from(vec![value]);
    }
    let printed = render::environment().render_str("{{ x }}", minijinja::context! { x => value });
    assert!(printed.expect_err("too deep").to_string().contains("too deep"));
}
