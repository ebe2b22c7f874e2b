"""A person with a browser, as far as pages need one: cookies, forms, links. No scripts."""

import re
import uuid
from collections.abc import Iterable
from html import unescape
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.orm import Session
from werkzeug.security import generate_password_hash
from werkzeug.test import TestResponse

from campaign_engine.models import Account, Campaign, Company, Role, User
from campaign_engine.services.campaigns import lifecycle, preparing
from tests import factories

_TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


class Visitor:
    """Somebody who looks at pages and presses buttons."""

    def __init__(self, app: Flask) -> None:
        self.client: FlaskClient = app.test_client()

    def get(self, path: str, **options: Any) -> TestResponse:
        """Look at a page, as a browser asks for it."""
        return self.client.get(path, headers={"Accept": "text/html,*/*;q=0.8"}, **options)

    def see(self, path: str) -> str:
        """Return the HTML of a page that must be there."""
        response = self.get(path)
        assert response.status_code == 200, response.get_data(as_text=True)
        return response.get_data(as_text=True)

    def token(self) -> str:
        """Return the token that the forms of this browser carry."""
        found = _TOKEN.search(self.get("/", follow_redirects=True).get_data(as_text=True))
        assert found is not None
        return unescape(found[1])

    def press(self, path: str, **fields: Any) -> TestResponse:
        """Send a form of ours, with its token."""
        return self.client.post(
            path, data={"csrf_token": self.token(), **fields}, headers={"Accept": "text/html,*/*;q=0.8"}
        )

    def sign_in(self, email: str, password: str = factories.PASSWORD, **fields: str) -> TestResponse:
        """Fill the form of the sign-in page."""
        return self.press("/login", email=email, password=password, **fields)


def person(session: Session, of: Company, role: str = Role.ADMIN) -> User:
    """Return a user with the password of the tests, hashed so cheaply that signing in takes no time."""
    made = User(
        company_id=of.id,
        email=f"{uuid.uuid4().hex}@example.com",
        password_hash=generate_password_hash(factories.PASSWORD, method="pbkdf2:sha256:1"),
        role=role,
    )
    session.add(made)
    session.flush()
    return made


def signed_in(app: Flask, user: User) -> Visitor:
    """Return a visitor with the session of `user`."""
    visitor = Visitor(app)
    assert visitor.sign_in(user.email).status_code == 303
    return visitor


def flashes(html: str) -> list[str]:
    """Return the sentences a page says on its top."""
    return [unescape(said) for said in re.findall(r'<p class="message \w+" role="\w+">([^<]*)</p>', html)]


def shown(html: str, key: str) -> str:
    """Return what stands in the element of a `data-show` key."""
    found = re.search(rf'data-show="{re.escape(key)}"[^>]*>([^<]*)<', html)
    assert found is not None, key
    return unescape(found[1])


def running(session: Session, owner: User, *, accounts: Iterable[Account], size: int, **values: Any) -> Campaign:
    """Return a running campaign to `size` new people."""
    members = factories.contact_list(session, owner.company, size=size)
    made = factories.campaign(session, owner, accounts=list(accounts), audience={"list_ids": [members.id]}, **values)
    lifecycle.start(session, made, now=made.created_at)
    preparing.prepare_chunk(session, made.id, now=made.created_at)
    session.refresh(made)
    return made


def move(session: Session, campaign_id: int, count: int, came_from: str, leads_to: str, **columns: Any) -> None:
    """Move the first messages of a campaign in one state to another, as a turn or a webhook would."""
    assignments = "".join(f", {name} = :{name}" for name in columns)
    session.execute(
        text(
            f"UPDATE messages SET status = :leads_to{assignments} WHERE id IN (SELECT id FROM messages"  # noqa: S608
            " WHERE campaign_id = :id AND status = :came_from ORDER BY position LIMIT :count)"
        ),
        {"id": campaign_id, "count": count, "came_from": came_from, "leads_to": leads_to, **columns},
    )
