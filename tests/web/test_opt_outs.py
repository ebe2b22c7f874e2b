"""The opt-outs and the blocklist over the API."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.web.conftest import Caller, problem


def test_an_opt_out_is_of_a_person_not_of_a_spelling(call: Caller) -> None:
    first = call("POST", "/opt-outs", json={"phone": "+55 11 98765-4321"})
    assert first.status_code == 201
    again = call("POST", "/opt-outs", json={"phone": "551187654321"})
    assert again.json == first.json
    assert call("GET", "/opt-outs").json["items"] == [first.json]

    assert call("DELETE", f"/opt-outs/{first.json['phone']}").status_code == 204
    problem(call("DELETE", f"/opt-outs/{first.json['phone']}"), 404)
    assert call("GET", "/opt-outs").json == {"items": [], "next_cursor": None}


@pytest.mark.parametrize("body", [{}, {"phone": "nobody"}, {"phone": 5}, {"phone": ""}])
def test_a_bad_opt_out_is_refused(call: Caller, body: Any) -> None:
    assert list(problem(call("POST", "/opt-outs", json=body), 422)["errors"]) == ["phone"]


def test_lifting_for_a_number_that_is_none_says_so(call: Caller) -> None:
    assert list(problem(call("DELETE", "/opt-outs/nobody"), 422)["errors"]) == ["phone"]
    assert list(problem(call("DELETE", "/opt-outs/%00"), 422)["errors"]) == ["phone"]


def test_a_contact_who_opted_out_is_shown_by_the_contacts_phone(call: Caller) -> None:
    call("POST", "/contacts", json={"phone": "+5511962000001"})
    first = call("POST", "/opt-outs", json={"phone": "551162000001"})
    call("POST", "/opt-outs", json={"phone": "+5511962000002"})
    assert first.json["phone"] == "+5511962000001"
    listed = [each["phone"] for each in call("GET", "/opt-outs").json["items"]]
    assert listed == ["+5511962000001", "+551162000002"]
    for phone in listed:
        assert call("DELETE", f"/opt-outs/{phone}").status_code == 204


def test_opt_outs_are_read_in_pages(call: Caller) -> None:
    for digit in range(3):
        call("POST", "/opt-outs", json={"phone": f"+551191111111{digit}"})
    first = call("GET", "/opt-outs?limit=2").json
    second = call("GET", f"/opt-outs?limit=2&cursor={first['next_cursor']}").json
    assert (len(first["items"]), len(second["items"]), second["next_cursor"]) == (2, 1, None)


def test_a_blocked_person_is_told_from_one_who_opted_out(call: Caller) -> None:
    blocked = call("POST", "/opt-outs", json={"phone": "+5511987654321", "kind": "blocked", "note": "does not pay"})
    call("POST", "/opt-outs", json={"phone": "+5511987650000"})
    assert blocked.json | {"opted_out_at": None} == {
        "phone": "+551187654321",
        "kind": "blocked",
        "source": "api",
        "note": "does not pay",
        "campaign_id": None,
        "opted_out_at": None,
    }
    assert call("POST", "/opt-outs", json={"phone": "+5511987654321"}).json["kind"] == "blocked"
    listed = {kind: call("GET", f"/opt-outs?kind={kind}").json["items"] for kind in ("blocked", "opted_out", "held")}
    assert {kind: [each["phone"] for each in items] for kind, items in listed.items()} == {
        "blocked": ["+551187654321"],
        "opted_out": ["+551187650000"],
        "held": [],
    }


@pytest.mark.parametrize("kind", ["held", "", None, 5])
def test_only_a_wish_or_a_block_can_be_written(call: Caller, kind: Any) -> None:
    answer = call("POST", "/opt-outs", json={"phone": "+5511987654321", "kind": kind})
    assert list(problem(answer, 422)["errors"]) == ["kind"]
    assert problem(call("GET", f"/opt-outs?kind=x{kind}"), 422)


def test_who_writes_and_lifts_opt_outs_stands_in_the_audit_log(call: Caller, caller: Callable[..., Caller]) -> None:
    operator = caller(role="operator", like=call)
    operator("POST", "/opt-outs", json={"phone": "+5511987654321", "kind": "blocked"})
    call("DELETE", "/opt-outs/+551187654321")
    entries = call("GET", "/audit-log").json["items"]
    assert [(entry["action"], entry["actor_id"]) for entry in entries] == [
        ("opt_out.lifted", str(call.user_id)),
        ("opt_out.added", str(operator.user_id)),
    ]


def test_a_viewer_changes_no_opt_out(call: Caller, caller: Callable[..., Caller]) -> None:
    viewer = caller(role="viewer", like=call)
    call("POST", "/opt-outs", json={"phone": "+5511987654321"})
    problem(viewer("POST", "/opt-outs", json={"phone": "+5511987650000"}), 403)
    problem(viewer("DELETE", "/opt-outs/+551187654321"), 403)
    assert len(viewer("GET", "/opt-outs").json["items"]) == 1


def test_another_companys_opt_out_is_neither_seen_nor_lifted(call: Caller, stranger: Caller) -> None:
    stranger("POST", "/opt-outs", json={"phone": "+5511987654321"})
    assert call("GET", "/opt-outs").json["items"] == []
    problem(call("DELETE", "/opt-outs/+5511987654321"), 404)
    assert len(stranger("GET", "/opt-outs").json["items"]) == 1
