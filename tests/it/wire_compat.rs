//! Responses that no fixture contains, allowed by the vendors' error tables and the formats' rules.
//! Each is read in pieces of one, seven and 4096 bytes.

use hyper::{HeaderMap, Version};

use llmwatch::config::{self, Environment};
use llmwatch_core::model::{Endpoint, Fault, Timestamp, Warning};
use llmwatch_core::protocol::dialect::Dialect;
use llmwatch_core::protocol::response::{ResponseOutcome, ResponseReader};
use llmwatch_core::protocol::response_head as head;

const OPENAI: &str = "provider = \"openai\"";
const RESPONSES: &str = "provider = \"openai\"\napi = \"responses\"";
const AZURE: &str = "provider = \"azure-openai\"\ndeployment = \"d\"";
const ANTHROPIC: &str = "provider = \"anthropic\"";
const GEMINI: &str = "provider = \"gemini\"";
const COMPATIBLE: &str = "provider = \"openai-compatible\"\nmodel = \"m\"";
const OLLAMA: &str = "provider = \"openai-compatible\"\napi = \"ollama\"\nmodel = \"m\"";
const EMBEDDINGS: &str = "provider = \"openai\"\napi = \"embeddings\"";
const MODELS: &str = "provider = \"openai\"\napi = \"models\"";

fn endpoint(keys: &str) -> Endpoint {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("monitor.toml");
    std::fs::write(
        &path,
        format!("[[endpoint]]\n{keys}\nbase_url = \"http://127.0.0.1:1/v1\"\n"),
    )
    .unwrap();
    (*config::load(&path, &Environment::default())
        .unwrap()
        .endpoints[0])
        .clone()
}

fn outcome(
    keys: &str,
    status: u16,
    headers: &[(&'static str, &'static str)],
    body: &[u8],
) -> ResponseOutcome {
    let endpoint = endpoint(keys);
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect();
    let read = |piece: usize| {
        let head = head::read(status, Version::HTTP_11, &headers, Timestamp(0));
        let mut exchange = ResponseReader::new(&endpoint, Dialect::of(&endpoint), head);
        body.chunks(piece).for_each(|part| exchange.take(part, 1.0));
        exchange.end(2.0);
        exchange.outcome()
    };
    let outcome = read(4096);
    assert_eq!(
        outcome,
        read(1),
        "{keys}: {}",
        String::from_utf8_lossy(body)
    );
    assert_eq!(
        outcome,
        read(7),
        "{keys}: {}",
        String::from_utf8_lossy(body)
    );
    outcome
}

#[track_caller]
fn assert_fault(
    keys: &str,
    status: u16,
    headers: &[(&'static str, &'static str)],
    body: &[u8],
    fault: Option<Fault>,
) {
    let (found, words) = outcome(keys, status, headers, body)
        .fault
        .map_or((None, None), |(f, w)| (Some(f), w));
    assert_eq!(
        found,
        fault,
        "{keys}, {status}: {} ({words:?})",
        String::from_utf8_lossy(body)
    );
}

/// Builds a stream from the data of these events.
fn stream(events: &[&str]) -> Vec<u8> {
    events
        .iter()
        .flat_map(|data| format!("data: {data}\n\n").into_bytes())
        .collect()
}

const ROLE: &str = r#"{"id":"c","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
const PONG: &str = r#"{"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"pong"},"finish_reason":null}]}"#;
const STOP: &str =
    r#"{"id":"c","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const DONE: &str = "[DONE]";

