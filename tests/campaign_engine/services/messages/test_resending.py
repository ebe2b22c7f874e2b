"""Unknown outcomes: decided by a person after the grace time, settled by a webhook at any time."""

import json
import threading
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine import providers
from campaign_engine.config import Config
from campaign_engine.db import transaction
from campaign_engine.errors import GraceNotOver, NotFound, TransitionNotAllowed
from campaign_engine.models import Account, Campaign, Message, Notification, User
from campaign_engine.services.campaigns import lifecycle, reading
from campaign_engine.services.messages import resending
from campaign_engine.services.outlook import progress
from campaign_engine.services.webhooks import deliveries
from tests import factories
from tests.campaign_engine import numbered
from tests.campaign_engine.numbered import NOW

GRACE_S = 3600
LATER = NOW + timedelta(seconds=GRACE_S)
PROVIDERS = providers.build(Config())


@pytest.fixture
def campaign(session: Session) -> Campaign:
    """A running campaign to three people whose messages are all unknown since `NOW`."""
    owner = factories.user(session, factories.company(session))
    number = numbered.account(session, owner.company, phone_number_id="111")
    made = numbered.running(session, owner, accounts=[number], count=3)
    _become_unknown(session, made)
    return made


def _become_unknown(session: Session, campaign: Campaign) -> None:
    session.execute(
        text(
            "UPDATE messages SET status = 'unknown', status_reason = 'answer_lost', attempts = 1, claimed_at = :now,"
            " claim_token = :token, error_class = 'unknown', error_detail = 'read timed out', account_id = ("
            " SELECT account_id FROM campaign_accounts WHERE campaign_id = :id) WHERE campaign_id = :id"
        ),
        {"now": NOW, "token": uuid.uuid4(), "id": campaign.id},
    )
    session.refresh(campaign)


def _ids(session: Session, campaign: Campaign) -> list[uuid.UUID]:
    query = text("SELECT id FROM messages WHERE campaign_id = :id ORDER BY position")
    return list(session.scalars(query, {"id": campaign.id}))


def _row(session: Session, message_id: uuid.UUID) -> Message:
    return session.get_one(Message, message_id, populate_existing=True)


def _states(session: Session, campaign: Campaign) -> list[tuple[str, str | None]]:
    query = text("SELECT status, status_reason FROM messages WHERE campaign_id = :id ORDER BY position")
    return [(row.status, row.status_reason) for row in session.execute(query, {"id": campaign.id})]


def _resend(session: Session, campaign: Campaign, message_id: uuid.UUID, **values: Any) -> Message:
    return resending.resend(session, campaign, message_id, **{"grace_s": GRACE_S, "now": LATER, **values})


def _report(session: Session, campaign: Campaign, message_id: uuid.UUID, status: str) -> None:
    """Let a webhook of the first try arrive."""
    status_object = {
        "id": f"wamid.{message_id}",
        "status": status,
        "timestamp": str(int(NOW.timestamp())),
        "biz_opaque_callback_data": str(message_id),
    }
    value = {"metadata": {"phone_number_id": "111"}, "statuses": [status_object]}
    payload = {"entry": [{"changes": [{"field": "messages", "value": value}]}]}
    [account_id] = reading.account_ids_of(session, [campaign.id])[campaign.id]
    deliveries.store(
        session, provider="cloud_api", account_ids=[account_id], body=json.dumps(payload).encode(), now=NOW
    )
    session.flush()
    assert deliveries.apply_waiting(session, providers=PROVIDERS, now=NOW) is not None


def _undecided(session: Session, campaign: Campaign, **values: Any) -> Sequence[resending.Undecided]:
    return resending.undecided(session, campaign.company_id, **{"grace_s": GRACE_S, "now": LATER, **values})


def _notices(session: Session, kind: str) -> Sequence[Notification]:
    return session.query(Notification).filter(Notification.kind == kind).order_by(Notification.id).all()


def test_only_what_is_unknown_for_longer_than_the_grace_is_listed(session: Session, campaign: Campaign) -> None:
    assert _undecided(session, campaign, now=LATER - timedelta(microseconds=1)) == []
    assert [each.message.id for each in _undecided(session, campaign)] == _ids(session, campaign)
    assert resending.undecided_count(session, campaign, grace_s=GRACE_S, now=LATER) == 3
    stranger = factories.company(session)
    assert resending.undecided(session, stranger.id, grace_s=GRACE_S, now=LATER) == []


