//! Bad configurations, one defect per file, which is named for it. Each is rejected with an error
//! that says what, where and what to do.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;

use insta::assert_snapshot;
use llmwatch_simulator::Scenario;

use crate::support::World;

/// Secrets that no error may show.
const SENTINELS: [&str; 4] = [
    "sentinel4f9c2d7ab1e85",
    "hunter2-sentinel",
    "sentinel-not-a-signing-key",
    "value-of-the-variable",
];

/// Runs `llmwatch -c FILE VERB` in a fixed environment. Returns its exit code, stdout and stderr.
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
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// Starts a server that answers every request with `status`.
fn server(status: &'static str) -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            );
        }
    });
    address
}

#[test]
fn every_bad_file_is_refused_with_place_and_help() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() > 35);
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let (code, stdout, stderr) = llmwatch(&file, &["check"]);
        assert_eq!(code, Some(78), "{name}: {stderr}");
        assert!(stdout.is_empty(), "{name}: errors are talk: {stdout}");
        for sentinel in SENTINELS {
            assert!(
                !stderr.contains(sentinel),
                "{name} gives a secret away: {stderr}"
            );
        }
        assert_snapshot!(name, stderr);
    }
}

#[test]
fn subcommands_that_need_no_secret_run_without_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("monitor.toml");
    let secrets = r#"
        [[email]]
        to = ["oncall@example.com"]
        from = "llmwatch@example.com"
        smtp_credential = "smtp"
        [[webhook]]
        url = "${HOOK_URL}"
        secret_file = "nowhere"
        headers = { authorization = "Bearer ${HOOK_TOKEN}" }
        [[webhook]]
        name = "pager"
        kind = "pagerduty"
        routing_key_credential = "pager"
        [web]
        token_credential = "token"
        [report]
        every = "weekly"
        to = ["email"]
        [[endpoint]]
        provider = "openai"
        api_key_credential = "openai"
        [[endpoint]]
        name = "by-its-file"
        provider = "anthropic"
        api_key_file = "${CREDENTIALS_DIRECTORY}/anthropic"
    "#;
    std::fs::write(
        &file,
        format!(
            "[monitor]\nlisten = \"off\"\nstate_dir = \"{}\"\n{secrets}",
            directory.path().display()
        ),
    )
    .unwrap();
    let (code, _, stderr) = llmwatch(&file, &["check"]);
    assert_eq!(code, Some(78));
    for missing in [
        "smtp_credential",
        "HOOK_URL",
        "nowhere",
        "HOOK_TOKEN",
        "routing_key_credential",
        "api_key_credential",
    ] {
        assert!(stderr.contains(missing), "{missing}: {stderr}");
    }
    let (code, stdout, stderr) = llmwatch(&file, &["check", "--without-secrets"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("pager"), "{stdout}");
    llmwatch::store::Store::open(&directory.path().join("llmwatch.db")).unwrap();
    let copy = directory.path().join("copy.db");
    let backup = ["store", "backup", copy.to_str().unwrap()];
    let verbs: [&[&str]; 6] = [
        &backup,
        &["store", "check"],
        &["incidents"],
        &["report"],
        &["export"],
        &["outbox"],
    ];
    for verb in verbs {
        let (code, _, stderr) = llmwatch(&file, verb);
        assert_eq!(code, Some(0), "{verb:?}: {stderr}");
    }
    assert!(copy.exists());
    let (code, _, stderr) = llmwatch(&file, &["status"]);
    assert_eq!(code, Some(3), "nothing was probed yet: {stderr}");
    assert!(stderr.contains("last recorded state"), "{stderr}");
    // Everything else in the file is checked as usual.
    std::fs::write(&file, format!("{secrets}\n[monitr]")).unwrap();
    let (code, _, stderr) = llmwatch(&file, &["check", "--without-secrets"]);
    assert_eq!(code, Some(78));
    assert!(
        stderr.contains("monitr") && stderr.contains("1 error"),
        "{stderr}"
    );
}

