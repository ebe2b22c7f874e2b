"""Failed messages sent again because a person asks for it, by class and code of their failure.

Three kinds of people are not written to again: those who asked for no more, who switched this business's marketing off,
or whom WhatsApp shielded from marketing less than a day ago. Their messages stay as they are and are counted with the
reason. By which codes a failure says so is the providers' affair.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from campaign_engine.core import engine
from campaign_engine.errors import InvalidInput, TransitionNotAllowed
from campaign_engine.logs import get_logger
from campaign_engine.models import Campaign
from campaign_engine.rules.failures import ErrorClass
from campaign_engine.rules.states import CAMPAIGN_MAY_SEND_AGAIN
from campaign_engine.services.campaigns import lifecycle
from campaign_engine.services.company import audit

log = get_logger(__name__)

SHIELDED_FOR = timedelta(hours=24)
"""Another try within a day can bar a person for one more day (docs/wire.md, Rules of sending)."""


NO_CODE = "none"
"""The name for a failure without a code, where codes are named."""


class Exclusion(StrEnum):
    """Why a failed message is not tried again."""

    OPTED_OUT = "opted_out"
    MARKETING_SWITCHED_OFF = "marketing_switched_off"
    SHIELDED = "shielded"

    @property
    def sentence(self) -> str:
        """The reason for people."""
        return _SENTENCES[self]


_SENTENCES: Mapping[Exclusion, str] = {
    Exclusion.OPTED_OUT: "They may not be written to: opted out, blocked or held for a decision.",
    Exclusion.MARKETING_SWITCHED_OFF: "They switched marketing of this business off in WhatsApp.",
    Exclusion.SHIELDED: "WhatsApp kept these back less than 24 hours ago; try again tomorrow.",
}


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failed messages of one class and code, and the provider's words for one of them.

    `retryable_count` of them may be tried again; `excluded` counts the others by reason.
    """

    error_class: str
    code: str | None
    detail: str | None
    message_count: int
    retryable_count: int
    excluded: Mapping[Exclusion, int]


# A failure without a class counts as `unknown`: nobody explained it.
_FAILED = f"""
    SELECT m.id, coalesce(m.error_class, 'unknown') AS error_class, m.error_code, m.error_detail,
      CASE
        WHEN o.phone_key IS NOT NULL THEN '{Exclusion.OPTED_OUT}'
        WHEN m.error_code = ANY(CAST(:refusing AS text[])) THEN '{Exclusion.MARKETING_SWITCHED_OFF}'
        WHEN m.error_code = ANY(CAST(:shielding AS text[])) AND m.failed_at > CAST(:shielded_since AS timestamptz)
          THEN '{Exclusion.SHIELDED}'
      END AS exclusion
    FROM messages m LEFT JOIN opt_outs o ON o.company_id = :company_id AND o.phone_key = m.phone_key
    WHERE m.campaign_id = :campaign_id AND m.status = 'failed'
      AND (CAST(:classes AS text[]) IS NULL OR coalesce(m.error_class, 'unknown') = ANY(CAST(:classes AS text[])))
      AND (CAST(:codes AS text[]) IS NULL OR coalesce(m.error_code, '{NO_CODE}') = ANY(CAST(:codes AS text[])))
"""  # noqa: S608 - our own constants
_COUNTED = f"""
    SELECT error_class, error_code AS code, min(error_detail) AS detail, count(*) AS message_count,
      count(*) FILTER (WHERE exclusion IS NULL) AS retryable_count,
      {", ".join(f"count(*) FILTER (WHERE exclusion = '{each}') AS {each}" for each in Exclusion)}
    FROM failed GROUP BY error_class, error_code
    ORDER BY count(*) DESC, coalesce(error_code, '') COLLATE "C", error_class COLLATE "C"
"""  # noqa: S608 - our own constants
_COUNT = text(f"WITH failed AS ({_FAILED}) {_COUNTED}")

