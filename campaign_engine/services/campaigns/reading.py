"""Campaigns as they are now: found by company, with their accounts, their recipients and their messages."""

from collections.abc import Collection, Iterable, Iterator, Sequence

from sqlalchemy import Row, func, select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session

from campaign_engine.core import traits_of
from campaign_engine.errors import NotFound
from campaign_engine.json_types import Json
from campaign_engine.models import Account, Campaign, CampaignAccount, CampaignRecipient, Contact, Message


def get(session: Session, company_id: int, campaign_id: int) -> Campaign:
    """Return a campaign of the company, as it is now.

    Raises:
        NotFound: there is none, or it is a test send.
    """
    campaign = session.get(Campaign, campaign_id, populate_existing=True)
    if campaign is None or campaign.company_id != company_id or campaign.kind != "campaign":
        raise NotFound("campaign", campaign_id)
    return campaign


def of_company(
    session: Session, company_id: int, *, before_id: int | None = None, limit: int = 50
) -> Sequence[Campaign]:
    """Return the company's campaigns without test sends, newest first, from before `before_id`."""
    query = select(Campaign).where(Campaign.company_id == company_id, Campaign.kind == "campaign")
    if before_id is not None:
        query = query.where(Campaign.id < before_id)
    return session.scalars(query.order_by(Campaign.id.desc()).limit(limit)).all()


def some_of_company(session: Session, company_id: int, campaign_ids: Sequence[int]) -> Sequence[Campaign]:
    """Return the given campaigns as they are now, in the order given; ids of no campaign of the company are ignored."""
    found = {
        campaign.id: campaign
        for campaign in session.scalars(
            select(Campaign)
            .where(Campaign.company_id == company_id, Campaign.kind == "campaign", Campaign.id.in_(campaign_ids))
            .execution_options(populate_existing=True)
        )
    }
    return [found[campaign_id] for campaign_id in campaign_ids if campaign_id in found]


def account_ids_of(session: Session, campaign_ids: Collection[int]) -> dict[int, list[int]]:
    """Return the accounts of each campaign, in one statement."""
    return {campaign_id: list(weights) for campaign_id, weights in weights_of(session, campaign_ids).items()}


def weights_of(session: Session, campaign_ids: Collection[int]) -> dict[int, dict[int, int | None]]:
    """Return the weight of each account of each campaign, in one statement; all are null if nobody chose any."""
    found: dict[int, dict[int, int | None]] = {campaign_id: {} for campaign_id in campaign_ids}
    rows = session.execute(
        select(CampaignAccount.campaign_id, CampaignAccount.account_id, CampaignAccount.weight)
        .where(CampaignAccount.campaign_id.in_(campaign_ids))
        .order_by(CampaignAccount.account_id)
    )
    for row in rows:
        found[row.campaign_id][row.account_id] = row.weight
    return found


def accounts_of(session: Session, campaign: Campaign) -> Sequence[Account]:
    """Return the accounts of a campaign as they are now, in the order of their ids."""
    return session.scalars(
        select(Account)
        .join(CampaignAccount, CampaignAccount.account_id == Account.id)
        .where(CampaignAccount.campaign_id == campaign.id)
        .order_by(Account.id)
        .execution_options(populate_existing=True)
    ).all()


def why_not_active(accounts: Iterable[Account]) -> str:
    """Return in words why each of these accounts does not send."""
    return "; ".join(f"{account.name}: {account.status_reason or account.status}" for account in accounts)


def recipient_counts_of(session: Session, campaign_ids: Collection[int]) -> dict[int, int]:
    """Return how many recipients each campaign names itself, in one statement; campaigns with none are absent."""
    rows = session.execute(
        select(CampaignRecipient.campaign_id, func.count().label("recipients"))
        .where(CampaignRecipient.campaign_id.in_(campaign_ids))
        .group_by(CampaignRecipient.campaign_id)
    )
    return {row.campaign_id: row.recipients for row in rows}


def messages_of(session: Session, campaign: Campaign, *, after_key: str = "", limit: int = 100) -> Sequence[Message]:
    """Return a campaign's messages in the order of their equivalence keys, because no send changes these."""
    return session.scalars(
        select(Message)
        .where(Message.campaign_id == campaign.id, Message.phone_key > after_key)
        .order_by(Message.phone_key)
        .limit(limit)
    ).all()


def messages_with_status(
    session: Session, campaign: Campaign, status: str, *, after_position: int = -1, limit: int = 100
) -> Sequence[Message]:
    """Return a campaign's messages that are in `status` now, in the order of sending."""
    return session.scalars(
        select(Message)
        .where(Message.campaign_id == campaign.id, Message.status == status, Message.position > after_position)
        .order_by(Message.position)
        .limit(limit)
    ).all()


def export_of(session: Session, campaign_id: int) -> Iterator[Row[Message, str | None]]:
    """Yield every message of a campaign with the name of its contact, in the order of sending, a few at a time."""
    query = (
        select(Message, Contact.name)
        .outerjoin(Contact, Contact.id == Message.contact_id)
        .where(Message.campaign_id == campaign_id)
        .order_by(Message.position)
        .execution_options(yield_per=1000)
    )
    yield from session.execute(query)


def why_unsuited(session: Session, account_ids: Collection[int], content: Json) -> str | None:
    """Return, as a sentence, why none of the accounts can ever send a content; None when one of them can."""
    providers = session.scalars(select(Account.provider).where(Account.id.in_(account_ids)).distinct()).all()
    said = [traits_of(provider).unsuited(content) for provider in providers]
    return next(iter(said), None) if all(said) else None


def reread(session: Session, campaign: Campaign, *, locked: bool = False) -> None:
    """Read a campaign's row again, locked if wanted; NotFound when somebody has deleted it meanwhile."""
    campaign_id = campaign.id
    try:
        session.refresh(campaign, with_for_update=locked)
    except InvalidRequestError as error:
        raise NotFound("campaign", campaign_id) from error
