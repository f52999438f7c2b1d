//! Bad configurations, one defect a file, named for it: each is refused with an error that says what, where and what to do.

use std::path::Path;
use std::process::Command;

use insta::assert_snapshot;

/// What no error may ever show.
const SENTINELS: [&str; 4] =
    ["sentinel4f9c2d7ab1e85", "hunter2-sentinel", "sentinel-not-a-signing-key", "value-of-the-variable"];

/// `llmwatch -c FILE VERB`, in an environment of its own: its exit code, stdout and stderr.
fn llmwatch(file: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_llmwatch"))
        .arg("-c")
        .arg(file.file_name().unwrap())
        .args(arguments)
        .current_dir(file.parent().unwrap())
        .env_clear()
        .env("OPENAI_API_KEY", "value-of-the-variable")
        .env("HOME", "/nonexistent")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn every_bad_file_is_refused_with_its_place_and_a_way_out() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 35);
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let (code, stdout, stderr) = llmwatch(&file, &["check"]);
        assert_eq!(code, Some(78), "{name}: {stderr}");
        assert!(stdout.is_empty(), "{name}: errors are talk: {stdout}");
        for sentinel in SENTINELS {
            assert!(!stderr.contains(sentinel), "{name} gives a secret away: {stderr}");
        }
        assert_snapshot!(name, stderr);
    }
}

#[test]
fn nothing_starts_on_a_bad_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("monitor.toml");
    let state = directory.path().join("state");
    let bad = format!("[monitor]\nstate_dir = \"{}\"\n\n[[endpoint]]\nprovider = \"nobody\"\n", state.display());
    std::fs::write(&file, bad).unwrap();
    let (code, _, stderr) = llmwatch(&file, &["run"]);
    assert_eq!(code, Some(78), "{stderr}");
    assert!(stderr.contains("nobody") && stderr.contains("monitor.toml:5:12"), "{stderr}");
    assert!(!state.exists(), "not even the state directory was made");
    let (code, _, stderr) = llmwatch(&file, &["probe"]);
    assert_eq!(code, Some(3), "a probe that cannot be made is unknown to a monitoring system: {stderr}");
    let (code, ..) = llmwatch(&directory.path().join("no-such.toml"), &["check"]);
    assert_eq!(code, Some(78));
}

#[test]
fn check_prints_what_a_day_will_use_and_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("monitor.toml");
    std::fs::write(directory.path().join("azure.key"), "azure-sentinel-key\n").unwrap();
    let config = r#"
[monitor]
location = "fra1"
state_dir = "/nonexistent/state"

[budget]
daily_usd = 0.01

[[endpoint]]
provider = "openai"
api_key = "${OPENAI_API_KEY}"
interval = "10s"

[[endpoint]]
provider = "azure-openai"
base_url = "https://example.openai.azure.com"
deployment = "gpt-6-luna"
api_key_file = "azure.key"

[[endpoint]]
name = "local"
provider = "openai-compatible"
base_url = "http://127.0.0.1:8000/v1"
model = "my-own-model"

[[email]]
to = ["oncall@example.com"]
from = "llmwatch@example.com"
smtp = "smtp://user:smtp-sentinel@mail.example.com:587"

[[webhook]]
url = "https://hooks.example.com/services/hook-sentinel"
"#;
    std::fs::write(&file, config).unwrap();
    let (code, stdout, stderr) = llmwatch(&file, &["check"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(!stdout.contains("sentinel") && !stderr.contains("sentinel"), "{stdout}{stderr}");
    assert_snapshot!("plan", stdout);
    let (code, stdout, _) = llmwatch(&file, &["check", "--json"]);
    let plan: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, plan["endpoints"].as_array().map(Vec::len)), (Some(0), Some(3)));
    assert!(!stdout.contains("sentinel"), "{stdout}");
}
