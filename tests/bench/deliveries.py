"""How fast status webhooks are applied while another campaign sends.

An earlier campaign's messages are reported as sent, then all as delivered, then all as read: signed webhooks over
loopback, one after the other as fast as the web answers. Each round begins when the last status of the one before is in
its row, so that every update is a change of a row: no two are folded into one.
"""

import hashlib
import hmac
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

import requests
from sqlalchemy import text

from campaign_engine.db import transaction
from tests.bench.figures import Figure, Result
from tests.bench.options import Options
from tests.bench.works import ELSEWHERE, UNOBSTRUCTED, WIDE, Opening, Works, closed_hours, cores

PROMISED_PER_S = 3_000
ROUNDS = {"sent": "sent_at", "delivered": "delivered_at", "read": "read_at"}
MESSAGES = 30_000
UPDATES_A_POST = 300
"""Between one, which Meta sends at rest, and 1,000, which is its most."""

MEANWHILE_PER_S = 300
TIMEOUT_S = 60.0

_SENT_EARLIER = text(
    """
    UPDATE messages SET status = 'sent', attempts = 1, accepted_at = now(), account_id = :account_id,
      provider_message_id = 'wamid.' || id
    WHERE campaign_id = :campaign_id RETURNING id
    """
)


@dataclass(frozen=True, slots=True)
class Reporter:
    """Reports statuses of messages as the provider does, for one number."""

    url: str
    number: str

    def body(self, message_ids: Sequence[str], status: str) -> bytes:
        """Return the webhook that says so of each message."""
        statuses = [
            {
                "id": f"wamid.{message_id}",
                "status": status,
                "timestamp": str(int(time.time())),
                "recipient_id": "5511990000000",
                "biz_opaque_callback_data": message_id,
                "pricing": {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "marketing"},
            }
            for message_id in message_ids
        ]
        metadata = {"display_phone_number": "15550000000", "phone_number_id": self.number}
        value = {"messaging_product": "whatsapp", "metadata": metadata, "statuses": statuses}
        entry = {"id": "1", "changes": [{"field": "messages", "value": value}]}
        return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()

    def post(self, session: requests.Session, body: bytes) -> float:
        """Post a signed webhook; return how long its answer took, in seconds. Raises requests.HTTPError."""
        signature = hmac.new(f"secret-{self.number}".encode(), body, hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json", "X-Hub-Signature-256": f"sha256={signature}"}
        began = time.perf_counter()
        session.post(self.url, data=body, headers=headers, timeout=30).raise_for_status()
        return time.perf_counter() - began


def measure(opening: Opening, options: Options) -> Result:
    """Report every status of an earlier campaign while another one sends; from the first POST to the last row."""
    count = 200 if options.quick else MESSAGES
    with opening() as plant:
        plant.start_simulator(*UNOBSTRUCTED, "--latency-ms", "30")
        plant.start_web()
        plant.start_others()
        plant.start_senders()
        owner = plant.create_company(campaign_rate_limit=WIDE)
        earlier, number, message_ids = _earlier_campaign(plant, owner, count)
        accounts = plant.create_accounts(owner[0], 1, rate_limit=f"{MEANWHILE_PER_S * 60}/minute", max_in_flight=64)
        list_id = plant.create_audience(owner[0], first=count, size=MEANWHILE_PER_S * 90)
        accepted = plant.accepted()
        plant.start_campaign(owner, account_ids=list(accounts), list_id=list_id)
        plant.until(lambda: plant.accepted() > accepted, "the other campaign sends")
        time.sleep(0 if options.quick else 3)

        reporter = Reporter(f"http://127.0.0.1:{plant.web_port}/webhooks/cloud", number)
        before, answers_s = plant.read(), list[float]()
        with requests.Session() as session:
            for status, column in ROUNDS.items():
                for at in range(0, count, UPDATES_A_POST):
                    body = reporter.body(message_ids[at : at + UPDATES_A_POST], status)
                    answers_s.append(reporter.post(session, body))
                _wait_until_applied(plant, earlier, column)
        after = plant.read()
    updates, seconds = len(ROUNDS) * count, after.at - before.at
    meanwhile_per_s = (after.accepted - before.accepted) / (after.accepted_at - before.accepted_at)
    used = cores(before, after)
    return Result(
        (
            Figure(
                name="status updates applied while sending",
                value=updates / seconds,
                unit="per second",
                at_least=PROMISED_PER_S,
            ),
            Figure(
                name="messages sent meanwhile",
                value=meanwhile_per_s,
                unit="per second",
                at_least=None if options.quick else 0.9 * MEANWHILE_PER_S,
            ),
            Figure(name="answer to a webhook, median", value=1000 * sorted(answers_s)[len(answers_s) // 2], unit="ms"),
            Figure(name="answer to a webhook, slowest", value=1000 * max(answers_s), unit="ms"),
        ),
        {
            "updates": updates,
            "updates_a_post": UPDATES_A_POST,
            "seconds": round(seconds, 2),
            "cores": {name: round(value, 3) for name, value in used.items() if name != ELSEWHERE},
            "elsewhere_cores": round(used[ELSEWHERE], 3),
        },
    )


def _earlier_campaign(plant: Works, owner: tuple[int, int], count: int) -> tuple[int, str, list[str]]:
    """Return a campaign whose messages the provider has accepted, its number, and the ids of the messages.

    It is closed for the day, so that its rows are written and nothing is sent; then they are marked.
    """
    [(account_id, number)] = plant.create_accounts(owner[0], 1, rate_limit=WIDE).items()
    list_id = plant.create_audience(owner[0], first=0, size=count)
    campaign_id = plant.start_campaign(owner, account_ids=[account_id], list_id=list_id, working_hours=closed_hours())
    plant.wait_until_prepared([campaign_id])
    with plant.inside(), transaction() as session:
        rows = session.execute(_SENT_EARLIER, {"campaign_id": campaign_id, "account_id": account_id}).all()
    return campaign_id, number, [str(row.id) for row in rows]


def _wait_until_applied(plant: Works, campaign_id: int, column: str) -> None:
    query = f"SELECT count(*) FROM messages WHERE campaign_id = :id AND {column} IS NULL"  # noqa: S608 - ours
    plant.until(lambda: plant.number(query, id=campaign_id) == 0, f"every {column} is there", timeout_s=TIMEOUT_S)
