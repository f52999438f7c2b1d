-- When the sample's attribution was last revised, by the server's clock; the other daemons then read it again.
ALTER TABLE llmwatch_sample ADD COLUMN revised_at INT8;
CREATE INDEX llmwatch_sample_revised ON llmwatch_sample (revised_at) WHERE revised_at IS NOT NULL;
