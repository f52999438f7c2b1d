//! The Model Context Protocol over "Streamable HTTP": initialize, list the tools, optionally call
//! one. Each step is a POST of one JSON-RPC message. The response is a document or an event stream.

use serde_json::{Value, json};

use super::{Answer, Dialect, ProbeRequest, Request, StreamEvent, append, error_in, text_of};
use crate::model::Expect;

/// The protocol version to request; the server answers with the one that it supports.
const VERSION: &str = "2025-06-18";
/// The maximum number of tools to record.
const MAX_TOOLS: usize = 1000;
/// The maximum size of a session ID or version, in bytes.
const MAX_HEADER: usize = 256;

/// What a server reported about itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Server {
    /// Its protocol version.
    pub version: Option<String>,
    /// Whether it has tools.
    pub has_tools: bool,
}

/// The next request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum McpStep {
    /// `initialize`.
    #[default]
    Initialize,
    /// The notification that the client is ready, which has no response.
    Ready,
    /// `tools/list`.
    List,
    /// `tools/call`.
    Call,
    /// `ping`, for a server without tools.
    Ping,
}

/// One session with a server.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// The next request.
    pub step: McpStep,
    id: Option<String>,
    server: Server,
}

impl Session {
    /// Builds the request of this step.
    pub fn request(&self, ask: &ProbeRequest<'_>) -> Request {
        let call = ask.endpoint.body.as_deref();
        let (method, params) = match self.step {
            McpStep::Initialize => (
                "initialize",
                json!({
                    "protocolVersion": VERSION,
                    "capabilities": {},
                    "clientInfo": {"name": "llmwatch", "version": env!("CARGO_PKG_VERSION")},
                }),
            ),
            McpStep::Ready => ("notifications/initialized", Value::Null),
            McpStep::List => ("tools/list", json!({})),
            McpStep::Ping => ("ping", Value::Null),
            McpStep::Call => {
                let arguments: Value = call
                    .and_then(|text| serde_json::from_str(text).ok())
                    .unwrap_or_else(|| json!({}));
                let name = ask.endpoint.expect.tool.as_deref();
                ("tools/call", json!({"name": name, "arguments": arguments}))
            }
        };
        let mut message = json!({"jsonrpc": "2.0", "method": method});
        if self.step != McpStep::Ready {
            message["id"] = json!(self.step as u8 + 1);
        }
        if !params.is_null() {
            message["params"] = params;
        }
        let request = Request {
            method: "POST".to_owned(),
            url: ask.endpoint.base_url.clone(),
            headers: self.headers(ask),
            body: message.to_string().into_bytes(),
        };
        Dialect::Mcp.complete(ask, request)
    }

    fn headers(&self, ask: &ProbeRequest<'_>) -> Vec<(String, String)> {
        let key = ask.endpoint.api_key.as_ref();
        let values = [
            (
                "authorization",
                key.map(|key| format!("Bearer {}", key.expose())),
            ),
            ("mcp-session-id", self.id.clone()),
            ("mcp-protocol-version", self.server.version.clone()),
        ];
        values
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }

    /// Builds the request that ends the session, if the server assigned an ID.
    pub fn end(&self, ask: &ProbeRequest<'_>) -> Option<Request> {
        self.id.as_ref()?;
        let request = Request {
            method: "DELETE".to_owned(),
            url: ask.endpoint.base_url.clone(),
            headers: self.headers(ask),
            body: Vec::new(),
        };
        Some(Dialect::Mcp.complete(ask, request))
    }

    /// Returns what the response of this step must satisfy.
    pub fn expect(&self, all: &Expect, calls: bool) -> Expect {
        match self.step {
            McpStep::Initialize | McpStep::Ready => Expect::default(),
            McpStep::List if !calls => all.clone(),
            // A server without tools, which is pinged, lacks the expected one as well.
            McpStep::List | McpStep::Ping => Expect {
                tool: all.tool.clone(),
                ..Expect::default()
            },
            McpStep::Call => Expect {
                tool: None,
                ..all.clone()
            },
        }
    }

    /// Applies the response of this step, with the session ID from its head. Returns `false` after
    /// the last step.
    pub fn advance(&mut self, id: Option<String>, answer: &Answer, calls: bool) -> bool {
        if let Some(id) = id.filter(|id| id.len() <= MAX_HEADER) {
            self.id = Some(id);
        }
        if let Some(server) = &answer.server {
            self.server = server.clone();
        }
        self.step = match self.step {
            McpStep::Initialize => McpStep::Ready,
            McpStep::Ready if self.server.has_tools => McpStep::List,
            McpStep::Ready => McpStep::Ping,
            McpStep::List if calls => McpStep::Call,
            McpStep::List | McpStep::Call | McpStep::Ping => return false,
        };
        true
    }
}

/// Applies one JSON-RPC message. The server's notifications and requests are ignored.
pub(super) fn event(answer: &mut Answer, message: &Value) -> StreamEvent {
    if message["error"].is_object() {
        answer.error = error_in(message);
        return StreamEvent::End;
    }
    if message["result"].is_object() {
        take(answer, &message["result"]);
        return StreamEvent::End;
    }
    StreamEvent::Nothing
}

pub(super) fn body(answer: &mut Answer, message: &Value) {
    // Older servers send a list of messages.
    let messages = match message {
        Value::Array(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    let is_answered = messages
        .iter()
        .any(|message| event(answer, message) == StreamEvent::End);
    if !is_answered {
        answer.malformed = true;
    }
}

fn take(answer: &mut Answer, result: &Value) {
    answer.complete = true;
    if let Some(version) = text_of(&result["protocolVersion"]) {
        answer.server = Some(Server {
            version: Some(version).filter(|version| {
                version.len() <= MAX_HEADER && version.chars().all(|c| c.is_ascii_graphic())
            }),
            has_tools: result["capabilities"]["tools"].is_object(),
        });
        let name = text_of(&result["serverInfo"]["name"]);
        answer.text = name.unwrap_or_else(|| "a server without a name".to_owned());
    } else if let Some(tools) = result["tools"].as_array() {
        for tool in tools.iter().take(MAX_TOOLS) {
            if let Some(name) = tool["name"].as_str() {
                answer.tools.push(name.to_owned());
            }
        }
        answer.text = answer.tools.join("\n");
    } else if let Some(content) = result["content"].as_array() {
        for part in content {
            append(&mut answer.text, &part["text"]);
        }
        if result["isError"] == true {
            let text = std::mem::take(&mut answer.text);
            answer.error = Some(json!({"message": text}));
        } else if answer.text.is_empty() && !content.is_empty() {
            "a result without text".clone_into(&mut answer.text);
        }
    } else {
        // The response to a ping is empty.
        "pong".clone_into(&mut answer.text);
    }
}
