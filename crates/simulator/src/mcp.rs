//! An MCP server with two tools: `echo`, which returns the model's answer, and `get_time`.

use serde_json::{Value, json};

use crate::reply::Reply;

/// Returns the response to one JSON-RPC message.
pub(crate) fn reply(message: &Value, answer: &str) -> Reply {
    let id = &message["id"];
    let result = match message["method"].as_str().unwrap_or_default() {
        method if method.starts_with("notifications/") => return json_reply(202, String::new()),
        "initialize" => json!({
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": {"listChanged": false}},
            "serverInfo": {"name": "simulated", "version": "1.0"},
        }),
        "tools/list" => json!({"tools": [
            {"name": "echo", "description": "Says a word.", "inputSchema": {"type": "object", "properties": {}}},
            {"name": "get_time", "description": "Says the time.", "inputSchema": {"type": "object", "properties": {}}},
        ]}),
        "tools/call" if message["params"]["name"] == "echo" => {
            json!({"content": [{"type": "text", "text": answer}], "isError": false})
        }
        "tools/call" => json!({"content": [{"type": "text", "text": "12:00"}], "isError": false}),
        "ping" => json!({}),
        method => {
            let error = json!({"code": -32601, "message": format!("Method not found: {method}")});
            let body = json!({"jsonrpc": "2.0", "id": id, "error": error});
            return json_reply(200, body.to_string());
        }
    };
    let mut reply = json_reply(
        200,
        json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string(),
    );
    if message["method"] == "initialize" {
        reply
            .headers
            .push(("mcp-session-id".to_owned(), "session-simulated".to_owned()));
    }
    reply
}

fn json_reply(status: u16, body: String) -> Reply {
    Reply {
        status,
        body,
        headers: Vec::new(),
        from_edge: false,
    }
}