#[test]
fn nothing_starts_on_a_bad_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("monitor.toml");
    let state = directory.path().join("state");
    let bad = format!(
        "[monitor]\nstate_dir = \"{}\"\n\n[[endpoint]]\nprovider = \"nobody\"\n",
        state.display()
    );
    std::fs::write(&file, bad).unwrap();
    let (code, _, stderr) = llmwatch(&file, &["run"]);
    assert_eq!(code, Some(78), "{stderr}");
    assert!(
        stderr.contains("nobody") && stderr.contains("monitor.toml:5:12"),
        "{stderr}"
    );
    assert!(!state.exists(), "not even the state directory was made");
    let (code, _, stderr) = llmwatch(&file, &["probe"]);
    assert_eq!(
        code,
        Some(3),
        "a probe that cannot be made is unknown to a monitoring system: {stderr}"
    );
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
    assert!(
        !stdout.contains("sentinel") && !stderr.contains("sentinel"),
        "{stdout}{stderr}"
    );
    assert_snapshot!("plan", stdout);
    let (code, stdout, _) = llmwatch(&file, &["check", "--json"]);
    let plan: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (code, plan["endpoints"].as_array().map(Vec::len)),
        (Some(0), Some(3))
    );
    assert!(!stdout.contains("sentinel"), "{stdout}");
}

#[test]
fn a_file_that_is_not_utf8_is_refused_at_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("monitor.toml");
    std::fs::write(&file, b"[monitor]\nlocation = \"M\xfcnchen\"\n").unwrap();
    let (code, _, stderr) = llmwatch(&file, &["check"]);
    assert_eq!(code, Some(78));
    assert!(
        stderr.contains("not UTF-8") && stderr.contains("monitor.toml:2"),
        "{stderr}"
    );
}

#[test]
fn unusable_key_file_is_a_bad_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("monitor.toml");
    std::fs::write(directory.path().join("no.pem"), "nothing of the kind\n").unwrap();
    let mail = "[[email]]\nto = [\"a@example.com\"]\nfrom = \"a@example.com\"\nsmtp = \"smtp://127.0.0.1\"\n";
    let signed = format!(
        "{mail}dkim = {{ selector = \"s\", domain = \"example.com\", key_file = \"no.pem\" }}\n"
    );
    for (config, named) in [
        (signed, "no.pem"),
        ("[monitor]\nca_file = \"no.pem\"\n".to_owned(), "ca_file"),
    ] {
        std::fs::write(
            &file,
            format!("{config}\n[store]\nurl = \"sqlite:state.db\"\n"),
        )
        .unwrap();
        let verbs: [&[&str]; 4] = [
            &["check"],
            &["run"],
            &["test-alert"],
            &["check", "--without-secrets"],
        ];
        // The key that signs mails is a secret, which `--without-secrets` skips.
        for verb in &verbs[..if named == "ca_file" { 4 } else { 3 }] {
            let (code, stdout, stderr) = llmwatch(&file, verb);
            assert_eq!(code, Some(78), "{verb:?}: {stderr}");
            assert!(
                stderr.contains(named) && stderr.contains("1 error in monitor.toml"),
                "{verb:?}: {stderr}"
            );
            assert!(stdout.is_empty(), "{verb:?}: {stdout}");
        }
    }
}

#[test]
fn a_key_that_stands_in_a_header_draws_a_warning_too() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("monitor.toml");
    let headers =
        "{ Authorization = \"Bearer sk-sentinel4f9c2d7ab1e85\", api-key = \"${OPENAI_API_KEY}\" }";
    std::fs::write(
        &file,
        format!("[[endpoint]]\nprovider = \"openai\"\nheaders = {headers}\n"),
    )
    .unwrap();
    let (code, stdout, _) = llmwatch(&file, &["check"]);
    assert_eq!(code, Some(0));
    assert!(
        stdout.contains("`Authorization` of `[endpoint.headers]` stands in the file itself"),
        "{stdout}"
    );
    assert!(
        !stdout.contains("`api-key`") && !stdout.contains("sentinel"),
        "{stdout}"
    );
}

