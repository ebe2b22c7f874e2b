"""Whatever stands in a field: a clear refusal that leaves nothing behind, or success. Never a traceback."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from campaign_engine.models import User
from tests import factories
from tests.web.conftest import Caller, problem

NASTY: list[Any] = [
    None,
    True,
    -1,
    2**63,
    10**400,
    "",
    "x" * 30_000,
    "\ud800",
    "😀\u202e",
    [None],
    {"a": {"b": []}},
]

PHONE = "+5511987654321"


@pytest.fixture
def bodies(call: Caller, registered: Callable[..., dict[str, str]], database: Callable[[], Any]) -> dict[str, Any]:
    """A good body for each call that takes one, by method and path; after a space, of another content alone."""
    with database() as session:
        user = session.get_one(User, call.user_id)
        company = user.company
        account = factories.account(session, company)
        contact = factories.contact(session, company)
        contact_list = factories.contact_list(session, company)
        draft = factories.campaign(session, user, accounts=[account])
    good_campaign = {
        "name": "Spring",
        "account_ids": [str(account.id)],
        "audience": {
            "list_ids": [str(contact_list.id)],
            "tags": ["vip"],
            "recipients": [{"phone": PHONE, "name": "Ana", "variables": {"a": "1"}}],
            "exclude_list_ids": [str(contact_list.id)],
        },
        "content": {"type": "text", "text": "Hello"},
        "scheduled_at": "2099-01-01T00:00:00Z",
        "timezone": "UTC",
        "recurrence": {
            "every": "week",
            "interval": 2,
            "days": ["mon"],
            "time": "09:00",
            "starts_on": "2099-01-01",
            "until": "2099-12-31",
            "count": 3,
        },
        "start_late_s": 60,
        "rotation": {"sticky": True, "weights": {str(account.id): 2}},
        "frequency_cap": "2/day",
        "pacing": {
            "message_interval_s": 1,
            "longer_interval_after": 1,
            "greater_interval_s": 1,
            "message_delay_s": 1,
            "jitter_s": 1,
        },
        "working_hours": None,
    }
    template = {
        "type": "template",
        "name": "a",
        "language": "en",
        "components": [{"type": "body", "parameters": [{"type": "text", "text": "x"}]}],
    }
    media = {"type": "media", "media_type": "image", "link": "https://example.com/a.png", "caption": "Hi"}
    good_account = {
        "name": "Shop",
        "provider": "cloud_api",
        **registered(),
        "app_secret": "s",
        "verify_token": "v",
        "instance": None,
        "rate_limit": "20/minute",
        "burst": 2,
        "max_in_flight": 2,
        "message_interval_s": 1,
        "longer_interval_after": 1,
        "greater_interval_s": 1,
    }
    change = {name: value for name, value in good_account.items() if name != "provider"}
    contact_body = {"phone": PHONE, "name": "Ana", "variables": {"a": "1"}, "tags": ["vip"]}
    settings = {
        "name": "Company",
        "timezone": "UTC",
        "whatsapp_rate_limit": "20/minute",
        "campaign_rate_limit": "20/minute",
        "frequency_cap": "2/day",
        "start_late_s": 60,
        "opt_out_confirmation": True,
        "opt_out_confirmation_text": "Done.",
        **good_campaign["pacing"],
    }
    return {
        "POST /accounts": good_account,
        f"PATCH /accounts/{account.id}": {**change, "base_url": None},
        "POST /contacts": contact_body,
        f"PATCH /contacts/{contact.id}": contact_body,
        "POST /lists": {"name": "New"},
        f"PATCH /lists/{contact_list.id}": {"name": "Other"},
        f"POST /lists/{contact_list.id}/contacts": {"contact_ids": [str(contact.id)]},
        f"DELETE /lists/{contact_list.id}/contacts": {"contact_ids": [str(contact.id)]},
        "POST /campaigns": good_campaign,
        "POST /campaigns ": {**good_campaign, "content": template},
        "POST /campaigns  ": {**good_campaign, "content": media},
        f"PATCH /campaigns/{draft.id}": {**good_campaign, "content": template},
        f"POST /campaigns/{draft.id}/test": {
            **good_campaign["audience"]["recipients"][0],
            "account_id": str(account.id),
        },
        f"POST /campaigns/{draft.id}/retry": {"classes": ["recipient"], "codes": ["131026"], "dry_run": True},
        "POST /templates": {"name": "a", "language": "en", "category": "A", "status": "B", "components": [{}]},
        "POST /opt-outs": {"phone": PHONE, "kind": "blocked", "note": "a note"},
        "POST /tokens": {"name": "a"},
        "PATCH /company/settings": settings,
    }


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value inside."""
    if isinstance(node, dict | list):
        for key in node if isinstance(node, dict) else range(len(node)):
            yield (*path, key)
            yield from places(node[key], (*path, key))


def put(node: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(node)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


def test_any_value_at_any_place_is_refused_clearly_or_taken(
    call: Caller, bodies: dict[str, Any], row_counts: Callable[[], dict[str, int]]
) -> None:
    combinations = [
        (*address.split(), body, place, value)
        for address, body in bodies.items()
        for place in (places(body) if address == address.strip() else places(body["content"], ("content",)))
        for value in NASTY
    ]
    refused = []
    # Every third, which meets every value and every place, because all of them take half a minute.
    for method, path, body, place, value in combinations[::3]:
        bad = put(body, place, value)
        answer = call(method, path, json=bad)
        if answer.status_code in (200, 201, 202):
            continue
        what = (method, path, place, str(value)[:40], answer.text[:300])
        assert answer.status_code in (409, 422), what
        shown = problem(answer, answer.status_code)
        assert shown["errors"], what
        assert all(name.split(".")[0] in {*body, "body"} for name in shown["errors"]), what
        refused.append((method, path, bad))
    assert len(refused) > 300
    before = row_counts()
    for method, path, bad in refused[::3]:
        call(method, path, json=bad)
    assert row_counts() == before
