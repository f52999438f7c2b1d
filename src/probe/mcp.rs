//! A probe of an MCP server: several requests in a row, recorded as one response.

use http_body_util::BodyExt as _;
use tokio::time::Instant;

use super::end::{End, explain, message, of_hyper};
use super::pool::HttpConnection;
use super::run::{REST, Run};
use llmwatch_core::model::{Endpoint, Fault, Sample};
use llmwatch_core::protocol::dialect::mcp::{McpStep, Session};
use llmwatch_core::protocol::dialect::{self, ProbeRequest};

impl Run<'_> {
    /// Initializes a session, lists the tools and calls one if configured.
    pub(super) async fn mcp(&mut self, ask: &ProbeRequest<'_>, sample: &mut Sample) -> End {
        self.start = Instant::now();
        let mut session = Session::default();
        let mut line = None;
        let end = match self.steps(ask, &mut session, &mut line, sample).await {
            Ok(end) | Err(end) => end,
        };
        let line = line.filter(HttpConnection::is_ready);
        if let (Some(mut line), Some(request)) = (line, session.end(ask)) {
            // Ending the session is a courtesy; a failure has no consequences.
            let _ = tokio::time::timeout(REST, self.notify(&request, &mut line)).await;
        }
        end
    }

    async fn steps(
        &mut self,
        ask: &ProbeRequest<'_>,
        session: &mut Session,
        kept: &mut Option<HttpConnection>,
        sample: &mut Sample,
    ) -> Result<End, End> {
        let endpoint = self.endpoint;
        let calls = endpoint.body.is_some() && endpoint.expect.tool.is_some();
        let mut first = None;
        let mut first_event = None;
        self.sent = 0;
        loop {
            let request = session.request(ask);
            self.sent += request.body.len();
            let mut line = match kept.take().filter(HttpConnection::is_ready) {
                Some(line) => line,
                None => self.connect(&request).await?,
            };
            // Record the stages of the first connection.
            self.stages = *first.get_or_insert(self.stages);
            if session.step == McpStep::Ready {
                self.notify(&request, &mut line).await?;
                session.advance(None, &dialect::Answer::default(), calls);
                *kept = Some(line);
                continue;
            }
            let step = Endpoint {
                expect: session.expect(&endpoint.expect, calls),
                ..endpoint.clone()
            };
            let headers_ms = sample.headers_ms;
            let (end, _) = self.exchange(&step, &request, &mut line, sample).await?;
            sample.headers_ms = headers_ms.or(sample.headers_ms);
            // Not the end of the body's framing, which a server may send later.
            let at = self.since_start(self.end.unwrap_or_else(|| line.arrivals.last()));
            first_event.get_or_insert(at);
            *kept = Some(line);
            let End::Answered(head, mut times, ended) = end else {
                return Ok(end);
            };
            if ended.fault.is_none() && session.advance(head.session.clone(), &ended.answer, calls)
            {
                continue;
            }
            times.first_event = first_event;
            if ended.fault.is_none() {
                (times.first_token, times.first_any_token) = (Some(at), Some(at));
            }
            return Ok(End::Answered(head, times, ended));
        }
    }

    /// Sends a notification, whose response is only a status.
    async fn notify(
        &mut self,
        request: &dialect::Request,
        line: &mut HttpConnection,
    ) -> Result<(), End> {
        let limits = self.endpoint.timeouts;
        let deadline = (self.start + limits.total).min(Instant::now() + limits.headers);
        let forwarder = self.prober.proxies.forwarder(&request.url);
        let message = message(request, line.is_http2(), forwarder)
            .map_err(|error| End::Broken(Fault::RequestRejected, error.to_string()))?;
        let response = tokio::time::timeout_at(deadline, line.send(message))
            .await
            .map_err(|_| End::Broken(Fault::TimeoutHeaders, String::new()))?
            .map_err(|error| End::Broken(of_hyper(&error, Fault::TcpReset), explain(&error)))?;
        let status = response.status();
        let mut body = response.into_body();
        let rest = async { while let Some(Ok(_)) = body.frame().await {} };
        let _ = tokio::time::timeout(REST, line.drive(rest)).await;
        if status.is_success() {
            Ok(())
        } else {
            let message = format!(
                "HTTP {} to the notification that the session is ready",
                status.as_u16()
            );
            Err(End::Broken(Fault::HttpUnexpected, message))
        }
    }
}
