//! Tests of the module `connectivity`.

use super::*;

/// Endpoints of servers at these addresses.
fn endpoints(base_urls: &[&str]) -> Vec<Arc<Endpoint>> {
    let tables = base_urls.iter().map(|url| {
        format!(
            "[[endpoint]]\nprovider = \"openai-compatible\"\nmodel = \"m\"\nname = \"{}\"\nbase_url = \"{url}\"\n",
            url.trim_matches(|c: char| !c.is_ascii_alphanumeric()).replace(['/', ':', '.'], "-"),
        )
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("monitor.toml");
    std::fs::write(&file, tables.collect::<String>()).unwrap();
    let settings = crate::config::load(&file, &crate::config::Environment::default());
    settings.unwrap_or_else(|e| panic!("{e}")).endpoints.clone()
}

#[tokio::test]
async fn a_dns_failure_with_no_unrelated_name_proves_nothing() {
    let endpoints = endpoints(&[
        "https://llm.invalid/v1",
        "https://eu.llm.invalid/v1",
        "http://localhost:9/v1",
    ]);
    let checks = ConnectivityChecks::new(&[], &endpoints);
    let own = &endpoints[0];
    assert_eq!(
        checks.unrelated_hosts("llm.invalid", &own.domain()),
        [""; 0]
    );
    assert_eq!(checks.ask_about(own, Fault::LocalDns).await, None);
}

#[tokio::test]
async fn a_dns_failure_is_local_while_unrelated_names_fail_too() {
    let endpoints = endpoints(&["https://llm.invalid/v1", "https://another.invalid/v1"]);
    let check = ConnectivityCheck {
        url: "tcp://127.0.0.1:1".parse().unwrap(),
        name: Some("check.invalid".to_owned()),
    };
    let checks = ConnectivityChecks::new(&[check], &endpoints);
    assert!(!checks.zone_is_broken(&endpoints[0]).await);
}

#[tokio::test]
async fn a_name_that_fails_while_unrelated_ones_resolve_is_broken() {
    // `localhost` resolves everywhere; here it stands in for another provider's host.
    let endpoints = endpoints(&["https://llm.invalid/v1"]);
    let own = &endpoints[0];
    let mut checks = ConnectivityChecks::new(&[], &endpoints);
    checks.hosts.push(("localhost".to_owned(), "x".into()));
    assert!(checks.zone_is_broken(own).await);
    let reach = checks.ask_about(own, Fault::LocalDns).await;
    assert!(reach.is_some_and(|reach| reach.by_name));
}

#[tokio::test]
async fn one_answering_check_is_enough() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let ask = |urls: Vec<String>| async move {
        let checks: Vec<_> = urls
            .iter()
            .map(|u| ConnectivityCheck {
                name: None,
                url: u.parse().unwrap(),
            })
            .collect();
        ConnectivityChecks::new(&checks, &[]).ask().await
    };
    let dead = "tcp://127.0.0.1:1".to_owned();
    let by_address = format!("tcp://127.0.0.1:{port}");
    let by_name = format!("tcp://localhost:{port}");
    assert_eq!(ask(vec![]).await, None);
    assert_eq!(
        ask(vec![dead.clone()]).await,
        Some(ConnectivityCheckResult {
            any: false,
            by_name: false
        })
    );
    assert_eq!(
        ask(vec![dead.clone(), by_address]).await,
        Some(ConnectivityCheckResult {
            any: true,
            by_name: false
        })
    );
    assert_eq!(
        ask(vec![dead, by_name]).await,
        Some(ConnectivityCheckResult {
            any: true,
            by_name: true
        })
    );
}
