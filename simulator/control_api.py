"""The control API under /simulator/: for tests, benchmarks and curious people; never part of a wire.

It has no password: the server is meant for the loopback interface.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from aiohttp import web

from simulator.errors import InvalidField
from simulator.recipients import from_phone
from simulator.simulation import Simulation
from simulator.state.instances import Instance
from simulator.state.lines import Line
from simulator.state.numbers import Number

_DEFAULT_PAGE = 1000
_LONGEST_PAGE = 10_000

Handler = Callable[[web.Request], Awaitable[web.Response]]


class ControlApi:
    """The control API of one simulation."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/simulator/healthz", self._health),
            web.get("/simulator/numbers", _checked(self._list_numbers)),
            web.post("/simulator/numbers", _checked(self._register)),
            web.delete("/simulator/numbers/{phone_number_id}", _checked(self._unregister)),
            web.get("/simulator/instances", _checked(self._list_instances)),
            web.post("/simulator/instances", _checked(self._register_instance)),
            web.delete("/simulator/instances/{instance}", _checked(self._unregister)),
            web.get("/simulator/behaviour", _checked(self._show_behaviour)),
            web.patch("/simulator/behaviour", _checked(self._change_behaviour)),
            web.get("/simulator/ledger", _checked(self._ledger)),
            web.get("/simulator/summary", _checked(self._summary)),
            web.post("/simulator/inbound", _checked(self._inbound)),
            web.post("/simulator/events", _checked(self._event)),
            web.post("/simulator/reset", _checked(self._reset)),
            web.route("*", "/simulator/{unknown:.*}", self._unknown),
        ]

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _list_numbers(self, _request: web.Request) -> web.Response:
        return web.json_response({"numbers": self._with_counts(self._simulation.numbers)})

    async def _register(self, request: web.Request) -> web.Response:
        return web.json_response(self._simulation.register(await _body(request)).public())

    async def _list_instances(self, _request: web.Request) -> web.Response:
        return web.json_response({"instances": self._with_counts(self._simulation.instances)})

    async def _register_instance(self, request: web.Request) -> web.Response:
        return web.json_response(self._simulation.register_instance(await _body(request)).public())

    async def _unregister(self, request: web.Request) -> web.Response:
        [(field, name)] = request.match_info.items()
        lines = self._simulation.instances if field == "instance" else self._simulation.numbers
        if not self._simulation.unregister(lines, name):
            return _problem(404, field, "is not registered")
        return web.json_response({"removed": name})

    async def _show_behaviour(self, _request: web.Request) -> web.Response:
        return web.json_response(self._simulation.behaviour.as_json())

    async def _change_behaviour(self, request: web.Request) -> web.Response:
        return web.json_response(self._simulation.change_behaviour(await _body(request)).as_json())

    async def _ledger(self, request: web.Request) -> web.Response:
        ledger = self._simulation.ledger
        since = _whole_number(request, "since", default=0)
        limit = _whole_number(request, "limit", default=_DEFAULT_PAGE)
        if not 1 <= limit <= _LONGEST_PAGE:
            raise InvalidField("limit", f"must be from 1 to {_LONGEST_PAGE}")
        page = ledger.page(since, limit)
        now = self._simulation.clock.now()
        last_seq = page[-1].seq if page else since
        return web.json_response(
            {
                "messages": [message.as_json(now) for message in page],
                "next_since": last_seq,
                "more": last_seq < len(ledger.messages),
                "total": len(ledger.messages),
            }
        )

    async def _summary(self, _request: web.Request) -> web.Response:
        webhooks = asdict(self._simulation.delivery.counts)
        now = self._simulation.clock.now()
        return web.json_response({**self._simulation.ledger.summary(), "webhooks": webhooks, "now": now})

    async def _inbound(self, request: web.Request) -> web.Response:
        body = await _body(request)
        _only(body, "phone_number_id", "from", "text", "name", "button", "in_reply_to")
        line = self._line_with_webhook(body)
        sender = from_phone(_text(body, "from"))
        if sender is None:
            raise InvalidField("from", "must be a phone number")
        button = body.get("button", False)
        if not isinstance(button, bool):
            raise InvalidField("button", "must be true or false")
        inbound = self._simulation.receive(
            line.phone_number_id,
            wa_id=sender.wa_id,
            text=_text(body, "text"),
            at=self._simulation.clock.now(),
            name=_text(body, "name", default="Simulated Person"),
            button=button,
            in_reply_to=_text(body, "in_reply_to") if body.get("in_reply_to") is not None else None,
        )
        return web.json_response({"message_id": inbound.message_id, "from": inbound.wa_id}, status=202)

    async def _event(self, request: web.Request) -> web.Response:
        body = await _body(request)
        _only(body, "phone_number_id", "field", "value")
        line = self._line_with_webhook(body)
        name = _text(body, "field")
        if not isinstance(body.get("value"), dict):
            raise InvalidField("value", "must be an object")
        self._simulation.announce(line.phone_number_id, name, body["value"])
        return web.json_response({"field": name}, status=202)

    async def _reset(self, request: web.Request) -> web.Response:
        body = await _body(request) if request.can_read_body else {}
        _only(body, "numbers", "behaviour")
        for name, value in body.items():
            if not isinstance(value, bool):
                raise InvalidField(name, "must be true or false")
        await self._simulation.reset(numbers_too=body.get("numbers", False), behaviour_too=body.get("behaviour", False))
        return web.json_response({"status": "ok"})

    async def _unknown(self, request: web.Request) -> web.Response:
        return _problem(404, "path", f"{request.path} with {request.method} is not part of the control API")

    def _with_counts(self, lines: Iterable[Number | Instance]) -> list[dict[str, object]]:
        uses = self._simulation.ledger.by_number
        return [{**line.public(), "accepted": uses[line.phone_number_id].accepted} for line in lines]

    def _line_with_webhook(self, body: Mapping[str, Any]) -> Line:
        line = self._simulation.line(_text(body, "phone_number_id"))
        if line is None:
            raise InvalidField("phone_number_id", "is not registered")
        if line.webhook_url is None:
            raise InvalidField("phone_number_id", "has no webhook_url to send to")
        return line


def _checked(handler: Handler) -> Handler:
    """Answer a field that cannot be used with 400 and its name."""

    async def handle(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except InvalidField as invalid:
            return _problem(400, invalid.field, invalid.problem)

    return handle


def _problem(status: int, field: str, problem: str) -> web.Response:
    return web.json_response({"error": {"field": field, "message": f"{field} {problem}"}}, status=status)


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise InvalidField("body", "is not valid JSON") from None
    if not isinstance(body, dict):
        raise InvalidField("body", "must be a JSON object")
    return body


def _only(body: Mapping[str, Any], *names: str) -> None:
    for name in body:
        if name not in names:
            raise InvalidField(name, f"is not known here; the fields are {', '.join(names)}")


def _text(body: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = body.get(name, default)
    if not isinstance(value, str) or not 1 <= len(value) <= 4096:
        raise InvalidField(name, "must be a text of 1 to 4096 characters")
    return value


def _whole_number(request: web.Request, name: str, *, default: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise InvalidField(name, "must be a whole number from 0 up")
    return int(text)