def test_the_list_goes_over_all_campaigns_newest_first_and_is_read_in_pages(
    session: Session, campaign: Campaign
) -> None:
    [account_id] = reading.account_ids_of(session, [campaign.id])[campaign.id]
    owner, number = session.get_one(User, campaign.owner_id), session.get_one(Account, account_id)
    newer = numbered.running(session, owner, accounts=[number], count=2, first=20)
    _become_unknown(session, newer)
    expected = [*_ids(session, newer), *_ids(session, campaign)]
    read: list[uuid.UUID] = []
    after: tuple[int, int] | None = None
    while page := _undecided(session, campaign, after=after, limit=2):
        read += [each.message.id for each in page]
        after = (page[-1].campaign_id, page[-1].message.position)
    assert read == expected
    assert len(_undecided(session, campaign, campaign_id=newer.id)) == 2


def test_a_resend_waits_again_and_keeps_its_attempts(session: Session, campaign: Campaign) -> None:
    message_id, *_ = _ids(session, campaign)
    with transaction(actor=factories.actor(session.get_one(User, campaign.owner_id))):
        sent_again = _resend(session, campaign, message_id)
    assert (sent_again.status, sent_again.attempts, sent_again.next_attempt_at) == ("pending", 1, LATER)
    assert (sent_again.claim_token, sent_again.status_reason, sent_again.error_class) == (None, None, None)
    assert progress.miscounted(session) == []
    audited = session.execute(text("SELECT action, subject_id, actor_id FROM audit_log ORDER BY id DESC LIMIT 1")).one()
    assert tuple(audited) == ("message.resent", str(message_id), campaign.owner_id)


def test_before_the_grace_is_over_nobody_decides_and_the_refusal_says_when(
    session: Session, campaign: Campaign
) -> None:
    message_id, *_ = _ids(session, campaign)
    early = LATER - timedelta(microseconds=1)
    for decide in (resending.resend, resending.dismiss):
        with pytest.raises(GraceNotOver) as caught:
            decide(session, campaign, message_id, grace_s=GRACE_S, now=early)
        assert (caught.value.code, caught.value.over_at) == ("grace_not_over", LATER)
        assert "2026-11-20T13:00:00Z" in caught.value.detail
    assert resending.resend_all(session, campaign, grace_s=GRACE_S, now=early).count == 0
    assert resending.dismiss_all(session, campaign, grace_s=GRACE_S, now=early) == 0
    assert _states(session, campaign) == [("unknown", "answer_lost")] * 3