#[test]
fn state_dir_follows_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("monitor.toml");
    let place = |config: &str, vars: &[(&str, &str)]| {
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_llmwatch"));
        command
            .args(["-c", "monitor.toml", "check", "--json"])
            .current_dir(directory.path())
            .env_clear();
        let output = command.envs(vars.iter().copied()).output().unwrap();
        let plan = serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap();
        (
            plan["store"].as_str().unwrap().to_owned(),
            plan["warnings"].to_string(),
        )
    };
    let home = ("HOME", "/home/me");
    assert_eq!(
        place("", &[home]).0,
        "/home/me/.local/state/llmwatch/llmwatch.db"
    );
    assert_eq!(
        place("", &[home, ("XDG_STATE_HOME", "/state")]).0,
        "/state/llmwatch/llmwatch.db"
    );
    for nothing in ["", "relative"] {
        assert_eq!(
            place("", &[home, ("XDG_STATE_HOME", nothing)]).0,
            "/home/me/.local/state/llmwatch/llmwatch.db"
        );
    }
    assert_eq!(
        place("", &[home, ("STATE_DIRECTORY", "/var/lib/llmwatch:/x")]).0,
        "/var/lib/llmwatch/llmwatch.db"
    );
    assert!(place("", &[]).1.contains("neither `state_dir` nor $HOME"));
    assert!(
        !place("[monitor]\nstate_dir = \"/s\"\n", &[])
            .1
            .contains("HOME")
    );
}

#[test]
fn empty_llmwatch_config_counts_as_unset() {
    let directory = tempfile::tempdir().unwrap();
    let check = |named: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llmwatch"));
        command
            .arg("check")
            .current_dir(directory.path())
            .env_clear()
            .env("HOME", "/h")
            .env("LLMWATCH_CONFIG", named);
        let output = command.output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    std::fs::write(
        directory.path().join("monitor.toml"),
        "[monitor]\nlocation = \"here\"\n",
    )
    .unwrap();
    std::fs::write(
        directory.path().join("other.toml"),
        "[monitor]\nlocation = \"elsewhere\"\n",
    )
    .unwrap();
    assert!(check("").1.starts_with("location here"));
    assert!(check("other.toml").1.starts_with("location elsewhere"));
}

#[test]
fn a_file_that_is_named_in_the_environment_is_read_or_missed() {
    let directory = tempfile::tempdir().unwrap();
    let samples = directory.path().join("samples");
    std::fs::write(&samples, "").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_llmwatch"));
    command
        .args(["backtest", "--samples"])
        .arg(&samples)
        .current_dir(directory.path())
        .env_clear();
    let output = command
        .env("LLMWATCH_CONFIG", "no-such.toml")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{stderr}");
    assert!(stderr.contains("no-such.toml"), "{stderr}");
}

#[test]
fn a_message_of_ones_own_may_have_several_lines() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("monitor.toml");
    let body = "{\n  \"title\": \"{{data.incident.title}}\"\n}\n";
    std::fs::write(directory.path().join("body.json"), body).unwrap();
    for given in [
        format!("body = '''\n{body}'''"),
        "body_file = \"body.json\"".to_owned(),
    ] {
        let hook =
            format!("[[webhook]]\nkind = \"template\"\nurl = \"http://127.0.0.1:1\"\n{given}\n");
        std::fs::write(&file, hook).unwrap();
        let (code, _, stderr) = llmwatch(&file, &["check"]);
        assert_eq!(code, Some(0), "{given}: {stderr}");
    }
}

