-- Every change of a campaign makes a new version: what `?since=VERSION` compares.
CREATE FUNCTION campaigns_next_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.version := OLD.version + 1;
  RETURN NEW;
END
$$;

CREATE TRIGGER campaigns_version BEFORE UPDATE ON campaigns
  FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION campaigns_next_version();

-- The counters of a campaign move with its message rows, in the same transaction, whoever writes them. One update
-- per campaign and statement, in the order of their ids, so that two batches never wait for each other in a ring.
CREATE FUNCTION campaigns_apply_counts(
  a_campaign bigint, d_total bigint, d_pending bigint, d_sending bigint, d_sent bigint, d_delivered bigint,
  d_read bigint, d_failed bigint, d_unknown bigint, d_skipped bigint, d_funnel_sent bigint, d_funnel_delivered bigint,
  d_funnel_read bigint
) RETURNS void LANGUAGE sql AS $$
  UPDATE campaigns SET
    total_count = total_count + d_total,
    pending_count = pending_count + d_pending,
    sending_count = sending_count + d_sending,
    sent_count = sent_count + d_sent,
    delivered_count = delivered_count + d_delivered,
    read_count = read_count + d_read,
    failed_count = failed_count + d_failed,
    unknown_count = unknown_count + d_unknown,
    skipped_count = skipped_count + d_skipped,
    funnel_sent_count = funnel_sent_count + d_funnel_sent,
    funnel_delivered_count = funnel_delivered_count + d_funnel_delivered,
    funnel_read_count = funnel_read_count + d_funnel_read,
    rate_minute = CASE WHEN d_funnel_sent > 0 THEN date_trunc('minute', clock_timestamp()) ELSE rate_minute END,
    rate_previous_count = CASE
      WHEN d_funnel_sent <= 0 OR rate_minute = date_trunc('minute', clock_timestamp()) THEN rate_previous_count
      WHEN rate_minute = date_trunc('minute', clock_timestamp()) - interval '1 minute' THEN rate_count
      ELSE 0
    END,
    rate_count = CASE
      WHEN d_funnel_sent <= 0 THEN rate_count
      WHEN rate_minute = date_trunc('minute', clock_timestamp()) THEN rate_count + d_funnel_sent
      ELSE d_funnel_sent
    END
  WHERE id = a_campaign
$$;

CREATE FUNCTION messages_count_insert() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE d record;
BEGIN
  FOR d IN
    SELECT campaign_id, count(*) AS total,
      count(*) FILTER (WHERE status = 'pending') AS pending,
      count(*) FILTER (WHERE status = 'skipped') AS skipped
    FROM new_rows GROUP BY campaign_id ORDER BY campaign_id
  LOOP
    PERFORM campaigns_apply_counts(d.campaign_id, d.total, d.pending, 0, 0, 0, 0, 0, 0, d.skipped, 0, 0, 0);
  END LOOP;
  RETURN NULL;
END
$$;

CREATE FUNCTION messages_count_update() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE d record;
BEGIN
  FOR d IN
    SELECT * FROM (
      SELECT campaign_id,
        coalesce(sum(n) FILTER (WHERE status = 'pending'), 0) AS pending,
        coalesce(sum(n) FILTER (WHERE status = 'sending'), 0) AS sending,
        coalesce(sum(n) FILTER (WHERE status = 'sent'), 0) AS sent,
        coalesce(sum(n) FILTER (WHERE status = 'delivered'), 0) AS delivered,
        coalesce(sum(n) FILTER (WHERE status = 'read'), 0) AS read,
        coalesce(sum(n) FILTER (WHERE status = 'failed'), 0) AS failed,
        coalesce(sum(n) FILTER (WHERE status = 'unknown'), 0) AS unknown,
        coalesce(sum(n) FILTER (WHERE status = 'skipped'), 0) AS skipped,
        coalesce(sum(n) FILTER (WHERE accepted_at IS NOT NULL), 0) AS funnel_sent,
        coalesce(sum(n) FILTER (WHERE delivered_at IS NOT NULL), 0) AS funnel_delivered,
        coalesce(sum(n) FILTER (WHERE read_at IS NOT NULL), 0) AS funnel_read
      FROM (
        SELECT 1 AS n, campaign_id, status, accepted_at, delivered_at, read_at FROM new_rows
        UNION ALL
        SELECT -1, campaign_id, status, accepted_at, delivered_at, read_at FROM old_rows
      ) AS moved
      GROUP BY campaign_id
    ) AS deltas
    WHERE (pending, sending, sent, delivered, read, failed, unknown, skipped, funnel_sent, funnel_delivered, funnel_read)
      <> (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    ORDER BY campaign_id
  LOOP
    PERFORM campaigns_apply_counts(
      d.campaign_id, 0, d.pending::bigint, d.sending::bigint, d.sent::bigint, d.delivered::bigint, d.read::bigint,
      d.failed::bigint, d.unknown::bigint, d.skipped::bigint, d.funnel_sent::bigint, d.funnel_delivered::bigint,
      d.funnel_read::bigint
    );
  END LOOP;
  RETURN NULL;
END
$$;

CREATE TRIGGER messages_counted_on_insert AFTER INSERT ON messages
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION messages_count_insert();

CREATE TRIGGER messages_counted_on_update AFTER UPDATE ON messages
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION messages_count_update();
