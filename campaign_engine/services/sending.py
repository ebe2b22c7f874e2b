"""Claim, send, settle: the rows' side of it. The calls in between are made with no transaction open.

A turn of a lane asks for a `plan`, claims the rows it may send now, and settles each with what became of it. Every
statement is a compare-and-set on the row's state and claim, so that two turns at once are harmless and a webhook
that was faster than us is not overwritten.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session
from sqlalchemy.types import BigInteger, DateTime, Integer, Text, Uuid

from campaign_engine.config import Config
from campaign_engine.models import Account, AccountStatus, Company
from campaign_engine.providers.base import Accepted, ErrorClass, Lost, NotSent, Outcome
from campaign_engine.rules import pacing, retry, working_hours
from campaign_engine.rules.states import MessageStatus
from campaign_engine.rules.throttling import Throttle
from campaign_engine.rules.working_hours import WorkingHours
from campaign_engine.services import limits


@dataclass(frozen=True, slots=True)
class Candidate:
    """A running campaign that uses the account and has messages to send."""

    campaign_id: int
    owner_id: int
    content: Mapping[str, Any]
    pacing: pacing.Pacing
    fresh: bool  # has messages that were never tried
    retry_at: datetime | None  # when its earliest retry is due
    delayed_until: datetime | None
    pending_count: int
    begun: bool  # has sent something
    hours: WorkingHours | None

    def ready(self, now: datetime) -> tuple[datetime, str]:
        """Return the earliest time at which it can use the account, and what it waits for until then.

        `now` when it can already. Hours that never open are looked at again in a day.
        """
        at, reason = now, ""
        if not self.fresh and self.retry_at is not None and self.retry_at > at:
            at, reason = self.retry_at, "backoff before a retry"
        if self.delayed_until is not None and self.delayed_until > at:
            at, reason = self.delayed_until, "delay of the campaign"
        if self.hours is not None:
            opens_at = self.hours.opens_at(at) or at + timedelta(days=1)
            if opens_at > at:
                at, reason = opens_at, "outside its working hours"
        return at, reason

    def stops_now(self, now: datetime) -> bool:
        """Whether its hours are over and it is to stop then, rather than go on when they open again."""
        return (
            self.hours is not None and self.hours.stops_at_close and self.begun and self.hours.open_until(now) is None
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What an account could do now. Candidates are in order of service, least recently served first."""

    account: Account
    company: Company
    candidates: Sequence[Candidate]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row that may be sent next: locked until the transaction ends, and claimed with `claim`.

    `attempts` are those made before; a retry is a row that has made some.
    """

    message_id: uuid.UUID
    campaign_id: int
    contact_id: int | None
    phone: str
    phone_key: str
    attempts: int
    variables: Mapping[str, str]
    opted_out: bool
    met_lately: bool  # got a message so lately that the limit of the pair may bind

    @property
    def is_retry(self) -> bool:
        """Whether it has been tried before."""
        return self.attempts > 0


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a claimed row becomes."""

    message_id: uuid.UUID
    status: MessageStatus
    at: datetime
    provider_message_id: str | None = None
    reason: str | None = None
    error_class: ErrorClass | None = None
    error_code: str | None = None
    error_detail: str | None = None
    next_attempt_at: datetime | None = None
    attempt_counts: bool = True


_CANDIDATES = text(
    """
    SELECT c.id AS campaign_id, c.owner_id, c.content, c.pacing, c.pending_count, ca.delayed_until,
      c.working_hours, c.timezone, c.funnel_sent_count > 0 AS begun,
      EXISTS (
        SELECT 1 FROM messages m WHERE m.campaign_id = c.id AND m.status = 'pending' AND m.next_attempt_at IS NULL
      ) AS fresh,
      (
        SELECT min(m.next_attempt_at) FROM messages m
        WHERE m.campaign_id = c.id AND m.status = 'pending' AND m.next_attempt_at IS NOT NULL
      ) AS retry_at
    FROM campaign_accounts ca JOIN campaigns c ON c.id = ca.campaign_id
    WHERE ca.account_id = :account_id AND c.status = 'running' AND c.pending_count > 0
    ORDER BY ca.served_at NULLS FIRST, c.id
    """
)