#[test]
fn a_daemon_that_wants_a_token_is_not_taken_for_silent() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("monitor.toml");
    let daemon = server("401 Unauthorized");
    let config = format!(
        "[monitor]\nlisten = \"{daemon}\"\nstate_dir = \".\"\n[web]\ntoken_credential = \"token\"\n"
    );
    std::fs::write(&file, config).unwrap();
    llmwatch::store::Store::open(&directory.path().join("llmwatch.db")).unwrap();
    let (_, _, stderr) = llmwatch(&file, &["status"]);
    assert!(
        stderr.contains("requires a token that is not configured here"),
        "{stderr}"
    );
}

#[test]
fn nagios_output_is_on_stdout_even_for_errors() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("monitor.toml");
    std::fs::write(
        &file,
        "[[endpoint]]\nname = \"a\"\nprovider = \"http\"\nbase_url = \"http://127.0.0.1:1\"\n",
    )
    .unwrap();
    let (code, stdout, _) = llmwatch(&file, &["probe", "--nagios", "b"]);
    assert_eq!(
        (code, stdout.as_str()),
        (
            Some(3),
            "LLMWATCH UNKNOWN - unknown endpoint `b`; configured: a\n"
        )
    );
    std::fs::write(&file, "[[endpoint]]\nprovider = \"nobody\"\n").unwrap();
    let (code, stdout, stderr) = llmwatch(&file, &["probe", "--nagios"]);
    assert_eq!(
        (code, stdout.as_str()),
        (Some(3), "LLMWATCH UNKNOWN - unknown provider `nobody`\n")
    );
    assert!(stderr.contains("monitor.toml:2:12"), "{stderr}");
}

#[test]
fn what_cannot_be_written_to_stdout_is_no_success() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("monitor.toml");
    let endpoint = format!(
        "[[endpoint]]\nprovider = \"http\"\nbase_url = \"http://{}\"\n",
        server("200 OK")
    );
    std::fs::write(&file, endpoint).unwrap();
    // The probes succeed, but a monitoring system cannot read the result.
    let verbs: [(&[&str], i32); 4] = [
        (&["check"], 1),
        (&["man"], 1),
        (&["completions", "bash"], 1),
        (&["probe"], 3),
    ];
    for (verb, code) in verbs {
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_llmwatch"));
        let output = command
            .arg("-c")
            .arg(&file)
            .args(verb)
            .stdout(full)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{verb:?}");
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("cannot write to stdout"),
            "{verb:?}"
        );
    }
}

#[test]
fn an_argument_that_is_not_utf8_is_wrong_usage() {
    use std::os::unix::ffi::OsStrExt;
    let odd = std::ffi::OsStr::from_bytes(b"\xff");
    let output = Command::new(env!("CARGO_BIN_EXE_llmwatch"))
        .arg(odd)
        .arg("probe")
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(3),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn test_alert_to_an_unknown_channel_fails() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("monitor.toml");
    std::fs::write(&file, "[[webhook]]\nurl = \"http://127.0.0.1:1\"\n").unwrap();
    let (code, _, stderr) = llmwatch(&file, &["test-alert", "nobody"]);
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("unknown channel `nobody`; configured: webhook"),
        "{stderr}"
    );
}

#[test]
fn included_files_are_merged_and_name_their_own_lines() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "monitor.toml",
        "include = [\"conf.d/*.toml\", \"missing/*.toml\"]\n\
         [monitor]\nlisten = \"off\"\nstate_dir = \"state\"\n\
         [[endpoint]]\nname = \"one\"\nprovider = \"http\"\nbase_url = \"http://127.0.0.1\"\n",
    );
    write(
        "conf.d/10-two.toml",
        "[[endpoint]]\nname = \"two\"\nprovider = \"http\"\nbase_url = \"http://127.0.0.1\"\n\
         [monitor]\ntimezone = \"Europe/Madrid\"\n",
    );
    let file = directory.path().join("monitor.toml");
    let (code, stdout, stderr) = llmwatch(&file, &["check"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("one") && stdout.contains("two"), "{stdout}");
    assert!(
        stdout.contains("`missing/*.toml` matches no file"),
        "{stdout}"
    );

    write(
        "conf.d/20-bad.toml",
        "include = []\n\n[monitor]\nlisten = \"off\"\n",
    );
    let (code, _, stderr) = llmwatch(&file, &["check"]);
    assert_eq!(code, Some(78));
    assert_snapshot!("included_files", stderr);
}

