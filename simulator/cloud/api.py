"""Meta's Cloud API: the addresses, who may use them, and how they answer (docs/wire.md, Cloud API)."""

import json
from collections.abc import Awaitable, Callable

from aiohttp import ClientPayloadError, web

from simulator.answering import Answering
from simulator.cloud import messages as cloud_messages
from simulator.cloud import nodes as cloud_nodes
from simulator.errors import Refused, ServerFault
from simulator.graph_errors import THROTTLING_CODES, answer_body, describe
from simulator.simulation import Simulation
from simulator.state.ledger import Message
from simulator.state.numbers import Number

_VERSION = r"/v{version:\d+\.\d+}"
_NO_SUCH_OBJECT_SUBCODE = 33

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class CloudApi:
    """The wire of one simulation."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._answering = Answering(simulation)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(_VERSION + "/{phone_number_id}/messages", self._send),
            web.get(_VERSION + "/{waba_id}/message_templates", self._graph(self._list_templates)),
            web.post(_VERSION + "/{waba_id}/message_templates", self._graph(self._create_template)),
            web.get(_VERSION + "/{node_id}", self._visit_node),
            web.route("*", _VERSION + "/{unknown:.*}", self._graph(self._unknown)),
        ]

    # Messages.

    async def _send(self, request: web.Request) -> web.StreamResponse:
        try:
            raw = await request.read()
        except (ConnectionError, ClientPayloadError):
            # The client went away in the middle of its request: nothing has arrived, and nobody waits.
            return web.Response(status=400)
        # The request has arrived once its body is complete; from here to the ledger nothing else runs.
        arrived_at = self._simulation.clock.now()
        self._simulation.ledger.requests += 1
        try:
            number = self._number(request, request.match_info["phone_number_id"])
        except Refused as refusal:
            response = self._refusal(refusal)
            await self._answering.take_time()
            return response
        with self._simulation.ledger.by_number[number.phone_number_id].sends:
            return await self._answer(request, number, raw, arrived_at)

    async def _answer(self, request: web.Request, number: Number, raw: bytes, arrived_at: float) -> web.StreamResponse:
        """Judge a request of a known number, and answer it after the latency or cut its connection."""
        message: Message | None = None
        try:
            body = cloud_messages.parse(raw)
            read_id = cloud_messages.read_receipt(body)
            if read_id is not None:
                self._simulation.mark_read(read_id)
                response = _json({"success": True})
            else:
                sending = cloud_messages.sending(body, number, self._simulation.templates, self._simulation.behaviour)
                message = self._simulation.submit(number, sending, arrived_at)
                response = _json(_accepted(message))
        except Refused as refusal:
            response = self._refusal(refusal)
        except ServerFault as server_fault:
            response = self._server_fault(server_fault)
        return await self._answering.deliver(request, response, message)

    # Nodes and templates.

    async def _visit_node(self, request: web.Request) -> web.StreamResponse:
        number = self._simulation.numbers.get(request.match_info["node_id"])
        if number is None:
            return await self._graph(self._node)(request)
        with self._simulation.ledger.by_number[number.phone_number_id].health_checks:
            return await self._graph(self._node)(request)

    async def _node(self, request: web.Request) -> web.Response:
        node_id = request.match_info["node_id"]
        fields = cloud_nodes.requested_fields(request.query.get("fields", ""))
        token = self._token(request)
        number = self._simulation.numbers.get(node_id)
        if number is not None and number.access_token == token:
            return _json(cloud_nodes.phone_number(number, fields, self._simulation.behaviour))
        if self._owns_waba(token, node_id):
            return _json(cloud_nodes.waba(node_id, fields))
        raise _no_such_object(node_id)

    async def _list_templates(self, request: web.Request) -> web.Response:
        waba_id = self._waba(request)
        templates = [template.as_json() for template in self._simulation.templates.of(waba_id)]
        for name in ("name", "language", "status", "category"):
            wanted = request.query.get(name)
            if wanted is not None:
                templates = [template for template in templates if template[name] == wanted]
        return _json(cloud_nodes.page_of(templates, request.query.get("limit"), request.query.get("after")))

    async def _create_template(self, request: web.Request) -> web.Response:
        waba_id = self._waba(request)
        try:
            body = json.loads(await request.read())
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise Refused(100, "The request body must be a JSON object.")
        template = self._simulation.create_template(waba_id, body)
        return _json({"id": template.template_id, "status": template.status, "category": template.category})

    async def _unknown(self, request: web.Request) -> web.Response:
        raise Refused(100, f"Unsupported {request.method.lower()} request.", subcode=_NO_SUCH_OBJECT_SUBCODE)

    def _waba(self, request: web.Request) -> str:
        waba_id = request.match_info["waba_id"]
        if not self._owns_waba(self._token(request), waba_id):
            raise _no_such_object(waba_id)
        return waba_id

    # Who asks, and how every answer leaves.

    def _token(self, request: web.Request) -> str:
        """Return the bearer token. Raises Refused (104 without one, 190 for one that nobody registered)."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Refused(104, "An access token is required to request this resource.")
        if not self._simulation.numbers.knows_token(token.strip()):
            raise Refused(190, "Invalid OAuth access token - Cannot parse access token")
        return token.strip()

    def _number(self, request: web.Request, phone_number_id: str) -> Number:
        token = self._token(request)
        number = self._simulation.numbers.get(phone_number_id)
        if number is None or number.access_token != token:
            raise _no_such_object(phone_number_id)
        return number

    def _owns_waba(self, token: str, waba_id: str) -> bool:
        return any(number.access_token == token for number in self._simulation.numbers.of_waba(waba_id))

    def _graph(self, handler: Callable[[web.Request], Awaitable[web.Response]]) -> Handler:
        """Give a handler the wire's latency and error envelope."""

        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                response = await handler(request)
            except Refused as refusal:
                response = _problem(refusal)
            await self._answering.take_time()
            return response

        return handle

    def _refusal(self, refusal: Refused) -> web.Response:
        self._simulation.ledger.refused[str(refusal.code)] += 1
        response = _problem(refusal)
        retry_after_s = self._simulation.behaviour.retry_after_s
        if retry_after_s and refusal.code in THROTTLING_CODES:
            response.headers["Retry-After"] = str(retry_after_s)
        return response

    def _server_fault(self, server_fault: ServerFault) -> web.Response:
        self._simulation.ledger.refused[f"http_{server_fault.http_status}"] += 1
        return web.Response(
            text="Sorry, something went wrong.", status=server_fault.http_status, content_type="text/html"
        )


def _no_such_object(node_id: str) -> Refused:
    return Refused(
        100,
        f"Unsupported request. Object with ID '{node_id[:40]}' does not exist, cannot be loaded due to "
        "missing permissions, or does not support this operation.",
        subcode=_NO_SUCH_OBJECT_SUBCODE,
    )


def _accepted(message: Message) -> dict[str, object]:
    """Return the body of an accepted message (docs/wire.md, Answers)."""
    contact = {"input": message.to}
    if message.wa_id:
        contact["wa_id"] = message.wa_id
    else:
        contact["user_id"] = message.to_key
    return {
        "messaging_product": "whatsapp",
        "contacts": [contact],
        "messages": [{"id": message.message_id, "message_status": "accepted"}],
    }


def _problem(refusal: Refused) -> web.Response:
    body = answer_body(refusal.code, refusal.details, subcode=refusal.subcode)
    return _json(body, status=describe(refusal.code).http_status)


def _json(body: object, *, status: int = 200) -> web.Response:
    return web.Response(body=json.dumps(body).encode(), status=status, content_type="application/json")
