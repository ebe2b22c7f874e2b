"""The calls of one window: up to `max_in_flight` at once, each noted in the journal just before it begins."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, wait
from typing import Any

from campaign_engine.clock import utc_now
from campaign_engine.providers.base import Accepted, ErrorClass, Outcome, Outgoing, Provider, Refused, Sender
from campaign_engine.rules import content as content_rules
from campaign_engine.rules import rendering
from campaign_engine.rules.states import MessageStatus
from campaign_engine.services.sending import Settlement, Waiting, settlement_of
from jobs.journal import Journal


class Window:
    """Sends claimed rows and gathers what became of them; rows it did not get to are settled as never sent."""

    def __init__(self, *, provider: Provider, sender: Sender, journal: Journal, threads: Executor) -> None:
        self._provider = provider
        self._sender = sender
        self._journal = journal
        self._threads = threads
        self.settlements: list[Settlement] = []
        self.aliases: dict[int, str] = {}  # wa_id by contact id
        self.outcomes: list[Outcome] = []  # in the order of sending
        self.campaigns_at_fault: set[int] = set()

    def send(self, rows: Sequence[Waiting], *, contents: Mapping[int, Mapping[str, Any]]) -> None:
        """Send all rows and wait for their answers.

        Args:
            rows: at most as many as may be in flight at once.
            contents: what each campaign says, by campaign id.
        """
        calls: list[tuple[Waiting, Future[Outcome]]] = []
        try:
            for row in rows:
                settled = self._without_call(row, contents[row.campaign_id])
                if isinstance(settled, Settlement):
                    self.settlements.append(settled)
                else:
                    calls.append((row, self._threads.submit(self._call, row, settled)))
            for row, call in calls:
                self._gather(row, call.result())
        finally:
            # Whatever interrupted us: a call that has not begun must not begin later, when its row is free again.
            for _, call in calls:
                call.cancel()
            wait([call for _, call in calls])

    def _gather(self, row: Waiting, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.settlements.append(settlement_of(row, outcome, now=utc_now()))
        if isinstance(outcome, Accepted):
            self._remember_alias(row, outcome.wa_id)
        elif isinstance(outcome, Refused) and outcome.failure.error_class is ErrorClass.CAMPAIGN:
            self.campaigns_at_fault.add(row.campaign_id)

    def _remember_alias(self, row: Waiting, wa_id: str | None) -> None:
        if wa_id and row.contact_id is not None and wa_id != row.phone.removeprefix("+"):
            self.aliases[row.contact_id] = wa_id

    def _without_call(self, row: Waiting, content: Mapping[str, Any]) -> Settlement | dict[str, Any]:
        """Return the rendered content, or what the row becomes without a call."""
        try:
            return content_rules.render(content, row.variables)
        except rendering.TemplateError as error:
            return Settlement(
                row.message_id,
                MessageStatus.FAILED,
                utc_now(),
                error_class=ErrorClass.RECIPIENT,
                error_code="cannot_render",
                error_detail=str(error),
            )

    def _call(self, row: Waiting, content: Mapping[str, Any]) -> Outcome:
        self._journal.dispatching(row.message_id)
        message = Outgoing(to=row.phone, content=content, callback_data=str(row.message_id))
        return self._provider.send(self._sender, message)