#[test]
fn a_pipe_where_a_file_is_wanted_is_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe.csv");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let shown = pipe.to_str().unwrap();
    let refused = |file: &Path, arguments: &[&str]| {
        let (code, _, stderr) = llmwatch(file, arguments);
        assert_ne!(code, Some(0), "{arguments:?}");
        assert!(
            stderr.contains("not a regular file"),
            "{arguments:?}: {stderr}"
        );
    };
    refused(&pipe, &["check"]);
    let file = directory.path().join("monitor.toml");
    for key in [
        format!("[[endpoint]]\nprovider = \"openai\"\nmodel = \"m\"\napi_key_file = \"{shown}\"\n"),
        format!(
            "[[email]]\nto = [\"a@example.com\"]\nfrom = \"b@example.com\"\n\
             smtp = \"smtp://127.0.0.1\"\ndkim = {{ selector = \"s\", domain = \"example.com\", key_file = \"{shown}\" }}\n"
        ),
        format!(
            "[[endpoint]]\nprovider = \"openai\"\nmodel = \"m\"\napi_key = \"k\"\n\
             client_cert = \"{shown}\"\nclient_key = \"{shown}\"\n"
        ),
        format!("[monitor]\nca_file = \"{shown}\"\n"),
        format!("include = [\"{shown}\"]\n"),
    ] {
        std::fs::write(&file, key).unwrap();
        refused(&file, &["check"]);
    }
    std::fs::write(&file, "").unwrap();
    refused(&file, &["backtest", "--samples", shown]);
    refused(&file, &["simulate", "--scenario", shown]);
}

#[test]
fn the_schema_describes_every_key() {
    let directory = tempfile::tempdir().unwrap();
    let (code, schema, _) = llmwatch(&directory.path().join("monitor.toml"), &["schema"]);
    assert_eq!(code, Some(0));
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    let mut without_text = Vec::new();
    collect_undescribed(&schema, "", &mut without_text);
    assert!(
        without_text.is_empty(),
        "describe these keys in src/config/keys.toml: {without_text:?}"
    );
}

fn collect_undescribed(schema: &serde_json::Value, path: &str, found: &mut Vec<String>) {
    let items = schema
        .get("items")
        .filter(|i| i.get("properties").is_some());
    let object = items.unwrap_or(schema);
    let Some(properties) = object["properties"].as_object() else {
        if schema["description"].as_str().is_none_or(str::is_empty) {
            found.push(path.to_owned());
        }
        return;
    };
    for (key, value) in properties {
        collect_undescribed(value, &format!("{path}.{key}"), found);
    }
}

#[test]
fn the_configuration_reference_matches_the_reader() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["schema", "--format", "markdown"];
    let (_, reference, _) = llmwatch(&directory.path().join("monitor.toml"), &arguments);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    if std::env::var("INSTA_UPDATE").is_ok_and(|v| v == "always") {
        std::fs::write(&file, &reference).unwrap();
    }
    let committed = std::fs::read_to_string(file).unwrap_or_default();
    assert_eq!(
        committed, reference,
        "run `llmwatch schema --format markdown > docs/configuration.md`"
    );
}

#[test]
fn explain_prints_the_value_and_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("monitor.toml");
    let text = r#"[monitor]
