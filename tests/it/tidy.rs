//! The architecture as tests: the code must match ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use llmwatch::config::{self, Environment};
use llmwatch::log::Event;
use llmwatch::metrics;
use llmwatch_core::model::Fault;
use regex::Regex;

/// Modules without I/O: values and time in, decisions out.
const PURE: &[&str] = &["metrics/mod.rs", "metrics/otlp.rs", "metrics/text.rs"];
/// What a pure module must not use.
const IMPURE: &[&str] = &[
    "tokio::",
    "reqwest",
    "rusqlite",
    "lettre",
    "axum",
    "std::fs",
    "std::net",
    "clock::now",
    "Instant::now",
    "SELECT ",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Returns every Rust file below `folder`, by relative path.
fn rust_files(folder: &str) -> BTreeMap<String, String> {
    fn walk(folder: &Path, base: &Path, found: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, base, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path
                    .strip_prefix(base)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned();
                found.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let base = root().join(folder);
    let mut found = BTreeMap::new();
    walk(&base, &base, &mut found);
    assert!(!found.is_empty());
    found
}

/// Strips comments and unit tests, which may do what the module itself may not.
fn code(source: &str) -> String {
    let without_tests = source
        .split("\n#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default();
    without_tests
        .lines()
        .map(|l| l.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Returns the modules in the order of lib.rs, for the crate below `folder`.
fn declared(folder: &str) -> Vec<String> {
    let lib = read(Path::new(folder).join("lib.rs"));
    Regex::new(r"(?m)^(?:pub )?mod (\w+);")
        .unwrap()
        .captures_iter(&lib)
        .map(|c| c[1].to_owned())
        .collect()
}

#[test]
fn a_module_uses_only_modules_declared_above_it() {
    let used = Regex::new(r"\bcrate::(\w+)").unwrap();
    let mut wrong = Vec::new();
    for folder in ["src", "crates/core/src"] {
        let order = declared(folder);
        assert!(order.len() > 10, "{order:?}");
        let place = |module: &str| order.iter().position(|m| m == module);
        for (file, source) in rust_files(folder) {
            let own = file.split(['/', '.']).next().unwrap_or_default();
            let Some(own_place) = place(own) else {
                continue;
            };
            for name in used.captures_iter(&code(&source)).map(|c| c[1].to_owned()) {
                if place(&name).is_some_and(|at| at > own_place) {
                    wrong.push(format!(
                        "{folder}/{file} uses crate::{name}, which is declared below `{own}`"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A module by its path in the crate, such as `["web", "api"]`.
type ModulePath = Vec<String>;

/// Returns the modules of the crate below `folder` with their code.
fn modules(folder: &str) -> BTreeMap<ModulePath, String> {
    let module = |file: &str| {
        let mut path: ModulePath = file
            .trim_end_matches(".rs")
            .split('/')
            .map(ToOwned::to_owned)
            .collect();
        if path
            .last()
            .is_some_and(|l| ["mod", "lib", "main"].contains(&l.as_str()))
        {
            path.pop();
        }
        path
    };
    rust_files(folder)
        .into_iter()
        .filter(|(file, _)| !file.ends_with("tests.rs"))
        .map(|(file, source)| (module(&file), code(&source)))
        .collect()
}

/// Returns the modules that `code` of the module `own` refers to by `crate::…`, `super::…` or
/// `self::…`.
fn named(
    own: &ModulePath,
    code: &str,
    known: &BTreeMap<ModulePath, String>,
) -> BTreeSet<ModulePath> {
    let path = Regex::new(r"\b(crate|super|self)((?:::\w+)*)(?:::\{([^;{}]*)\})?").unwrap();
    let mut found = BTreeSet::new();
    for c in path.captures_iter(code) {
        let mut base = match &c[1] {
            "crate" => Vec::new(),
            "super" => own[..own.len().saturating_sub(1)].to_vec(),
            _ => own.clone(),
        };
        let mut segments: Vec<_> = c[2].split("::").filter(|s| !s.is_empty()).collect();
        while segments.first() == Some(&"super") {
            segments.remove(0);
            base.pop();
        }
        let members = c.get(3).map_or("", |m| m.as_str());
        for member in members.split(',') {
            let member = member
                .trim()
                .split(['\n', ':', ' '])
                .next()
                .unwrap_or_default();
            let mut module = base.clone();
            for segment in segments.iter().copied().chain([member]) {
                module.push(segment.to_owned());
                if !known.contains_key(&module) {
                    module.pop();
                    break;
                }
            }
            found.insert(module);
        }
    }
    found
}

/// Reports whether `to` can be reached from `from`.
fn reaches(
    graph: &BTreeMap<String, BTreeSet<String>>,
    from: &str,
    to: &str,
    seen: &mut BTreeSet<String>,
) -> bool {
    from == to
        || graph
            .get(from)
            .into_iter()
            .flatten()
            .any(|next| seen.insert(next.clone()) && reaches(graph, next, to, seen))
}

#[test]
fn no_two_modules_of_a_folder_use_each_other() {
    let mut wrong = BTreeSet::new();
    for folder in ["src", "crates/core/src", "crates/simulator/src"] {
        let modules = modules(folder);
        // By parent: which of its children use which others, directly or through their submodules.
        let mut graphs: BTreeMap<ModulePath, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for (own, code) in &modules {
            for other in named(own, code, &modules) {
                let common = own.iter().zip(&other).take_while(|(a, b)| a == b).count();
                if let (Some(from), Some(to)) = (own.get(common), other.get(common)) {
                    let graph = graphs.entry(own[..common].to_vec()).or_default();
                    graph.entry(from.clone()).or_default().insert(to.clone());
                }
            }
        }
        for (parent, graph) in &graphs {
            for (from, uses) in graph {
                for to in uses
                    .iter()
                    .filter(|to| reaches(graph, to, from, &mut BTreeSet::new()))
                {
                    let parent = parent.join("/");
                    wrong.insert(format!(
                        "{folder}/{parent}: `{from}` uses `{to}`, which leads back to it"
                    ));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{}",
        wrong.into_iter().collect::<Vec<_>>().join("\n")
    );
}

/// Names of std types that ours must not shadow.
const STD_NAMES: &[&str] = &[
    "Box", "Error", "Option", "Ordering", "Rc", "Arc", "Result", "String", "Vec",
];

#[test]
fn a_type_name_means_one_thing_in_a_crate() {
    let pattern = r"(?m)^(?:pub(?:\([^)]*\))? )?(?:struct|enum|trait|union|type) (\w+)";
    let defined = Regex::new(pattern).unwrap();
    let mut wrong = Vec::new();
    for folder in ["src", "crates/core/src", "crates/simulator/src"] {
        let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (file, source) in rust_files(folder) {
            if file.ends_with("tests.rs") {
                continue;
            }
            for c in defined.captures_iter(&code(&source)) {
                places
                    .entry(c[1].to_owned())
                    .or_default()
                    .push(file.clone());
            }
        }
        for (name, files) in places {
            if files.len() > 1 {
                wrong.push(format!(
                    "{folder}: `{name}` is defined in {}",
                    files.join(", ")
                ));
            }
            if STD_NAMES.contains(&name.as_str()) {
                wrong.push(format!(
                    "{folder}: `{name}` of {} hides std's",
                    files.join(", ")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_modules_touch_nothing() {
    let files = rust_files("src");
    let mut wrong = Vec::new();
    for pure in PURE {
        let of_it: Vec<_> = files.iter().filter(|(file, _)| is_of(file, pure)).collect();
        assert!(
            !of_it.is_empty(),
            "there is no module {pure} any more: update this list"
        );
        for (file, source) in of_it {
            let code = code(source);
            wrong.extend(
                IMPURE
                    .iter()
                    .filter(|w| code.contains(**w))
                    .map(|w| format!("src/{file} names {w}")),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn is_of(file: &str, module: &str) -> bool {
    file == module || file == format!("{module}.rs") || file.starts_with(&format!("{module}/"))
}

#[test]
fn each_driver_has_one_home() {
    let homes: &[(&str, &[&str])] = &[
        ("rusqlite", &["store"]),
        ("axum", &["web"]),
        // The configuration checks addresses with the library that sends to them.
        (
            "lettre",
            &[
                "notify/email.rs",
                "notify/subscriber_mail.rs",
                "config/channel.rs",
                "config/dkim.rs",
            ],
        ),
    ];
    let mut wrong = Vec::new();
    for (file, source) in rust_files("src") {
        for (driver, homes) in homes {
            let named = Regex::new(&format!(r"\b{driver}(::|;)"))
                .unwrap()
                .is_match(&code(&source));
            if named && !homes.iter().any(|home| is_of(&file, home)) {
                wrong.push(format!("src/{file} names {driver}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn failures_of_the_store_are_logged_with_a_limit() {
    // Both log at most once a minute, with a count.
    const LIMITED: [&str; 2] = ["log/mod.rs", "daemon/backlog.rs"];
    for (file, source) in rust_files("src") {
        let names = code(&source).contains("Event::StoreFailed");
        assert!(
            !names || LIMITED.contains(&file.as_str()),
            "{file} logs `store.failed` by itself: call `log::store_failed`"
        );
    }
}

#[test]
fn every_file_opens_with_what_belongs_in_it() {
    let mut wrong = Vec::new();
    for folder in ["src", "crates", "tests", "benches"] {
        if !root().join(folder).exists() {
            continue;
        }
        for (file, source) in rust_files(folder) {
            let mut complain = |what: String| wrong.push(format!("{folder}/{file} {what}"));
            if !source.starts_with("//!") {
                complain("does not open with a //! paragraph".to_owned());
            }
            for left in ["todo!", "dbg!", "unimplemented!", "TODO", "FIXME"] {
                if file != "it/tidy.rs" && source.contains(left) {
                    complain(format!("has a {left}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn surroundings() -> Environment {
    let vars = ["OPENAI_API_KEY", "SMTP_PASSWORD", "HOME"];
    Environment {
        vars: vars
            .iter()
            .map(|name| ((*name).to_owned(), "secret".to_owned()))
            .collect(),
        hostname: "host".to_owned(),
        ..Environment::default()
    }
}

#[test]
fn the_example_configuration_loads() {
    let config = config::load(&root().join("monitor.toml"), &surroundings());
    let config = config.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((config.endpoints.len(), config.channels.len()), (1, 1));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn the_example_configuration_mentions_every_key_and_no_other() {
    let known = config::known_keys(&surroundings()).unwrap_or_else(|e| panic!("{e}"));
    let example = read("monitor.toml");
    let said = |key: &str| {
        let pattern = format!(r"(?m)(^(# )?|[{{,] ?){key} = |# also .*\b{key}\b");
        Regex::new(&pattern).unwrap().is_match(&example)
    };
    let heads = |key: &str| {
        Regex::new(&format!(r"(?m)^(# )?\[\[?{key}\]"))
            .unwrap()
            .is_match(&example)
    };
    let missing: Vec<_> = known
        .iter()
        .filter(|path| {
            let key = path.rsplit('.').next().unwrap_or_default();
            // The three forms of a secret are explained once, at the top of the example.
            let secret = key.ends_with("_file") || key.ends_with("_credential");
            !secret && !said(key) && !heads(key)
        })
        .collect();
    assert!(
        missing.is_empty(),
        "monitor.toml does not mention {missing:?}"
    );

    let keys: BTreeSet<_> = known
        .iter()
        .filter_map(|path| path.rsplit('.').next())
        .collect();
    let written = Regex::new(r"(?m)^(?:# )?([a-z_]+) = ").unwrap();
    let unknown: Vec<_> = written
        .captures_iter(&example)
        .map(|c| c[1].to_owned())
        .filter(|k| !keys.contains(k.as_str()))
        .collect();
    assert!(
        unknown.is_empty(),
        "monitor.toml mentions {unknown:?}, which no table knows"
    );
}

/// Returns the codes in the first column of the tables below `heading`.
fn documented(heading: &str) -> BTreeSet<String> {
    let reference = read("docs/reference.md");
    let section = reference
        .split(&format!("\n## {heading}\n"))
        .nth(1)
        .unwrap_or_else(|| panic!("no {heading}"));
    let section = section.split("\n## ").next().unwrap_or_default();
    Regex::new(r"(?m)^\| `([^`]+)`")
        .unwrap()
        .captures_iter(section)
        .map(|c| c[1].to_owned())
        .collect()
}

#[test]
fn reference_lists_exactly_our_faults_and_log_events() {
    let faults: BTreeSet<_> = Fault::ALL.iter().map(|f| f.as_str().to_owned()).collect();
    assert_eq!(documented("Faults"), faults);
    let events: BTreeSet<_> = Event::ALL.iter().map(|e| e.as_str().to_owned()).collect();
    assert_eq!(documented("Log events"), events);
}

#[test]
fn the_reference_names_every_metric_and_no_other() {
    let named =
        |all: &[(&str, &str, &str)]| all.iter().map(|m| m.0.to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(documented("Metrics"), named(metrics::text::METRICS));
    assert_eq!(documented("OpenTelemetry"), named(metrics::otlp::METRICS));
    // Type and unit are listed beside the name.
    let reference = read("docs/reference.md");
    for (name, what, _) in metrics::text::METRICS.iter().chain(metrics::otlp::METRICS) {
        assert!(
            reference.contains(&format!("| `{name}` | {what} |")),
            "docs/reference.md: {name} is {what}"
        );
    }
}

fn is_page(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| end == "md")
}

#[test]
fn the_summary_of_the_site_lists_every_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let pages: BTreeSet<_> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| is_page(name) && name != "SUMMARY.md")
        .collect();
    let link = Regex::new(r"\]\(([^)]+\.md)\)").unwrap();
    let summary = read("docs/SUMMARY.md");
    let listed: BTreeSet<_> = link
        .captures_iter(&summary)
        .map(|c| c[1].to_owned())
        .collect();
    assert_eq!(listed, pages);
}

/// Returns the anchor of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>()
        .trim()
        .to_lowercase()
        .replace(' ', "-")
}

#[test]
fn links_between_pages_lead_to_headings_that_exist() {
    let pages = ["README.md", "ARCHITECTURE.md"].map(str::to_owned);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let docs = docs
        .filter(|name| is_page(name))
        .map(|name| format!("docs/{name}"));
    let link = Regex::new(r"\]\(([^)#\s]*)#([^)\s]+)\)").unwrap();
    let mut dead = Vec::new();
    for page in pages.into_iter().chain(docs) {
        let text = read(&page);
        for found in link.captures_iter(&text).filter(|c| !c[1].contains("://")) {
            let folder = Path::new(&page).parent().unwrap_or(Path::new(""));
            let target = if found[1].is_empty() {
                root.join(&page)
            } else {
                root.join(folder).join(&found[1])
            };
            let target = std::fs::read_to_string(&target).unwrap_or_default();
            let headings = target.lines().filter(|line| line.starts_with('#'));
            let mut anchors = headings.map(|line| anchor(line.trim_start_matches('#').trim()));
            if !anchors.any(|anchor| anchor == found[2]) {
                dead.push(format!("{page}: {}", &found[0]));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn the_reference_says_whose_fault_each_fault_is() {
    let reference = read("docs/reference.md");
    for fault in Fault::ALL {
        let row = format!("| `{fault}` | {} |", fault.attribution());
        let rest = reference.lines().find_map(|line| line.strip_prefix(&row));
        let rest = rest.unwrap_or_else(|| panic!("docs/reference.md lacks {row}"));
        // The meaning, and what to do about it.
        let cells: Vec<_> = rest
            .trim_end_matches('|')
            .split('|')
            .map(str::trim)
            .collect();
        let are_sentences = cells.iter().all(|cell| cell.split(' ').count() >= 2);
        assert!(
            cells.len() == 2 && are_sentences,
            "docs/reference.md says too little of {fault}: {cells:?}"
        );
    }
}

/// Compatible licenses; deny.toml has the same list for `cargo deny`.
const LICENSES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

#[test]
fn dependencies_have_accepted_licenses_and_sources() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = std::process::Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--offline",
            "--filter-platform",
        ])
        .arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH))
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50);
    let accepted = |expression: &str| {
        // One accepted alternative of each conjunct is enough: `(MIT OR Apache-2.0) AND
        // Unicode-3.0`.
        expression
            .replace(['(', ')'], "")
            .replace('/', " OR ")
            .split(" AND ")
            .all(|conjunct| {
                conjunct
                    .split(" OR ")
                    .any(|license| LICENSES.contains(&license.trim()))
            })
    };
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let license = package["license"].as_str().unwrap_or_default();
        if !accepted(license) {
            wrong.push(format!("{name} is licensed as `{license}`"));
        }
        if !package["source"].is_null()
            && !package["source"].as_str().unwrap().starts_with("registry+")
        {
            wrong.push(format!("{name} does not come from the registry"));
        }
        // One TLS stack (rustls with ring), one HTTP stack (hyper).
        if [
            "openssl-sys",
            "native-tls",
            "aws-lc-rs",
            "actix-web",
            "ureq",
            "isahc",
        ]
        .contains(&name)
        {
            wrong.push(format!(
                "{name} is a second stack for what another crate here does"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The dependencies that core may have: none opens sockets, files or processes, or reads the time.
const CORE_DEPENDENCIES: [&str; 18] = [
    "askama",
    "base64",
    "chrono",
    "chrono-tz",
    "crc32fast",
    "croner",
    "flate2",
    "hmac",
    "http",
    "quick-xml",
    "regex",
    "serde",
    "serde_json",
    "sha2",
    "thiserror",
    "url",
    "utoipa",
    "uuid",
];

#[test]
fn core_depends_on_nothing_that_does_io() {
    let manifest: toml::Table = read("crates/core/Cargo.toml").parse().unwrap();
    let dependencies = manifest["dependencies"].as_table().unwrap();
    let unknown: Vec<_> = dependencies
        .keys()
        .filter(|name| !CORE_DEPENDENCIES.contains(&name.as_str()))
        .collect();
    assert!(unknown.is_empty(), "core must not depend on {unknown:?}");
}
