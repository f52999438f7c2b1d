-- Times are milliseconds since the Unix epoch, durations microseconds; NULL where a stage was not reached.

-- What is the same for many samples.
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    endpoint TEXT NOT NULL,
    provider TEXT NOT NULL,
    api TEXT NOT NULL,
    model TEXT NOT NULL DEFAULT '',
    location TEXT NOT NULL,
    UNIQUE (endpoint, provider, api, model, location)
) STRICT;

-- One row a probe; seq is the order in which they were recorded, which is the order in which they are folded.
CREATE TABLE sample (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL,
    series INTEGER NOT NULL REFERENCES series (id),
    scheduled_at INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    cause TEXT NOT NULL,
    outcome TEXT NOT NULL,
    fault TEXT,
    attribution TEXT,
    http_status INTEGER,
    auth_us INTEGER,
    dns_us INTEGER,
    tcp_us INTEGER,
    tls_us INTEGER,
    headers_us INTEGER,
    first_event_us INTEGER,
    first_token_us INTEGER,
    first_any_token_us INTEGER,
    max_gap_us INTEGER,
    tpot_us INTEGER,
    total_us INTEGER,
    schedule_lag_us INTEGER NOT NULL,
    events INTEGER,
    input_tokens INTEGER,
    output_tokens INTEGER,
    reasoning_tokens INTEGER,
    cost_usd REAL,
    finish_reason TEXT,
    response_model TEXT,
    system_fingerprint TEXT,
    request_id TEXT,
    server_us INTEGER,
    edge TEXT,
    ratelimit_remaining_requests INTEGER,
    ratelimit_remaining_tokens INTEGER,
    retry_after_us INTEGER,
    remote_addr TEXT,
    http_version TEXT,
    tls_expires_at INTEGER,
    model_retires_at INTEGER,
    ratelimit_headroom REAL,
    load_us INTEGER,
    error TEXT,
    answer TEXT
) STRICT;
CREATE INDEX sample_started_at ON sample (started_at);
CREATE INDEX sample_series ON sample (series, seq);
-- The pages show the last bad ones of an endpoint, which may be very long ago.
CREATE INDEX sample_bad ON sample (series, seq) WHERE outcome <> 'ok';

-- What the samples of one series that began in one period say together: a fold over them, in the same
-- transaction. step is the period's length in seconds (300, 3600, 86400), at its beginning.
CREATE TABLE rollup (
    step INTEGER NOT NULL,
    series INTEGER NOT NULL REFERENCES series (id),
    at INTEGER NOT NULL,
    ok INTEGER NOT NULL,
    slow INTEGER NOT NULL,
    failed_provider INTEGER NOT NULL,
    failed_account INTEGER NOT NULL,
    failed_local INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost_usd REAL NOT NULL,
    dns_us INTEGER NOT NULL,
    tcp_us INTEGER NOT NULL,
    tls_us INTEGER NOT NULL,
    headers_us INTEGER NOT NULL,
    first_token BLOB NOT NULL,
    total BLOB NOT NULL,
    PRIMARY KEY (step, series, at)
) STRICT, WITHOUT ROWID;

-- The failed ones among them; most periods have none.
CREATE TABLE rollup_fault (
    step INTEGER NOT NULL,
    series INTEGER NOT NULL REFERENCES series (id),
    at INTEGER NOT NULL,
    fault TEXT NOT NULL,
    attribution TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (step, series, at, fault, attribution)
) STRICT, WITHOUT ROWID;

-- The state of detection after sample seq. It always equals the fold over the samples up to there.
CREATE TABLE checkpoint (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL,
    state TEXT NOT NULL
) STRICT;

-- What was sent, what is pending, and what people said.
CREATE TABLE desk (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    state TEXT NOT NULL
) STRICT;

CREATE TABLE incident (
    id BLOB PRIMARY KEY,
    number INTEGER NOT NULL UNIQUE,
    open INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    data TEXT NOT NULL
) STRICT;

-- A notification to one channel. It is here before it is sent, and stays until it is delivered, refused or expired.
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE,
    channel TEXT NOT NULL,
    incident BLOB,
    notice TEXT NOT NULL,
    progress TEXT NOT NULL DEFAULT '{}',
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent', 'merged', 'failed', 'expired', 'dropped')),
    decided_at INTEGER NOT NULL,
    -- About many incidents at once: waits for all that is before it, and all that is after it waits for it.
    digest INTEGER NOT NULL DEFAULT 0,
    -- From when on it may be sent; trying ends so long after this.
    queued_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    first_attempt_at INTEGER,
    next_attempt_at INTEGER NOT NULL,
    ended_at INTEGER,
    error TEXT
) STRICT;
-- How many ended notifications are not kept any more: what is counted since the store was made never goes down.
CREATE TABLE outbox_forgotten (
    channel TEXT NOT NULL,
    state TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (channel, state)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER outbox_count_forgotten AFTER DELETE ON outbox WHEN old.state IN ('sent', 'failed', 'expired')
BEGIN
    INSERT INTO outbox_forgotten VALUES (old.channel, old.state, 1) ON CONFLICT DO UPDATE SET count = count + 1;
END;
CREATE INDEX outbox_pending ON outbox (channel, seq) WHERE state = 'pending';
CREATE INDEX outbox_ended ON outbox (channel, state, ended_at) WHERE state <> 'pending';
