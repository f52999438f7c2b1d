//! Tests that captured documents are interpreted as their vendors intend.

use proptest::prelude::*;

use serde_json::Value;

use super::*;
use crate::model::Timestamp;

const ADDRESS: &str = "https://status.example.com/feed";

macro_rules! captured {
    ($name:literal) => {
        include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/fixtures/status/",
            $name
        ))
    };
}

fn all(kind: FeedKind, body: &[u8]) -> VendorPage {
    read(kind, body, None, &[], ADDRESS).unwrap()
}

fn only(kind: FeedKind, body: &[u8], wanted: &[&str]) -> VendorPage {
    let wanted: Vec<_> = wanted.iter().map(|w| (*w).to_owned()).collect();
    read(kind, body, None, &wanted, ADDRESS).unwrap()
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

#[test]
fn statuspage_lists_components_and_incidents() {
    use FeedKind::Statuspage;
    let status = |body: &[u8]| all(Statuspage, body).status;
    assert_eq!(
        status(captured!("statuspage_summary_operational.json")),
        Status::Operational
    );
    assert_eq!(
        status(captured!("statuspage_summary_maintenance.json")),
        Status::Maintenance
    );
    assert_eq!(
        status(captured!("statuspage_summary_degraded.json")),
        Status::Degraded
    );
    assert_eq!(
        status(captured!("statuspage_summary_major.json")),
        Status::Outage
    );

    let page = all(Statuspage, captured!("statuspage_summary_degraded.json"));
    assert_eq!(page.url, "https://status.claude.com");
    let [incident] = page.incidents.as_slice() else {
        panic!("{page:?}")
    };
    assert_eq!(
        (
            incident.name.as_str(),
            incident.phase.as_str(),
            incident.url.as_deref()
        ),
        (
            "Elevated errors on the Claude API",
            "investigating",
            Some("https://stspg.io/example")
        )
    );
    assert_eq!(incident.published_at.unwrap(), at("2026-11-23T11:31:00Z"));
    assert_eq!(incident.components, ["Claude API (api.anthropic.com)"]);

    let api = only(
        Statuspage,
        captured!("statuspage_summary_major.json"),
        &["api.anthropic.com"],
    );
    assert_eq!((api.status, api.incidents.len()), (Status::Outage, 1));
    let chat = only(
        Statuspage,
        captured!("statuspage_summary_major.json"),
        &["claude.ai"],
    );
    assert_eq!(
        (chat.status, chat.incidents.len()),
        (Status::Operational, 0),
        "somebody else's trouble"
    );
}

#[test]
fn incident_io_simulation_has_null_lists_and_ulids() {
    use FeedKind::IncidentIo;
    let well = all(
        IncidentIo,
        captured!("incidentio_compat_summary_operational.json"),
    );
    assert_eq!(
        (well.status, well.incidents.len()),
        (Status::Operational, 0)
    );

    let page = all(
        IncidentIo,
        captured!("incidentio_compat_summary_degraded.json"),
    );
    assert_eq!(page.status, Status::Degraded);
    assert_eq!(page.incidents[0].name, "Elevated error rates for the API");
    let url = page.incidents[0].url.as_deref();
    assert_eq!(
        url,
        Some("https://status.openai.com/incidents/01KEXAMPLE0000000000000001")
    );
    let chat = only(
        IncidentIo,
        captured!("incidentio_compat_summary_degraded.json"),
        &["Chat Completions"],
    );
    assert_eq!(
        (chat.status, chat.incidents.len()),
        (Status::Degraded, 1),
        "it does not say whom it concerns"
    );
    let embeddings = only(
        IncidentIo,
        captured!("incidentio_compat_summary_degraded.json"),
        &["Embeddings"],
    );
    assert_eq!(
        (embeddings.status, embeddings.incidents.len()),
        (Status::Operational, 0)
    );

    let past = all(IncidentIo, captured!("incidentio_compat_incidents.json"));
    assert_eq!(
        (past.status, past.incidents.len()),
        (Status::Operational, 0),
        "it is resolved"
    );
    let text = String::from_utf8_lossy(captured!("incidentio_compat_incidents.json"));
    let open = text.replace(
        "\"resolved_at\": \"2026-09-23T09:54:16Z\"",
        "\"resolved_at\": null",
    );
    let open = open.replacen("\"status\": \"resolved\"", "\"status\": \"monitoring\"", 1);
    let open = open.replace(
        "\"created_at\": \"2026-09-23T09:13:00Z\"",
        "\"created_at\": \"2026-09-23T08:00:00Z\"",
    );
    let page = all(IncidentIo, open.as_bytes());
    assert_eq!(
        page.incidents[0].published_at.unwrap(),
        at("2026-09-23T09:13:00.673Z"),
        "the id carries the time, a start is dated back"
    );
}

#[test]
fn components_missing_in_the_summary_come_from_the_list() {
    let summary = br#"{"page":{"url":"https://status.openai.com/"},"status":{"indicator":"none"},
        "components":[{"id":"1","name":"Responses","status":"operational"}],"incidents":null}"#;
    let list = br#"{"components":[{"id":"2","name":"Batch","status":"full_outage"}]}"#;
    let page = read(
        FeedKind::IncidentIo,
        summary,
        Some(list),
        &["Batch".to_owned()],
        ADDRESS,
    )
    .unwrap();
    assert_eq!(page.status, Status::Outage);
    let page = read(
        FeedKind::IncidentIo,
        summary,
        Some(b"<html>"),
        &["Batch".to_owned()],
        ADDRESS,
    )
    .unwrap();
    assert_eq!(
        page.status,
        Status::Operational,
        "a list that cannot be read is none"
    );
}