#[test]
fn the_end_of_a_chat() {
    let chunk = |delta: &str, reason: &str| {
        format!(r#"{{"choices":[{{"index":0,"delta":{delta},"finish_reason":{reason}}}]}}"#)
    };
    let usage =
        r#"{"choices":[],"usage":{"prompt_tokens":14,"completion_tokens":2,"total_tokens":16}}"#;
    for (events, fault) in [
        (vec![ROLE, PONG, STOP, usage, DONE], None),
        // Some compatible servers omit one of the two.
        (vec![ROLE, PONG, STOP], None),
        (vec![ROLE, PONG, DONE], None),
        (vec![ROLE, PONG], Some(Fault::StreamTruncated)),
        (vec![ROLE], Some(Fault::StreamTruncated)),
        (vec![], Some(Fault::StreamTruncated)),
        (vec![ROLE, STOP, DONE], Some(Fault::AnswerEmpty)),
        (
            vec![ROLE, &chunk(r#"{"content":"I am fine"}"#, "\"stop\""), DONE],
            Some(Fault::AnswerWrong),
        ),
        (
            vec![
                ROLE,
                &chunk(r#"{"reasoning_content":"Hm"}"#, "\"length\""),
                DONE,
            ],
            Some(Fault::RequestTooFewTokens),
        ),
        (
            vec![ROLE, &chunk(r#"{"content":"po"}"#, "\"length\""), DONE],
            Some(Fault::RequestTooFewTokens),
        ),
        (
            vec![ROLE, &chunk(r#"{"refusal":"I cannot"}"#, "\"stop\""), DONE],
            Some(Fault::AnswerRefused),
        ),
        (
            vec![ROLE, &chunk("{}", "\"content_filter\""), DONE],
            Some(Fault::AnswerFiltered),
        ),
        (
            vec![
                ROLE,
                &chunk(r#"{"content":[{"type":"text","text":"pong"}]}"#, "\"stop\""),
                DONE,
            ],
            None,
        ),
        (
            vec![ROLE, PONG, "{\"choices\":[{\"index\":0,\"del"],
            Some(Fault::StreamMalformed),
        ),
        (
            vec![ROLE, PONG, "<html>502 Bad Gateway</html>"],
            Some(Fault::StreamMalformed),
        ),
        (vec![&chunk("null", "null"), PONG, STOP, DONE], None),
        // Empty text instead of null, and the finish reasons of servers that gave up.
        (
            vec![&chunk(r#"{"content":"pong"}"#, "\"\"")],
            Some(Fault::StreamTruncated),
        ),
        (
            vec![
                &chunk(r#"{"content":"pong"}"#, "\"insufficient_system_resource\""),
                DONE,
            ],
            Some(Fault::StreamError),
        ),
        (
            vec![&chunk(r#"{"content":"pong"}"#, "\"abort\""), DONE],
            Some(Fault::StreamError),
        ),
        (vec!["[]", "null", "1", PONG, STOP, DONE], None),
    ] {
        assert_fault(OPENAI, 200, &[], &stream(&events), fault);
    }
}

#[test]
fn lines_of_every_kind_and_what_stands_between_them() {
    for text in [
        format!("\u{feff}data: {PONG}\n\ndata: {STOP}\n\ndata: [DONE]\n\n"),
        format!("data:{PONG}\r\rdata:{STOP}\r\rdata:[DONE]\r\r"),
        format!(
            ": keep-alive\r\n\r\n: OPENROUTER PROCESSING\r\n\r\ndata: {PONG}\r\n\r\ndata: {STOP}\r\n\r\n"
        ),
        format!(
            "id: 1\nretry: 10\nevent: message\ndata: {PONG}\nx: y\nz\n\ndata: {STOP}\n\ndata: [DONE] \n\n"
        ),
        format!(
            "\n\n\ndata: {}\n\ndata: {STOP}\n\n",
            PONG.replacen(',', ",\ndata: ", 2)
        ),
        // The last event lacks its blank line.
        format!("data: {PONG}\n\ndata: {STOP}\n\ndata: [DONE]"),
    ] {
        assert_fault(
            OPENAI,
            200,
            &[("content-type", "text/plain")],
            text.as_bytes(),
            None,
        );
    }
    assert_fault(
        OPENAI,
        200,
        &[],
        b"data: {\"choices\":[{\"delta\":{\"content\":\"\xff\"}}]}\n\n",
        Some(Fault::StreamMalformed),
    );
}

#[test]
fn errors_inside_a_stream_that_began_well() {
    let error = |body: &str| format!(r#"{{"error":{body}}}"#);
    for (keys, last, fault) in [
        (
            OPENAI,
            error(r#"{"message":"m","type":"server_error","param":null,"code":null}"#),
            Fault::StreamError,
        ),
        (
            OPENAI,
            error(r#"{"message":"m","type":"server_error","code":"server_is_overloaded"}"#),
            Fault::Overloaded,
        ),
        (
            OPENAI,
            error(r#"{"message":"m","type":"insufficient_quota","code":"insufficient_quota"}"#),
            Fault::AccountQuota,
        ),
        (OPENAI, error(r#""plain words""#), Fault::StreamError),
        // vLLM and OpenRouter: numbers.
        (
            COMPATIBLE,
            error(r#"{"message":"m","type":"InternalServerError","code":500}"#),
            Fault::StreamError,
        ),
        (
            COMPATIBLE,
            error(r#"{"message":"m","type":"BadRequestError","code":400}"#),
            Fault::RequestRejected,
        ),
        (
            COMPATIBLE,
            error(r#"{"message":"m","code":502,"metadata":{"provider_name":"x"}}"#),
            Fault::StreamError,
        ),
        (
            COMPATIBLE,
            error(r#"{"message":"m","code":"429","type":"throttling_error"}"#),
            Fault::AccountRateLimit,
        ),
        (
            COMPATIBLE,
            r#"{"object":"error","message":"m","code":500}"#.to_owned(),
            Fault::StreamError,
        ),
        (
            COMPATIBLE,
            r#"{"choices":[{"delta":{"content":""},"finish_reason":"error"}]}"#.to_owned(),
            Fault::StreamError,
        ),
    ] {
        assert_fault(keys, 200, &[], &stream(&[PONG, &last, DONE]), Some(fault));
        assert_fault(keys, 200, &[], &stream(&[&last]), Some(fault));
    }
    // Only the event's name marks it as an error.
    for (data, fault) in [
        (r#"{"message":"m","code":500}"#, Fault::StreamError),
        (
            r#"{"message":"m","code":"insufficient_quota"}"#,
            Fault::AccountQuota,
        ),
        ("the upstream hung up", Fault::StreamError),
    ] {
        let body = format!("data: {PONG}\n\nevent: error\ndata: {data}\n\n");
        assert_fault(OPENAI, 200, &[], body.as_bytes(), Some(fault));
        let unfinished = format!("data: {PONG}\n\nevent: error\ndata: {data}");
        assert_fault(OPENAI, 200, &[], unfinished.as_bytes(), Some(fault));
    }
}

#[test]
fn the_ends_of_a_response() {
    let delta = r#"{"type":"response.output_text.delta","delta":"pong"}"#;
    let ends =
        |kind: &str, more: &str| format!(r#"{{"type":"response.{kind}","response":{{{more}}}}}"#);
    let failed = |code: &str| {
        ends(
            "failed",
            &format!(r#""status":"failed","error":{{"code":"{code}","message":"m"}}"#),
        )
    };
    let incomplete = |reason: &str| {
        ends(
            "incomplete",
            &format!(r#""status":"incomplete","incomplete_details":{{"reason":"{reason}"}}"#),
        )
    };
    for (events, fault) in [
        (vec![delta.to_owned(), ends("completed", r#""status":"completed""#)], None),
        // The text comes only at the end.
        (
            vec![
                r#"{"type":"response.output_text.done","text":"pong"}"#.to_owned(),
                ends("completed", r#""status":"completed","output":[]"#),
            ],
            None,
        ),
        (vec![delta.to_owned()], Some(Fault::StreamTruncated)),
        (vec![delta.to_owned(), DONE.to_owned()], Some(Fault::StreamTruncated)),
        (vec![ends("completed", r#""status":"completed","output":[]"#)], Some(Fault::AnswerEmpty)),
        (
            vec![ends(
                "completed",
                r#""status":"completed","output":[{"type":"reasoning"},{"type":"message","content":[{"type":"output_text","text":"pong"}]}]"#,
            )],
            None,
        ),
        (
            vec![r#"{"type":"response.refusal.delta","delta":"I cannot"}"#.to_owned(), ends("completed", "")],
            Some(Fault::AnswerRefused),
        ),
        (vec![failed("server_error")], Some(Fault::StreamError)),
        (vec![failed("vector_store_timeout")], Some(Fault::StreamError)),
        (vec![failed("server_is_overloaded")], Some(Fault::Overloaded)),
        (vec![failed("rate_limit_exceeded")], Some(Fault::AccountRateLimit)),
        (vec![failed("insufficient_quota")], Some(Fault::AccountQuota)),
        (vec![failed("invalid_prompt")], Some(Fault::AnswerFiltered)),
        (vec![failed("bio_policy")], Some(Fault::AnswerFiltered)),
        (vec![failed("misalignment_policy_violation")], Some(Fault::AnswerFiltered)),
        (vec![failed("data_residency_mismatch")], Some(Fault::RequestRejected)),
        (vec![ends("failed", r#""status":"failed","error":null"#)], Some(Fault::StreamError)),
        (vec![ends("cancelled", r#""status":"cancelled""#)], Some(Fault::StreamError)),
        (vec![incomplete("max_output_tokens")], Some(Fault::RequestTooFewTokens)),
        (vec![delta.to_owned(), incomplete("content_filter")], Some(Fault::AnswerFiltered)),
        (vec![delta.to_owned(), incomplete("max_output_tokens")], None),
        (vec![incomplete("max_messages")], Some(Fault::AnswerEmpty)),
        (
            vec![r#"{"type":"error","code":"server_error","message":"m","param":null,"sequence_number":3}"#.to_owned()],
            Some(Fault::StreamError),
        ),
        (
            vec![
                r#"{"type":"error","error":{"type":"service_unavailable_error","code":"slow_down","message":"m"}}"#
                    .to_owned(),
            ],
            Some(Fault::Overloaded),
        ),
        (
            vec![r#"{"type":"error","error":{"type":"rate_limit_error","code":"slow_down","message":"m"}}"#.to_owned()],
            Some(Fault::AccountRateLimit),
        ),
    ] {
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        assert_fault(RESPONSES, 200, &[], &stream(&events), fault);
    }
    let complete = |more: &str| format!(r#"{{"id":"r","object":"response",{more}}}"#).into_bytes();
    let keys = format!("{RESPONSES}\nstream = false");
    for (body, fault) in [
        (
            complete(
                r#""status":"failed","error":{"code":"server_error","message":"m"},"output":[]"#,
            ),
            Fault::HttpUnexpected,
        ),
        (
            complete(
                r#""status":"incomplete","error":null,"incomplete_details":{"reason":"max_output_tokens"},"output":[{"type":"reasoning","summary":[]}]"#,
            ),
            Fault::RequestTooFewTokens,
        ),
        (
            complete(
                r#""status":"completed","output":[{"type":"message","content":[{"type":"refusal","refusal":"no"}]}]"#,
            ),
            Fault::AnswerRefused,
        ),
    ] {
        assert_fault(&keys, 200, &[], &body, Some(fault));
    }
}

#[test]
fn the_ends_of_a_message() {
    let text =
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"pong"}}"#;
    let stop = |reason: &str| {
        format!(
            r#"{{"type":"message_delta","delta":{{"stop_reason":"{reason}"}},"usage":{{"output_tokens":3}}}}"#
        )
    };
    let end = r#"{"type":"message_stop"}"#;
    let error =
        |kind: &str| format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"m"}}}}"#);
    for (events, fault) in [
        (
            vec![
                r#"{"type":"ping"}"#,
                text,
                r#"{"type":"ping"}"#,
                r#"{"type":"brand_new"}"#,
                &stop("end_turn"),
                end,
            ],
            None,
        ),
        (vec![text, &stop("end_turn")], Some(Fault::StreamTruncated)),
        (
            vec![text, &stop("refusal"), end],
            Some(Fault::AnswerRefused),
        ),
        (
            vec![&stop("max_tokens"), end],
            Some(Fault::RequestTooFewTokens),
        ),
        (
            vec![&stop("model_context_window_exceeded"), end],
            Some(Fault::RequestTooFewTokens),
        ),
        (vec![&stop("end_turn"), end], Some(Fault::AnswerEmpty)),
        // A tool call without arguments is output, but not the expected answer.
        (vec![&stop("tool_use"), end], Some(Fault::AnswerEmpty)),
        (vec![&error("overloaded_error")], Some(Fault::Overloaded)),
        (vec![text, &error("api_error")], Some(Fault::StreamError)),
        (
            vec![&error("rate_limit_error")],
            Some(Fault::AccountRateLimit),
        ),
        (
            vec![&error("authentication_error")],
            Some(Fault::AccountAuth),
        ),
        (vec![&error("timeout_error")], Some(Fault::StreamError)),
        (
            vec![&error("invalid_request_error")],
            Some(Fault::RequestRejected),
        ),
    ] {
        assert_fault(ANTHROPIC, 200, &[], &stream(&events), fault);
    }
    let called = stream(&[&stop("tool_use"), end]);
    assert_fault(
        &format!("{ANTHROPIC}\nexpect = {{}}"),
        200,
        &[],
        &called,
        None,
    );
    let complete = r#"{"type":"message","role":"assistant","model":"m","content":[{"type":"thinking","thinking":"x"},{"type":"text","text":"pong"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"cache_read_input_tokens":10,"output_tokens":5}}"#;
    let read = outcome(
        &format!("{ANTHROPIC}\nstream = false"),
        200,
        &[],
        complete.as_bytes(),
    );
    assert_eq!((read.fault, read.answer.input_tokens), (None, Some(13)));
}

#[test]
fn the_ends_of_a_generation() {
    let chunk = |parts: &str, reason: &str| {
        format!(
            r#"{{"candidates":[{{"content":{{"parts":[{parts}],"role":"model"}}{reason}}}],"modelVersion":"m"}}"#
        )
    };
    let reason = |word: &str| format!(r#","finishReason":"{word}""#);
    let pong = r#"{"text":"pong"}"#;
    for (events, fault) in [
        (vec![chunk(pong, &reason("STOP"))], None),
        (vec![chunk(pong, ""), chunk("", &reason("STOP"))], None),
        (vec![chunk(pong, "")], Some(Fault::StreamTruncated)),
        (
            vec![
                chunk(r#"{"text":"Hm","thought":true}"#, ""),
                chunk("", &reason("MAX_TOKENS")),
            ],
            Some(Fault::RequestTooFewTokens),
        ),
        (
            vec![chunk("", &reason("SAFETY"))],
            Some(Fault::AnswerFiltered),
        ),
        (
            vec![chunk(pong, ""), chunk("", &reason("RECITATION"))],
            Some(Fault::AnswerFiltered),
        ),
        (
            vec![chunk("", &reason("IMAGE_RECITATION"))],
            Some(Fault::AnswerFiltered),
        ),
        (
            vec![chunk("", &reason("MODEL_ARMOR"))],
            Some(Fault::AnswerFiltered),
        ),
        (vec![chunk("", &reason("OTHER"))], Some(Fault::AnswerEmpty)),
        (
            vec![r#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"}}"#.to_owned()],
            Some(Fault::AnswerFiltered),
        ),
        (
            vec![
                chunk(pong, ""),
                r#"{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}"#.to_owned(),
            ],
            Some(Fault::Overloaded),
        ),
        (
            vec![r#"{"error":{"code":500,"message":"m","status":"INTERNAL"}}"#.to_owned()],
            Some(Fault::StreamError),
        ),
        (
            vec![
                r#"{"error":{"code":"service_unavailable","message":"m"},"event_type":"error"}"#
                    .to_owned(),
            ],
            Some(Fault::Overloaded),
        ),
    ] {
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        let crlf = String::from_utf8(stream(&events))
            .unwrap()
            .replace('\n', "\r\n");
        assert_fault(GEMINI, 200, &[], crlf.as_bytes(), fault);
    }
    // Without `alt=sse`, a stream is a list of chunks.
    let list = |chunks: &[String]| format!("[{}\n]\n", chunks.join("\n,\r\n")).into_bytes();
    assert_fault(
        GEMINI,
        200,
        &[],
        &list(&[chunk(pong, ""), chunk("", &reason("STOP"))]),
        None,
    );
    assert_fault(
        GEMINI,
        200,
        &[],
        &list(&[chunk(pong, "")]),
        Some(Fault::StreamTruncated),
    );
    let error =
        r#"{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}"#
            .to_owned();
    assert_fault(
        GEMINI,
        200,
        &[],
        &list(&[chunk(pong, ""), error.clone()]),
        Some(Fault::Overloaded),
    );
    assert_fault(GEMINI, 503, &[], &list(&[error]), Some(Fault::Overloaded));

    let interaction = r#"{"object":"interaction","status":"completed","model":"m","steps":[{"type":"model_output","content":[{"type":"text","text":"pong"}]}],"usage":{"total_input_tokens":9,"total_output_tokens":2}}"#;
    let read = outcome(
        &format!("{GEMINI}\nstream = false"),
        200,
        &[],
        interaction.as_bytes(),
    );
    assert_eq!(
        (
            read.fault,
            read.answer.input_tokens,
            read.answer.output_tokens
        ),
        (None, Some(9), Some(2))
    );
}

#[test]
fn lines_of_ollama() {
    let pong = r#"{"model":"m","message":{"role":"assistant","content":"pong"},"done":false}"#;
    let done = |reason: &str| {
        format!(
            r#"{{"model":"m","message":{{"role":"assistant","content":""}},"done":true,"done_reason":"{reason}","load_duration":5000000}}"#
        )
    };
    let error = r#"{"error":"an error was encountered while running the model"}"#;
    for (lines, fault) in [
        (vec![pong, &done("stop")], None),
        (vec![pong], Some(Fault::StreamTruncated)),
        (vec![&done("length")], Some(Fault::RequestTooFewTokens)),
        (vec![&done("load")], Some(Fault::AnswerEmpty)),
        (vec![pong, error], Some(Fault::StreamError)),
        (vec![error], Some(Fault::StreamError)),
        (vec![pong, "{\"model\":"], Some(Fault::StreamTruncated)),
    ] {
        assert_fault(OLLAMA, 200, &[], lines.join("\n").as_bytes(), fault);
        assert_fault(OLLAMA, 200, &[], lines.join("\r\n").as_bytes(), fault);
    }
    // Not streamed despite the request, on one line or several.
    let complete = serde_json::json!({"model": "m", "message": {"content": "pong"}, "done": true, "done_reason": "stop"});
    assert_fault(OLLAMA, 200, &[], complete.to_string().as_bytes(), None);
    assert_fault(OLLAMA, 200, &[], format!("{complete:#}\n").as_bytes(), None);
    assert_fault(
        OLLAMA,
        200,
        &[],
        b"{\n  \"error\": \"upstream is gone\"\n}",
        Some(Fault::StreamError),
    );
    assert_fault(
        OLLAMA,
        404,
        &[],
        br#"{"error":"model 'm' not found"}"#,
        Some(Fault::RequestModelNotFound),
    );
    assert_fault(
        OLLAMA,
        400,
        &[],
        br#"{"error":"\"m\" does not support thinking"}"#,
        Some(Fault::RequestRejected),
    );
}

#[test]
fn a_good_status_with_something_else_in_it() {
    for (body, fault) in [
        (
            &br#"{"error":{"code":502,"message":"Provider returned error","metadata":{"provider_name":"x"}}}"#[..],
            Fault::StreamError,
        ),
        (br#"{"error":{"code":429,"message":"m","metadata":{"provider_name":"x"}}}"#, Fault::Overloaded),
        (br#"{"error":"upstream timeout"}"#, Fault::StreamError),
        (br#"{"error":{"message":"Invalid API key","code":"invalid_api_key"}}"#, Fault::AccountAuth),
        (br#"{"status":"come back later"}"#, Fault::BodyMalformed),
        (b"<!DOCTYPE html><html><head><title>Log in</title></head></html>", Fault::BodyMalformed),
        (b"{}", Fault::BodyMalformed),
        (b"{\"choices\":[]}", Fault::BodyMalformed),
        (b"{\"choices\":[{\"message\":{\"content\":\"po", Fault::BodyMalformed),
    ] {
        assert_fault(OPENAI, 200, &[("content-type", "text/event-stream")], body, Some(fault));
        let without_stream = match fault {
            Fault::StreamError => Fault::HttpUnexpected,
            fault => fault,
        };
        assert_fault(&format!("{OPENAI}\nstream = false"), 200, &[], body, Some(without_stream));
    }
    let complete = br#"{"choices":[{"message":{"content":"pong"},"finish_reason":"stop"}]}"#;
    assert_fault(
        OPENAI,
        200,
        &[("content-type", "application/json")],
        complete,
        None,
    );
    // Blank lines while the request is queued.
    assert_fault(
        OPENAI,
        200,
        &[],
        &[b"\n\n\r\n  ", &complete[..]].concat(),
        None,
    );
    assert_fault(
        &format!("{OPENAI}\nstream = false"),
        200,
        &[],
        &["\u{feff}".as_bytes(), complete].concat(),
        None,
    );
    let called =
        br#"{"choices":[{"message":{"content":null,"tool_calls":[{"id":"1"}]},"finish_reason":"tool_calls"}]}"#;
    assert_fault(&format!("{OPENAI}\nexpect = {{}}"), 200, &[], called, None);
    assert_fault(
        EMBEDDINGS,
        200,
        &[],
        br#"{"data":[{"embedding":[]}]}"#,
        Some(Fault::AnswerEmpty),
    );
    assert_fault(
        EMBEDDINGS,
        200,
        &[],
        br#"{"data":[{"embedding":[0.1,null]}]}"#,
        Some(Fault::BodyMalformed),
    );
    // Base64 of two numbers, of half a number, and of none.
    for (packed, fault) in [
        ("AACAPwAAAEA=", None),
        ("AACA", Some(Fault::BodyMalformed)),
        ("AADAfw==", Some(Fault::BodyMalformed)),
        ("see below", Some(Fault::BodyMalformed)),
        ("", Some(Fault::AnswerEmpty)),
    ] {
        let body = format!("{{\"data\":[{{\"embedding\":\"{packed}\"}}]}}");
        assert_fault(EMBEDDINGS, 200, &[], body.as_bytes(), fault);
    }
    assert_fault(
        MODELS,
        200,
        &[],
        br#"{"object":"list","data":[]}"#,
        Some(Fault::AnswerEmpty),
    );
    let packed = [0x1f, 0x8b, 8, 0, 0, 0];
    assert_fault(
        OPENAI,
        200,
        &[("content-encoding", "gzip")],
        &packed,
        Some(Fault::StreamTruncated),
    );
    assert_fault(
        OPENAI,
        401,
        &[("content-encoding", "gzip")],
        &packed,
        Some(Fault::AccountAuth),
    );
    assert_fault(
        OPENAI,
        503,
        &[("content-encoding", "br")],
        &packed,
        Some(Fault::Http5xx),
    );
    assert_fault(OPENAI, 204, &[], b"", Some(Fault::HttpUnexpected));
}

#[test]
fn errors_of_status_and_body() {
    let html = |title: &str, more: &str| {
        format!("<html><head><title>{title}</title></head><body>{more}</body></html>")
    };
    let azure = |code: &str, message: &str| {
        format!(r#"{{"error":{{"code":"{code}","message":"{message}"}}}}"#)
    };
    let anthropic = |kind: &str, message: &str, code: &str| {
        format!(
            r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}","details":{{"error_code":"{code}"}}}}}}"#
        )
    };
    for (keys, status, body, fault) in [
        (OPENAI, 429, html("429 Too Many Requests", "nginx"), Fault::Overloaded),
        (OPENAI, 429, "Too many requests".to_owned(), Fault::Overloaded),
        (OPENAI, 429, String::new(), Fault::Overloaded),
        (OPENAI, 409, r#"{"error":{"message":"m","type":"invalid_request_error","code":null}}"#.to_owned(), Fault::HttpUnexpected),
        (OPENAI, 408, r#"{"error":{"message":"Request timed out","type":"invalid_request_error"}}"#.to_owned(), Fault::TimeoutHeaders),
        (OPENAI, 503, r#"{"error":{"message":"That model is currently overloaded with other requests.","type":"server_error"}}"#.to_owned(), Fault::Overloaded),
        (OPENAI, 503, r#"{"error":{"message":"Slow down","type":"service_unavailable_error","code":"slow_down"}}"#.to_owned(), Fault::Overloaded),
        (OPENAI, 400, "data: {\"error\":{\"message\":\"m\",\"code\":\"unsupported_value\"}}\n\n".to_owned(), Fault::RequestRejected),
        (OPENAI, 429, "event: error\ndata: {\"error\":{\"message\":\"m\",\"code\":\"insufficient_quota\"}}\n\n".to_owned(), Fault::AccountQuota),
        (OPENAI, 403, r#"{"error":{"message":"You have insufficient permissions for this operation.","type":"invalid_request_error"}}"#.to_owned(), Fault::AccountPermission),
        (OPENAI, 301, html("301 Moved Permanently", ""), Fault::HttpRedirect),
        (OPENAI, 308, String::new(), Fault::HttpRedirect),
        (OPENAI, 500, html("500 Internal Server Error", "nginx"), Fault::HttpEdge),
        (OPENAI, 500, "upstream connect error or disconnect/reset before headers".to_owned(), Fault::Http5xx),
        (OPENAI, 404, html("404 Not Found", "nginx"), Fault::RequestRejected),
        (OPENAI, 418, "I am a teapot".to_owned(), Fault::HttpUnexpected),
        (AZURE, 400, r#"{"error":{"message":"m","type":null,"code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#.to_owned(), Fault::AnswerFiltered),
        (AZURE, 400, azure("OperationNotSupported", "The chatCompletion operation does not work with the specified model, d."), Fault::RequestRejected),
        (AZURE, 403, azure("403", "Your resource has been temporarily blocked because we detected behavior that may violate our content policy."), Fault::AccountPermission),
        (AZURE, 404, azure("DeploymentNotFound", "The API deployment for this resource does not exist."), Fault::RequestModelNotFound),
        (AZURE, 404, azure("404", "Resource not found"), Fault::RequestRejected),
        (AZURE, 410, azure("ModelDeprecated", "The model is deprecated."), Fault::RequestModelNotFound),
        (OPENAI, 410, "Gone".to_owned(), Fault::RequestRejected),
        (AZURE, 424, azure("424", "Failed dependency"), Fault::HttpUnexpected),
        (AZURE, 429, azure("429", "Requests to the ChatCompletions_Create Operation have exceeded call rate limit of your current OpenAI S0 pricing tier."), Fault::AccountRateLimit),
        (AZURE, 429, azure("RateLimitReached", "Your requests to d have exceeded the token limit."), Fault::AccountRateLimit),
        (AZURE, 429, azure("429", "The service is temporarily unable to process your request. Please try again later."), Fault::Overloaded),
        (ANTHROPIC, 400, anthropic("invalid_request_error", "Your organization is on hold.", "organization_on_hold"), Fault::AccountQuota),
        (ANTHROPIC, 400, anthropic("invalid_request_error", "Your credit balance is too low to access the Claude API.", ""), Fault::AccountQuota),
        (ANTHROPIC, 429, anthropic("rate_limit_error", "Slower, please.", "ramp_limit_exceeded"), Fault::AccountRateLimit),
        (ANTHROPIC, 429, anthropic("rate_limit_error", "m", "contract_spend_limit_reached"), Fault::AccountQuota),
        (ANTHROPIC, 413, html("413 Request Entity Too Large", "cloudflare"), Fault::RequestRejected),
        (ANTHROPIC, 529, html("529", ""), Fault::Overloaded),
        (GEMINI, 400, r#"{"error":{"code":400,"message":"User location is not supported for the API use.","status":"FAILED_PRECONDITION"}}"#.to_owned(), Fault::AccountRegion),
        (GEMINI, 429, r#"{"error":{"code":429,"message":"Resource exhausted. Please try again later.","status":"RESOURCE_EXHAUSTED"}}"#.to_owned(), Fault::Overloaded),
        (GEMINI, 499, r#"{"error":{"code":499,"message":"The operation was cancelled.","status":"CANCELLED"}}"#.to_owned(), Fault::HttpUnexpected),
        (COMPATIBLE, 401, r#"{"error":"Unauthorized"}"#.to_owned(), Fault::AccountAuth),
        (COMPATIBLE, 404, r#"{"error":{"message":"The model `m` does not exist.","type":"NotFoundError","param":"model","code":404}}"#.to_owned(), Fault::RequestModelNotFound),
        (COMPATIBLE, 400, r#"{"error":{"message":"Budget has been exceeded!","type":"budget_exceeded","param":null,"code":"400"}}"#.to_owned(), Fault::AccountQuota),
        (COMPATIBLE, 408, r#"{"error":{"message":"litellm.Timeout: m","type":null,"param":null,"code":"408"}}"#.to_owned(), Fault::TimeoutHeaders),
        (COMPATIBLE, 503, r#"{"error":{"code":503,"message":"No provider meets your routing requirements"}}"#.to_owned(), Fault::Http5xx),
        (COMPATIBLE, 503, html("503 Service Temporarily Unavailable", "nginx"), Fault::HttpEdge),
        (OPENAI, 504, html("api.openai.com | 504: Gateway time-out", "Cloudflare"), Fault::HttpEdge),
        (OPENAI, 502, "error code: 502".to_owned(), Fault::HttpEdge),
        (OPENAI, 526, html("526: Invalid SSL certificate", "cloudflare"), Fault::HttpEdge),
        (OPENAI, 530, "error code: 1016".to_owned(), Fault::HttpEdge),
        (OPENAI, 403, "error code: 1010".to_owned(), Fault::AccountRegion),
        (OPENAI, 429, "error code: 1015".to_owned(), Fault::AccountRegion),
        (OPENAI, 403, r#"{"title":"Error 1020: Access denied","status":403,"error_code":1020,"cloudflare_error":true}"#.to_owned(), Fault::AccountRegion),
        (OPENAI, 522, r#"{"title":"Error 522","status":522,"error_code":522,"cloudflare_error":true}"#.to_owned(), Fault::HttpEdge),
    ] {
        assert_fault(keys, status, &[], body.as_bytes(), Some(fault));
    }
    let challenge = html("Just a moment...", "");
    for status in [403, 429, 503] {
        assert_fault(
            OPENAI,
            status,
            &[("cf-mitigated", "challenge")],
            challenge.as_bytes(),
            Some(Fault::HttpEdge),
        );
    }
}

/// The error quotes the response, as far as it is useful.
#[test]
fn what_cannot_be_read_is_quoted() {
    let words = |keys: &str, status, headers: &[_], body: &[u8]| {
        outcome(keys, status, headers, body).fault.unwrap()
    };
    for (keys, body, fault, quoted) in [
        (
            OPENAI,
            "data: <html>502 Bad Gateway</html>\n\n",
            Fault::StreamMalformed,
            "<html>502 Bad Gateway</html>",
        ),
        (
            OLLAMA,
            "{\"done\":false}\nupstream gone\n",
            Fault::StreamMalformed,
            "upstream gone",
        ),
        (
            OPENAI,
            "<html><title>Log in</title></html>",
            Fault::BodyMalformed,
            "an HTML page instead of an answer (check `base_url`): Log in",
        ),
        (
            OPENAI,
            r#"{"status":"come back later"}"#,
            Fault::BodyMalformed,
            r#"{"status":"come back later"}"#,
        ),
        (
            EMBEDDINGS,
            "",
            Fault::BodyMalformed,
            "HTTP 200 without a body",
        ),
    ] {
        assert_eq!(
            words(keys, 200, &[], body.as_bytes()),
            (fault, Some(quoted.to_owned()))
        );
    }
    let not_text = (
        Fault::StreamMalformed,
        Some("not UTF-8: po\u{fffd}ng".to_owned()),
    );
    assert_eq!(words(OPENAI, 200, &[], b"data: po\xffng\n\n"), not_text);
    let not_text = (
        Fault::BodyMalformed,
        Some("not UTF-8: {po\u{fffd}ng}".to_owned()),
    );
    assert_eq!(words(OPENAI, 200, &[], b"{po\xffng}"), not_text);
    let login = [(
        "location",
        "https://me:pw@login.example.com/start?session=s3cret",
    )];
    for keys in [OPENAI, "provider = \"http\""] {
        let said = words(keys, 302, &login, b"<html><title>Found</title></html>");
        assert_eq!(
            said,
            (
                Fault::HttpRedirect,
                Some("HTTP 302 to https://login.example.com/start".to_owned())
            )
        );
    }
}

/// Vendor-specific error formats, with a success status, in a stream and with unusual statuses.
#[test]
fn errors_in_forms_of_their_own() {
    use Fault::{
        AccountAuth, AccountPermission, AccountQuota, AccountRateLimit, AnswerFiltered,
        RequestModelNotFound, RequestRejected,
    };
    let tencent =
        |code: &str| format!(r#"{{"Response":{{"Error":{{"Code":"{code}","Message":"m"}}}}}}"#);
    for (status, body, fault) in [
        (
            200,
            r#"{"error_code":6,"error_msg":"No permission for these data"}"#.to_owned(),
            AccountPermission,
        ),
        (
            200,
            r#"{"error_code":110,"error_msg":"Access token invalid"}"#.to_owned(),
            AccountAuth,
        ),
        (
            200,
            tencent("ResourceInsufficient.ChargeResourceExhausted"),
            AccountQuota,
        ),
        (200, tencent("LimitExceeded"), AccountRateLimit),
        (200, tencent("AuthFailure.SignatureFailure"), AccountAuth),
        (
            400,
            r#"{"error":"Model \"m\" not found."}"#.to_owned(),
            RequestModelNotFound,
        ),
        (
            400,
            r#"{"error":"the parameter `n` is unknown to this model. It does not exist"}"#
                .to_owned(),
            RequestRejected,
        ),
        (
            404,
            r#"{"error":{"message":"No endpoints found for a/b.","code":404}}"#.to_owned(),
            RequestModelNotFound,
        ),
        (
            429,
            r#"{"message":"Limit Exceeded"}"#.to_owned(),
            AccountRateLimit,
        ),
        (
            429,
            r#"{"message":"A trial key is limited to 1000 calls a month"}"#.to_owned(),
            AccountRateLimit,
        ),
        (
            429,
            r#"{"error":{"code":"SetLimitExceeded","message":"the limit that you set"}}"#
                .to_owned(),
            AccountQuota,
        ),
        (
            446,
            r#"{"error":{"message":"a guardrail failed"}}"#.to_owned(),
            AnswerFiltered,
        ),
        (
            200,
            r#"{"header":{"code":10163,"message":"AppIdNoAuthError: no licence","sid":"s"}}"#
                .to_owned(),
            AccountPermission,
        ),
    ] {
        let keys = format!("{COMPATIBLE}\nstream = false");
        assert_fault(&keys, status, &[], body.as_bytes(), Some(fault));
    }
    for (event, fault) in [
        (
            r#"{"errors":[{"message":"You have run out of credits"}]}"#,
            AccountQuota,
        ),
        (r#"{"code":"1113","msg":"余额不足"}"#, AccountQuota),
        (
            r#"{"code":1302,"message":"too many at once"}"#,
            AccountRateLimit,
        ),
        (r#"{"detail":"invalid api key"}"#, AccountAuth),
    ] {
        assert_fault(COMPATIBLE, 200, &[], &stream(&[event]), Some(fault));
    }
    // A code that means success is not an error.
    let good = r#"{"code":0,"message":"ok"}"#;
    assert_fault(COMPATIBLE, 200, &[], &stream(&[good, PONG, "[DONE]"]), None);
}

#[test]
fn a_region_that_is_not_served_is_recognized_in_many_languages() {
    for words in [
        "Este modelo no está disponible en su país o región",
        "Ce service n'est pas disponible dans votre pays",
        "O serviço não está disponível no seu país",
        "Il modello non è disponibile nel tuo paese",
        "Dieser Dienst ist in Ihrem Land nicht verfügbar",
        "Сервис недоступен в вашей стране",
        "お住まいの地域ではご利用いただけません",
        "해당 국가에서는 사용할 수 없습니다",
    ] {
        let body = serde_json::json!({"error": {"message": words}}).to_string();
        assert_fault(
            COMPATIBLE,
            403,
            &[],
            body.as_bytes(),
            Some(Fault::AccountRegion),
        );
    }
}

/// Vendor-specific codes for billing, limits, capacity, keys and models, with any status.
#[test]
fn whose_money_limit_or_capacity_it_is() {
    use Fault::{
        AccountAuth, AccountPermission, AccountQuota, AccountRateLimit, AnswerFiltered, Http5xx,
        HttpEdge, LocalProxy, Overloaded, RequestModelNotFound, RequestRejected,
    };
    for (status, body, fault) in [
        // Billing.
        (
            412,
            r#"{"error":{"message":"Account a1 is suspended: spending limit or unpaid invoice","code":"PRECONDITION_FAILED"}}"#,
            AccountQuota,
        ),
        (
            403,
            r#"{"code":"permission denied for this operation","error":"The team has run out of credits."}"#,
            AccountQuota,
        ),
        (
            429,
            r#"{"code":"resource exhausted","error":"The team has used all available credits this month"}"#,
            AccountQuota,
        ),
        (
            500,
            r#"{"type":"error","error":{"type":"api_error","message":"insufficient balance (1008)"}}"#,
            AccountQuota,
        ),
        (
            200,
            r#"{"choices":null,"base_resp":{"status_code":1008,"status_msg":"no funds"}}"#,
            AccountQuota,
        ),
        (
            429,
            r#"{"error":{"code":"1113","message":"no resource package"}}"#,
            AccountQuota,
        ),
        (
            429,
            r#"{"error":{"code":"x","message":"您的账户已欠费，请充值后重试"}}"#,
            AccountQuota,
        ),
        (
            403,
            r#"{"code":30001,"message":"Sorry, your account balance is insufficient","data":null}"#,
            AccountQuota,
        ),
        (
            403,
            r#"{"error":{"code":"AccountOverdueError","message":"m","type":"Forbidden"}}"#,
            AccountQuota,
        ),
        (
            400,
            r#"{"error":{"code":"Arrearage","message":"m"}}"#,
            AccountQuota,
        ),
        (
            403,
            r#"{"error":{"code":403,"message":"m","status":"PERMISSION_DENIED","details":[{"reason":"BILLING_DISABLED"}]}}"#,
            AccountQuota,
        ),
        (
            403,
            r#"{"message":"INVALID_PAYMENT_INSTRUMENT: a valid payment instrument must be provided."}"#,
            AccountQuota,
        ),
        (402, "payment wanted", AccountQuota),
        (
            401,
            r#"{"error":{"message":"m","type":"insufficient_quota","code":401}}"#,
            AccountQuota,
        ),
        (
            400,
            r#"{"error":{"message":"Budget has been exceeded! Current cost: 10, max budget: 5","type":"budget_exceeded"}}"#,
            AccountQuota,
        ),
        (
            429,
            r#"{"error":{"message":"litellm.RateLimitError: OpenAIException - You exceeded your current quota, please check your plan and billing details."}}"#,
            AccountQuota,
        ),
        (
            403,
            r#"{"error":{"message":"该令牌额度已用尽","type":"new_api_error"}}"#,
            AccountQuota,
        ),
        (
            429,
            r#"{"message":"You have exceeded your monthly included credits"}"#,
            AccountQuota,
        ),
        (403, "Monthly quota reached", AccountQuota),
        // Limits of the account.
        (
            429,
            r#"{"message":"Tokens per day limit exceeded","type":"too_many_tokens_error","param":"quota","code":"token_quota_exceeded"}"#,
            AccountRateLimit,
        ),
        (
            429,
            r#"{"error":{"message":"Rate limit reached on tokens per minute (TPM). Need more? Upgrade today at https://x.example/settings/billing"}}"#,
            AccountRateLimit,
        ),
        (
            429,
            r#"{"error":{"message":"free-models-per-day reached. Add 10 credits to unlock 1000 requests per day"}}"#,
            AccountRateLimit,
        ),
        (
            429,
            r#"{"__type":"com.amazon.coral.service#ThrottlingException","message":"wait"}"#,
            AccountRateLimit,
        ),
        (
            400,
            r#"{"code":"Throttling.RateQuota","message":"m"}"#,
            AccountRateLimit,
        ),
        (
            429,
            r#"{"error":{"code":"1302","message":"m"}}"#,
            AccountRateLimit,
        ),
        (
            429,
            r#"{"error":{"message":"您当前使用该API的频率过高"}}"#,
            AccountRateLimit,
        ),
        (
            429,
            r#"{"error":{"message":"request reached max organization RPM: 3"}}"#,
            AccountRateLimit,
        ),
        (
            500,
            r#"{"error":{"message":"upstream: Rate limit reached for requests per minute"}}"#,
            AccountRateLimit,
        ),
        (
            200,
            r#"{"code":429,"message":"Requests per minute are used up"}"#,
            AccountRateLimit,
        ),
        // Capacity shared by all customers.
        (
            429,
            r#"{"message":"We are experiencing high traffic right now","type":"too_many_requests_error","code":"queue_exceeded"}"#,
            Overloaded,
        ),
        (
            498,
            r#"{"error":{"message":"flex tier is full","code":"capacity_exceeded"}}"#,
            Overloaded,
        ),
        (
            429,
            r#"{"object":"error","message":"Capacity of this tier exceeded","type":"x"}"#,
            Overloaded,
        ),
        (
            503,
            r#"{"code":"unavailable","error":"The model is at capacity"}"#,
            Overloaded,
        ),
        (
            429,
            r#"{"error":{"code":"x","message":"该模型当前访问量过大，请您稍后再试"}}"#,
            Overloaded,
        ),
        (
            500,
            r#"{"error":{"message":"当前分组上游负载已饱和"}}"#,
            Overloaded,
        ),
        (
            429,
            r#"{"error":{"message":"No deployments available for selected model, try again in 60 seconds"}}"#,
            Overloaded,
        ),
        (
            429,
            r#"{"message":"Model is not ready for inference"}"#,
            Overloaded,
        ),
        (
            503,
            "{\"error\":{\"message\":\"{\\n \\\"error\\\": {\\\"message\\\": \\\"The model is overloaded.\\\"}\\n}\"}}",
            Overloaded,
        ),
        // Keys and accounts.
        (
            400,
            r#"{"code":"invalid argument","error":"Incorrect API key provided: x"}"#,
            AccountAuth,
        ),
        (
            403,
            r#"{"message":"The security token included in the request is invalid."}"#,
            AccountAuth,
        ),
        (
            400,
            r#"{"error":{"type":"invalid_request_error","message":"This organization has been disabled."}}"#,
            AccountPermission,
        ),
        (
            400,
            r#"{"error":{"message":"m","code":"organization_restricted"}}"#,
            AccountPermission,
        ),
        (
            403,
            r#"{"Message":"User u is not authorized to perform: bedrock:InvokeModel"}"#,
            AccountPermission,
        ),
        (
            401,
            r#"{"success":false,"error":[{"code":2009,"message":"Unauthorized"}]}"#,
            AccountAuth,
        ),
        // Models.
        (
            503,
            r#"{"error":{"message":"当前分组下对于模型 m 无可用渠道","code":"model_not_found"}}"#,
            RequestModelNotFound,
        ),
        (
            503,
            r#"{"error":{"message":"No available channel for model m under group default"}}"#,
            RequestModelNotFound,
        ),
        (
            401,
            r#"{"error":{"type":"ModelError","message":"not served here"}}"#,
            RequestModelNotFound,
        ),
        (
            400,
            r#"{"error":{"message":"The model `m` has been decommissioned","code":"model_decommissioned"}}"#,
            RequestModelNotFound,
        ),
        (
            400,
            r#"{"message":"The provided model identifier is invalid."}"#,
            RequestModelNotFound,
        ),
        (
            404,
            r#"{"type":"error","error":{"type":"not_found_error","message":"Not Found"}}"#,
            RequestRejected,
        ),
        (
            404,
            r#"{"type":"error","error":{"type":"not_found_error","message":"model: m"}}"#,
            RequestModelNotFound,
        ),
        (
            400,
            r#"{"error":{"message":"budget_tokens must be at least 1024","type":"invalid_request_error"}}"#,
            RequestRejected,
        ),
        // Others.
        (500, r#"{"error":"CUDA has run out of memory"}"#, Http5xx),
        (
            503,
            r#"{"message":"failure to get a peer from the ring-balancer"}"#,
            Http5xx,
        ),
        (
            400,
            r#"{"error":{"code":"data_inspection_failed","message":"m"}}"#,
            AnswerFiltered,
        ),
        (511, "<html><title>Network login</title></html>", LocalProxy),
        (
            503,
            "<html><title>Just a moment...</title></html>",
            HttpEdge,
        ),
    ] {
        let keys = format!("{COMPATIBLE}\nstream = false");
        assert_fault(&keys, status, &[], body.as_bytes(), Some(fault));
    }
    let kind = [(
        "x-amzn-errortype",
        "ThrottlingException:http://internal.example/",
    )];
    assert_fault(
        COMPATIBLE,
        400,
        &kind,
        b"{\"message\":\"wait\"}",
        Some(AccountRateLimit),
    );
}

#[test]
fn the_text_of_an_error_is_found_wherever_it_stands() {
    for (body, text) in [
        (
            r#"{"result":null,"success":false,"errors":[{"code":7003,"message":"no such route"}]}"#,
            "no such route",
        ),
        (
            r#"{"detail":[{"loc":["body","model"],"msg":"field required"}]}"#,
            "body.model: field required",
        ),
        (
            r#"{"message":{"detail":[{"loc":["body","x"],"msg":"not permitted"}]}}"#,
            "body.x: not permitted",
        ),
        (
            r#"{"status":429,"title":"Slower","detail":"please"}"#,
            "please",
        ),
        (r#"{"error":["first","second"]}"#, "first; second"),
        (
            r#"{"error":"Too Many","message":"wait a minute","statusCode":429}"#,
            "wait a minute",
        ),
        (
            r#"{"error_code":17,"error_msg":"daily limit"}"#,
            "daily limit",
        ),
        (
            r#"{"Response":{"Error":{"Code":"X","Message":"busy"}}}"#,
            "busy",
        ),
        (r#"{"code":"words","error":"the reason"}"#, "the reason"),
    ] {
        let read = outcome(COMPATIBLE, 400, &[], body.as_bytes());
        let (_, found) = read.fault.unwrap();
        assert_eq!(found.as_deref(), Some(text), "{body}");
    }
}

#[test]
fn empty_error_object_is_not_an_error() {
    for nothing in [
        r#"{"message":"","type":"","param":"","code":null}"#,
        "\"\"",
        "{}",
        "[]",
        "0",
        "\"None\"",
        r#"{"code":0,"message":"success"}"#,
        r#"{"code":"200","message":"OK","details":[]}"#,
    ] {
        let complete = format!(
            r#"{{"choices":[{{"message":{{"content":"pong"}},"finish_reason":"stop"}}],"error":{nothing}}}"#
        );
        assert_fault(OPENAI, 200, &[], complete.as_bytes(), None);
        let chunk = format!(
            r#"{{"choices":[{{"delta":{{"content":"pong"}},"finish_reason":"stop"}}],"error":{nothing}}}"#
        );
        assert_fault(OPENAI, 200, &[], &stream(&[&chunk, DONE]), None);
    }
}

#[test]
fn thoughts_in_tags_are_reasoning() {
    let chunk = |text: &str, reason: &str| {
        format!(r#"{{"choices":[{{"delta":{{"content":"{text}"}},"finish_reason":{reason}}}]}}"#)
    };
    let cut = stream(&[
        &chunk("<think>They want pong", "null"),
        &chunk("", "\"length\""),
        DONE,
    ]);
    assert_fault(OPENAI, 200, &[], &cut, Some(Fault::RequestTooFewTokens));
    for tag in [
        "<THINK>",
        "<reason>",
        "<|START_THINKING|>",
        "<|begin_of_thought|>",
    ] {
        let cut = stream(&[&chunk(tag, "null"), &chunk("pong", "\"length\""), DONE]);
        assert_fault(OPENAI, 200, &[], &cut, Some(Fault::RequestTooFewTokens));
    }
    for key in ["reasoning", "thought", "thinking_content"] {
        let thinks = format!(
            r#"{{"choices":[{{"delta":{{"{key}":"pong?","thought_signature":"s"}},"finish_reason":"length"}}]}}"#
        );
        let cut = stream(&[&thinks, DONE]);
        assert_fault(OPENAI, 200, &[], &cut, Some(Fault::RequestTooFewTokens));
    }
    let stopped = stream(&[&chunk("<think>pong", "\"stop\""), DONE]);
    assert_fault(OPENAI, 200, &[], &stopped, Some(Fault::AnswerEmpty));
    let good = stream(&[
        &chunk("<thi", "null"),
        &chunk("nk>hm</think>", "null"),
        &chunk("pong", "\"stop\""),
        DONE,
    ]);
    assert_fault(OPENAI, 200, &[], &good, None);
    let parts = r#"[{"type":"thinking","thinking":[{"type":"text","text":"pong?"}]}]"#;
    let thinking =
        format!(r#"{{"choices":[{{"delta":{{"content":{parts}}},"finish_reason":"length"}}]}}"#);
    assert_fault(
        OPENAI,
        200,
        &[],
        &stream(&[&thinking, DONE]),
        Some(Fault::RequestTooFewTokens),
    );
}

#[test]
fn reasons_for_the_end_that_only_some_servers_give() {
    for (reason, fault) in [
        ("engine_error", Some(Fault::StreamError)),
        ("network_error", Some(Fault::StreamError)),
        ("cancelled", Some(Fault::StreamError)),
        ("sensitive", Some(Fault::AnswerFiltered)),
        ("SAFETY", Some(Fault::AnswerFiltered)),
        ("model_length", None),
        ("eos_token", None),
        ("finished", None),
        ("risk_control", Some(Fault::AnswerFiltered)),
        ("rate_limit", Some(Fault::AccountRateLimit)),
    ] {
        let chunk = format!(
            r#"{{"choices":[{{"delta":{{"content":"pong"}},"finish_reason":"{reason}"}}]}}"#
        );
        assert_fault(COMPATIBLE, 200, &[], &stream(&[&chunk, DONE]), fault);
    }
}

#[test]
fn headers_that_say_that_it_is_a_challenge() {
    for (status, header) in [
        (403, ("cf-mitigated", "challenge")),
        (429, ("x-vercel-mitigated", "challenge")),
        (202, ("x-amzn-waf-action", "challenge")),
        (405, ("x-amzn-waf-action", "captcha")),
        (403, ("x-dd-b", "1")),
    ] {
        for keys in [OPENAI, "provider = \"http\""] {
            let found = outcome(keys, status, &[header], b"").fault;
            let (fault, message) = found.map(|(f, m)| (f, m.unwrap_or_default())).unwrap();
            assert_eq!(fault, Fault::HttpEdge, "{keys} {header:?}");
            assert!(message.contains("automated visitors"), "{message}");
        }
    }
    let zscaler = [("server", "Zscaler/6.2")];
    assert_fault(OPENAI, 403, &zscaler, b"", Some(Fault::LocalProxy));
}

#[test]
fn odd_answers_are_good_with_a_warning() {
    use std::io::Write as _;
    let read = outcome(OPENAI, 200, &[], &stream(&[PONG, DONE]));
    assert_eq!(
        (read.fault, read.warnings),
        (None, vec![Warning::FinishReasonMissing])
    );
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&stream(&[PONG, STOP, DONE])).unwrap();
    let packed = gzip.finish().unwrap();
    let read = outcome(OPENAI, 200, &[("content-encoding", "gzip")], &packed);
    assert_eq!(
        (read.fault, read.warnings),
        (None, vec![Warning::EncodingUnasked])
    );
    // Streamed although a complete document was requested.
    let keys = format!("{OPENAI}\nstream = false");
    assert_fault(&keys, 200, &[], &stream(&[PONG, STOP, DONE]), None);
}

#[test]
fn a_page_is_judged_by_its_status_unless_its_text_matters() {
    let keys = "provider = \"http\"";
    let latin = [("content-type", "text/html; charset=ISO-8859-1")];
    let big = vec![b'x'; 3_000_000];
    assert_fault(keys, 200, &[("content-encoding", "br")], b"\x1b\x25", None);
    assert_fault(keys, 200, &latin, b"Z\xfcrich", None);
    assert_fault(keys, 200, &[], &big, None);
    let checked = format!("{keys}\nexpect = {{ contains = \"Z\u{fc}rich\" }}");
    assert_fault(&checked, 200, &latin, b"Z\xfcrich", None);
    assert_fault(&checked, 200, &[], &big, Some(Fault::BodyTooLarge));
}
