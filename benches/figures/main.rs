//! The figures of docs/benchmarks.md. `scripts/bench` runs all of them; one alone:
//!
//! ```sh
//! cargo bench --bench figures -- writes        # also: claims, ceiling, reads, waiters, election, load, push
//! ```
//!
//! Each figure is measured beside its peer (etcd, on the same disk and loopback, in the same minute), printed as a ratio, with
//! the median of several turns. Nothing here fails for being slow: figures are read, not tested.

#![allow(clippy::expect_used, clippy::panic, reason = "a bench that cannot go on stops")]

mod cluster;
mod etcd;
mod formwork;
mod load;
mod push;
mod wire;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve-cluster", folder, port] => formwork::serve(folder, port.parse().expect("a port")),
        ["compile-only", machines] => load::compile_only(machines.parse().expect("a number")),
        ["push-row", machines, commits, layout, more] => push::row(
            machines.parse().expect("a number"),
            commits.parse().expect("a number"),
            layout,
            more.parse().expect("a number"),
        ),
        ["push", rows @ ..] => push::print(rows),
        ["load"] => load::print(),
        ["writes"] => cluster::print(&["writes"]),
        ["claims"] => cluster::print(&["claims"]),
        ["ceiling"] => cluster::print(&["ceiling"]),
        ["reads"] => cluster::print(&["reads"]),
        ["waiters"] => cluster::print(&["waiters"]),
        ["election"] => cluster::print(&["election"]),
        [] | ["cluster"] => cluster::print(&["writes", "claims", "ceiling", "reads", "waiters", "election"]),
        other => {
            eprintln!("{other:?}: writes, claims, ceiling, reads, waiters, election, cluster, load or push");
            std::process::exit(2);
        }
    }
}

/// The middle one.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