#[test]
fn an_open_incident_counts_although_the_indicator_says_none() {
    let body = br#"{"page":{},"status":{"indicator":"none"},"components":[],
        "incidents":[{"id":"a","name":"Errors","status":"investigating","impact":"critical","created_at":"2026-11-23T11:31:00Z"}]}"#;
    let page = all(FeedKind::Statuspage, body);
    assert_eq!((page.status, page.url.as_str()), (Status::Outage, ADDRESS));
}

#[test]
fn incident_io_feed_dates_the_publishing() {
    let body = captured!("incidentio_proxy_summary_degraded.json");
    let page = all(FeedKind::IncidentIo, body);
    assert_eq!(page.status, Status::Degraded);
    let [incident] = page.incidents.as_slice() else {
        panic!("{page:?}")
    };
    assert_eq!(
        incident.published_at.unwrap(),
        at("2026-11-23T11:31:00.123Z"),
        "and not 11:02, when it began"
    );
    assert_eq!(incident.components, ["Chat Completions", "Responses"]);
    let of = |wanted: &str| only(FeedKind::IncidentIo, body, &[wanted]).incidents.len();
    assert_eq!(
        (of("Responses"), of("APIs"), of("ChatGPT"), of("Embeddings")),
        (1, 1, 0, 0),
        "a group is meant too"
    );
    let worse = String::from_utf8_lossy(body).replace("partial_outage", "full_outage");
    assert_eq!(
        all(FeedKind::IncidentIo, worse.as_bytes()).status,
        Status::Outage
    );
}

#[test]
fn azure_feed_is_empty_when_operational() {
    let body = captured!("azure_status_feed_active.xml");
    let page = only(FeedKind::AzureRss, body, &["OpenAI"]);
    assert_eq!(
        (page.status, page.url.as_str()),
        (
            Status::Degraded,
            "https://azure.status.microsoft/en-us/status/"
        )
    );
    let [incident] = page.incidents.as_slice() else {
        panic!("{page:?}")
    };
    assert_eq!(
        (incident.id.as_str(), incident.phase.as_str()),
        ("ABCD-123", "investigating")
    );
    assert_eq!(incident.published_at.unwrap(), at("2026-11-23T11:40:00Z"));
    assert_eq!(
        incident.components,
        ["Azure OpenAI Service", "Sweden Central"]
    );
    assert!(
        only(FeedKind::AzureRss, body, &["Front Door"])
            .incidents
            .is_empty()
    );

    let quiet = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><rss version=\"2.0\"><channel><title>Azure Status</title></channel></rss>";
    let page = all(FeedKind::AzureRss, quiet.as_bytes());
    assert_eq!(
        (page.status, page.incidents.len()),
        (Status::Operational, 0)
    );
}

