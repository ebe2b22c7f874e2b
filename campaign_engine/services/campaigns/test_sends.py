"""Test sends: a campaign's message to one number, before or while it runs.

A test is a campaign of its own (`kind` is `test`, `parent_id` the campaign) to one recipient. So it goes the way of
every message and obeys the limits and the pace of its account. It never appears among the campaigns. If its campaign is
cancelled or deleted while it waits, it ends too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from campaign_engine import following
from campaign_engine.errors import InvalidInput, TransitionNotAllowed
from campaign_engine.logs import get_logger
from campaign_engine.models import AccountStatus, Campaign, CampaignAccount, CampaignRecipient, Message
from campaign_engine.rules.phone import InvalidPhone, Phone, parse_phone
from campaign_engine.rules.states import CAMPAIGN_IS_OVER
from campaign_engine.rules.texts import content as content_rules
from campaign_engine.rules.texts import rendering
from campaign_engine.services.campaigns import lifecycle, preparing, reading
from campaign_engine.services.campaigns.draft_values import RecipientValues
from campaign_engine.services.company import audit

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TestSend:
    """A test and what became of its message."""

    campaign: Campaign
    account_id: int
    message: Message

    __test__ = False  # for pytest, which takes a class of this name for one of its own


class TestSendValues(RecipientValues, total=False):
    """The fields of `POST /campaigns/{id}/test`."""

    account_id: int | None


def send(
    session: Session,
    campaign: Campaign,
    *,
    owner_id: int,
    values: TestSendValues,
    default_region: str,
    now: datetime,
) -> TestSend:
    """Send a campaign's message to one number, from the account given or the first active one of the campaign.

    Variables that are not given come from the contact with this number, if there is one. The test counts on the limit
    of the user `owner_id`.

    Side effects: a campaign of the kind `test` that runs; an entry in the audit log; the lane of its account is woken
    after the commit.

    Raises:
        InvalidInput: a value cannot be used, the person asked for no more, or no account can send.
        TransitionNotAllowed: the campaign is over.
    """
    if campaign.status in CAMPAIGN_IS_OVER:
        raise TransitionNotAllowed.by_status("campaign", campaign.status, verb="be tested")
    phone = _phone(session, campaign, values["phone"], default_region)
    account_id = _account_id(session, campaign, values.get("account_id"))
    variables = content_rules.named_variables(values.get("variables") or {})
    _require_variables(session, campaign, phone, {**variables, "name": values.get("name") or ""})

    test = Campaign(
        company_id=campaign.company_id,
        owner_id=owner_id,
        kind="test",
        parent_id=campaign.id,
        name=f"Test of {campaign.name}",
        audience={},
        content=dict(campaign.content),
        pacing={"message_delay_s": 0},
        timezone=campaign.timezone,
        created_at=now,
    )
    session.add(test)
    session.flush()
    session.add(CampaignAccount(campaign_id=test.id, account_id=account_id))
    session.add(
        CampaignRecipient(
            campaign_id=test.id,
            position=0,
            phone=phone.e164,
            phone_key=phone.key,
            name=values.get("name"),
            variables=variables,
        )
    )
    session.flush()
    lifecycle.begin(session, test, now=now)
    preparing.prepare_chunk(session, test.id, now=now)
    following.wake(session, [account_id])
    audit.record(
        session,
        "campaign.tested",
        company_id=campaign.company_id,
        subject=campaign.id,
        test_id=test.id,
        account_id=account_id,
    )
    log.info("campaign.tested", campaign_id=campaign.id, test_id=test.id, account_id=account_id)
    [sent] = of_campaign(session, campaign, limit=1)
    return sent


def of_campaign(
    session: Session, campaign: Campaign, *, before_id: int | None = None, limit: int = 50
) -> Sequence[TestSend]:
    """Return the tests of a campaign, newest first, from before `before_id`, in one statement."""
    query = (
        select(Campaign, CampaignAccount.account_id, Message)
        .join(CampaignAccount, CampaignAccount.campaign_id == Campaign.id)
        .join(Message, Message.campaign_id == Campaign.id)
        .where(Campaign.parent_id == campaign.id, Campaign.kind == "test")
        .execution_options(populate_existing=True)
    )
    if before_id is not None:
        query = query.where(Campaign.id < before_id)
    rows = session.execute(query.order_by(Campaign.id.desc()).limit(limit))
    return [TestSend(campaign=test, account_id=account_id, message=message) for test, account_id, message in rows]


def _phone(session: Session, campaign: Campaign, given: str, default_region: str) -> Phone:
    try:
        phone = parse_phone(given, default_region=default_region)
    except InvalidPhone as error:
        raise InvalidInput.field("phone", str(error)) from error
    barred = session.scalar(
        text("SELECT kind FROM opt_outs WHERE company_id = :company_id AND phone_key = :key"),
        {"company_id": campaign.company_id, "key": phone.key},
    )
    if barred is not None:
        raise InvalidInput.field(
            "phone",
            f"This number may not be written to ({barred.replace('_', ' ')}), not for a test either.",
            code="recipient_opted_out",
        )
    return phone


def _account_id(session: Session, campaign: Campaign, given: int | None) -> int:
    accounts = [each for each in reading.accounts_of(session, campaign) if given in (None, each.id)]
    if not accounts:
        raise InvalidInput.field("account_id", f"The campaign has no account {given}.")
    for account in accounts:
        if account.status == AccountStatus.ACTIVE:
            return account.id
    said = f"No account is active ({reading.why_not_active(accounts)})."
    raise InvalidInput.field("account_id", said, code="no_active_account")


def _require_variables(session: Session, campaign: Campaign, phone: Phone, given: Mapping[str, str]) -> None:
    """Refuse a message that cannot be rendered for this person, before it becomes a failed test.

    Raises:
        InvalidInput: names `variables`.
    """
    contact = session.execute(
        text("SELECT name, variables FROM contacts WHERE company_id = :company_id AND phone_key = :key"),
        {"company_id": campaign.company_id, "key": phone.key},
    ).one_or_none()
    known = {**(contact.variables if contact else {}), "phone": phone.e164}
    known |= {"name": contact.name} if contact and contact.name else {}
    known |= {name: value for name, value in given.items() if value or name != "name"}
    try:
        content_rules.render(campaign.content, known)
    except rendering.MissingValue as error:
        field = "name" if error.name == "name" else "variables"
        raise InvalidInput.field(field, f"The message needs a value for {error.name}.") from error
    except rendering.TemplateError as error:
        raise InvalidInput.field(content_rules.field_with_text(campaign.content), str(error)) from error
