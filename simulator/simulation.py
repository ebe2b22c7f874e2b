"""The state of one simulator and what can happen to it, whichever wire or person asks.

Everything here runs on the event loop and, where it is not `async`, without interruption: a request is
judged, charged, recorded and scheduled as one step.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace

from simulator.behaviour import Behaviour
from simulator.clock import Clock
from simulator.delivering.delivery import Delivery, Pack
from simulator.delivering.updates import Event, InboundMessage, StatusUpdate
from simulator.errors import InvalidField, Refused, ServerFault, StateDirDamaged
from simulator.fate import DUPLICATE_DELAY, REPLY_DELAY, Draws, Fate, decide, draw, fault, timeline, within
from simulator.number_rules import Action, NumberRule, magic_rule
from simulator.sending import Sending
from simulator.state import instances, ledger, numbers
from simulator.state.instances import Instance
from simulator.state.journal import NoJournal
from simulator.state.ledger import Ledger, Message
from simulator.state.limits import Limits
from simulator.state.lines import Line, Lines
from simulator.state.numbers import Number, Numbers
from simulator.state.templates import Template, Templates, created
from simulator.wamid import MessageIds

_DAY_S = 86_400.0
# How much later than the second status the first one is reported when the two change places.
_REORDER_GAP_S = 0.05
_REPLYING_NAME = "Simulated Person"
NOT_ON_WHATSAPP = 131026


class Simulation:
    """Numbers, instances, settings, ledger and deliveries of one running simulator."""

    def __init__(
        self,
        *,
        behaviour: Behaviour,
        journal: NoJournal,
        pack: Pack,
    ) -> None:
        self.clock = Clock()
        self.behaviour = behaviour
        self.numbers = Numbers("number")
        self.instances = Lines[Instance]("instance")
        self.templates = Templates()
        self.ledger = Ledger()
        self.delivery = Delivery(now=self.clock.now, behaviour=lambda: self.behaviour, line=self.line, pack=pack)
        self._initial_behaviour = behaviour.with_changes({})
        self._journal = journal
        self._limits = Limits()
        self._message_ids = MessageIds()
        self._template_ids = 0
        self._inbound_ids: set[str] = set()
        self._refused_requests: dict[str, int] = {}

    def line(self, name: str) -> Line | None:
        """Return the number or the instance of this name."""
        return self.numbers.get(name) or self.instances.get(name)

    # Sending.

    def submit(self, line: Line, sending: Sending, arrived_at: float) -> Message:
        """Accept a message, record it and schedule what will be reported of it.

        Raises Refused or ServerFault, and then nothing was accepted.
        """
        rule = self._rule_for(sending.recipient.digits)
        try:
            self._meet_faults(line, sending, rule)
            if isinstance(line, Number):
                # The limits are Meta's; a phone reports none.
                self._limits.charge(line, sending.recipient.key, arrived_at, self.behaviour)
        except (Refused, ServerFault):
            self._refused_requests[sending.key] = self._refused_requests.get(sending.key, 0) + 1
            raise
        draws = draw(self.behaviour.seed, sending.key)
        fate = self._fate(draws, rule)
        message = self._message(line, sending, arrived_at, draws, fate)
        if self._journal.keeps:
            # On disk before the answer: a killed simulator forgets nothing that it acknowledged.
            self._journal.write("accepted", message.stored())
        self.ledger.add(message)
        if message.acknowledged_at:
            self._schedule(message, within(self.behaviour.duplicate_delay_ms, draws[DUPLICATE_DELAY]))
        return message

    def answered(self, message: Message) -> None:
        """Note that the answer to a message was handed to a connection that was still open."""
        if self.ledger.get(message.seq) is not message:
            return
        message.answered = True
        self._journal.write_soon("answered", message.seq)

    def mark_read(self, message_id: str) -> None:
        """Take a read receipt. Raises Refused (131009) for a message that no user sent."""
        if message_id not in self._inbound_ids:
            raise Refused(131009, "Param message_id is not the id of a received message.")

    def is_on_whatsapp(self, digits: str) -> bool:
        """Say whether a number has WhatsApp: all but those that a rule refuses as undeliverable (131026)."""
        rule = self._rule_for(digits)
        return rule is None or rule.action is not Action.REFUSE or rule.code != NOT_ON_WHATSAPP

    def _rule_for(self, digits: str) -> NumberRule | None:
        rule = self.behaviour.number_rules.rule_for(digits)
        if rule is None and self.behaviour.magic_numbers:
            return magic_rule(digits)
        return rule

    def _meet_faults(self, line: Line, sending: Sending, rule: NumberRule | None) -> None:
        """Raise the refusal of this request, if there is one: by its line, a count, a rule or a share."""
        behaviour = self.behaviour
        if line.refuse_code is not None:
            raise Refused(line.refuse_code, "This number is set to refuse every message.")
        if behaviour.refuse_next:
            behaviour.refuse_next -= 1
            raise Refused(behaviour.refuse_next_code, "The simulator was told to refuse the next messages.")
        earlier = self._earlier_requests(sending)
        if rule is not None and rule.holds_for_attempt(earlier):
            if rule.action is Action.REFUSE:
                raise Refused(rule.code, "A rule for this recipient refuses the message.")
            if rule.action is Action.HTTP:
                raise ServerFault(rule.code)
        met = fault(behaviour, sending.key, earlier)
        if met is not None:
            raise met

    def _earlier_requests(self, sending: Sending) -> int:
        if sending.callback_data is None:
            accepted = self.ledger.accepted_for(sending.recipient.key)
        else:
            accepted = self.ledger.accepted_with(sending.callback_data)
        return accepted + self._refused_requests.get(sending.key, 0)

    def _fate(self, draws: Draws, rule: NumberRule | None) -> Fate:
        fate = decide(self.behaviour, draws, rule)
        if self.behaviour.lost_answer_next:
            self.behaviour.lost_answer_next -= 1
            fate = replace(fate, answer_lost=True)
        return fate

    def _message(self, line: Line, sending: Sending, arrived_at: float, draws: Draws, fate: Fate) -> Message:
        recipient = sending.recipient
        steps = timeline(self.behaviour, draws, fate, arrived_at)
        reply_at = None
        if fate.replies:
            reply_at = steps[-1][1] + within(self.behaviour.reply_delay_ms, draws[REPLY_DELAY])
        return Message(
            seq=self.ledger.next_seq,
            message_id=self._message_id(line, recipient.wa_id or recipient.key),
            phone_number_id=line.phone_number_id,
            to=recipient.asked,
            wa_id=recipient.wa_id,
            to_key=recipient.key,
            kind=sending.kind,
            summary=sending.summary,
            category=sending.category,
            callback_data=sending.callback_data,
            received_at=arrived_at,
            fate=fate,
            steps=steps,
            acknowledged_at=[None] * len(steps) if line.webhook_url else [],
            reply_at=reply_at if line.webhook_url else None,
        )

    def _message_id(self, line: Line | None, person: str) -> str:
        if isinstance(line, Instance) and not line.is_business:
            return self._message_ids.of_phone()
        return self._message_ids.of_meta(person)

    def _schedule(self, message: Message, duplicate_delay_s: float) -> None:
        due_at = [at for _, at in message.steps]
        if message.fate.reordered:
            due_at[0] = due_at[1] + _REORDER_GAP_S + 1.5 * self.behaviour.webhook_batch_ms / 1000
        for step, (status, _) in enumerate(message.steps):
            update = StatusUpdate(message, step, self._status_acknowledged)
            self.delivery.put(update, due_at[step])
            if status in message.fate.duplicated:
                self.delivery.put(update, due_at[step] + duplicate_delay_s)
        self._schedule_reply(message)

    def _schedule_reply(self, message: Message) -> None:
        if message.reply_at is not None and message.wa_id:
            self.receive(
                message.phone_number_id,
                wa_id=message.wa_id,
                text=self.behaviour.reply_text,
                at=message.reply_at,
                button=self.behaviour.reply_kind == "button",
                in_reply_to=message.message_id if self.behaviour.reply_kind == "button" else None,
            )

    def _status_acknowledged(self, message: Message, step: int) -> None:
        if message.acknowledged_at[step] is None and self.ledger.get(message.seq) is message:
            now = self.clock.now()
            message.acknowledged_at[step] = now
            self._journal.write_soon("acknowledged", [message.seq, step, now])

    # What users and Meta do.

    def receive(
        self,
        phone_number_id: str,
        *,
        wa_id: str,
        text: str,
        at: float,
        name: str = _REPLYING_NAME,
        button: bool = False,
        in_reply_to: str | None = None,
    ) -> InboundMessage:
        """Let a user write to a number at this time (Unix seconds) and return the message."""
        inbound = InboundMessage(
            phone_number_id=phone_number_id,
            message_id=self._message_id(self.line(phone_number_id), wa_id),
            wa_id=wa_id,
            name=name,
            text=text,
            at=at,
            button=button,
            in_reply_to=in_reply_to,
        )
        self._inbound_ids.add(inbound.message_id)
        self.delivery.put(inbound, at)
        return inbound

    def announce(self, phone_number_id: str, name: str, value: object) -> Event:
        """Send any other webhook field with a value given by hand."""
        event = Event(phone_number_id, name, value, self.clock.now())
        self.delivery.put(event, event.at)
        return event

    # Registering and changing.

    def register(self, fields: Mapping[str, object]) -> Number:
        """Add a number or change one. Raises InvalidField."""
        name = fields.get("phone_number_id")
        if self.instances.get(name) is not None:
            raise InvalidField("phone_number_id", "is the name of an instance")
        number = numbers.registered(self.numbers.get(name), fields)
        self.numbers.put(number)
        self._journal.write("number", asdict(number))
        return number

    def register_instance(self, fields: Mapping[str, object]) -> Instance:
        """Add an instance or change one; a change of its state is told by webhook. Raises InvalidField."""
        name = fields.get("instance")
        known = self.instances.get(name)
        if self.numbers.get(name) is not None:
            raise InvalidField("instance", "is the id of a number")
        instance = instances.registered(known, fields)
        self.instances.put(instance)
        self._journal.write("instance", asdict(instance))
        if known is not None and known.state != instance.state:
            reason = 200 if instance.state == "open" else 428
            value = {"instance": instance.instance, "state": instance.state, "statusReason": reason}
            self.announce(instance.instance, "connection.update", value)
        return instance

    def unregister(self, lines: Lines[Number] | Lines[Instance], name: str) -> bool:
        """Remove a number or an instance; return whether there was one."""
        removed = lines.remove(name)
        if removed:
            self._journal.write(f"{lines.kind}_removed", name)
        return removed

    def create_template(self, waba_id: str, fields: Mapping[str, object]) -> Template:
        """Add a template, approved at once. Raises Refused (100)."""
        template = created(str(910_000_000_000_001 + self._template_ids), fields)
        self._add_template(waba_id, template)
        self._journal.write("template", [waba_id, asdict(template)])
        return template

    def change_behaviour(self, changes: Mapping[str, object]) -> Behaviour:
        """Put settings into force at once. Raises InvalidField, and then none is changed."""
        self.behaviour = self.behaviour.with_changes(changes)
        return self.behaviour

    async def reset(self, *, numbers_too: bool, behaviour_too: bool) -> None:
        """Forget messages, counts, limits and pending webhooks; on request also numbers, and settings."""
        self.ledger = Ledger()
        self._limits = Limits()
        self._inbound_ids.clear()
        self._refused_requests.clear()
        self._journal.clear()
        if behaviour_too:
            self.behaviour = self._initial_behaviour.with_changes({})
        if numbers_too:
            self.numbers.clear()
            self.instances.clear()
            self.templates.clear()
        for lines in (self.numbers, self.instances):
            for line in lines:
                self._journal.write(lines.kind, asdict(line))
        for waba_id, template in self.templates.added():
            self._journal.write("template", [waba_id, asdict(template)])
        await self.delivery.clear()

    async def close(self) -> None:
        await self.delivery.close()
        self._journal.close()

    def _add_template(self, waba_id: str, template: Template) -> None:
        self._template_ids += 1
        self.templates.put(waba_id, template)

    # Coming back after a restart.

    def restore(self) -> None:
        """Read the journal back and schedule again what was not acknowledged. Raises StateDirDamaged.

        Needs a running event loop.
        """
        for kind, data in self._journal.replay():
            try:
                self._restore_line(kind, data)
            except (KeyError, TypeError, ValueError, IndexError, AttributeError):
                raise StateDirDamaged(f"the journal has a line {kind!r} that cannot be understood") from None
        now = self.clock.now()
        for message in self.ledger.messages:
            self._take_up_again(message, now)

    def _restore_line(self, kind: str, data: object) -> None:
        match kind, data:
            case "accepted", dict():
                self.ledger.requests += 1
                self.ledger.add(ledger.restored(data))
            case "answered", int(seq):
                self.ledger.messages[seq - 1].answered = True
            case "acknowledged", [int(seq), int(step), float(at)]:
                self.ledger.messages[seq - 1].acknowledged_at[step] = at
            case "number", dict():
                self.numbers.put(Number(**data))
            case "number_removed", str(phone_number_id):
                self.numbers.remove(phone_number_id)
            case "instance", dict():
                self.instances.put(instances.restored(data))
            case "instance_removed", str(name):
                self.instances.remove(name)
            case "template", [str(waba_id), dict(template)]:
                self._add_template(waba_id, Template(**template))
            case _:
                raise ValueError(kind)

    def _take_up_again(self, message: Message, now: float) -> None:
        number = self.numbers.get(message.phone_number_id)
        if number is not None and message.received_at > now - _DAY_S:
            self._limits.remember_recipient(number.waba_id, message.to_key, message.received_at)
        for step, acknowledged_at in enumerate(message.acknowledged_at):
            if acknowledged_at is None:
                update = StatusUpdate(message, step, self._status_acknowledged)
                self.delivery.put(update, message.steps[step][1])
        if message.reply_at is not None and message.reply_at > now:
            self._schedule_reply(message)