#[test]
fn google_list_includes_past_incidents() {
    let body = captured!("gcloud_incidents.json");
    let address = "https://status.cloud.google.com/incidents.json";
    let page = read(
        FeedKind::GoogleCloud,
        body,
        None,
        &["Z0FZJAMvEB4j3NbCJs6B".to_owned()],
        address,
    )
    .unwrap();
    assert_eq!((page.status, page.incidents.len()), (Status::Degraded, 1));
    assert_eq!(
        page.incidents[0].published_at.unwrap(),
        at("2026-11-23T11:20:00Z"),
        "and not 11:00, when it began"
    );
    let url = page.incidents[0].url.as_deref();
    assert_eq!(
        url,
        Some("https://status.cloud.google.com/incidents/live0000000000000001")
    );
    assert!(
        only(FeedKind::GoogleCloud, body, &["Cloud Spanner"])
            .incidents
            .is_empty()
    );
    let text = String::from_utf8_lossy(body);
    let over = text.replace("\"end\": null", "\"end\": \"2026-11-23T12:00:00+00:00\"");
    assert!(
        all(FeedKind::GoogleCloud, over.as_bytes())
            .incidents
            .is_empty()
    );
    let available = text.replace(
        "\"status\": \"SERVICE_DISRUPTION\"",
        "\"status\": \"AVAILABLE\"",
    );
    assert!(
        all(FeedKind::GoogleCloud, available.as_bytes())
            .incidents
            .is_empty(),
        "the last update says it is over"
    );
}

#[test]
fn what_is_no_status_document_is_refused_and_never_well() {
    let challenge = b"<html><title>Just a moment...</title></html>";
    for kind in [
        FeedKind::Statuspage,
        FeedKind::IncidentIo,
        FeedKind::GoogleCloud,
        FeedKind::AzureRss,
    ] {
        let why = read(kind, challenge, None, &[], ADDRESS).unwrap_err();
        assert!(
            matches!(
                why,
                Unreadable::Syntax("JSON") | Unreadable::Shape("an RSS feed")
            ),
            "{kind:?}: {why}"
        );
        assert!(read(kind, b"", None, &[], ADDRESS).is_err());
    }
    assert!(
        read(
            FeedKind::Statuspage,
            b"{\"error\":\"gone\"}",
            None,
            &[],
            ADDRESS
        )
        .is_err()
    );
    assert!(read(FeedKind::GoogleCloud, b"{}", None, &[], ADDRESS).is_err());
    let bomb = "<!DOCTYPE a [<!ENTITY x \"y\">]><rss><channel><title>&x;</title></channel></rss>";
    assert!(read(FeedKind::AzureRss, bomb.as_bytes(), None, &[], ADDRESS).is_err());
}

#[test]
fn a_link_from_a_page_is_a_web_address_or_none() {
    let body =
        br#"{"page":{"url":"javascript:alert(1)"},"incidents":[{"id":"a","name":"a\u0000\nb","status":"identified",
        "impact":"minor","shortlink":"javascript:alert(1)"}]}"#;
    let page = all(FeedKind::Statuspage, body);
    assert_eq!(
        (page.url.as_str(), page.incidents[0].url.as_deref()),
        (ADDRESS, None)
    );
    assert_eq!(page.incidents[0].name, "a b");
}