def plan(session: Session, account_id: int, *, config: Config) -> Plan | None:
    """Return what the account could send for whom, or None when it may not send at all."""
    account = session.get(Account, account_id, populate_existing=True)
    if account is None or account.status != AccountStatus.ACTIVE:
        return None
    company = session.get_one(Company, account.company_id, populate_existing=True)
    rows = session.execute(_CANDIDATES, {"account_id": account_id})
    candidates = [
        Candidate(
            campaign_id=row.campaign_id,
            owner_id=row.owner_id,
            content=row.content,
            pacing=pacing_of(account, company, row.pacing, config),
            fresh=row.fresh,
            retry_at=row.retry_at,
            delayed_until=row.delayed_until,
            pending_count=row.pending_count,
            begun=row.begun,
            hours=working_hours.parse(row.working_hours, default_zone=row.timezone) if row.working_hours else None,
        )
        for row in rows
        if row.fresh or row.retry_at is not None
    ]
    return Plan(account=account, company=company, candidates=candidates)


def campaigns_of(session: Session, account_id: int) -> list[int]:
    """Return the running campaigns that use an account."""
    return list(
        session.scalars(
            text(
                "SELECT c.id FROM campaign_accounts ca JOIN campaigns c ON c.id = ca.campaign_id"
                " WHERE ca.account_id = :account_id AND c.status = 'running' AND c.pending_count = 0"
            ),
            {"account_id": account_id},
        )
    )


def pacing_of(account: Account, company: Company, campaign_pacing: Mapping[str, Any], config: Config) -> pacing.Pacing:
    """Return the pacing in force: the campaign's, else the account's, else the company's, else the environment's."""
    return pacing.resolve(
        campaign_pacing,
        {name: getattr(account, name, None) for name in pacing.PACING_FIELDS},
        company.settings,
        {
            "message_interval_s": config.message_interval_s,
            "longer_interval_after": config.longer_interval_after,
            "greater_interval_s": config.greater_interval_s,
            "message_delay_s": config.campaign_message_delay_s,
        },
    )


# Due retries go before messages that were never tried; both by index, so that this costs the same in a campaign of a
# million rows. SKIP LOCKED: another account of the same campaign is choosing at the same time.
_NEXT = text(
    """
    WITH wanted AS (
      SELECT * FROM unnest(:campaign_ids, :counts) AS w(campaign_id, room)
    ), picked AS (
      SELECT p.* FROM wanted w CROSS JOIN LATERAL (
        SELECT * FROM (
          SELECT m.* FROM messages m
          WHERE m.campaign_id = w.campaign_id AND m.status = 'pending' AND m.next_attempt_at <= :now
          ORDER BY m.next_attempt_at LIMIT w.room FOR UPDATE SKIP LOCKED
        ) AS retries
        UNION ALL
        SELECT * FROM (
          SELECT m.* FROM messages m
          WHERE m.campaign_id = w.campaign_id AND m.status = 'pending' AND m.next_attempt_at IS NULL
          ORDER BY m.position LIMIT w.room FOR UPDATE SKIP LOCKED
        ) AS fresh
        LIMIT w.room
      ) p
    )
    SELECT p.id, p.campaign_id, p.contact_id, p.phone, p.phone_key, p.attempts, p.variables,
      c.name AS contact_name, c.variables AS contact_variables,
      EXISTS (
        SELECT 1 FROM opt_outs o WHERE o.company_id = :company_id AND o.phone_key = p.phone_key
      ) AS opted_out,
      EXISTS (
        SELECT 1 FROM messages x WHERE x.contact_id = p.contact_id AND x.accepted_at > :lately
      ) AS met_lately
    FROM picked p LEFT JOIN contacts c ON c.id = p.contact_id
    ORDER BY p.next_attempt_at NULLS LAST, p.position
    """
).bindparams(
    bindparam("campaign_ids", type_=ARRAY(BigInteger)),
    bindparam("counts", type_=ARRAY(Integer)),
    bindparam("now", type_=DateTime(timezone=True)),
    bindparam("lately", type_=DateTime(timezone=True)),
)

_CLAIM = text(
    """
    WITH served AS (
      UPDATE campaign_accounts SET served_at = :now
      WHERE account_id = :account_id AND campaign_id = ANY(:campaign_ids)
    )
    UPDATE messages SET
      status = 'sending', claim_token = :token, claimed_at = :now, account_id = :account_id, attempts = attempts + 1
    WHERE id = ANY(:ids) AND status = 'pending'
    """
).bindparams(
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("campaign_ids", type_=ARRAY(BigInteger)),
    bindparam("token", type_=Uuid),
    bindparam("now", type_=DateTime(timezone=True)),
)


