"""Evolution API 2.3.6: the addresses, who may use them, and how they answer (docs/wire.md, Evolution API)."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from aiohttp import ClientPayloadError, web

from simulator.answering import Answering
from simulator.errors import Refused, ServerFault
from simulator.evolution import messages as evolution_messages
from simulator.evolution.messages import Body, NotOnWhatsApp, SchemaFault, jid_of
from simulator.graph_errors import answer_body, describe
from simulator.sending import Sending
from simulator.simulation import NOT_ON_WHATSAPP, Simulation
from simulator.state.instances import Instance
from simulator.state.ledger import Message

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Reader = Callable[[Body], Sending]


class _Unsent(Exception):
    """The session could not send."""


class _Unknown(Exception):
    """There is no such instance, or the key is not its own."""

    def __init__(self, response: web.Response) -> None:
        super().__init__("refused")
        self.response = response


class EvolutionApi:
    """The wire of one simulation."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._answering = Answering(simulation)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/message/sendText/{instance}", self._sends(evolution_messages.text)),
            web.post("/message/sendMedia/{instance}", self._sends(evolution_messages.media)),
            web.post("/message/sendSticker/{instance}", self._sends(evolution_messages.sticker)),
            web.get("/instance/connectionState/{instance}", self._connection_state),
            web.post("/chat/whatsappNumbers/{instance}", self._answers(self._check_numbers)),
            web.post("/chat/findContacts/{instance}", self._answers(self._find_contacts)),
            *(web.route("*", f"/{part}/{{unknown:.*}}", self._unknown) for part in ("message", "instance", "chat")),
        ]

    # Messages.

    def _sends(self, read: Reader) -> Handler:
        async def send(request: web.Request) -> web.StreamResponse:
            try:
                raw = await request.read()
            except (ConnectionError, ClientPayloadError):
                # The client went away in the middle of its request: nothing has arrived, and nobody waits.
                return web.Response(status=400)
            self._simulation.ledger.requests += 1
            try:
                instance = self._instance(request)
            except _Unknown as unknown:
                await self._answering.take_time()
                return unknown.response
            with self._simulation.ledger.by_number[instance.phone_number_id].sends:
                return await self._answer(request, instance, raw, read)

        return send

    async def _answer(self, request: web.Request, instance: Instance, raw: bytes, read: Reader) -> web.StreamResponse:
        """Judge a request of a known instance, and answer it after the latency or cut its connection."""
        message: Message | None = None
        try:
            body = evolution_messages.parse(raw)
            sending = read(body)
            delay_ms = evolution_messages.delay_ms(body)
            if delay_ms:
                # For this long typing is shown and the request stays open.
                await asyncio.sleep(delay_ms / 1000)
            if instance.state != "open":
                raise _Unsent
            message = self._simulation.submit(instance, sending, self._simulation.clock.now())
            response = _json(_stored(message, instance), status=201)
        except SchemaFault as fault:
            response = _refusal(400, "Bad Request", [list(fault.problems)])
        except NotOnWhatsApp as unknown:
            response = self._nobody(unknown.number)
        except _Unsent:
            self._simulation.ledger.refused["unsent"] += 1
            response = _refusal(400, "Bad Request", ["Error: Connection Closed"])
        except Refused as refusal:
            response = self._refused(instance, sending, refusal)
        except ServerFault as server_fault:
            response = self._server_fault(server_fault)
        return await self._answering.deliver(request, response, message)

    def _refused(self, instance: Instance, sending: Sending, refusal: Refused) -> web.Response:
        """Answer one of Meta's codes: handed through with 201, as a number nobody has, or as an exception."""
        self._simulation.ledger.refused[str(refusal.code)] += 1
        if instance.is_business:
            return _json(answer_body(refusal.code, refusal.details)["error"], status=201)
        if refusal.code == NOT_ON_WHATSAPP:
            return self._nobody(sending.recipient.digits)
        return _refusal(400, "Bad Request", [f"Error: {describe(refusal.code).title}"])

    def _nobody(self, number: str) -> web.Response:
        return _refusal(400, "Bad Request", [{"jid": jid_of(number), "exists": False, "number": number}])

    def _server_fault(self, server_fault: ServerFault) -> web.Response:
        status = server_fault.http_status
        self._simulation.ledger.refused[f"http_{status}"] += 1
        if status == 500:
            return _refusal(500, "Internal Server Error", "Internal Server Error")
        # Whatever stands in front of it.
        return web.Response(text="Sorry, something went wrong.", status=status, content_type="text/html")

    # What it knows.

    async def _connection_state(self, request: web.Request) -> web.StreamResponse:
        instance = self._simulation.instances.get(request.match_info["instance"])
        if instance is None:
            return await self._answers(self._state_of)(request)
        with self._simulation.ledger.by_number[instance.phone_number_id].health_checks:
            return await self._answers(self._state_of)(request)

    async def _state_of(self, instance: Instance, _body: Body) -> web.Response:
        return _json({"instance": {"instanceName": instance.instance, "state": instance.state}})

    async def _check_numbers(self, instance: Instance, body: Body) -> web.Response:
        asked = evolution_messages.numbers(body)
        if instance.state != "open":
            return _json({"status": 400, "message": "Connection Closed"}, status=400)
        return _json([self._checked(number) for number in asked])

    def _checked(self, number: str) -> dict[str, object]:
        try:
            recipient = evolution_messages.recipient_of(number)
        except NotOnWhatsApp:
            return {"jid": jid_of(number), "exists": False, "number": number}
        exists = self._simulation.is_on_whatsapp(recipient.digits)
        return {"jid": jid_of(recipient.wa_id), "exists": exists, "number": number}

    async def _find_contacts(self, instance: Instance, _body: Body) -> web.Response:
        rows = [
            _contact(
                instance, jid_of(evolution_messages.recipient_of(contact.number).wa_id), contact.name, contact.type
            )
            for contact in instance.contacts
        ]
        # Every phone knows a group and a person who hides the number.
        rows.append(_contact(instance, "120363000000000001@g.us", "Simulated Group", "group"))
        rows.append(_contact(instance, "100000000000001@lid", "Hidden", "contact"))
        return _json(rows)

    async def _unknown(self, request: web.Request) -> web.Response:
        return _refusal(404, "Not Found", [f"Cannot {request.method} {request.path}"])

    # Who asks.

    def _instance(self, request: web.Request) -> Instance:
        """Return the instance in the path. Raises _Unknown: the instance is looked for first, then the key."""
        name = request.match_info["instance"]
        instance = self._simulation.instances.get(name)
        if instance is None:
            raise _Unknown(_refusal(404, "Not Found", [f'The "{name}" instance does not exist']))
        if request.headers.get("apikey") != instance.apikey:
            raise _Unknown(_refusal(401, "Unauthorized", "Unauthorized"))
        return instance

    def _answers(self, handler: Callable[[Instance, Body], Awaitable[web.Response]]) -> Handler:
        """Give a handler the guards, the latency and the envelope of the wire."""

        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                instance = self._instance(request)
                body = evolution_messages.parse(await request.read()) if request.can_read_body else {}
                response = await handler(instance, body)
            except _Unknown as unknown:
                response = unknown.response
            except SchemaFault as fault:
                response = _refusal(400, "Bad Request", [list(fault.problems)])
            await self._answering.take_time()
            return response

        return handle