#[test]
fn what_is_kept_of_a_page_is_bounded() {
    let long = "x".repeat(5000);
    let component = format!(r#"{{"id":"{long}","name":"{long}","status":"major_outage"}}"#);
    let components = vec![component; 100].join(",");
    let incident = format!(
        r#"{{"id":"{long}","name":"{long}","status":"{long}","impact":"major","shortlink":"https://a.test/{long}",
        "components":[{{"id":"1","name":"a"}},{{"id":"2","name":"b"}}],"incident_updates":[{{"affected_components":[{}]}}]}}"#,
        (0..100)
            .map(|n| format!(r#"{{"code":"c{n}","name":"{n}"}}"#))
            .collect::<Vec<_>>()
            .join(",")
    );
    let incidents = vec![incident; 100].join(",");
    let body = format!(r#"{{"page":null,"components":[{components}],"incidents":[{incidents}]}}"#);
    let page = all(FeedKind::Statuspage, body.as_bytes());
    assert_eq!(page.incidents.len(), MAX_INCIDENTS);
    let first = &page.incidents[0];
    assert_eq!(first.id.len(), MAX_ID);
    assert_eq!(first.name.len(), MAX_NAME);
    assert_eq!(first.phase.len(), MAX_PHASE);
    assert_eq!(first.url, None);
    assert_eq!(first.components.len(), MAX_COMPONENTS);
    let kept = serde_json::to_string(&page).unwrap().len();
    assert!(kept < 400 * 1024, "{kept} bytes");
}

#[test]
fn deep_and_wide_json_is_read_in_linear_time() {
    let deep = "[".repeat(MAX_JSON_BYTES);
    assert!(read(FeedKind::Statuspage, deep.as_bytes(), None, &[], ADDRESS).is_err());
    let inside = format!(
        r#"{{"status":{{}},"x":{}{}}}"#,
        "[".repeat(120),
        "]".repeat(120)
    );
    assert!(read(FeedKind::Statuspage, inside.as_bytes(), None, &[], ADDRESS).is_ok());
    let keys: String = (0..100_000).map(|n| format!("\"k{n}\":0,")).collect();
    let wide = format!(r#"{{{keys}"status":{{"indicator":"none"}}}}"#);
    assert!(read(FeedKind::Statuspage, wide.as_bytes(), None, &[], ADDRESS).is_ok());
}

const KINDS: [FeedKind; 8] = [
    FeedKind::Statuspage,
    FeedKind::IncidentIo,
    FeedKind::GoogleCloud,
    FeedKind::AzureRss,
    FeedKind::Instatus,
    FeedKind::BetterStack,
    FeedKind::Rss,
    FeedKind::AwsHealth,
];

#[test]
fn instatus_lists_current_incidents() {
    let body = br#"{"page":{"name":"Mistral","url":"https://status.mistral.ai","status":"HASISSUES"},
        "activeIncidents":[{"id":"cl1","name":"Chat completions are failing","started":"2026-11-23T11:31:00Z",
          "status":"IDENTIFIED","impact":"MAJOROUTAGE","url":"https://status.mistral.ai/cl1"}],
        "activeMaintenances":[]}"#;
    let page = only(FeedKind::Instatus, body, &["API"]);
    assert_eq!(page.status, Status::Outage);
    assert_eq!(page.incidents[0].phase, "identified");
    assert_eq!(
        page.incidents[0].published_at,
        Timestamp::parse("2026-11-23T11:31:00Z").ok()
    );
    let well = br#"{"page":{"name":"Mistral","url":"https://status.mistral.ai","status":"UP"}}"#;
    assert_eq!(all(FeedKind::Instatus, well).status, Status::Operational);
    assert!(read(FeedKind::Instatus, b"{}", None, &[], ADDRESS).is_err());
}

#[test]
fn better_stack_says_which_resources_are_concerned() {
    let body = br#"{"data":{"id":"1","type":"status_page","attributes":{"aggregate_state":"degraded","custom_domain":"status.together.ai"}},
        "included":[
          {"id":"10","type":"status_page_resource","attributes":{"public_name":"Inference API","status":"degraded"}},
          {"id":"11","type":"status_page_resource","attributes":{"public_name":"Website","status":"operational"}},
          {"id":"20","type":"status_report","attributes":{"title":"Slow answers","report_type":"manual","starts_at":"2026-11-23T11:31:00.000Z",
            "ends_at":null,"aggregate_state":"degraded","affected_resources":[{"status_page_resource_id":"10","status":"degraded"}]}},
          {"id":"21","type":"status_report","attributes":{"title":"Over","starts_at":"2026-11-22T11:31:00.000Z","ends_at":"2026-11-22T12:00:00.000Z",
            "affected_resources":[]}}]}"#;
    let page = all(FeedKind::BetterStack, body);
    assert_eq!(
        (page.status, page.incidents.len(), page.url.as_str()),
        (Status::Degraded, 1, "https://status.together.ai")
    );
    assert_eq!(page.incidents[0].components, ["Inference API"]);
    let page = only(FeedKind::BetterStack, body, &["Website"]);
    assert_eq!(
        (page.status, page.incidents.len()),
        (Status::Operational, 0)
    );
    assert!(read(FeedKind::BetterStack, b"{}", None, &[], ADDRESS).is_err());
}

#[test]
fn feeds_of_any_page_are_read_in_rss_and_atom() {
    let rss = "<rss><channel><link>https://status.x.ai</link>\
        <item><title>API: elevated errors</title><guid>g2</guid><link>https://status.x.ai/2</link>\
          <pubDate>Mon, 23 Nov 2026 11:40:00 +0000</pubDate><description>&lt;p&gt;Investigating - We are looking.&lt;/p&gt;</description></item>\
        <item><title>API outage</title><guid>g1</guid><pubDate>Mon, 23 Nov 2026 09:40:00 +0000</pubDate>\
          <description>&lt;strong&gt;Resolved&lt;/strong&gt; - It works.</description></item>\
        <item><title>Long ago</title><guid>g0</guid><pubDate>Mon, 02 Nov 2026 09:40:00 +0000</pubDate></item></channel></rss>";
    let page = all(FeedKind::Rss, rss.as_bytes());
    assert_eq!(page.incidents.len(), 1, "{page:?}");
    assert_eq!(
        (page.status, page.url.as_str()),
        (Status::Degraded, "https://status.x.ai")
    );
    let atom = "<feed xmlns=\"http://www.w3.org/2005/Atom\"><title>Status</title><link rel=\"self\" href=\"https://a.test/feed\"/>\
        <link href=\"https://a.test/\"/><entry><title>Major outage</title><id>tag:1</id><link href=\"https://a.test/1\"/>\
        <published>2026-11-23T11:40:00Z</published><updated>2026-11-23T11:50:00Z</updated><content>Investigating</content></entry></feed>";
    let page = all(FeedKind::Rss, atom.as_bytes());
    assert_eq!(
        (page.status, page.url.as_str()),
        (Status::Outage, "https://a.test/")
    );
    assert_eq!(page.incidents[0].url.as_deref(), Some("https://a.test/1"));
    assert_eq!(
        page.incidents[0].published_at,
        Timestamp::parse("2026-11-23T11:40:00Z").ok()
    );
}

#[test]
fn aws_health_is_read_in_utf_16() {
    let text = r#"[{"arn":"arn:aws:health:us-east-1::event/MULTIPLE/1","date":"1795433460","region_name":"N. Virginia","status":"2",
        "service":"multipleservices-us-east-1","service_name":"Multiple services","summary":"Increased Error Rates",
        "event_log":[{"summary":"Increased Error Rates","message":"We are investigating.","status":2,"timestamp":1795433460}],
        "impacted_services":{"bedrock-us-east-1":{"service_name":"Amazon Bedrock","current":"3","max":"3"},
          "ec2-us-east-1":{"service_name":"Amazon EC2","current":"1","max":"2"}}}]"#;
    let utf16: Vec<u8> = [0xfe, 0xff]
        .into_iter()
        .chain(text.encode_utf16().flat_map(u16::to_be_bytes))
        .collect();
    let page = only(FeedKind::AwsHealth, &utf16, &["bedrock"]);
    assert_eq!(page.status, Status::Outage);
    assert_eq!(
        page.incidents[0].components,
        ["Amazon Bedrock", "N. Virginia"]
    );
    assert_eq!(
        page.incidents[0].published_at,
        Some(Timestamp(1_795_433_460_000))
    );
    assert!(
        only(FeedKind::AwsHealth, &utf16, &["lambda"])
            .incidents
            .is_empty()
    );
    assert_eq!(all(FeedKind::AwsHealth, b"[]").status, Status::Operational);
}

