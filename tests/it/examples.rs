//! Runs the examples of docs/routing.md exactly as printed there.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::support::{PATIENCE, World, eventually, skipped};

include!("../../docs/examples/route.rs");

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs/examples")
        .join(name);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_documentation_shows_the_examples_as_they_are() {
    let providers = include_str!("../../docs/providers.md");
    assert!(providers.contains(example("products.toml").trim_end()));
    let page = include_str!("../../docs/routing.md");
    for name in [
        "route.py",
        "route.mjs",
        "route.go",
        "route.rs",
        "litellm_routing.py",
        "litellm_proxy.py",
    ] {
        assert!(
            page.contains(example(name).trim_end()),
            "docs/routing.md differs from {name}"
        );
    }
}

/// Writes a program that prints the choice, given the address.
fn program(language: &str, directory: &Path) -> (PathBuf, String) {
    let (name, text) = match language {
        "python3" => (
            "main.py",
            example("route.py")
                + "\nimport sys\nprint(best({'openai-chat': 'openai-chat', 'azure-chat': 'azure-chat'}, 'azure-chat', sys.argv[1]))\n",
        ),
        "node" => (
            "main.mjs",
            example("route.mjs")
                + "\nconst clients = { 'openai-chat': 'openai-chat', 'azure-chat': 'azure-chat' };\n\
                   console.log(await best(clients, 'azure-chat', process.argv[2]));\n",
        ),
        _ => (
            "main.go",
            "package main\n\nimport (\n\t\"fmt\"\n\t\"io\"\n\t\"net/http\"\n\t\"os\"\n\t\"strings\"\n\t\"time\"\n)\n\n".to_owned()
                + &example("route.go")
                + "\nfunc main() { fmt.Println(Best(os.Args[1], \"azure-chat\")) }\n",
        ),
    };
    (directory.join(name), text)
}

fn run(language: &str, url: &str) -> Option<Output> {
    let directory = tempfile::tempdir().unwrap();
    let (path, text) = program(language, directory.path());
    std::fs::write(&path, text).unwrap();
    let mut command = std::process::Command::new(language);
    if language == "go" {
        command
            .arg("run")
            .env("GOCACHE", directory.path().join("cache"));
    }
    command.arg(&path).arg(url).output().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_follow_the_route_and_survive_without_it() {
    let world = World::new().await;
    let config = world
        .endpoints()
        .replace("listen = \"off\"", "listen = \"127.0.0.1:0\"");
    world.write(&config);
    let outage = "[[rule]]\npath = \"/*\"\nfault = \"openai_503\"\n";
    world
        .azure
        .set_scenario(llmwatch_simulator::Scenario::parse(outage).unwrap());
    let mut daemon = world.run();
    let listening = daemon.event("web.listening").await;
    let address = listening["address"].as_str().unwrap().to_owned();
    daemon.event("incident.opened").await;
    let url = format!("http://{address}/api/v1/route?group=chat&format=text");
    let nowhere = "http://127.0.0.1:1/";
    for language in ["python3", "node", "go"] {
        if run(language, nowhere).is_none() {
            skipped(
                "an example of docs/routing.md",
                &format!("no {language} here"),
            );
            continue;
        }
        // Each times out quickly, which on a busy machine may be before it has started.
        eventually("the example follows the route", || {
            let output = run(language, &url)?;
            let choice = String::from_utf8_lossy(&output.stdout).into_owned();
            (choice.trim() == "openai-chat").then_some(())
        })
        .await;
        let output = run(language, nowhere).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            "azure-chat",
            "{language}: {output:?}"
        );
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while best(&client, &url, "azure-chat").await != "openai-chat" {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the route is not followed"
        );
    }
    assert_eq!(best(&client, nowhere, "azure-chat").await, "azure-chat");
    assert_eq!(daemon.stop().await, Some(0));
}

/// The recipe for a product and for an application that depends on a vendor, with simulated hosts.
#[tokio::test(flavor = "multi_thread")]
async fn the_recipe_for_products_finds_one_cause() {
    let world = World::new().await;
    let (vendor, product) = (world.openai.addr(), world.azure.addr());
    let recipe = example("products.toml")
        .replace(
            "provider = \"openai\"\n",
            &format!("provider = \"openai\"\nbase_url = \"http://{vendor}/v1\"\n"),
        )
        .replace("https://chatgpt.com", &format!("http://{product}/product"))
        .replace("https://status.openai.com", &format!("http://{product}"))
        .replace("https://app.example.com", &format!("http://{vendor}"));
    let own = world.endpoints();
    let (head, _) = own.split_once("[[endpoint]]").unwrap();
    world.write(&(head.to_owned() + &recipe));
    // The product shows its front end's challenge, and its page an incident.
    let troubled = "[[rule]]\npath = \"/product\"\nfault = \"cloudflare_403_challenge\"\n\
                    [[status_page]]\ncomponent = \"ChatGPT\"\nstatus = \"partial_outage\"\nincident = \"Conversations fail\"\n";
    world
        .azure
        .set_scenario(llmwatch_simulator::Scenario::parse(troubled).unwrap());
    let mut daemon = world.run_with(&[("OPENAI_API_KEY", "k")]);
    let page = daemon.event("feed.changed").await;
    assert!(page.to_string().contains("Conversations fail"), "{page}");
    daemon
        .good_probes(&["openai-chat", "chatgpt", "assistant"])
        .await;

    let api = "[[rule]]\npath = \"/v1/*\"\nfault = \"openai_503\"\n";
    let all = "[[rule]]\npath = \"/*\"\nfault = \"openai_503\"\n";
    world
        .openai
        .set_scenario(llmwatch_simulator::Scenario::parse(api).unwrap());
    let opened = daemon.event("incident.opened").await;
    assert_eq!(opened["provider"], "openai", "{opened}");
    world
        .openai
        .set_scenario(llmwatch_simulator::Scenario::parse(all).unwrap());
    let explained = || {
        let data: String = world.query("SELECT data FROM incident WHERE number = 1");
        let incident: serde_json::Value = serde_json::from_str(&data).unwrap();
        (incident["explains"] == serde_json::json!(["assistant"])).then_some(())
    };
    eventually("the application's failure is explained", explained).await;
    let incidents: i64 = world.query("SELECT count(*) FROM incident");
    assert_eq!(incidents, 1, "one cause");
    assert_eq!(daemon.stop().await, Some(0));
}