def _stored(message: Message, instance: Instance) -> dict[str, object]:
    """Return the body of an accepted message (docs/wire.md, Evolution sending)."""
    content: dict[str, object] = {"conversation": message.summary}
    return {
        "key": {"remoteJid": jid_of(message.wa_id), "fromMe": True, "id": message.message_id},
        "pushName": "",
        "status": "PENDING",
        "message": content if message.kind == "text" else {f"{message.kind}Message": {"url": message.summary}},
        "contextInfo": None,
        "messageType": "conversation" if message.kind == "text" else f"{message.kind}Message",
        "messageTimestamp": int(message.received_at),
        "instanceId": f"simulated-{instance.instance}",
        "source": "unknown",
    }


def _contact(instance: Instance, jid: str, name: str, kind: str) -> dict[str, object]:
    now = datetime.now(UTC).isoformat()
    return {
        "id": f"contact-{jid}",
        "remoteJid": jid,
        "pushName": name,
        "profilePicUrl": None,
        "createdAt": now,
        "updatedAt": now,
        "instanceId": f"simulated-{instance.instance}",
        "isGroup": kind == "group",
        "isSaved": kind == "contact",
        "type": kind,
    }


def _refusal(status: int, reason: str, message: object) -> web.Response:
    """Return an error in Evolution's envelope (docs/wire.md, Evolution access)."""
    return _json({"status": status, "error": reason, "response": {"message": message}}, status=status)


def _json(body: object, *, status: int = 200) -> web.Response:
    return web.Response(body=json.dumps(body).encode(), status=status, content_type="application/json")