/// Generates JSON of any shape, with the keys that the parsers look for.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[0-9A-Za-zé :_-]{0,30}".prop_map(Value::from),
        Just(Value::from("2026-11-23T11:31:00Z")),
    ];
    let key = prop::sample::select(vec![
        "summary",
        "event_log",
        "impacted_services",
        "attributes",
        "included",
        "activeIncidents",
        "page",
        "page",
        "url",
        "status",
        "indicator",
        "components",
        "incidents",
        "id",
        "name",
        "impact",
        "created_at",
        "incident_updates",
        "affected_components",
        "ongoing_incidents",
        "component_id",
        "structure",
        "items",
        "group",
        "end",
        "updates",
        "most_recent_update",
        "affected_products",
        "title",
        "uri",
        "scheduled_maintenances",
    ]);
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|pairs| pairs
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect::<serde_json::Map<_, _>>()
                .into()),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        for kind in KINDS {
            let _ = read(kind, &body, Some(&body), &["a".to_owned()], ADDRESS);
        }
    }

    #[test]
    fn no_json_makes_a_reader_panic(value in any_json(), wanted in prop::collection::vec("[a-zA-Z]{0,5}", 0..2)) {
        let body = value.to_string();
        for kind in KINDS {
            let _ = read(kind, body.as_bytes(), Some(body.as_bytes()), &wanted, ADDRESS);
        }
    }

    #[test]
    fn no_xml_makes_the_reader_panic(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "<feed>", "</feed>", "<entry>", "</entry>", "<rss>", "</rss>", "<channel>", "</channel>", "<item>", "</item>", "<title>", "</title>", "<guid>",
                "</guid>", "<pubDate>", "</pubDate>", "Mon, 23 Nov 2026 11:40:00 Z", "<![CDATA[", "]]>", "&lt;", "&#0;", " - ",
            ]),
            0..30,
        )
    ) {
        let body = parts.concat();
        for kind in [FeedKind::AzureRss, FeedKind::Rss] {
            let _ = read(kind, body.as_bytes(), None, &[], ADDRESS);
        }
    }
}
