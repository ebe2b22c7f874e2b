"""The send call: what is accepted, what is refused and how, and who is reached."""

from typing import Any

import pytest

from tests.simulator.running import PHONE_NUMBER_ID, RECIPIENT, Simulator, receiving, text_message, wait_for


def error_of(response: Any) -> dict[str, Any]:
    return dict(response.json()["error"])


def test_an_accepted_message_is_answered_as_meta_does(simulator: Simulator) -> None:
    response = simulator.send("+55 (11) 91000-0001", "c:1")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("application/json")
    body = response.json()
    assert body["messaging_product"] == "whatsapp"
    assert body["contacts"] == [{"input": "+55 (11) 91000-0001", "wa_id": "5511910000001"}]
    (message,) = body["messages"]
    assert message["message_status"] == "accepted"
    assert message["id"].startswith("wamid.")
    (entry,) = simulator.ledger()
    assert entry["message_id"] == message["id"]
    assert entry["callback_data"] == "c:1"
    assert entry["summary"] == "Hello"
    assert wait_for(lambda: simulator.ledger()[0]["answered"])


@pytest.mark.parametrize("version", ["v23.0", "v26.0", "v99.1"])
def test_every_version_is_spoken(simulator: Simulator, version: str) -> None:
    assert simulator.send(version=version).status_code == 200


def test_a_missing_token_is_104_and_a_wrong_one_190(simulator: Simulator) -> None:
    missing = simulator.send(token=None)
    assert (missing.status_code, error_of(missing)["code"]) == (401, 104)
    wrong = simulator.send(token="somebody-else")
    assert (wrong.status_code, error_of(wrong)["code"]) == (401, 190)
    assert simulator.ledger() == []
    assert simulator.summary()["refused"] == {"104": 1, "190": 1}


def test_an_unknown_number_and_one_of_another_token_are_the_same_error(simulator: Simulator) -> None:
    simulator.register(phone_number_id="555", access_token="other-token")
    for response in (simulator.send(phone_number_id="404404"), simulator.send(phone_number_id="555")):
        assert response.status_code == 400
        assert (error_of(response)["code"], error_of(response)["error_subcode"]) == (100, 33)


def test_a_refusal_has_the_envelope_of_the_graph(simulator: Simulator) -> None:
    error = error_of(simulator.post_message({"messaging_product": "whatsapp"}))
    assert error["message"] == "(#131008) Required parameter is missing"
    assert error["type"] == "OAuthException"
    assert error["error_data"] == {
        "messaging_product": "whatsapp",
        "details": "The parameter to is required.",
    }
    assert error["is_transient"] is False
    assert error["fbtrace_id"]


def changed(**changes: Any) -> dict[str, Any]:
    return {**text_message(), **changes}


def template(name: str, language: str, *components: Any) -> dict[str, Any]:
    return changed(
        type="template",
        template={"name": name, "language": {"code": language}, "components": list(components)},
    )