# Locked in the order of their ids, as the webhooks' batches do, so that neither waits for the other in a ring. A row
# becomes as new, except for the provider's id: by it `webhooks.deliveries` knows a late status of the failed try, which
# says nothing about the next one. `failed`: what was asked for, each with why it is left out; `retried`: the rest.
_RETRY = text(
    f"""
    WITH failed AS ({_FAILED} ORDER BY m.id FOR UPDATE OF m), retried AS (
      UPDATE messages m SET
        status = 'pending', status_reason = NULL, attempts = 0, next_attempt_at = CAST(:now AS timestamptz),
        claim_token = NULL, claimed_at = NULL, account_id = NULL, accepted_at = NULL, sent_at = NULL, failed_at = NULL,
        error_class = NULL, error_code = NULL, error_detail = NULL
      FROM failed WHERE m.id = failed.id AND failed.exclusion IS NULL
    )
    {_COUNTED}
    """  # noqa: S608 - our own constants
)


def failures(
    session: Session,
    campaign: Campaign,
    *,
    now: datetime,
    classes: Collection[str] | None = None,
    codes: Collection[str] | None = None,
    limit: int | None = None,
) -> list[FailureGroup]:
    """Return why messages of a campaign failed and what could be tried again, the most frequent reason first.

    `classes` and `codes` (`NO_CODE` for none) narrow it; None is all. `retry` with the same values does what this says.
    """
    if campaign.failed_count == 0:
        return []
    values = _values(campaign, classes=classes, codes=codes, now=now)
    return _groups(session.execute(_COUNT, values))[:limit]


def retry(
    session: Session,
    campaign: Campaign,
    *,
    classes: Collection[str],
    codes: Collection[str] | None = None,
    now: datetime,
) -> list[FailureGroup]:
    """Let failed messages of some classes (and codes) go out again, each with all its attempts; return what it did.

    Side effects: a completed campaign runs again; its lanes are woken after the commit. An entry in the audit log.

    Raises:
        InvalidInput: a class that does not exist.
        OutsideHours: the campaign is completed and stops at closing time, and its hours are over.
        TransitionNotAllowed: the campaign was ended, or has not started.
    """
    check_classes(classes)
    if campaign.status not in CAMPAIGN_MAY_SEND_AGAIN:
        raise TransitionNotAllowed.by_status("campaign", campaign.status, verb="retry")
    values = _values(campaign, classes=classes, codes=codes, now=now)
    groups = _groups(session.execute(_RETRY, {**values, "now": now}))
    count = sum(group.retryable_count for group in groups)
    if count:
        lifecycle.reopen(session, campaign, verb="retry", now=now)
        audit.record(
            session,
            "campaign.retried",
            company_id=campaign.company_id,
            subject=campaign.id,
            messages=count,
            classes=sorted(classes),
            codes=sorted(codes) if codes else None,
        )
        log.info("campaign.retried", campaign_id=campaign.id, messages=count)
    return groups


def check_classes(classes: Collection[str]) -> None:
    """Refuse a class of failures that does not exist.

    Raises:
        InvalidInput: names `classes`.
    """
    if not classes or not set(classes) <= set(ErrorClass):
        raise InvalidInput.field("classes", "Name at least one of " + ", ".join(ErrorClass) + ".")


def excluded_in(groups: Sequence[FailureGroup]) -> dict[Exclusion, int]:
    """Return how many messages were left as they are, by reason; a reason with none is absent."""
    counts = {reason: sum(group.excluded.get(reason, 0) for group in groups) for reason in Exclusion}
    return {reason: count for reason, count in counts.items() if count}


def _values(
    campaign: Campaign, *, classes: Collection[str] | None, codes: Collection[str] | None, now: datetime
) -> dict[str, object]:
    traits = [each.traits for each in engine().providers.values()]
    return {
        "campaign_id": campaign.id,
        "company_id": campaign.company_id,
        "classes": list(classes) if classes is not None else None,
        "codes": list(codes) if codes is not None else None,
        "refusing": [code for each in traits for code in each.codes_of_refusal],
        "shielding": [code for each in traits for code in each.codes_of_shielding],
        "shielded_since": now - SHIELDED_FOR,
    }


def _groups(rows: Iterable[Row[Any]]) -> list[FailureGroup]:
    return [
        FailureGroup(
            error_class=row.error_class,
            code=row.code,
            detail=row.detail,
            message_count=row.message_count,
            retryable_count=row.retryable_count,
            excluded={each: count for each in Exclusion if (count := getattr(row, each))},
        )
        for row in rows
    ]
