"""Things as tests need them: valid defaults, what matters to the test said by the test.

Each takes a session, adds, flushes and returns; the caller commits. Names and numbers are distinct within a run.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import count
from typing import Any

from cryptography.fernet import Fernet
from sqlalchemy.orm import Session
from werkzeug.security import generate_password_hash

from campaign_engine.config import Config, load
from campaign_engine.db import Actor
from campaign_engine.models import Account, ApiToken, Campaign, Company, Contact, ContactList, Role, User
from campaign_engine.rules.phone import parse_phone
from campaign_engine.services.campaigns import drafts
from campaign_engine.services.company import users
from campaign_engine.services.people import contacts
from campaign_engine.vault import Vault

ENCRYPTION_KEY = Fernet.generate_key().decode()
SECRET_KEY = "the secret of the tests, long enough"
PASSWORD = "a password of the tests"
VAULT = Vault([ENCRYPTION_KEY])

_number = count(1)


def config(*, database_url: str, redis_url: str, **variables: str) -> Config:
    """Return a configuration for tests; `variables` are environment variables."""
    return load(
        {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "SECRET_KEY": SECRET_KEY,
            "ENCRYPTION_KEY": ENCRYPTION_KEY,
            **variables,
        }
    )


@cache
def _password_hash() -> str:
    # A real hash takes as long as it is meant to; this one is cheap to make and to check, and serves all users.
    return generate_password_hash(PASSWORD, method="scrypt:1024:8:1")


def company(session: Session, *, name: str | None = None, timezone: str = "America/Sao_Paulo") -> Company:
    """Return a company."""
    return users.create_company(session, name or f"Company {next(_number)}", timezone=timezone)


def user(session: Session, of: Company | None = None, *, role: str = Role.ADMIN, email: str | None = None) -> User:
    """Return a user of the company, or of a new one; the password is `PASSWORD`."""
    made = User(
        company_id=(of or company(session)).id,
        email=email or f"user{next(_number)}@example.com",
        password_hash=_password_hash(),
        role=role,
    )
    session.add(made)
    session.flush()
    return made


def actor(user: User) -> Actor:
    """Return whom a user is to a transaction."""
    return Actor(user.email, user.id)


def token(session: Session, of: User) -> str:
    """Return a bearer token of the user, of which the audit log says nothing."""
    secret = f"{users.TOKEN_PREFIX}{secrets.token_urlsafe(32)}"
    digest = hashlib.sha256(secret.encode()).digest()
    session.add(ApiToken(user_id=of.id, name="tests", prefix=secret[:10], digest=digest))
    session.flush()
    return secret


def account(session: Session, of: Company, **columns: Any) -> Account:
    """Return an account of the company, as if its credentials had been checked: no provider is asked."""
    number = next(_number)
    secrets = {
        f"{name}_encrypted": VAULT.encrypt(columns.pop(name))
        for name in ("access_token", "app_secret", "verify_token")
        if name in columns
    }
    made = Account(
        company_id=of.id,
        **{
            "name": f"Account {number}",
            "provider": "cloud_api",
            "phone_number_id": str(100_000_000_000_000 + number),
            "access_token_encrypted": VAULT.encrypt("token-of-the-tests"),
            **secrets,
            **columns,
        },
    )
    session.add(made)
    session.flush()
    return made


def phone_number() -> str:
    """Return a Brazilian mobile number that no other call returned."""
    return f"+551198{next(_number):07d}"


def contact(
    session: Session,
    of: Company,
    *,
    phone: str | None = None,
    name: str | None = "Ana",
    variables: Mapping[str, str] | None = None,
    tags: Sequence[str] = (),
) -> Contact:
    """Return a contact of the company."""
    return contacts.create(
        session,
        company_id=of.id,
        values={"phone": phone or phone_number(), "name": name, "variables": variables or {}, "tags": list(tags)},
        default_region="BR",
    )


def contact_list(session: Session, of: Company, *, name: str | None = None, size: int = 0) -> ContactList:
    """Return a list of the company with `size` new contacts, written in one statement."""
    made = contacts.create_list(session, company_id=of.id, name=name or f"List {next(_number)}")
    phones = [parse_phone(phone_number(), default_region="BR") for _ in range(size)]
    written = contacts.upsert_many(
        session,
        company_id=of.id,
        contacts=[
            contacts.NewContact(phone=phone.e164, phone_key=phone.key, name="Ana", variables={}, tags=())
            for phone in phones
        ],
    )
    contacts.add_to_list(session, made, list(written.ids.values()))
    return made


def campaign(
    session: Session,
    owner: User,
    *,
    accounts: Sequence[Account] = (),
    audience: Mapping[str, Any] | None = None,
    text: str = "Hello {{name|friend}}",
    now: datetime | None = None,
    **values: Any,
) -> Campaign:
    """Return a draft of the owner: to one new recipient, from a new account, unless said otherwise."""
    of = session.get_one(Company, owner.company_id)
    senders = list(accounts) or [account(session, of)]
    return drafts.create(
        session,
        company_id=of.id,
        owner_id=owner.id,
        values={
            "name": f"Campaign {next(_number)}",
            "account_ids": [sender.id for sender in senders],
            "audience": audience or {"recipients": [{"phone": phone_number()}]},
            "content": {"type": "text", "text": text},
            **values,
        },
        default_region="BR",
        default_timezone=of.timezone,
        now=now or datetime.now(UTC),
    )