def texts(*values: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": value} for value in values]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ([], 100),
        (changed(messaging_product=None), 100),
        (changed(messaging_product="telegram"), 100),
        (changed(recipient_type="group"), 100),
        (changed(to=""), 131009),
        (changed(to="not a number"), 131009),
        (changed(to=5511910000001), 131009),
        (changed(to="+0511910000001"), 131009),
        (changed(to="+1234567890123456"), 131009),
        ({"messaging_product": "whatsapp", "recipient": "no id"}, 131009),
        (changed(type="text", text={}), 131008),
        (changed(text={"body": ""}), 131008),
        (changed(text={"body": 7}), 100),
        (changed(text={"body": "x" * 4097}), 100),
        (changed(text="Hello"), 100),
        (changed(type="image"), 131008),
        (changed(type="image", image={}), 131008),
        (changed(type="image", image={"link": "ftp://example.org/a.png"}), 131009),
        (changed(type="audio", audio={"id": "1", "caption": "no"}), 100),
        (changed(type="video", video={"id": "1", "caption": "x" * 1025}), 100),
        (changed(type="hologram", hologram={}), 131051),
        (changed(type=["text"]), 100),
        (changed(type="interactive", interactive={"type": "button"}), 131008),
        (changed(type="template", template={"language": {"code": "pt_BR"}}), 131008),
        (changed(type="template", template={"name": "hello_world"}), 131008),
        (changed(biz_opaque_callback_data="x" * 513), 100),
        (changed(biz_opaque_callback_data=7), 100),
        (template("hello_world", "pt_BR"), 132001),
        (template("hello_world", "en_US", {"type": "body", "parameters": texts("Ana")}), 132000),
        (template("oferta_da_semana", "pt_BR"), 132000),
        (template("oferta_da_semana", "pt_BR", {"type": "body", "parameters": texts("Ana", "")}), 131008),
        (template("pedido_enviado", "pt_BR", {"type": "body", "parameters": texts("Ana", "7")}), 132012),
        (template("oferta_da_semana", "pt_BR", {"type": "body", "parameters": "Ana"}), 100),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_message_is_said_by_code(simulator: Simulator, body: Any, code: int) -> None:
    response = simulator.post_message(body)
    assert error_of(response)["code"] == code
    assert 400 <= response.status_code < 500
    assert simulator.ledger() == []


def test_a_body_that_is_no_json_is_refused(simulator: Simulator) -> None:
    response = simulator.graph("POST", f"{PHONE_NUMBER_ID}/messages", data=b'{"messaging_product":')
    assert error_of(response)["code"] == 100


@pytest.mark.parametrize(
    "body",
    [
        changed(type="image", image={"link": "https://example.org/a.png", "caption": "Hello"}),
        changed(type="document", document={"id": "1", "filename": "a.pdf"}),
        changed(type="audio", audio={"id": "1"}),
        changed(type="sticker", sticker={"id": "1"}),
        changed(type="location", location={"latitude": 1, "longitude": 2}),
        changed(type="interactive", interactive={"type": "list", "action": {"button": "Choose"}}),
        template("a_name_nobody_registered", "pt_BR"),
        template("oferta_da_semana", "pt_BR", {"type": "body", "parameters": texts("Ana", "o café")}),
        template("oferta_da_semana", "pt_BR", {"type": "BODY", "parameters": texts("Ana", "o café")}),
        template(
            "pedido_enviado",
            "pt_BR",
            {
                "type": "body",
                "parameters": [
                    {"type": "text", "parameter_name": "pedido", "text": "7"},
                    {"type": "text", "parameter_name": "nome", "text": "Ana"},
                ],
            },
        ),
        {"messaging_product": "whatsapp", "to": RECIPIENT, "text": {"body": "no type, no recipient_type"}},
    ],
)
def test_every_kind_of_message_is_accepted(simulator: Simulator, body: Any) -> None:
    response = simulator.post_message(body)
    assert response.status_code == 200, response.text


def test_unknown_templates_can_be_refused(simulator: Simulator) -> None:
    simulator.behave(accept_unknown_templates=False)
    assert error_of(simulator.post_message(template("a_name_nobody_registered", "pt_BR")))["code"] == 132001


def test_a_template_made_over_the_wire_is_listed_and_checked(simulator: Simulator) -> None:
    waba_id = simulator.register(waba_id="777")["waba_id"]
    buttons = [{"type": "QUICK_REPLY", "text": "SAIR"}, {"type": "URL", "url": "https://example.org/{{1}}"}]
    made = simulator.graph(
        "POST",
        f"{waba_id}/message_templates",
        json={
            "name": "with_header",
            "language": "pt_BR",
            "category": "MARKETING",
            "components": [
                {"type": "HEADER", "format": "IMAGE"},
                {"type": "BODY", "text": "Oi {{1}}"},
                {"type": "BUTTONS", "buttons": buttons},
            ],
        },
    ).json()
    assert made["status"] == "APPROVED"
    listed = simulator.graph("GET", f"{waba_id}/message_templates?name=with_header").json()["data"]
    assert [each["id"] for each in listed] == [made["id"]]
    assert listed[0]["parameter_format"] == "POSITIONAL"

    body = {"type": "BODY", "parameters": texts("Ana")}
    image = {"type": "HEADER", "parameters": [{"type": "image", "image": {"id": "1"}}]}
    video = {"type": "HEADER", "parameters": [{"type": "video", "video": {"id": "1"}}]}
    button = {"type": "BUTTON", "sub_type": "URL", "index": 1, "parameters": texts("abc")}
    other_button = {"type": "button", "sub_type": "url", "index": "0", "parameters": texts("abc")}
    name = ("with_header", "pt_BR")
    assert error_of(simulator.post_message(template(*name, body, button)))["code"] == 132000
    assert error_of(simulator.post_message(template(*name, video, body, button)))["code"] == 132012
    assert error_of(simulator.post_message(template(*name, image, body)))["code"] == 131008
    assert error_of(simulator.post_message(template(*name, image, body, other_button)))["code"] == 131008
    assert simulator.post_message(template(*name, image, body, button)).status_code == 200
    assert simulator.post_message(template(*name, image, body, {**button, "index": "1"})).status_code == 200


def test_template_lists_come_in_pages(simulator: Simulator) -> None:
    waba_id = simulator.register()["waba_id"]
    names: list[str] = []
    after = ""
    while page := simulator.graph("GET", f"{waba_id}/message_templates?limit=2&after={after}").json():
        if not page["data"]:
            break
        names += [each["name"] for each in page["data"]]
        after = page["paging"]["cursors"]["after"]
    assert names == ["hello_world", "oferta_da_semana", "pedido_enviado"]


@pytest.mark.parametrize(
    ("to", "wa_id", "to_key"),
    [
        # Area codes 11 to 28 keep the ninth digit, the others drop it.
        ("+5511987654321", "5511987654321", "551187654321"),
        ("+551187654321", "5511987654321", "551187654321"),
        ("+5531987654321", "553187654321", "553187654321"),
        ("+553187654321", "553187654321", "553187654321"),
        # A land line is nobody's mobile.
        ("+553133334444", "553133334444", "553133334444"),
        ("+525512345678", "5215512345678", "525512345678"),
        ("+5215512345678", "5215512345678", "525512345678"),
        ("+5491123456789", "5491123456789", "541123456789"),
        ("+12025550123", "12025550123", "12025550123"),
    ],
)
def test_whatsapp_may_know_a_number_under_another_name(simulator: Simulator, to: str, wa_id: str, to_key: str) -> None:
    assert simulator.send(to).json()["contacts"] == [{"input": to, "wa_id": wa_id}]
    assert simulator.ledger()[0]["to_key"] == to_key


def test_a_number_without_plus_may_get_the_senders_country_code(simulator: Simulator) -> None:
    assert simulator.send("16315551234").json()["contacts"][0]["wa_id"] == "16315551234"
    simulator.behave(country_code_without_plus="91")
    assert simulator.send("1 (631) 555-1234").json()["contacts"][0]["wa_id"] == "9116315551234"
    assert simulator.send("+1 (631) 555-1234").json()["contacts"][0]["wa_id"] == "16315551234"


def test_a_user_without_a_phone_number_is_reached_by_id(simulator: Simulator) -> None:
    body = {"messaging_product": "whatsapp", "recipient": "BR.abc123", "text": {"body": "Hello"}}
    with receiving() as receiver:
        simulator.register(webhook_url=receiver.url)
        answer = simulator.post_message(body).json()
        assert answer["contacts"] == [{"input": "BR.abc123", "user_id": "BR.abc123"}]
        status = wait_for(receiver.statuses)[0]
        assert status["recipient_user_id"] == "BR.abc123"
        assert "recipient_id" not in status


def test_nobody_writes_to_themselves(simulator: Simulator) -> None:
    simulator.register(display_phone_number="+55 11 91000-0001")
    assert error_of(simulator.send("+5511910000001"))["code"] == 131021


def test_the_number_shows_its_health(simulator: Simulator) -> None:
    default = simulator.graph("GET", PHONE_NUMBER_ID).json()
    assert set(default) == {"id", "display_phone_number", "verified_name", "quality_rating"}
    fields = "status,throughput,quality_rating,health_status{can_send_message},"
    fields += "whatsapp_business_manager_messaging_limit"
    node = simulator.graph("GET", f"{PHONE_NUMBER_ID}?fields={fields}").json()
    assert node["status"] == "CONNECTED"
    assert node["whatsapp_business_manager_messaging_limit"] == "TIER_UNLIMITED"
    assert node["health_status"]["can_send_message"] == "AVAILABLE"

    simulator.behave(throughput_per_s=80, unique_recipients_per_day=2000)
    simulator.register(status="BANNED", quality_rating="RED")
    node = simulator.graph("GET", f"{PHONE_NUMBER_ID}?fields={fields}").json()
    assert node["throughput"] == {"level": "STANDARD"}
    assert node["whatsapp_business_manager_messaging_limit"] == "TIER_2K"
    assert (node["status"], node["quality_rating"]) == ("BANNED", "RED")
    assert node["health_status"]["can_send_message"] == "BLOCKED"
    assert simulator.send().status_code == 200, "what a number shows of its health stops nothing"


def test_a_node_refuses_what_it_does_not_have(simulator: Simulator) -> None:
    assert error_of(simulator.graph("GET", f"{PHONE_NUMBER_ID}?fields=shoe_size"))["code"] == 100
    assert error_of(simulator.graph("GET", "404404"))["error_subcode"] == 33
    assert error_of(simulator.graph("GET", PHONE_NUMBER_ID, token="wrong"))["code"] == 190
    assert error_of(simulator.graph("DELETE", f"{PHONE_NUMBER_ID}/messages"))["code"] == 100
