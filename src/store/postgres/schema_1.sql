-- What several daemons share. Times are milliseconds since 1970; `recorded_at`, `seen_at`, `changed_at` and the leases are
-- by the server's clock, the rest by the clock of the daemon that wrote it.

-- One row: the daemon that decides about incidents locks it. `next_number` numbers them.
CREATE TABLE llmwatch_state (
    id INT8 PRIMARY KEY CHECK (id = 1),
    next_number INT8 NOT NULL,
    decided_at INT8 NOT NULL
);
INSERT INTO llmwatch_state VALUES (1, 1, 0);

CREATE TABLE llmwatch_daemon (
    id UUID PRIMARY KEY,
    location TEXT NOT NULL,
    host TEXT NOT NULL,
    version TEXT NOT NULL,
    probes BOOL NOT NULL,
    -- What each endpoint probes, as a hash that says nothing of it.
    endpoints TEXT NOT NULL,
    samples_per_hour INT8 NOT NULL,
    started_at INT8 NOT NULL,
    seen_at INT8 NOT NULL
);

CREATE TABLE llmwatch_sample (
    id UUID PRIMARY KEY,
    endpoint TEXT NOT NULL,
    location TEXT NOT NULL,
    daemon UUID NOT NULL,
    trigger TEXT NOT NULL,
    scheduled_at INT8 NOT NULL,
    started_at INT8 NOT NULL,
    outcome TEXT NOT NULL,
    recorded_at INT8 NOT NULL,
    -- The sample as JSON, without its empty fields.
    data TEXT NOT NULL
);
-- A slot of a pair is probed once.
CREATE UNIQUE INDEX llmwatch_sample_slot ON llmwatch_sample (endpoint, location, scheduled_at)
    WHERE trigger = 'schedule';

-- What each location says of each endpoint.
CREATE TABLE llmwatch_verdict (
    endpoint TEXT NOT NULL,
    location TEXT NOT NULL,
    daemon UUID NOT NULL,
    seen_at INT8 NOT NULL,
    -- When it last said something else: then the others read it at once.
    changed_at INT8 NOT NULL,
    probed_at INT8 NOT NULL,
    -- When it becomes stale unless the location probes again.
    stale_at INT8 NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (endpoint, location)
);
CREATE INDEX llmwatch_verdict_changed ON llmwatch_verdict (changed_at);
CREATE INDEX llmwatch_verdict_stale ON llmwatch_verdict (stale_at);

-- Each location's own incidents.
CREATE TABLE llmwatch_report (
    location TEXT PRIMARY KEY,
    daemon UUID NOT NULL,
    seen_at INT8 NOT NULL,
    data TEXT NOT NULL
);

-- The incidents of all.
CREATE TABLE llmwatch_incident (
    id UUID PRIMARY KEY,
    number INT8 NOT NULL UNIQUE,
    open BOOL NOT NULL,
    started_at INT8 NOT NULL,
    changed_at INT8 NOT NULL,
    data TEXT NOT NULL
);
CREATE INDEX llmwatch_incident_changed ON llmwatch_incident (changed_at);
CREATE INDEX llmwatch_incident_open ON llmwatch_incident (number) WHERE open;

-- What alerting has decided so far, for each set of channels.
CREATE TABLE llmwatch_alerting (
    channels TEXT PRIMARY KEY,
    ticked_at INT8 NOT NULL,
    data TEXT NOT NULL
);

-- Which daemon gave a channel an advice last: for a day the same advice of others is not sent as well.
CREATE TABLE llmwatch_advice (
    channel TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    kind TEXT NOT NULL,
    owner UUID NOT NULL,
    seen_at INT8 NOT NULL,
    PRIMARY KEY (channel, endpoint, kind)
);

CREATE TABLE llmwatch_outbox (
    id UUID PRIMARY KEY,
    -- Order within a channel and an incident.
    seq INT8 NOT NULL,
    channel TEXT NOT NULL,
    incident UUID,
    kind TEXT NOT NULL,
    notice TEXT NOT NULL,
    state TEXT NOT NULL,
    decided_at INT8 NOT NULL,
    queued_at INT8 NOT NULL,
    next_attempt_at INT8 NOT NULL,
    first_attempt_at INT8,
    attempts INT8 NOT NULL,
    progress TEXT NOT NULL,
    error TEXT,
    ended_at INT8,
    claimed_by UUID,
    claimed_until INT8
);
CREATE INDEX llmwatch_outbox_pending ON llmwatch_outbox (channel, seq) WHERE state = 'pending';
CREATE INDEX llmwatch_outbox_incident ON llmwatch_outbox (channel, incident, seq);

-- The last slot of each endpoint that a daemon of a location took.
CREATE TABLE llmwatch_slot (
    endpoint TEXT NOT NULL,
    location TEXT NOT NULL,
    slot INT8 NOT NULL,
    owner UUID NOT NULL,
    leased_until INT8 NOT NULL,
    PRIMARY KEY (endpoint, location)
);

-- What probing cost on a day of the daemons' time zone.
CREATE TABLE llmwatch_spent (
    day TEXT NOT NULL,
    location TEXT NOT NULL,
    usd FLOAT8 NOT NULL,
    tokens INT8 NOT NULL,
    PRIMARY KEY (day, location)
);

-- How far the history of an SQLite file was copied.
CREATE TABLE llmwatch_copy (
    source UUID PRIMARY KEY,
    seq INT8 NOT NULL
);

-- Notifications that were deleted, for the counts.
CREATE TABLE llmwatch_outbox_forgotten (
    channel TEXT NOT NULL,
    state TEXT NOT NULL,
    count INT8 NOT NULL,
    PRIMARY KEY (channel, state)
);

-- What only daemons know: the key of the links in messages.
CREATE TABLE llmwatch_secret (
    name TEXT PRIMARY KEY,
    value BYTEA NOT NULL
);

-- Visitors who get public incidents by mail, whichever daemon took their sign-up.
CREATE TABLE llmwatch_subscriber (
    id UUID PRIMARY KEY,
    address TEXT NOT NULL UNIQUE,
    asked_at INT8 NOT NULL,
    asked INT8 NOT NULL,
    confirmed_at INT8
);

-- Their mails, which daemons claim with a lease.
CREATE TABLE llmwatch_subscriber_mail (
    id UUID PRIMARY KEY,
    subscriber UUID NOT NULL REFERENCES llmwatch_subscriber (id) ON DELETE CASCADE,
    -- NULL for the mail that asks for a confirmation.
    incident UUID,
    -- Order of the mails about the incident.
    seq INT8 NOT NULL,
    subject TEXT NOT NULL,
    body TEXT NOT NULL,
    queued_at INT8 NOT NULL,
    next_attempt_at INT8 NOT NULL,
    attempts INT8 NOT NULL,
    claimed_by UUID,
    claimed_until INT8
);
CREATE INDEX llmwatch_subscriber_mail_due ON llmwatch_subscriber_mail (next_attempt_at);
CREATE INDEX llmwatch_subscriber_mail_order ON llmwatch_subscriber_mail (subscriber, incident);

-- How much of an incident was announced to subscribers.
CREATE TABLE llmwatch_announced (
    incident UUID PRIMARY KEY,
    notes INT8 NOT NULL,
    over BOOL NOT NULL,
    seen_at INT8 NOT NULL
);
