"""Freezing an audience: one row a recipient, dealt out to the accounts where that was asked for."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.models import Account, Campaign, ContactList, User
from campaign_engine.rules.states import CampaignStatus
from campaign_engine.services.campaigns import lifecycle, preparing
from campaign_engine.services.outlook import progress
from campaign_engine.services.people import contacts
from tests import factories
from tests.campaign_engine import cloned, numbered
from tests.campaign_engine.numbered import NOW

database_url = cloned.database_url


def _draft(session: Session, **values: object) -> Campaign:
    owner = factories.user(session, factories.company(session))
    number = numbered.account(session, owner.company)
    members = numbered.people(session, owner.company, count=3)
    return numbered.draft(session, owner, accounts=[number], lists=[members], **values)  # type: ignore[arg-type]


def test_preparing_twice_writes_each_recipient_once(session: Session) -> None:
    campaign = _draft(session)
    lifecycle.start(session, campaign, now=NOW)
    preparing.prepare_chunk(session, campaign.id, now=NOW, chunk=2)
    session.execute(text("UPDATE campaigns SET prepared_through = 0"))  # as if the chunk's end had been lost
    while preparing.prepare_chunk(session, campaign.id, now=NOW, chunk=2):
        pass
    session.refresh(campaign)
    assert campaign.prepared_at == NOW
    assert (campaign.total_count, campaign.pending_count) == (3, 3)
    assert session.scalar(text("SELECT count(*) FROM messages")) == 3
    assert progress.miscounted(session) == []


def test_sending_may_start_with_the_first_chunk(session: Session) -> None:
    campaign = _draft(session)
    lifecycle.start(session, campaign, now=NOW)
    preparing.prepare_chunk(session, campaign.id, now=NOW, chunk=2)
    session.refresh(campaign)
    assert (campaign.status, campaign.prepared_at, campaign.total_count) == (CampaignStatus.RUNNING, None, 2)
    session.execute(text("UPDATE messages SET status = 'sent'"))
    assert lifecycle.complete_finished(session, None, now=NOW) == []


def test_who_opted_out_or_is_excluded_is_left_out_with_the_reason(session: Session) -> None:
    owner = factories.user(session, factories.company(session))
    number = numbered.account(session, owner.company)
    everyone = numbered.people(session, owner.company, count=5)
    staff = numbered.people(session, owner.company, count=1, first=4)
    session.execute(
        text("INSERT INTO opt_outs VALUES (:company, :key, 'test', now())"),
        {"company": owner.company_id, "key": numbered.phone_key(2)},
    )
    campaign = numbered.draft(
        session,
        owner,
        accounts=[number],
        audience={
            "list_ids": [everyone.id],
            "exclude_list_ids": [staff.id],
            # The same person as contact 3, spelt without the ninth digit: one message, with the inline values.
            "recipients": [{"phone": "+551190000003", "name": "Inline", "variables": {"n": "x"}}],
        },
    )
    lifecycle.start(session, campaign, now=NOW)
    preparing.prepare_chunk(session, campaign.id, now=NOW)
    rows = session.execute(text("SELECT phone, status, status_reason, variables FROM messages ORDER BY position")).all()
    assert [tuple(row[:3]) for row in rows] == [
        ("+551190000003", "pending", None),
        (numbered.phone(0), "pending", None),
        (numbered.phone(1), "pending", None),
        (numbered.phone(2), "skipped", "opted_out"),
        (numbered.phone(4), "skipped", "excluded"),
    ]
    assert rows[0].variables == {"name": "Inline", "n": "x"}


def test_contacts_imported_after_the_start_are_not_of_the_audience(session: Session) -> None:
    campaign = _draft(session)
    lifecycle.start(session, campaign, now=NOW)
    late = factories.contact(session, factories.company(session))
    owner_list = contacts.get_list(session, campaign.company_id, campaign.audience["list_ids"][0])
    latecomer = contacts.create(
        session, company_id=campaign.company_id, values={"phone": numbered.phone(50)}, default_region="BR"
    )
    contacts.add_to_list(session, owner_list, [latecomer.id, late.id])
    preparing.prepare_chunk(session, campaign.id, now=NOW)
    session.refresh(campaign)
    assert campaign.total_count == 3


def test_each_kind_of_bar_leaves_out_with_its_own_reason(session: Session) -> None:
    owner = factories.user(session, factories.company(session))
    everyone = numbered.people(session, owner.company, count=6)
    for number, kind in enumerate(("opted_out", "blocked", "held")):
        for person in (number, 10 + number):  # on the list, and named in the campaign
            session.execute(
                text(
                    "INSERT INTO opt_outs (company_id, phone_key, kind, source, opted_out_at)"
                    " VALUES (:company, :key, :kind, 'test', now())"
                ),
                {"company": owner.company_id, "key": numbered.phone_key(person), "kind": kind},
            )
    campaign = numbered.draft(
        session,
        owner,
        accounts=[numbered.account(session, owner.company)],
        audience={
            "list_ids": [everyone.id],
            "recipients": [{"phone": numbered.phone(person)} for person in (10, 11, 12, 13)],
        },
    )
    lifecycle.start(session, campaign, now=NOW)
    preparing.prepare_chunk(session, campaign.id, now=NOW)
    reasons = ["opted_out", "blocked", "held_for_review"]
    assert session.scalars(text("SELECT status_reason FROM messages ORDER BY position")).all() == [
        *reasons, None, *reasons, None, None, None,
    ]  # fmt: skip
    assert (campaign.skipped_count, campaign.pending_count) == (6, 4)


def _rotating(
    session: Session,
    owner: User,
    *,
    accounts: Sequence[Account],
    members: ContactList,
    chunk: int = preparing.CHUNK,
    **rotation: object,
) -> dict[str, int | None]:
    """Return which account is planned for each person, after preparing everything, each chunk twice."""
    campaign = numbered.draft(session, owner, accounts=accounts, lists=[members], rotation=rotation)
    lifecycle.start(session, campaign, now=NOW)
    written = 0
    while preparing.prepare_chunk(session, campaign.id, now=NOW, chunk=chunk):
        planned = _planned(session, campaign)
        session.execute(
            text("UPDATE campaigns SET prepared_through = :through, prepared_at = NULL WHERE id = :id"),
            {"through": written, "id": campaign.id},
        )
        preparing.prepare_chunk(session, campaign.id, now=NOW, chunk=chunk)
        assert _planned(session, campaign) == planned, "a repeated chunk deals the same"
        written = session.get_one(Campaign, campaign.id, populate_existing=True).prepared_through
    return _planned(session, campaign)


def _planned(session: Session, campaign: Campaign) -> dict[str, int | None]:
    rows = session.execute(
        text("SELECT phone, planned_account_id FROM messages WHERE campaign_id = :id AND status = 'pending'"),
        {"id": campaign.id},
    )
    return {row.phone: row.planned_account_id for row in rows}


def _shares(planned: Mapping[str, int | None], accounts: Sequence[Account]) -> list[int]:
    counts = Counter(planned.values())
    assert set(counts) <= {account.id for account in accounts}
    return [counts[account.id] for account in accounts]


def test_without_a_rotation_nothing_is_planned(session: Session) -> None:
    owner = factories.user(session, factories.company(session))
    members = numbered.people(session, owner.company, count=4)
    two = [numbered.account(session, owner.company) for _ in range(2)]
    assert set(_rotating(session, owner, accounts=two, members=members).values()) == {None}


def test_weights_deal_the_messages_out_in_proportion_and_who_is_left_out_counts_for_none(session: Session) -> None:
    owner = factories.user(session, factories.company(session))
    members = numbered.people(session, owner.company, count=60)
    three = [numbered.account(session, owner.company) for _ in range(3)]
    for person in range(0, 60, 3):
        session.execute(
            text(
                "INSERT INTO opt_outs (company_id, phone_key, kind, source, opted_out_at)"
                " VALUES (:company, :key, 'blocked', 'test', now())"
            ),
            {"company": owner.company_id, "key": numbered.phone_key(person)},
        )
    weights = {str(three[0].id): 500, str(three[1].id): 200, str(three[2].id): 100}
    planned = _rotating(session, owner, accounts=three, members=members, weights=weights)
    assert _shares(planned, three) == [25, 10, 5]
    # One that is not named has the weight 1; one that is out of use gets nothing to send.
    planned = _rotating(session, owner, accounts=three, members=members, weights={str(three[0].id): 3})
    assert _shares(planned, three) == [24, 8, 8]
    session.execute(text("UPDATE accounts SET status = 'deactivated' WHERE id = :id"), {"id": three[2].id})
    planned = _rotating(session, owner, accounts=three, members=members, weights={str(three[0].id): 3}, chunk=8)
    assert _shares(planned, three)[2] == 0
    assert sum(_shares(planned, three)) == 40


def test_a_sticky_campaign_keeps_a_contact_on_the_account_of_its_own_that_wrote_last(session: Session) -> None:
    owner = factories.user(session, factories.company(session))
    members = numbered.people(session, owner.company, count=8)
    first, second, stranger = (numbered.account(session, owner.company) for _ in range(3))
    # Person 0: first, then second. 1: second, then first. 2: first, then one that this campaign does not use.
    # 3: only tried by the second. All others have had nothing.
    history = [
        (0, first, 1), (0, second, 2),
        (1, second, 1), (1, first, 2),
        (2, first, 1), (2, stranger, 2),
        (3, second, None),
    ]  # fmt: skip
    for person, sender, day in history:
        past = numbered.draft(session, owner, accounts=[sender], lists=[members])
        session.execute(
            text(
                "INSERT INTO messages"
                " (campaign_id, position, contact_id, phone, phone_key, status, account_id, accepted_at)"
                " SELECT :campaign, id, id, phone, phone_key, :status, :account, :at FROM contacts WHERE phone = :phone"
            ),
            {
                "campaign": past.id,
                "status": "failed" if day is None else "sent",
                "account": sender.id,
                "at": None if day is None else NOW + timedelta(days=day),
                "phone": numbered.phone(person),
            },
        )
    kept = {numbered.phone(0): second.id, numbered.phone(1): first.id, numbered.phone(2): first.id}
    everyone = {numbered.phone(person): None for person in range(8)}
    planned = _rotating(session, owner, accounts=[first, second], members=members, sticky=True, chunk=3)
    assert planned == everyone | kept
    planned = _rotating(
        session, owner, accounts=[first, second], members=members, sticky=True, weights={str(second.id): 4}
    )
    assert {phone: planned[phone] for phone in kept} == kept
    assert _shares({phone: each for phone, each in planned.items() if phone not in kept}, [first, second]) == [1, 4]
