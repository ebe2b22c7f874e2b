"""Audiences: who gets a campaign, and which variables they have."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.rules.bars import REASON_OF_BAR

MAX_INLINE_RECIPIENTS = 10_000
"""Their positions come before those of the contacts on lists."""

NAMED = """(
  c.tags && CAST(:tags AS text[]) OR EXISTS (
    SELECT 1 FROM contact_list_members lm WHERE lm.contact_id = c.id AND lm.list_id = ANY(CAST(:list_ids AS bigint[]))
  )
)"""
"""SQL: whether the lists and tags of an audience name the contact `c`; the statement itself checks the company."""

BARRED = "CASE o.kind {} END".format(" ".join(f"WHEN '{kind}' THEN '{why}'" for kind, why in REASON_OF_BAR.items()))
"""SQL: why the person of the opt-out `o` gets no message; null for a person without one."""


@dataclass(frozen=True, slots=True)
class Audience:
    """Who gets a campaign: contacts on any of the lists or with any of the tags, less those on excluded lists."""

    list_ids: Sequence[int]
    tags: Sequence[str]
    exclude_list_ids: Sequence[int]

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Audience":
        """Read it from a campaign's row."""
        return cls(
            list_ids=stored.get("list_ids") or [],
            tags=stored.get("tags") or [],
            exclude_list_ids=stored.get("exclude_list_ids") or [],
        )

    @property
    def values(self) -> dict[str, list[Any]]:
        """What a statement about it is executed with."""
        return {name: list(value) for name, value in asdict(self).items()}


def known_variables(
    session: Session, company_id: int, audience: Audience, *, campaign_id: int | None = None
) -> set[str]:
    """Return the names of the variables that some contact of the audience has."""
    rows = session.scalars(
        text(
            f"""
            SELECT DISTINCT jsonb_object_keys(c.variables) FROM contacts c
            WHERE c.company_id = :company_id AND c.variables <> '{{}}' AND {NAMED}
            UNION SELECT DISTINCT jsonb_object_keys(r.variables) FROM campaign_recipients r
            WHERE r.campaign_id = :campaign_id
            """  # noqa: S608 - our own constant
        ),
        {**audience.values, "company_id": company_id, "campaign_id": campaign_id},
    )
    return set(rows)


def has_anybody(session: Session, company_id: int, audience: Audience, *, campaign_id: int) -> bool:
    """Return whether the audience, or the campaign's list of recipients, names anybody."""
    return bool(
        session.scalar(
            text(
                """
                SELECT EXISTS (SELECT 1 FROM campaign_recipients WHERE campaign_id = :campaign_id)
                  OR EXISTS (SELECT 1 FROM contact_list_members WHERE list_id = ANY(CAST(:list_ids AS bigint[])))
                  OR EXISTS (SELECT 1 FROM contacts WHERE company_id = :company_id AND tags && CAST(:tags AS text[]))
                """
            ),
            {**audience.values, "company_id": company_id, "campaign_id": campaign_id},
        )
    )
