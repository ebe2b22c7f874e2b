"""What `campaign-engine up` does with the demonstration campaign."""

from pathlib import Path

import pytest
import redis

from campaign_engine.clock import utc_now
from campaign_engine.core import create_core
from campaign_engine.db import db, transaction
from campaign_engine.models import Account
from campaign_engine.services.company import audit, users
from cli import demo
from cli.commands import up as up_command
from cli.embedded.installation import Installation
from cli.supervisor import Supervisor
from jobs import importing
from tests import factories, outgoing
from tests.campaign_engine import numbered
from tests.cli.terminal import PASSWORD
from tests.simulator.running import Simulator


def test_only_the_demonstration_is_watched_on_and_not_for_long_when_it_waits(
    database_url: str, redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = factories.config(database_url=database_url, redis_url=redis_url)
    with create_core(config).app_context(), Installation(tmp_path) as held, Supervisor(held) as supervisor:
        demo.create_people(PASSWORD)
        ids = {}
        with transaction() as session:
            owner = users.by_email(session, demo.EMAIL)
            assert owner is not None
            number = numbered.account(session, owner.company)
            members = numbered.people(session, owner.company, count=2)
            for name in (demo.CAMPAIGN, "Spring"):
                made = numbered.draft(session, owner, accounts=[number], lists=[members], name=name)
                ids[name] = numbered.started(session, made, now=utc_now()).id
        capsys.readouterr()
        for remembered, said in (
            (None, False),
            (ids["Spring"], False),
            (ids["Spring"] + 1, False),
            (ids[demo.CAMPAIGN], True),
        ):
            held.update_local(demo_campaign=remembered)
            up_command._go_on(held, supervisor, patience_s=0.1)
            out = capsys.readouterr().out
            assert ("Going on with the demo campaign" in out and "It waits" in out) is said
            assert (out == "") is not said
            assert held.read_local()["demo_campaign"] is None
        db.engine.dispose()


def test_the_simulator_and_the_provider_are_asked_outside_any_transaction(
    database_url: str, redis_url: str, simulator: Simulator
) -> None:
    config = factories.config(database_url=database_url, redis_url=redis_url)
    with create_core(config).app_context():
        demo.create_people(PASSWORD)
        with outgoing.watched(controls=True) as seen:
            for _ in range(2):  # made, and then told about the present addresses
                demo.register_number(simulator_url=simulator.url, webhook_url="http://127.0.0.1:9/webhooks/cloud")
        with transaction() as session:
            assert session.query(Account).one().base_url == simulator.url
        db.engine.dispose()
    assert seen == []


def test_what_the_demonstration_does_is_in_the_audit_log_and_on_the_queues(
    database_url: str, redis_url: str, redis_client: redis.Redis
) -> None:
    with create_core(factories.config(database_url=database_url, redis_url=redis_url)).app_context():
        demo.create_people(PASSWORD)
        with transaction() as session:
            owner = users.by_email(session, demo.EMAIL)
            assert owner is not None
            numbered.account(session, owner.company, name=demo.ACCOUNT)
        importing.write_all(demo.import_contacts())
        campaign_id = demo.start_campaign()
        with transaction() as session:
            log = [(each.action, each.actor) for each in audit.of_company(session, owner.company_id)]
        db.engine.dispose()
    assert ("user.created", "command line") in log
    assert log[:2] == [("campaign.started", "command line"), ("campaign.created", "command line")]
    assert campaign_id
    assert redis_client.llen("rq:queue:campaign-scheduler") == 1
    assert redis_client.llen("rq:queue:contact-sync") == 1