def test_two_clicks_at_once_resend_once(
    session: Session, campaign: Campaign, other_session: Callable[[], Session]
) -> None:
    message_id, *_ = _ids(session, campaign)
    session.commit()
    results: list[str] = []
    barrier = threading.Barrier(2)

    def click(own: Session) -> None:
        found = own.get_one(Campaign, campaign.id)
        barrier.wait()
        try:
            _resend(own, found, message_id)
            own.commit()
            results.append("resent")
        except TransitionNotAllowed as error:
            own.rollback()
            results.append(error.code)

    threads = [threading.Thread(target=click, args=(other_session(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["message_pending", "resent"]
    assert session.scalar(text("SELECT count(*) FROM audit_log WHERE action = 'message.resent'")) == 1


@pytest.mark.parametrize("status", ["sent", "delivered", "read"])
def test_a_webhook_that_arrives_before_the_resend_leaves_wins(
    session: Session, campaign: Campaign, status: str
) -> None:
    message_id, *_ = _ids(session, campaign)
    _resend(session, campaign, message_id)
    _report(session, campaign, message_id, status)
    row = _row(session, message_id)
    assert (row.status, row.next_attempt_at, row.provider_message_id) == (status, None, f"wamid.{message_id}")


def test_a_dismissed_message_is_listed_no_more_and_a_webhook_heals_it(session: Session, campaign: Campaign) -> None:
    message_id, second, third = _ids(session, campaign)
    resending.dismiss(session, campaign, message_id, grace_s=GRACE_S, now=LATER)
    assert _states(session, campaign)[0] == ("unknown", "dismissed")
    assert [each.message.id for each in _undecided(session, campaign)] == [second, third]
    with pytest.raises(TransitionNotAllowed) as caught:
        resending.dismiss(session, campaign, message_id, grace_s=GRACE_S, now=LATER)
    assert caught.value.code == "message_dismissed"
    _report(session, campaign, message_id, "delivered")
    assert _states(session, campaign)[0] == ("delivered", None)


def test_a_dismissed_message_can_be_resent_all_the_same(session: Session, campaign: Campaign) -> None:
    message_id, *_ = _ids(session, campaign)
    resending.dismiss(session, campaign, message_id, grace_s=GRACE_S, now=LATER)
    assert _resend(session, campaign, message_id).status == "pending"


def test_all_are_resent_or_dismissed_in_one_statement_each_and_the_dismissed_stay(
    session: Session, campaign: Campaign
) -> None:
    first, *_ = _ids(session, campaign)
    resending.dismiss(session, campaign, first, grace_s=GRACE_S, now=LATER)
    done = resending.resend_all(session, campaign, grace_s=GRACE_S, now=LATER)
    assert (done.count, done.barred_count) == (2, 0)
    assert _states(session, campaign) == [("unknown", "dismissed"), ("pending", None), ("pending", None)]
    again = resending.resend_all(session, campaign, grace_s=GRACE_S, now=LATER)
    assert again.count == 0
    _become_unknown(session, campaign)
    assert resending.dismiss_all(session, campaign, grace_s=GRACE_S, now=LATER) == 3
    assert _undecided(session, campaign) == []
    actions = session.execute(
        text("SELECT action, details ->> 'messages' FROM audit_log WHERE action ~ 'unknown' ORDER BY id")
    ).all()
    assert [tuple(row) for row in actions] == [
        ("campaign.unknown_resent", "2"),
        ("campaign.unknown_dismissed", "3"),
    ]


def test_who_asked_for_no_more_is_not_resent_to(session: Session, campaign: Campaign) -> None:
    session.execute(
        text(
            "INSERT INTO opt_outs (company_id, phone_key, source, opted_out_at) VALUES (:company, :key, 'reply', now())"
        ),
        {"company": campaign.company_id, "key": numbered.phone_key(0)},
    )
    with pytest.raises(TransitionNotAllowed) as caught:
        _resend(session, campaign, _ids(session, campaign)[0])
    assert caught.value.code == "recipient_opted_out"
    done = resending.resend_all(session, campaign, grace_s=GRACE_S, now=LATER)
    assert (done.count, done.barred_count) == (2, 1)
    assert [status for status, _ in _states(session, campaign)] == ["unknown", "pending", "pending"]


@pytest.mark.parametrize("bulk", [False, True])
def test_a_completed_campaign_runs_again_for_what_is_resent(session: Session, campaign: Campaign, bulk: bool) -> None:
    assert lifecycle.complete_finished(session, None, now=NOW) == [campaign.id]
    session.refresh(campaign)
    if bulk:
        resending.resend_all(session, campaign, grace_s=GRACE_S, now=LATER)
    else:
        _resend(session, campaign, _ids(session, campaign)[0])
    assert (campaign.status, campaign.finished_at) == ("running", None)
    assert lifecycle.complete_finished(session, None, now=LATER) == [], "it has something to send"


def test_nothing_resent_leaves_a_completed_campaign_completed(session: Session, campaign: Campaign) -> None:
    lifecycle.complete_finished(session, None, now=NOW)
    session.refresh(campaign)
    resending.resend_all(session, campaign, grace_s=GRACE_S, now=NOW)
    resending.dismiss_all(session, campaign, grace_s=GRACE_S, now=LATER)
    session.refresh(campaign)
    assert (campaign.status, campaign.finished_at) == ("completed", NOW)


def test_a_cancelled_campaign_sends_nothing_again_and_its_messages_can_be_dismissed(
    session: Session, campaign: Campaign
) -> None:
    lifecycle.cancel(session, campaign, now=NOW)
    for resend in (
        lambda: _resend(session, campaign, _ids(session, campaign)[0]),
        lambda: resending.resend_all(session, campaign, grace_s=GRACE_S, now=LATER),
    ):
        with pytest.raises(TransitionNotAllowed) as caught:
            resend()
        assert caught.value.code == "campaign_cancelled"
    assert [each.resendable for each in _undecided(session, campaign)] == [False] * 3
    assert resending.dismiss_all(session, campaign, grace_s=GRACE_S, now=LATER) == 3


def test_a_cancellation_in_the_same_moment_is_not_overtaken(
    session: Session, campaign: Campaign, other_session: Callable[[], Session]
) -> None:
    message_id, *_ = _ids(session, campaign)
    session.commit()
    cancelling = other_session()
    lifecycle.cancel(cancelling, cancelling.get_one(Campaign, campaign.id), now=NOW)
    cancelling.commit()
    # `campaign` was read before the cancellation.
    assert campaign.status == "running"
    with pytest.raises(TransitionNotAllowed) as caught:
        _resend(session, campaign, message_id)
    assert caught.value.code == "campaign_cancelled"


def test_another_campaigns_message_is_not_found(session: Session, campaign: Campaign) -> None:
    owner = factories.user(session, factories.company(session))
    other = numbered.running(session, owner, accounts=[numbered.account(session, owner.company)], count=1, first=50)
    _become_unknown(session, other)
    for decide in (resending.resend, resending.dismiss):
        with pytest.raises(NotFound):
            decide(session, campaign, _ids(session, other)[0], grace_s=GRACE_S, now=LATER)
    assert _states(session, other) == [("unknown", "answer_lost")]


# What the company is told


def test_a_campaign_that_completes_with_unknowns_names_them(session: Session, campaign: Campaign) -> None:
    assert lifecycle.complete_finished(session, None, now=NOW) == [campaign.id]
    assert lifecycle.complete_finished(session, None, now=NOW) == []
    [notice] = _notices(session, "campaign_completed")
    assert (notice.subject_kind, notice.subject_id, notice.severity) == ("campaign", str(campaign.id), "warning")
    assert notice.company_id == campaign.company_id
    assert notice.text.endswith("is completed: 0 of 3 sent, 0 failed, 3 unknown: look at them.")


def test_only_the_first_completion_is_told(session: Session, campaign: Campaign) -> None:
    lifecycle.complete_finished(session, None, now=NOW)
    [told] = _notices(session, "campaign_completed")
    session.refresh(campaign)
    for message_id in _ids(session, campaign):
        _resend(session, campaign, message_id)
        session.execute(
            text("UPDATE messages SET status = 'sent', accepted_at = :now WHERE id = :id"),
            {"now": LATER, "id": message_id},
        )
        assert lifecycle.complete_finished(session, None, now=LATER) == [campaign.id]
        session.refresh(campaign)
    assert [each.id for each in _notices(session, "campaign_completed")] == [told.id]
    owner = session.get_one(User, campaign.owner_id)
    other = numbered.running(session, owner, accounts=[numbered.account(session, owner.company)], count=1, first=50)
    _become_unknown(session, other)
    lifecycle.complete_finished(session, None, now=LATER)
    assert [each.subject_id for each in _notices(session, "campaign_completed")] == [str(campaign.id), str(other.id)]


def test_a_test_completes_without_a_word(session: Session, campaign: Campaign) -> None:
    session.execute(text("UPDATE campaigns SET kind = 'test'"))
    assert lifecycle.complete_finished(session, None, now=NOW) == [campaign.id]
    assert _notices(session, "campaign_completed") == []
    assert resending.notify_undecided(session, grace_s=GRACE_S, now=LATER) == []


def test_the_first_passing_of_the_grace_is_told_once(session: Session, campaign: Campaign) -> None:
    assert resending.notify_undecided(session, grace_s=GRACE_S, now=LATER - timedelta(microseconds=1)) == []
    assert resending.notify_undecided(session, grace_s=GRACE_S, now=LATER) == [campaign.id]
    for later in (timedelta(seconds=20), timedelta(hours=2), timedelta(days=40)):
        assert resending.notify_undecided(session, grace_s=GRACE_S, now=LATER + later) == []
    [notice] = _notices(session, "unknown_outcomes")
    assert "3 messages" in notice.text
    assert (notice.subject_kind, notice.subject_id, notice.severity) == ("campaign", str(campaign.id), "warning")


def test_others_that_pass_it_are_told_of_a_day_later(session: Session, campaign: Campaign) -> None:
    resending.notify_undecided(session, grace_s=GRACE_S, now=LATER)
    session.execute(
        text("UPDATE messages SET claimed_at = :at WHERE id = :id"), {"at": LATER, "id": _ids(session, campaign)[0]}
    )
    soon, tomorrow = LATER + timedelta(seconds=GRACE_S), LATER + timedelta(days=1, seconds=1)
    assert resending.notify_undecided(session, grace_s=GRACE_S, now=soon) == []
    assert resending.notify_undecided(session, grace_s=GRACE_S, now=tomorrow) == [campaign.id]
    assert resending.notify_undecided(session, grace_s=GRACE_S, now=tomorrow + timedelta(days=2)) == []


def test_two_verifications_at_once_tell_it_once(
    session: Session, campaign: Campaign, other_session: Callable[[], Session]
) -> None:
    session.commit()
    one, other = other_session(), other_session()
    assert resending.notify_undecided(one, grace_s=GRACE_S, now=LATER) == [campaign.id]
    assert resending.notify_undecided(other, grace_s=GRACE_S, now=LATER) == []
    other.rollback()
    one.commit()
    assert len(_notices(session, "unknown_outcomes")) == 1
