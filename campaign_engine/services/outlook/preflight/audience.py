"""The audience of a campaign, counted in one statement, as `services.campaigns.preparing` would write it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.models import Campaign
from campaign_engine.rules.bars import REASON_OF_BAR
from campaign_engine.rules.hours import working_hours
from campaign_engine.rules.hours.recipient_zone import TELLING, Zones
from campaign_engine.rules.texts import content as content_rules
from campaign_engine.services.campaigns.audiences import BARRED, Audience
from campaign_engine.services.messages.screening import RECEIVED
from campaign_engine.services.people import recipient_zones
from ratelimit import Rate

LEFT_OUT = ("duplicate", *REASON_OF_BAR.values(), "excluded", "frequency_cap", "missing_variables")


@dataclass(frozen=True, slots=True)
class AudienceCount:
    """An audience: how many it names, how many get a message, and why the others do not.

    `missing` says, for each variable that the text needs, how many of the remaining people lack it; a person may lack
    several. `zones` has the recipients by their time zones if the hours are each recipient's, else all together.
    """

    named: int
    recipients: int
    left_out: Mapping[str, int]
    missing: Mapping[str, int]
    zones: Mapping[Zones, int]


# Set operations from the lists outwards, so that a million contacts take a few scans and joins. An inline recipient
# goes before a contact of the same key, as in the preparation.
_COUNT = """
    WITH inline AS (
      -- The recipients named inline, once each, completed from their contacts.
      SELECT DISTINCT ON (r.phone_key) r.phone_key, r.phone, coalesce(c.variables, '{{}}') || r.variables AS variables,
        coalesce(r.name, c.name) AS name, c.id AS contact_id
      FROM campaign_recipients r
      LEFT JOIN contacts c ON c.company_id = :company_id AND c.phone_key = r.phone_key
      WHERE r.campaign_id = :campaign_id ORDER BY r.phone_key, r.position
    ), listed AS (
      SELECT lm.contact_id AS id FROM contact_list_members lm WHERE lm.list_id = ANY(CAST(:list_ids AS bigint[]))
      UNION
      SELECT c.id FROM contacts c WHERE c.company_id = :company_id AND c.tags && CAST(:tags AS text[])
    ), excluded AS (
      SELECT DISTINCT lm.contact_id AS id FROM contact_list_members lm
      WHERE lm.list_id = ANY(CAST(:exclude_list_ids AS bigint[]))
    ), people AS (
      -- Everybody named, with why they get no message (null: they do).
      SELECT i.contact_id, i.phone, i.variables, i.name, {reason} AS reason
      FROM inline i LEFT JOIN opt_outs o ON o.company_id = :company_id AND o.phone_key = i.phone_key
      UNION ALL
      SELECT c.id, c.phone, c.variables, c.name, CASE WHEN i.phone_key IS NOT NULL THEN 'duplicate'
        ELSE coalesce({reason}, CASE WHEN x.id IS NOT NULL THEN 'excluded' END) END AS reason
      FROM listed l
      JOIN contacts c ON c.id = l.id AND c.company_id = :company_id
      LEFT JOIN inline i ON i.phone_key = c.phone_key
      LEFT JOIN excluded x ON x.id = c.id
      LEFT JOIN opt_outs o ON o.company_id = :company_id AND o.phone_key = c.phone_key
    ), capped AS (
      {capped}
    ), looked_at AS (
      -- The same people, with the cap and the variables they lack.
      SELECT {phone} AS phone,
        coalesce(p.reason, CASE WHEN k.contact_id IS NOT NULL THEN 'frequency_cap' END) AS reason{lacks}
      FROM people p LEFT JOIN capped k ON k.contact_id = p.contact_id
    )
    SELECT reason, min(phone) AS phone, count(*) AS people,
      (SELECT count(*) FROM campaign_recipients WHERE campaign_id = :campaign_id)
      - (SELECT count(*) FROM inline) AS repeated{counts}
    FROM looked_at GROUP BY reason, left(phone, {telling})
"""
_CAPPED = f"""SELECT m.contact_id FROM messages m
      WHERE m.contact_id IN (SELECT contact_id FROM people WHERE reason IS NULL) AND m.claimed_at > :since
        AND {RECEIVED}
      GROUP BY m.contact_id HAVING count(*) >= :cap"""  # noqa: S608 - our own constant
_NOBODY = "SELECT CAST(NULL AS bigint) AS contact_id WHERE false"


def count(session: Session, campaign: Campaign, *, cap: Rate | None, now: datetime) -> AudienceCount:
    """Count who would get a campaign after the preparation, the frequency cap and the rendering of the text.

    People at the cap now count as left out; in a campaign of many hours some may fall below it again.
    """
    names = _needed(campaign)
    lacks = "".join(f", {_value(at, name)} IS NULL AS lacks_{at}" for at, name in enumerate(names))
    counts = "".join(f", count(*) FILTER (WHERE lacks_{at}) AS lack_{at}" for at, _ in enumerate(names))
    # People are counted by the beginning of their numbers only where their zones matter.
    by_recipient = (campaign.working_hours or {}).get("timezone") == working_hours.RECIPIENT
    any_lacks = " OR ".join(f"lacks_{at}" for at, _ in enumerate(names)) or "false"
    query = _COUNT.format(
        reason=BARRED,
        lacks=lacks,
        counts=f"{counts}, count(*) FILTER (WHERE {any_lacks}) AS lack",
        capped=_NOBODY if cap is None else _CAPPED,
        phone="p.phone" if by_recipient else "NULL",
        telling=TELLING,
    )
    starts_at = max(now, campaign.scheduled_at or now)
    rows = session.execute(
        text(query),
        {
            "campaign_id": campaign.id,
            "company_id": campaign.company_id,
            **Audience.of(campaign.audience).values,
            **({} if cap is None else {"cap": cap.count, "since": starts_at - timedelta(microseconds=cap.period_us)}),
            **{f"variable_{at}": name for at, name in enumerate(names) if name != "name"},
        },
    ).all()
    people: Counter[str | None] = Counter()
    for row in rows:
        people[row.reason] += row.people
    repeated = rows[0].repeated if rows else 0
    chosen = [row for row in rows if row.reason is None]
    lacking = sum(row.lack for row in chosen)
    recipients = people[None] - lacking
    zones = recipient_zones.by_zones((row.phone, row.people - row.lack) for row in chosen) if by_recipient else None
    left_out = {**people, "duplicate": people["duplicate"] + repeated, "missing_variables": lacking}
    return AudienceCount(
        named=sum(people.values()) + repeated,
        recipients=recipients,
        left_out={reason: left_out.get(reason, 0) for reason in LEFT_OUT},
        missing={
            name: missing
            for at, name in enumerate(names)
            if (missing := sum(getattr(row, f"lack_{at}") for row in chosen))
        },
        zones={(): recipients} if zones is None else +zones,
    )


def _needed(campaign: Campaign) -> list[str]:
    """Return the variables that a recipient needs to get a message; `phone` is not among them, everybody has one."""
    templates = content_rules.templates_of(campaign.content)
    return list(dict.fromkeys(name for _, each in templates for name in each.required if name != "phone"))


def _value(at: int, name: str) -> str:
    """Return the SQL of a variable's value; null if there is none, or only blanks."""
    own = name == "name"
    value = "coalesce(p.name, p.variables ->> 'name')" if own else f"p.variables ->> CAST(:variable_{at} AS text)"
    return f"nullif(btrim({value}, E' \\t\\n\\r'), '')"
