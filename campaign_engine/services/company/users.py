"""Companies, the people of a company, and the tokens of their programs."""

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from werkzeug.security import check_password_hash, generate_password_hash

from campaign_engine import following
from campaign_engine.errors import AlreadyExists, InvalidInput, NotAuthenticated, NotFound, TransitionNotAllowed
from campaign_engine.models import Account, AccountStatus, ApiToken, Campaign, Company, Role, User
from campaign_engine.services.company import audit, limits
from campaign_engine.services.company.settings import SETTINGS

MIN_PASSWORD_LENGTH = 10
MAX_EMAIL_LENGTH = 254  # RFC 5321, 4.5.3.1.3, less the angle brackets
MOST_WOKEN = 1000
TOKEN_PREFIX = "cet_"  # noqa: S105 - a prefix that lets scanners recognise a leaked token
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
# Checked when the address is unknown, so that the answer takes as long as for a known one. It is the hash of no
# password, and a comparison costs as much as with a hash that `generate_password_hash` makes.
_NOBODY = f"scrypt:32768:8:1${secrets.token_urlsafe(12)}${'0' * 128}"


@dataclass(frozen=True, slots=True)
class NewToken:
    """A new token; `secret` is shown once and cannot be read again."""

    token: ApiToken
    secret: str = field(repr=False)


def create_company(session: Session, name: str, *, timezone: str) -> Company:
    """Create a tenant."""
    company = Company(name=name, timezone=timezone, settings={})
    session.add(company)
    session.flush()
    return company


def first_company(session: Session) -> Company | None:
    """Return the oldest company: the one an operator at the command line means when there is only one."""
    return session.scalars(select(Company).order_by(Company.id).limit(1)).first()


def ensure_company(session: Session, name: str | None, *, timezone: str) -> Company:
    """Return the company of that name, or the first one if no name is given; make it when there is none."""
    if name is None:
        found = first_company(session)
    else:
        found = session.scalars(select(Company).where(Company.name == name)).first()
    return found or create_company(session, name or "My company", timezone=timezone)


def create(session: Session, *, company: Company, email: str, password: str, role: str) -> User:
    """Create a user.

    Side effects: an entry in the audit log, as for every change of users, tokens and the company below.

    Raises:
        InvalidInput: the address, the password or the role cannot be used.
        AlreadyExists: the address is taken.
    """
    email = email.strip()
    if len(email) > MAX_EMAIL_LENGTH or not email.isprintable() or not _EMAIL.fullmatch(email):
        raise InvalidInput.field("email", "This is not an e-mail address.")
    _require_usable(password)
    if role not in set(Role):
        raise InvalidInput.field("role", "Accepted are admin, operator and viewer.")
    if by_email(session, email) is not None:
        raise AlreadyExists("email", f"There is a user {email} already.")
    user = User(company_id=company.id, email=email, password_hash=generate_password_hash(password), role=role)
    session.add(user)
    session.flush()
    audit.record(session, "user.created", company_id=user.company_id, subject=user.id, email=user.email, role=user.role)
    return user


def by_email(session: Session, email: str) -> User | None:
    """Return the user with this address, whatever its case."""
    email = email.strip()
    if not email.isprintable():
        return None  # PostgreSQL takes no NUL and no half of a surrogate pair, so no address holds them.
    return session.scalars(select(User).where(func.lower(User.email) == email.lower())).first()


def get(session: Session, company_id: int, user_id: int) -> User:
    """Return a user of the company; NotFound otherwise."""
    user = session.get(User, user_id)
    if user is None or user.company_id != company_id:
        raise NotFound("user", user_id)
    return user


def of_company(session: Session, company_id: int, *, after_id: int = 0, limit: int = 100) -> Sequence[User]:
    """Return the company's users in the order of their ids, from after `after_id`."""
    return session.scalars(
        select(User).where(User.company_id == company_id, User.id > after_id).order_by(User.id).limit(limit)
    ).all()


def update(session: Session, user: User, *, role: str | None = None, password: str | None = None) -> None:
    """Change a user's role or password; a new password ends the sessions that began with the old one.

    Raises:
        InvalidInput: the password or the role cannot be used.
        TransitionNotAllowed: nobody would be left to administer the company.
    """
    if password is not None:
        _require_usable(password)
        user.password_hash = generate_password_hash(password)
    if role is not None and role != user.role:
        if role not in set(Role):
            raise InvalidInput.field("role", "Accepted are admin, operator and viewer.")
        _require_another_admin(session, user, verb="change role")
        user.role = role
    fields = [name for name, value in (("password", password), ("role", role)) if value is not None]
    shown = {"role": role} if role is not None else {}
    audit.record(session, "user.changed", company_id=user.company_id, subject=user.id, fields=fields, **shown)


