"""What the services work for: a company, and somebody of it who writes campaigns."""

import pytest
from sqlalchemy.orm import Session

from campaign_engine.db import transaction
from campaign_engine.models import Company, User
from tests import factories


@pytest.fixture
def company(session: Session) -> Company:
    """A company that is there whatever a test rolls back."""
    with transaction() as own:
        return factories.company(own)


@pytest.fixture
def owner(session: Session, company: Company) -> User:
    return factories.user(session, company)
