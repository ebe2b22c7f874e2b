"""A person who signs in, and the tokens of that person's programs."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from campaign_engine.models.base import Base, Identified, Timestamped
from campaign_engine.models.company import Company


class Role(StrEnum):
    """What a user may do; each role includes the ones after it."""

    ADMIN = "admin"  # users, accounts, tokens, the dashboard of the queues
    OPERATOR = "operator"  # contacts and campaigns
    VIEWER = "viewer"  # reads


class User(Identified, Timestamped, Base):
    """A person of one company, known by e-mail address (unique over the installation, case-insensitive)."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("role IN ('admin', 'operator', 'viewer')", name="role"),
        Index("uq_users_email_lower", text("lower(email)"), unique=True),
    )

    company_id: Mapped[int] = mapped_column(ForeignKey("companies.id"), index=True)
    email: Mapped[str]
    password_hash: Mapped[str]
    role: Mapped[str]

    company: Mapped[Company] = relationship(lazy="joined")


class ApiToken(Identified, Timestamped, Base):
    """A bearer token; only its SHA-256 is stored."""

    __tablename__ = "api_tokens"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    prefix: Mapped[str]
    digest: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    last_used_at: Mapped[datetime | None]

    user: Mapped[User] = relationship(lazy="joined")