def delete(session: Session, user: User) -> None:
    """Delete a user and the user's tokens.

    Raises:
        TransitionNotAllowed: campaigns belong to the user, or nobody would be left to administer the company.
    """
    _require_another_admin(session, user, verb="be deleted")
    if session.scalar(select(Campaign.id).where(Campaign.owner_id == user.id).limit(1)) is not None:
        raise TransitionNotAllowed(
            kind="user", verb="be deleted", status="the owner of campaigns", code="user_owns_campaigns"
        )
    audit.record(session, "user.deleted", company_id=user.company_id, subject=user.id, email=user.email)
    session.delete(user)
    session.flush()


def update_company(session: Session, company: Company, *, values: Mapping[str, object]) -> None:
    """Change the company's name or time zone, or the settings that it may override (`SETTINGS`).

    A null setting goes back to the installation's value.

    Side effects: the lanes of `MOST_WOKEN` accounts are woken after the commit; the others look again within a
    verification.

    Raises:
        InvalidInput: a limit cannot be read.
    """
    chosen = {name: values[name] for name in SETTINGS if name in values}
    faults = limits.settings_faults(chosen)
    if faults:
        raise InvalidInput(faults)
    for name in ("name", "timezone"):
        if name in values:
            setattr(company, name, values[name])
    merged = {**company.settings, **chosen}
    company.settings = {name: value for name, value in merged.items() if value is not None}
    audit.record(session, "company.changed", company_id=company.id, subject=company.id, fields=sorted(values))
    in_use = select(Account.id).where(Account.company_id == company.id, Account.status != AccountStatus.DELETED)
    following.wake(session, session.scalars(in_use.order_by(Account.id).limit(MOST_WOKEN)))


def _require_usable(password: str) -> None:
    if len(password) < MIN_PASSWORD_LENGTH:
        raise InvalidInput.field("password", f"A password needs at least {MIN_PASSWORD_LENGTH} characters.")


def _require_another_admin(session: Session, user: User, *, verb: str) -> None:
    if user.role != Role.ADMIN:
        return
    # Locked, so that two administrators cannot take each other's role at the same moment.
    admins = session.scalars(
        select(User.id)
        .where(User.company_id == user.company_id, User.role == Role.ADMIN)
        .order_by(User.id)
        .with_for_update(of=User)
    ).all()
    if set(admins) <= {user.id}:
        raise TransitionNotAllowed(kind="user", verb=verb, status="the only administrator", code="last_admin")


def authenticate(session: Session, *, email: str, password: str) -> User:
    """Return the user who knows this password.

    Raises:
        NotAuthenticated: address or password is wrong; the error does not say which.
    """
    user = by_email(session, email)
    if not check_password_hash(user.password_hash if user else _NOBODY, password) or user is None:
        raise NotAuthenticated("The e-mail address or the password is wrong.")
    return user


def create_token(session: Session, user: User, *, name: str = "token") -> NewToken:
    """Make a bearer token for the user's programs; only its digest is stored."""
    secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
    token = ApiToken(user_id=user.id, name=name, prefix=secret[:10], digest=_digest(secret))
    session.add(token)
    session.flush()
    audit.record(session, "token.created", company_id=user.company_id, subject=token.id, prefix=token.prefix)
    return NewToken(token=token, secret=secret)


def user_of_token(session: Session, secret: str, *, now: datetime) -> User:
    """Return the user behind a bearer token.

    Side effects: notes the use, once a minute at most.

    Raises:
        NotAuthenticated: no such token, or it was revoked.
    """
    token = session.scalars(select(ApiToken).where(ApiToken.digest == _digest(secret))).first()
    if token is None:
        raise NotAuthenticated("This token is not known; it may have been revoked.")
    if token.last_used_at is None or (now - token.last_used_at).total_seconds() > 60:
        token.last_used_at = now
    return token.user


def tokens_of(session: Session, user: User) -> Sequence[ApiToken]:
    """Return the user's tokens, newest first."""
    return session.scalars(select(ApiToken).where(ApiToken.user_id == user.id).order_by(ApiToken.id.desc())).all()


def revoke_token(session: Session, user: User, token_id: int) -> None:
    """Make a token of this user useless at once.

    Raises:
        NotFound: this user has no such token.
    """
    token = session.get(ApiToken, token_id)
    if token is None or token.user_id != user.id:
        raise NotFound("token", token_id)
    session.delete(token)
    audit.record(session, "token.revoked", company_id=user.company_id, subject=token_id)


def _digest(secret: str) -> bytes:
    # A plain SHA-256 suffices: the secret has 256 random bits, there is nothing to guess.
    return hashlib.sha256(secret.encode()).digest()
