"""The demonstration of a first run: a company whose number is the simulator's, a list, and a campaign.

Everything works as in a user's own campaign; only the number is not real.
"""

import secrets
import time
from pathlib import Path

import requests
from sqlalchemy.orm import Session

from campaign_engine.clock import utc_now
from campaign_engine.core import engine
from campaign_engine.db import db
from campaign_engine.models import Account, Campaign, Company, ContactImport, ImportStatus, Role, User
from campaign_engine.rules.states import CampaignStatus
from campaign_engine.services.accounts import accounts
from campaign_engine.services.accounts.account_values import AccountValues
from campaign_engine.services.campaigns import drafts, lifecycle
from campaign_engine.services.campaigns.draft_values import DraftValues
from campaign_engine.services.company import users
from campaign_engine.services.people import contacts, imports
from cli.context import transaction

EMAIL = "demo@example.com"
COMPANY = "Demo company"
ACCOUNT = "Demo number (simulator)"
LIST = "Demo contacts"
CAMPAIGN = "Demo campaign"
PHONE_NUMBER_ID = "100000000000001"
DISPLAY_NUMBER = "+55 11 90000-0000"
TEXT = (
    "Olá {{name|cliente}}! A sua loja em {{city|sua cidade}} preparou um presente: use o cupom {{coupon|BEMVINDO}} "
    "até sexta-feira. Para não receber mais mensagens, responda SAIR."
)
# A visible pace: about ten messages a second instead of one in twenty.
RATE = "600/minute"
CONTACTS_FILE = Path(__file__).parents[1] / "examples" / "contacts.csv"


def exists() -> bool:
    """Say whether this installation holds anything: then nothing is demonstrated."""
    with transaction() as session:
        return users.first_company(session) is not None


def create_people(password: str) -> None:
    """Make the demo company and its administrator."""
    with transaction() as session:
        company = users.create_company(session, COMPANY, timezone=engine().config.default_timezone)
        company.settings = {"campaign_rate_limit": RATE}
        users.create(session, company=company, email=EMAIL, password=password, role=Role.ADMIN)


def register_number(*, simulator_url: str, webhook_url: str) -> None:
    """Tell the simulator about the number of the demo account; make the account when there is none.

    The addresses of the simulator and the web may differ from the last run's: both sides learn the present ones.

    Raises:
        requests.RequestException: the simulator does not answer.
    """
    here = engine()
    with transaction() as session:
        company = _demo_company(session)
        if company is None:
            return
        account = session.query(Account).filter_by(company_id=company.id, name=ACCOUNT).first()
        if account is None or not account.app_secret_encrypted:
            token, app_secret = secrets.token_urlsafe(24), secrets.token_hex(16)
        else:
            token = here.vault.decrypt(account.access_token_encrypted)
            app_secret = here.vault.decrypt(account.app_secret_encrypted)
    answer = requests.post(
        f"{simulator_url}/simulator/numbers",
        json={
            "phone_number_id": PHONE_NUMBER_ID,
            "display_phone_number": DISPLAY_NUMBER,
            "access_token": token,
            "app_secret": app_secret,
            "webhook_url": webhook_url,
        },
        timeout=5,
    )
    answer.raise_for_status()
    if account is not None:
        with transaction():
            account.base_url = simulator_url
        return
    values: AccountValues = {
        "name": ACCOUNT,
        "provider": "cloud_api",
        "base_url": simulator_url,
        "phone_number_id": PHONE_NUMBER_ID,
        "access_token": token,
        "app_secret": app_secret,
        "verify_token": secrets.token_urlsafe(12),
        "rate_limit": RATE,
        "message_interval_s": 0,
        "longer_interval_after": 0,
    }
    proposal = accounts.propose(values, vault=here.vault, providers=here.providers)
    with transaction() as session:
        accounts.create(session, proposal, company_id=company.id, vault=here.vault, now=utc_now())


def import_contacts() -> int:
    """Start the import of the sample file; return its id."""
    config = engine().config
    with transaction() as session, CONTACTS_FILE.open("rb") as stream:
        company, user = _people(session)
        record = imports.create(
            session,
            company_id=company.id,
            user_id=user.id,
            filename=CONTACTS_FILE.name,
            stream=stream,
            list_name=LIST,
            mapping=None,
            default_region="BR",
            max_bytes=config.import_max_mb << 20,
        )
        imports.write_later(session, record)
        return record.id


def wait_for_import(import_id: int, *, timeout_s: float) -> ContactImport | None:
    """Return the finished import, or None when it is not finished in time."""
    give_up_at = time.monotonic() + timeout_s
    while time.monotonic() < give_up_at:
        with transaction() as session:
            record = session.get_one(ContactImport, import_id, populate_existing=True)
        if record.status in (ImportStatus.COMPLETED, ImportStatus.FAILED):
            return record
        time.sleep(0.1)
    return None


def refused_rows(import_id: int) -> list[tuple[int, str]]:
    """Return (line, reason) of the rows of the file that were refused or repeated."""
    with transaction() as session:
        rows = [(row.line, row.reason) for row in imports.errors_of(session, import_id)]
    db.session.remove()
    return rows


def start_campaign() -> int:
    """Create the demo campaign and start it; return its id."""
    with transaction() as session:
        company, user = _people(session)
        account = session.query(Account).filter_by(company_id=company.id, name=ACCOUNT).one()
        contact_list = contacts.list_named(session, company.id, LIST)
        values: DraftValues = {
            "name": CAMPAIGN,
            "account_ids": [account.id],
            "audience": {"list_ids": [contact_list.id if contact_list else 0]},
            "content": {"type": "text", "text": TEXT},
            "pacing": {"message_delay_s": 0},
        }
        made = drafts.create(
            session,
            company_id=company.id,
            owner_id=user.id,
            values=values,
            default_region="BR",
            default_timezone=company.timezone,
            now=utc_now(),
        )
        lifecycle.start(session, made, now=utc_now())
        return made.id


def goes_on(campaign_id: int) -> bool:
    """Say whether the demo campaign of this id is under way: then an interrupted first run goes on.

    The id is kept outside the database, which may be another one by now: a campaign of another company does not count.
    """
    with transaction() as session:
        company = _demo_company(session)
        campaign = session.get(Campaign, campaign_id, populate_existing=True)
        return (
            company is not None
            and campaign is not None
            and campaign.company_id == company.id
            and campaign.name == CAMPAIGN
            and campaign.status in (CampaignStatus.PREPARING, CampaignStatus.RUNNING)
        )


def _demo_company(session: Session) -> Company | None:
    return session.query(Company).filter_by(name=COMPANY).order_by(Company.id).first()


def _people(session: Session) -> tuple[Company, User]:
    user = users.by_email(session, EMAIL)
    if user is None:
        raise RuntimeError("the demo user was removed")
    return user.company, user
