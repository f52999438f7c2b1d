-- Samples in a third of the bytes, and nothing in the file that a sample changes at a random place: what is kept per
-- endpoint (its rollups, where its samples lie) is written for many samples at once.

-- What is the same for many samples, as JSON.
CREATE TABLE profile (
    id INTEGER PRIMARY KEY,
    data TEXT NOT NULL UNIQUE
) STRICT;

-- One row a probe; seq is the order in which they were recorded, which is the order in which they are folded.
ALTER TABLE sample RENAME TO sample_1;
CREATE TABLE sample (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    series INTEGER NOT NULL REFERENCES series (id),
    -- NULL when there are too many of them: then it is in extra.
    profile INTEGER REFERENCES profile (id),
    started_at INTEGER NOT NULL,
    -- From when it was due to when it began, in milliseconds.
    wait_ms INTEGER NOT NULL,
    -- 0 ok, 1 slow, 2 failed.
    outcome INTEGER NOT NULL,
    dns_us INTEGER,
    tcp_us INTEGER,
    tls_us INTEGER,
    headers_us INTEGER,
    first_event_us INTEGER,
    first_token_us INTEGER,
    -- 0 when it is the first visible token.
    first_any_token_us INTEGER,
    max_gap_us INTEGER,
    tpot_us INTEGER,
    total_us INTEGER,
    schedule_lag_us INTEGER NOT NULL,
    server_us INTEGER,
    events INTEGER,
    input_tokens INTEGER,
    output_tokens INTEGER,
    cost_usd REAL,
    request_id TEXT,
    ratelimit_remaining_requests INTEGER,
    ratelimit_remaining_tokens INTEGER,
    ratelimit_headroom REAL,
    -- What few samples have, as JSON.
    extra TEXT
) STRICT;

-- When the samples from first_seq to last_seq began.
CREATE TABLE block (
    last_seq INTEGER PRIMARY KEY,
    first_seq INTEGER NOT NULL,
    began_from INTEGER NOT NULL,
    began_until INTEGER NOT NULL
) STRICT;

-- Which samples are those of one series: the distances from one to the next, beginning at first_seq. The rollups of the
-- series hold its samples up to the greatest last_seq.
CREATE TABLE series_block (
    series INTEGER NOT NULL REFERENCES series (id),
    last_seq INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    began_from INTEGER NOT NULL,
    began_until INTEGER NOT NULL,
    steps BLOB NOT NULL,
    PRIMARY KEY (series, last_seq)
) STRICT, WITHOUT ROWID;

-- The rollups and blocks of all series hold the samples up to this one, and of some series later ones.
CREATE TABLE summed (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL
) STRICT;
INSERT INTO summed SELECT 1, coalesce(max(seq), 0) FROM sample_1;

-- The state as packed JSON.
ALTER TABLE checkpoint RENAME TO checkpoint_1;
CREATE TABLE checkpoint (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL,
    state BLOB NOT NULL
) STRICT;
INSERT INTO checkpoint SELECT id, seq, CAST(state AS BLOB) FROM checkpoint_1;
DROP TABLE checkpoint_1;

-- Release 0.1 opened the alert about a lost network under the key `blind`. A receiver that may have it needs the end
-- under that key: from an end that is queued already, or else from the monitor when it is online again.
UPDATE checkpoint SET state = CAST(json_set(CAST(state AS TEXT), '$.closes_blind', json('true')) AS BLOB)
    WHERE EXISTS (
        SELECT 1 FROM outbox AS opened
        WHERE json_extract(notice, '$.type') = 'monitor.blind' AND (state = 'sent' OR attempts > 0)
            AND NOT EXISTS (
                SELECT 1 FROM outbox AS closed
                WHERE closed.channel = opened.channel AND closed.seq > opened.seq
                    AND json_extract(closed.notice, '$.type') = 'monitor.sighted'));
UPDATE outbox SET notice = json_replace(notice, '$.condition.key', 'offline')
    WHERE json_extract(notice, '$.type') IN ('monitor.blind', 'monitor.sighted')
        AND channel NOT IN (
            SELECT channel FROM outbox
            WHERE json_extract(notice, '$.type') = 'monitor.blind' AND (state = 'sent' OR attempts > 0));

-- Old names that may still wait to be sent.
UPDATE outbox SET notice = json_replace(notice, '$.type', 'monitor.offline')
    WHERE json_extract(notice, '$.type') = 'monitor.blind';
UPDATE outbox SET notice = json_replace(notice, '$.type', 'monitor.online')
    WHERE json_extract(notice, '$.type') = 'monitor.sighted';

ALTER TABLE desk RENAME TO notification_state;