listen = "off"
[defaults]
interval = "30s"
[[endpoint]]
name = "chat"
provider = "openai"
api_key = "sentinel4f9c2d7ab1e85"
timeout = { total = "9s" }
"#;
    std::fs::write(&file, text).unwrap();
    let explain = |key: &str| {
        let (code, stdout, stderr) = llmwatch(&file, &["check", "--explain", key]);
        (code, stdout + &stderr)
    };
    let lines = |key: &str| {
        let (code, text) = explain(key);
        assert_eq!(code, Some(0), "{text}");
        text.lines().take(2).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(
        lines("monitor.listen"),
        "monitor.listen = \"off\"\n  set at monitor.toml:2"
    );
    assert_eq!(
        lines("endpoint.chat.interval"),
        "endpoint.chat.interval = \"30s\"\n  set at monitor.toml:4"
    );
    assert_eq!(
        lines("endpoint.chat.timeout.total"),
        "endpoint.chat.timeout.total = \"9s\"\n  set at monitor.toml:9"
    );
    assert_eq!(
        lines("endpoint.chat.api_key"),
        "endpoint.chat.api_key = \"***\"\n  set at monitor.toml:8"
    );
    assert_eq!(
        lines("detection.alert_after"),
        "detection.alert_after is not set\n  default: 90s"
    );
    let (code, text) = explain("endpoint.other.interval");
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("there are: chat"), "{text}");
    let (code, text) = explain("monitor.lisen");
    assert_eq!(code, Some(78), "{text}");
}

#[test]
fn variables_in_the_login_part_of_a_url_are_encoded() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("monitor.toml");
    let text = "[[email]]\nto = [\"a@example.com\"]\nfrom = \"b@example.com\"\n\
                smtp = \"smtps://user:${SMTP_PASSWORD}@mail.example.com\"\n";
    std::fs::write(&file, text).unwrap();
    let vars = [("SMTP_PASSWORD".to_owned(), "p@ss/w?#rd".to_owned())];
    let surroundings = llmwatch::config::Environment {
        vars: vars.into_iter().collect(),
        ..Default::default()
    };
    let settings = llmwatch::config::load(&file, &surroundings).unwrap();
    let llmwatch::config::ChannelKind::Email(email) = &settings.channels[0].kind else {
        panic!("an email channel");
    };
    let (user, password) = email.smtp.credentials.as_ref().unwrap();
    assert_eq!(email.smtp.host, "mail.example.com");
    assert_eq!((user.as_str(), password.expose()), ("user", "p@ss/w?#rd"));
}

#[test]
fn check_warns_about_what_cannot_work() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("monitor.toml");
    std::fs::write(
        directory.path().join("key"),
        "Bearer sentinel4f9c2d7ab1e85\n",
    )
    .unwrap();
    let text = r#"
[monitor]
listen = "0.0.0.0:0"
[budget]
daily_usd = 0
[[endpoint]]
name = "path"
provider = "openai-compatible"
model = "m"
base_url = "http://192.0.2.1/v1/chat/completions"
api_key_file = "key"
slo = 0.999
[[endpoint]]
name = "bare"
provider = "openai-compatible"
model = "m"
base_url = "http://127.0.0.1:9"
body = { messages = [{ role = "user", content = "${OPENAI_API_KEY}" }], n = 1 }
[[endpoint]]
name = "claude"
provider = "anthropic"
base_url = "http://127.0.0.1:9/v1"
api_key = "'sentinel4f9c2d7ab1e85'"
[[endpoint]]
name = "gateway"
provider = "openai-compatible"
model = "m"
base_url = "http://192.0.2.1/v1"
headers = { authorization = "Bearer sentinel4f9c2d7ab1e85" }
[otlp]
endpoint = "http://192.0.2.1/v1/metrics"
headers = { authorization = "Bearer sentinel4f9c2d7ab1e85" }
[heartbeat]
url = "http://192.0.2.1/ping/sentinel4f9c2d7ab1e85"
[[webhook]]
name = "chat"
url = "https://hooks.slack.com/services/T0/B0/sentinel4f9c2d7ab1e85"
[[webhook]]
name = "own"
kind = "template"
url = "https://hooks.example.com/{{data.incident.titel}}"
body = { title = "{{data.incident.title}}", answer = "{{data.incident.evidence.samples.0.answer}}", to = "{{recipient}}" }
[[email]]
to = ["a@example.com"]
from = "b@example.com"
smtp = "smtp://user:hunter2-sentinel@192.0.2.1?tls=none"
"#;
    std::fs::write(&file, text).unwrap();
    let (code, stdout, stderr) = llmwatch(&file, &["check"]);
    assert_eq!(code, Some(0), "{stderr}");
    for sentinel in SENTINELS {
        assert!(!stdout.contains(sentinel), "{stdout}");
    }
    let warnings = stdout
        .split("warning")
        .skip(1)
        .collect::<Vec<_>>()
        .join("warning");
    let warnings = warnings.replace(&*directory.path().to_string_lossy(), "DIR");
    assert_snapshot!("warnings", warnings);
}