def next_rows(session: Session, *, account: Account, sequence: Sequence[int], now: datetime) -> list[Waiting]:
    """Return a row for each entry of `sequence` (campaign ids in the order of sending), as far as there are rows.

    Side effects: locks the rows until the transaction ends. Claim those that are to be sent, and commit.
    """
    counts: dict[int, int] = {}
    for campaign_id in sequence:
        counts[campaign_id] = counts.get(campaign_id, 0) + 1
    rows = session.execute(
        _NEXT,
        {
            "campaign_ids": list(counts),
            "counts": list(counts.values()),
            "now": now,
            "lately": now - limits.PAIR_FULL_AFTER,
            "company_id": account.company_id,
        },
    )
    found: dict[int, list[Waiting]] = {}
    for row in rows:
        found.setdefault(row.campaign_id, []).append(_waiting(row))
    return [found[campaign_id].pop(0) for campaign_id in sequence if found.get(campaign_id)]


def claim(session: Session, *, account: Account, token: uuid.UUID, rows: Sequence[Waiting], now: datetime) -> None:
    """Claim locked rows for the turn `token`: they move from `pending` to `sending`, and an attempt is counted.

    Side effects: the campaigns of the rows count as served now.
    """
    if rows:
        session.execute(
            _CLAIM,
            {
                "ids": [row.message_id for row in rows],
                "campaign_ids": list({row.campaign_id for row in rows}),
                "token": token,
                "now": now,
                "account_id": account.id,
            },
        )


def skip(session: Session, rows: Sequence[Waiting], *, reason: str) -> None:
    """Leave locked rows out for good, with the reason."""
    if rows:
        session.execute(
            text(
                "UPDATE messages SET status = 'skipped', status_reason = :reason, next_attempt_at = NULL"
                " WHERE id = ANY(:ids) AND status = 'pending'"
            ).bindparams(bindparam("ids", type_=ARRAY(Uuid))),
            {"ids": [row.message_id for row in rows], "reason": reason},
        )


def postpone(session: Session, row: Waiting, *, until: datetime) -> None:
    """Let a locked row wait for its own limit, while others go."""
    session.execute(
        text("UPDATE messages SET next_attempt_at = :until WHERE id = :id AND status = 'pending'").bindparams(
            bindparam("id", type_=Uuid), bindparam("until", type_=DateTime(timezone=True))
        ),
        {"until": until, "id": row.message_id},
    )


def _waiting(row: Row[Any]) -> Waiting:
    variables = {**(row.contact_variables or {}), **(row.variables or {})}
    variables["phone"] = row.phone
    if row.contact_name and not (row.variables or {}).get("name"):
        variables["name"] = row.contact_name
    return Waiting(
        message_id=row.id,
        campaign_id=row.campaign_id,
        contact_id=row.contact_id,
        phone=row.phone,
        phone_key=row.phone_key,
        attempts=row.attempts,
        variables=variables,
        opted_out=row.opted_out,
        met_lately=row.met_lately,
    )


def settlement_of(claimed: Waiting, outcome: Outcome, *, now: datetime) -> Settlement:
    """Decide what a row becomes: a pure function of the outcome and the attempts made."""
    if isinstance(outcome, Accepted):
        return Settlement(claimed.message_id, MessageStatus.SENT, now, provider_message_id=outcome.provider_message_id)
    if isinstance(outcome, Lost):
        return Settlement(
            claimed.message_id,
            MessageStatus.UNKNOWN,
            now,
            reason="answer_lost",
            error_class=ErrorClass.UNKNOWN,
            error_detail=outcome.reason,
        )
    if isinstance(outcome, NotSent):
        # The provider cannot be reached: the lane rests, and the message waits as if it had not been tried.
        return Settlement(
            claimed.message_id,
            MessageStatus.PENDING,
            now,
            error_class=ErrorClass.TEMPORARY,
            error_code="not_sent",
            error_detail=outcome.reason,
            next_attempt_at=now,
            attempt_counts=False,
        )
    failure = outcome.failure
    if failure.error_class is ErrorClass.THROTTLED or failure.error_class is ErrorClass.ACCOUNT:
        # Nothing is wrong with the message. The account cools down, or is deactivated after a few of these; the
        # message waits for it or goes out from another one.
        return Settlement(
            claimed.message_id,
            MessageStatus.PENDING,
            now,
            error_class=failure.error_class,
            error_code=failure.code,
            error_detail=failure.detail,
            next_attempt_at=now,
            attempt_counts=False,
        )
    if failure.error_class is ErrorClass.TEMPORARY:
        return _again_or_failed(
            claimed,
            failure.error_class,
            failure.code,
            failure.detail,
            now=now,
            retry_after_s=failure.retry_after_s,
            may_have_left=failure.may_have_left,
        )
    return Settlement(
        claimed.message_id,
        MessageStatus.FAILED,
        now,
        error_class=failure.error_class,
        error_code=failure.code,
        error_detail=failure.detail,
    )


