"""The company, its people and the tokens of their programs."""

from dataclasses import asdict
from typing import Any

from campaign_engine.models import Company, Role
from campaign_engine.services.company import users
from campaign_engine.services.company.settings import CompanySettings
from web.api.blueprint import Blueprint, company_id, decode_cursor, page
from web.auth import current_user
from web.schemas.base import PageQuery
from web.schemas.company import (
    SettingsSchema,
    TokenPageSchema,
    TokenSchema,
    UserPageSchema,
    UserSchema,
)
from web.transactions import transaction

tokens = Blueprint(
    "tokens", __name__, writes=Role.VIEWER, description="Bearer tokens of the caller; each may do what the caller may."
)
people = Blueprint("users", __name__, reads=Role.ADMIN, writes=Role.ADMIN, description="People of the company.")
company = Blueprint("company", __name__, writes=Role.ADMIN, description="The company and its own limits and pacing.")


@tokens.route("/tokens", methods=["GET"])
@tokens.response(200, TokenPageSchema)
def list_tokens() -> Any:
    """List the caller's tokens, newest first, without their secrets."""
    with transaction() as session:
        return {"items": users.tokens_of(session, current_user()), "next_cursor": None}


@tokens.route("/tokens", methods=["POST"])
@tokens.arguments(TokenSchema, as_kwargs=True)
@tokens.response(201, TokenSchema)
def create_token(name: str) -> Any:
    """Make a token; this answer is the only one that has it."""
    with transaction() as session:
        made = users.create_token(session, current_user(), name=name)
        shown = {name: getattr(made.token, name) for name in ("id", "name", "prefix", "created_at", "last_used_at")}
        return {**shown, "token": made.secret}


@tokens.route("/tokens/<id:token_id>", methods=["DELETE"])
@tokens.response(204)
def revoke_token(token_id: int) -> None:
    """Make a token useless at once."""
    with transaction() as session:
        users.revoke_token(session, current_user(), token_id)


@people.route("/users", methods=["GET"])
@people.arguments(PageQuery, location="query", as_kwargs=True)
@people.response(200, UserPageSchema)
def list_users(limit: int, cursor: str | None) -> Any:
    """List the people of the company."""
    with transaction() as session:
        (after_id,) = decode_cursor(cursor, int) or (0,)
        found = users.of_company(session, company_id(), after_id=after_id, limit=limit + 1)
        return page(found, limit=limit)


@people.route("/users", methods=["POST"])
@people.arguments(UserSchema, as_kwargs=True)
@people.response(201, UserSchema)
def create_user(email: str, password: str, role: str) -> Any:
    """Create a user."""
    with transaction() as session:
        return users.create(
            session, company=session.get_one(Company, company_id()), email=email, password=password, role=role
        )


@people.route("/users/<id:user_id>", methods=["GET"])
@people.response(200, UserSchema)
def show_user(user_id: int) -> Any:
    """Show a user."""
    with transaction() as session:
        return users.get(session, company_id(), user_id)


@people.route("/users/<id:user_id>", methods=["PATCH"])
@people.arguments(UserSchema(partial=True, exclude=("email",)))
@people.response(200, UserSchema)
def change_user(values: dict[str, Any], user_id: int) -> Any:
    """Change a user's role or password; a new password ends the user's sessions."""
    with transaction() as session:
        user = users.get(session, company_id(), user_id)
        users.update(session, user, **values)
        return user


@people.route("/users/<id:user_id>", methods=["DELETE"])
@people.response(204)
def delete_user(user_id: int) -> None:
    """Delete a user who owns no campaigns, and the user's tokens."""
    with transaction() as session:
        users.delete(session, users.get(session, company_id(), user_id))


@company.route("/company/settings", methods=["GET"])
@company.response(200, SettingsSchema)
def show_settings() -> Any:
    """Show the company's name, time zone, and what it sets otherwise than the installation."""
    with transaction() as session:
        return _shown(session.get_one(Company, company_id()))


@company.route("/company/settings", methods=["PATCH"])
@company.arguments(SettingsSchema)
@company.response(200, SettingsSchema)
def change_settings(values: dict[str, Any]) -> Any:
    """Change them; limits and pacing take effect at the next message."""
    with transaction() as session:
        found = session.get_one(Company, company_id())
        users.update_company(session, found, values=values)
        return _shown(found)


def _shown(found: Company) -> dict[str, object]:
    return {"name": found.name, "timezone": found.timezone, **asdict(CompanySettings.of(found))}
