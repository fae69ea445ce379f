//! `formwork agent inventory`: what hardware is here, from `/proc` and `/sys` and by no other program.

use super::machine::{self, read_trimmed};
use super::socket::client::{ask, complain, show};
use super::socket::exit;
use super::socket::words::Words;
use crate::wire::FactsReport;
use serde_json::{Map, Value, json};
use std::path::Path;

/// Reports the inventory as facts; with `--print` only prints it.
pub fn main(words: &[String]) -> i32 {
    let words = match Words::parse(words, &["print"]) {
        Ok(words) => words,
        Err(message) => {
            complain(&message);
            return exit::MISUSED;
        }
    };
    let report = FactsReport { facts: collect() };
    let pretty = serde_json::to_string_pretty(&report.facts).unwrap_or_default();
    crate::agent::print_out(&format!("{pretty}\n"));
    if words.switch("print") {
        return 0;
    }
    match serde_json::to_string(&report)
        .map_err(|error| error.to_string())
        .and_then(|text| ask(&["facts".into()], Some(text)))
    {
        Ok(answer) => show(&answer),
        Err(error) => complain(&error),
    }
}

/// Facts `cpu`, `memory`, `disks`, `nics`, `firmware` and `system`.
pub fn collect() -> Map<String, Value> {
    let mut facts = Map::new();
    facts.insert("cpu".into(), cpu(&std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default()));
    facts.insert("memory".into(), memory(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default()));
    facts.insert("disks".into(), Value::Array(disks()));
    facts.insert("nics".into(), Value::Array(nics()));
    facts.insert("firmware".into(), firmware());
    facts.insert("system".into(), system());
    facts
}

/// An object of those values that are there.
fn object(entries: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Value {
    Value::Object(entries.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

fn number(path: String) -> Option<u64> {
    read_trimmed(path)?.parse().ok()
}

/// `/proc/cpuinfo`, whose words differ by architecture.
fn cpu(text: &str) -> Value {
    let values = |name: &'static str| {
        text.lines().filter_map(move |line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        })
    };
    let threads = values("processor").count();
    let mut sockets: Vec<String> = values("physical id").collect();
    sockets.sort();
    sockets.dedup();
    let cores = values("cpu cores").next().and_then(|cores| cores.parse::<usize>().ok());
    let model = values("model name").next().or_else(|| values("Model").next());
    object([
        ("architecture", Some(json!(machine::architecture()))),
        ("model", model.map(Value::from)),
        ("vendor", values("vendor_id").next().map(Value::from)),
        ("threads", Some(json!(threads))),
        ("sockets", Some(json!(sockets.len().max(1)))),
        ("cores", cores.map(|cores| json!(cores * sockets.len().max(1)))),
    ])
}

/// `/proc/meminfo`.
fn memory(text: &str) -> Value {
    let total = text.lines().find_map(|line| {
        let rest = line.strip_prefix("MemTotal:")?;
        rest.split_whitespace().next()?.parse::<u64>().ok()
    });
    object([("totalBytes", total.map(|kibibytes| json!(kibibytes * 1024)))])
}

fn entries(folder: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Disks with hardware behind them.
fn disks() -> Vec<Value> {
    entries("/sys/block")
        .into_iter()
        .filter(|name| Path::new(&format!("/sys/block/{name}/device")).exists())
        .map(|name| {
            let base = format!("/sys/block/{name}");
            let text = |file: &str| read_trimmed(format!("{base}/{file}")).map(Value::from);
            object([
                ("name", Some(json!(name))),
                ("path", Some(json!(format!("/dev/{name}")))),
                // Always in units of 512 bytes, whatever the sectors are.
                ("sizeBytes", number(format!("{base}/size")).map(|sectors| json!(sectors * 512))),
                ("sectorBytes", number(format!("{base}/queue/logical_block_size")).map(Value::from)),
                ("rotational", number(format!("{base}/queue/rotational")).map(|is| json!(is == 1))),
                ("removable", number(format!("{base}/removable")).map(|is| json!(is == 1))),
                ("model", text("device/model")),
                (
                    "vendor",
                    text("device/vendor").filter(|vendor| !vendor.as_str().is_some_and(|v| v.starts_with("0x"))),
                ),
                ("serial", text("serial").or_else(|| text("device/serial"))),
                ("wwid", text("wwid").or_else(|| text("device/wwid"))),
            ])
        })
        .collect()
}

fn nics() -> Vec<Value> {
    machine::interfaces()
        .into_iter()
        .map(|name| {
            let base = format!("/sys/class/net/{name}");
            let text = |file: &str| read_trimmed(format!("{base}/{file}"));
            let link = |file: &str| {
                let target = std::fs::read_link(format!("{base}/device/{file}")).ok()?;
                Some(Value::from(target.file_name()?.to_string_lossy().into_owned()))
            };
            object([
                ("mac", text("address").map(|mac| json!(mac.to_lowercase()))),
                ("state", text("operstate").map(Value::from)),
                ("mtu", number(format!("{base}/mtu")).map(Value::from)),
                // -1 while there is no link
                ("speedMbps", text("speed").and_then(|speed| speed.parse::<u64>().ok()).map(Value::from)),
                ("driver", link("driver")),
                ("name", Some(json!(name))),
            ])
        })
        .collect()
}

fn dmi(name: &str) -> Option<Value> {
    read_trimmed(format!("/sys/class/dmi/id/{name}")).map(Value::from)
}

fn firmware() -> Value {
    object([
        ("type", Some(json!(machine::firmware()))),
        ("vendor", dmi("bios_vendor")),
        ("version", dmi("bios_version")),
        ("date", dmi("bios_date")),
    ])
}

fn system() -> Value {
    object([
        ("vendor", dmi("sys_vendor")),
        ("product", dmi("product_name")),
        ("serial", dmi("product_serial")),
        ("uuid", dmi("product_uuid")),
        ("sku", dmi("product_sku")),
        ("boardSerial", dmi("board_serial")),
        ("chassisSerial", dmi("chassis_serial")),
        ("chassisAssetTag", dmi("chassis_asset_tag")),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted_by_thread_core_and_socket() {
        let text = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Xeon: fast\nphysical id\t: 0\ncpu cores\t: 2\n\n\
                    processor\t: 1\nphysical id\t: 1\ncpu cores\t: 2\n";
        let cpu = cpu(text);
        assert_eq!((&cpu["threads"], &cpu["sockets"], &cpu["cores"]), (&json!(2), &json!(2), &json!(4)));
        assert_eq!(cpu["model"], json!("Xeon: fast"));
    }

    #[test]
    fn what_the_machine_does_not_tell_is_left_out() {
        assert_eq!(memory(""), json!({}));
        assert_eq!(memory("MemTotal:       1024 kB\n"), json!({"totalBytes": 1_048_576}));
        assert!(cpu("").get("cores").is_none());
    }

    #[test]
    fn this_machine_has_processors_and_memory() {
        let facts = collect();
        assert!(facts["cpu"]["threads"].as_u64() > Some(0));
        assert!(facts["memory"]["totalBytes"].as_u64() > Some(0));
    }
}