def _again_or_failed(
    claimed: Waiting,
    error_class: ErrorClass,
    code: str,
    detail: str,
    *,
    now: datetime,
    retry_after_s: float | None = None,
    may_have_left: bool = False,
) -> Settlement:
    again_at = retry.next_attempt_at(
        claimed.attempts + 1, now=now, retry_after_s=retry_after_s, may_have_left=may_have_left
    )
    return Settlement(
        claimed.message_id,
        MessageStatus.FAILED if again_at is None else MessageStatus.PENDING,
        now,
        error_class=error_class,
        error_code=code,
        error_detail=detail,
        next_attempt_at=again_at,
    )


# A webhook may have settled the row before us: then its state stands and only what we alone know is added. Our own
# claim may have been declared unknown meanwhile: then what we know heals it.
_SETTLE = text(
    """
    UPDATE messages m SET
      status = CASE WHEN m.status IN ('sending', 'unknown') THEN s.status ELSE m.status END,
      status_reason = CASE WHEN m.status IN ('sending', 'unknown') THEN s.reason ELSE m.status_reason END,
      claim_token = NULL,
      attempts = m.attempts - CASE WHEN s.attempt_counts THEN 0 ELSE 1 END,
      account_id = CASE
        WHEN s.status = 'pending' AND m.status IN ('sending', 'unknown') THEN NULL ELSE m.account_id
      END,
      next_attempt_at = s.next_attempt_at,
      provider_message_id = coalesce(m.provider_message_id, s.provider_message_id),
      accepted_at = CASE WHEN s.status = 'sent' THEN coalesce(m.accepted_at, s.at) ELSE m.accepted_at END,
      failed_at = CASE WHEN s.status = 'failed' AND m.status IN ('sending', 'unknown') THEN s.at ELSE m.failed_at END,
      error_class = CASE
        WHEN s.status = 'sent' AND m.status <> 'failed' THEN NULL ELSE coalesce(s.error_class, m.error_class)
      END,
      error_code = CASE
        WHEN s.status = 'sent' AND m.status <> 'failed' THEN NULL
        WHEN s.error_class IS NULL THEN m.error_code ELSE s.error_code
      END,
      error_detail = CASE
        WHEN s.status = 'sent' AND m.status <> 'failed' THEN NULL
        WHEN s.error_class IS NULL THEN m.error_detail ELSE s.error_detail
      END
    FROM unnest(
      :ids, :statuses, :ats, :provider_message_ids, :reasons, :error_classes, :error_codes, :error_details,
      :next_attempts, :attempts_count
    ) AS s(
      id, status, at, provider_message_id, reason, error_class, error_code, error_detail, next_attempt_at,
      attempt_counts
    )
    WHERE m.id = s.id AND m.claim_token = :token
    """
).bindparams(
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("statuses", type_=ARRAY(Text)),
    bindparam("ats", type_=ARRAY(DateTime(timezone=True))),
    bindparam("provider_message_ids", type_=ARRAY(Text)),
    bindparam("reasons", type_=ARRAY(Text)),
    bindparam("error_classes", type_=ARRAY(Text)),
    bindparam("error_codes", type_=ARRAY(Text)),
    bindparam("error_details", type_=ARRAY(Text)),
    bindparam("next_attempts", type_=ARRAY(DateTime(timezone=True))),
    bindparam("token", type_=Uuid),
)


def settle(session: Session, *, token: uuid.UUID, settlements: Sequence[Settlement]) -> int:
    """Write what became of claimed rows, in one statement; return how many of them were still this turn's."""
    if not settlements:
        return 0
    result = session.execute(
        _SETTLE,
        {
            "token": token,
            "ids": [item.message_id for item in settlements],
            "statuses": [item.status for item in settlements],
            "ats": [item.at for item in settlements],
            "provider_message_ids": [item.provider_message_id for item in settlements],
            "reasons": [item.reason for item in settlements],
            "error_classes": [item.error_class for item in settlements],
            "error_codes": [item.error_code for item in settlements],
            "error_details": [item.error_detail for item in settlements],
            "next_attempts": [item.next_attempt_at for item in settlements],
            "attempts_count": [item.attempt_counts for item in settlements],
        },
    )
    return result.rowcount  # type: ignore[attr-defined, no-any-return]