#[test]
fn the_readme_states_the_cost_that_check_computes() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let example = readme.split("```toml").nth(1).unwrap();
    let example = example.split("```").next().unwrap().replace("\n   ", "\n");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("monitor.toml");
    std::fs::write(&file, example).unwrap();
    let (code, plan, stderr) = llmwatch(&file, &["check", "--without-secrets", "--json"]);
    assert_eq!(code, Some(0), "{stderr}");
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    let total = |key: &str| plan["total"][key].as_f64().unwrap();
    let tokens = total("tokens_per_day") / total("probes_per_day");
    let cents = total("usd_per_day") * 30.4 * 100.0;
    let sentence = format!("{tokens:.0} tokens a probe; about {cents:.0} cents a month");
    assert!(
        readme.contains(&sentence),
        "the README should say: {sentence}"
    );
}

/// Runs `check` with these arguments. Returns its exit code and what it says.
async fn check(world: &World, arguments: &[&str]) -> (Option<i32>, String) {
    let verb = [&["check"], arguments].concat();
    let output = world.llmwatch(&verb).output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn check_online_fails_only_for_configuration_errors() {
    let world = World::new().await;
    let closed = crate::support::free_port();
    let config = world.endpoints() + &world.email();
    let gone = world.mail.addr().to_string();
    world.write(&config.replace(&gone, &format!("127.0.0.1:{closed}")));
    world.openai.set_scenario(rule("openai_503"));
    let (code, text) = check(&world, &["--online"]).await;
    assert_eq!(code, Some(0), "{text}");
    for said in [
        "endpoint openai-chat: failing now",
        "channel oncall: unreachable: the mail server refuses connections",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }

    world.write(&config);
    world.openai.set_scenario(rule("openai_401"));
    let (code, text) = check(&world, &["--online"]).await;
    assert_eq!(code, Some(78), "{text}");
    for said in [
        "endpoint openai-chat: rejected: API key rejected",
        "channel oncall: reachable",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

fn rule(fault: &str) -> Scenario {
    let rule = format!("[[rule]]\npath = \"/v1/*\"\nfault = \"{fault}\"\n");
    Scenario::parse(&rule).unwrap()
}

#[tokio::test]
async fn check_refuses_the_store_of_a_newer_release_as_run_does() {
    let world = World::new().await;
    world.write(&world.endpoints());
    drop(llmwatch::store::Store::open(&world.store()).unwrap());
    let store = rusqlite::Connection::open(world.store()).unwrap();
    store.pragma_update(None, "user_version", 99).unwrap();
    for arguments in [&[][..], &["--online"], &["--without-secrets"]] {
        let (code, text) = check(&world, arguments).await;
        assert_eq!(code, Some(78), "{text}");
        assert!(text.contains("has version 99"), "{text}");
    }
}
