"""Contacts and lists."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.web.conftest import Caller, problem


def new_contact(call: Caller, phone: str = "(11) 98765-4321", **values: Any) -> dict[str, Any]:
    answer = call("POST", "/contacts", json={"phone": phone, **values})
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json
    return shown


def new_list(call: Caller, name: str = "Customers") -> dict[str, Any]:
    answer = call("POST", "/lists", json={"name": name})
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json
    return shown


def test_a_contact_is_kept_with_its_number_in_one_form(call: Caller) -> None:
    made = new_contact(call, name="João", variables={"Cupom": "A1", "pontos": 7, "nada": None}, tags=["vip"])
    assert made["phone"] == "+5511987654321"
    assert made["name"] == "João"
    assert made["variables"] == {"cupom": "A1", "pontos": "7"}
    assert made["tags"] == ["vip"]
    assert call("GET", f"/contacts/{made['id']}").json == made


def test_two_spellings_of_one_person_are_one_contact(call: Caller) -> None:
    first = new_contact(call, "+55 11 98765-4321", name="Ana", variables={"a": "1"})
    second = new_contact(call, "551187654321", variables={"b": "2"})
    assert second["id"] == first["id"]
    assert (second["name"], second["variables"]) == ("Ana", {"a": "1", "b": "2"})


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["phone"]),
        ({"phone": ""}, ["phone"]),
        ({"phone": "12"}, ["phone"]),
        ({"phone": "call me"}, ["phone"]),
        ({"phone": 5511987654321}, ["phone"]),
        ({"phone": None}, ["phone"]),
        ({"phone": "+5511987654321\0"}, ["phone"]),
        ({"phone": "+5511987654321", "name": 7}, ["name"]),
        ({"phone": "+5511987654321", "name": "\0"}, ["name"]),
        ({"phone": "+5511987654321", "tags": "vip"}, ["tags"]),
        ({"phone": "+5511987654321", "tags": ["vip", ""]}, ["tags.1"]),
        ({"phone": "+5511987654321", "tags": [7]}, ["tags.0"]),
        ({"phone": "+5511987654321", "variables": []}, ["variables"]),
        ({"phone": "+5511987654321", "variables": {"a": []}}, ["variables.a.value"]),
        ({"phone": "+5511987654321", "variables": {"a": True}}, ["variables.a.value"]),
        ({"phone": "+5511987654321", "variables": {"": "x"}}, ["variables..key"]),
        ({"phone": "+5511987654321", "variables": {"a": "x\0"}}, ["variables.a"]),
        ({"phone": "+5511987654321", "variables": {"a": "\ud800"}}, ["variables.a"]),
        ({"phone": "+5511987654321", "colour": "green", "id": "1"}, ["colour", "id"]),
        ([], ["body"]),
        ("text", ["body"]),
    ],
)
def test_a_bad_contact_is_refused_by_the_name_of_its_field(
    call: Caller, row_counts: Callable[[], dict[str, int]], body: Any, fields: list[str]
) -> None:
    before = row_counts()
    assert sorted(problem(call("POST", "/contacts", json=body), 422)["errors"]) == fields
    assert row_counts() == before


def test_a_contact_changes_in_parts(call: Caller) -> None:
    made = new_contact(call, name="Ana", variables={"a": "1"}, tags=["vip"])
    changed = call("PATCH", f"/contacts/{made['id']}", json={"name": None, "variables": {"b": "2"}}).json
    assert changed == {**made, "name": None, "variables": {"b": "2"}}


def test_a_number_of_another_contact_cannot_be_taken(call: Caller) -> None:
    new_contact(call, "+5511911111111")
    other = new_contact(call, "+5511922222222")
    body = problem(call("PATCH", f"/contacts/{other['id']}", json={"phone": "11 91111-1111"}), 409)
    assert list(body["errors"]) == ["phone"]


def test_a_deleted_contact_is_gone(call: Caller) -> None:
    made = new_contact(call)
    assert call("DELETE", f"/contacts/{made['id']}").status_code == 204
    problem(call("GET", f"/contacts/{made['id']}"), 404)
    problem(call("DELETE", f"/contacts/{made['id']}"), 404)


def test_a_list_counts_its_contacts(call: Caller) -> None:
    made = new_list(call)
    contacts = [new_contact(call, f"+551191111111{digit}") for digit in range(3)]
    ids = [contact["id"] for contact in contacts]

    added = call("POST", f"/lists/{made['id']}/contacts", json={"contact_ids": ids}).json
    assert added == {"changed_count": 3, "contact_count": 3}
    assert call("POST", f"/lists/{made['id']}/contacts", json={"contact_ids": ids}).json["changed_count"] == 0
    removed = call("DELETE", f"/lists/{made['id']}/contacts", json={"contact_ids": ids[:1]}).json
    assert removed == {"changed_count": 1, "contact_count": 2}

    assert call("GET", f"/lists/{made['id']}").json["contact_count"] == 2
    assert call("GET", "/lists").json["items"][0]["contact_count"] == 2
    listed = call("GET", f"/contacts?list_id={made['id']}").json["items"]
    assert [contact["id"] for contact in listed] == ids[1:]


def test_another_companys_contacts_do_not_get_on_a_list(call: Caller, stranger: Caller) -> None:
    theirs = new_contact(stranger)
    mine = new_list(call)
    added = call("POST", f"/lists/{mine['id']}/contacts", json={"contact_ids": [theirs["id"]]}).json
    assert added == {"changed_count": 0, "contact_count": 0}


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["name"]),
        ({"name": ""}, ["name"]),
        ({"name": "   "}, ["name"]),
        ({"name": 1}, ["name"]),
        ({"name": "x" * 201}, ["name"]),
        ({"name": "A", "contact_count": 5}, ["contact_count"]),
    ],
)
def test_a_bad_list_is_refused(
    call: Caller, row_counts: Callable[[], dict[str, int]], body: Any, fields: list[str]
) -> None:
    before = row_counts()
    assert list(problem(call("POST", "/lists", json=body), 422)["errors"]) == fields
    assert row_counts() == before


@pytest.mark.parametrize(
    ("ids", "field"),
    [
        ([], "contact_ids"),
        ("1", "contact_ids"),
        (["one"], "contact_ids.0"),
        ([1, "-2"], "contact_ids.1"),
        ([True], "contact_ids.0"),
        (["9" * 30], "contact_ids.0"),
        (["9223372036854775808"], "contact_ids.0"),
        ([None], "contact_ids.0"),
        (["١"], "contact_ids.0"),
    ],
)
def test_ids_that_are_none_are_refused(call: Caller, ids: Any, field: str) -> None:
    made = new_list(call)
    for method in ("POST", "DELETE"):
        body = problem(call(method, f"/lists/{made['id']}/contacts", json={"contact_ids": ids}), 422)
        assert list(body["errors"]) == [field]


def test_a_list_is_renamed_to_a_free_name_only(call: Caller) -> None:
    made, other = new_list(call, "One"), new_list(call, "Two")
    assert call("PATCH", f"/lists/{made['id']}", json={"name": " Three "}).json["name"] == "Three"
    assert call("PATCH", f"/lists/{made['id']}", json={"name": "Three"}).status_code == 200
    assert list(problem(call("PATCH", f"/lists/{other['id']}", json={"name": "Three"}), 409)["errors"]) == ["name"]
    assert list(problem(call("POST", "/lists", json={"name": "Two"}), 409)["errors"]) == ["name"]


def test_a_deleted_list_leaves_its_contacts(call: Caller) -> None:
    made, contact = new_list(call), new_contact(call)
    call("POST", f"/lists/{made['id']}/contacts", json={"contact_ids": [contact["id"]]})
    assert call("DELETE", f"/lists/{made['id']}").status_code == 204
    problem(call("GET", f"/lists/{made['id']}"), 404)
    assert call("GET", f"/contacts/{contact['id']}").status_code == 200