def remember_aliases(session: Session, aliases: Mapping[int, str]) -> None:
    """Keep how the provider spells contacts (`wa_id` by contact id), where it differs from what is stored."""
    if aliases:
        session.execute(
            text(
                "UPDATE contacts c SET wa_id = a.wa_id FROM unnest(:ids, :wa_ids) AS a(id, wa_id)"
                " WHERE c.id = a.id AND c.wa_id IS DISTINCT FROM a.wa_id"
            ).bindparams(bindparam("ids", type_=ARRAY(BigInteger)), bindparam("wa_ids", type_=ARRAY(Text))),
            {"ids": list(aliases), "wa_ids": list(aliases.values())},
        )


def take_pace(session: Session, *, account: Account, until: datetime, series_count: int, now: datetime) -> bool:
    """Book the account's pause after the message about to leave; False when another turn was faster.

    The pause is booked before the message leaves, so that a crash cannot hurry the number.
    """
    result = session.execute(
        text(
            "UPDATE accounts SET paced_until = :until, series_count = :series"
            " WHERE id = :id AND (paced_until IS NULL OR paced_until <= :now)"
        ),
        {"until": until, "series": series_count, "id": account.id, "now": now},
    )
    return bool(result.rowcount)  # type: ignore[attr-defined]


def extend_pause(session: Session, *, account_id: int, until: datetime) -> None:
    """Let the account wait until `until` at least: measured from when the provider had the message, not from before."""
    session.execute(
        text("UPDATE accounts SET paced_until = greatest(paced_until, :until) WHERE id = :id"),
        {"until": until, "id": account_id},
    )


def throttle(session: Session, *, account_id: int, throttled: Throttle) -> None:
    """Keep that the provider complained: the account's rate is halved `throttled.step` times for a while."""
    session.execute(
        text("UPDATE accounts SET throttle_step = :step, throttled_at = :since WHERE id = :id"),
        {"step": throttled.step, "since": throttled.since, "id": account_id},
    )


def delay_campaigns(session: Session, *, account_id: int, until: Mapping[int, datetime]) -> None:
    """Let campaigns wait on this account until the given times (their own delay between messages)."""
    if until:
        session.execute(
            text(
                "UPDATE campaign_accounts ca SET delayed_until = greatest(ca.delayed_until, d.until)"
                " FROM unnest(:ids, :untils) AS d(campaign_id, until)"
                " WHERE ca.account_id = :account_id AND ca.campaign_id = d.campaign_id"
            ).bindparams(
                bindparam("ids", type_=ARRAY(BigInteger)),
                bindparam("untils", type_=ARRAY(DateTime(timezone=True))),
            ),
            {"ids": list(until), "untils": list(until.values()), "account_id": account_id},
        )


_ABANDON = text(
    """
    UPDATE messages SET
      status = CASE WHEN id = ANY(:dispatched) THEN 'unknown' ELSE 'pending' END,
      status_reason = CASE WHEN id = ANY(:dispatched) THEN 'worker_died' END,
      attempts = attempts - CASE WHEN id = ANY(:dispatched) THEN 0 ELSE 1 END,
      account_id = CASE WHEN id = ANY(:dispatched) THEN account_id END,
      next_attempt_at = NULL
    WHERE claim_token = :token AND status IN ('sending', 'unknown')
    """
).bindparams(bindparam("dispatched", type_=ARRAY(Uuid)), bindparam("token", type_=Uuid))


def abandon(session: Session, *, token: uuid.UUID, dispatched: Sequence[uuid.UUID]) -> int:
    """Take over the claims of a turn whose worker died, knowing which of its calls had begun.

    Those become `unknown`; the others certainly never left and wait again. Returns how many rows it moved.
    """
    result = session.execute(_ABANDON, {"token": token, "dispatched": list(dispatched)})
    return result.rowcount  # type: ignore[attr-defined, no-any-return]


def claims_older_than(session: Session, moment: datetime) -> list[tuple[int, uuid.UUID]]:
    """Return (account id, claim token) of every turn with a claim older than `moment`."""
    rows = session.execute(
        text(
            "SELECT DISTINCT account_id, claim_token FROM messages"
            " WHERE status = 'sending' AND claimed_at < :moment AND claim_token IS NOT NULL"
        ),
        {"moment": moment},
    )
    return [(row.account_id, row.claim_token) for row in rows]


def expire_claims(session: Session, token: uuid.UUID) -> int:
    """Declare the claims of a vanished turn `unknown`; return how many there were.

    The claim token stays on the rows: should the turn be alive after all, its settlement heals them.
    """
    result = session.execute(
        text(
            "UPDATE messages SET status = 'unknown', status_reason = 'worker_died'"
            " WHERE claim_token = :token AND status = 'sending'"
        ).bindparams(bindparam("token", type_=Uuid)),
        {"token": token},
    )
    return result.rowcount  # type: ignore[attr-defined, no-any-return]
