"""An approved message template of Meta, as known to us."""

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from campaign_engine.json_types import Json
from campaign_engine.models.base import Base, Identified, Timestamped

UNSENDABLE = frozenset({"PAUSED", "DISABLED", "REJECTED", "DELETED", "ARCHIVED"})
"""The states in which Meta refuses every message of a template."""


class Template(Identified, Timestamped, Base):
    """A template by name and language; `components` are Meta's, as submitted."""

    __tablename__ = "templates"
    __table_args__ = (Index("uq_templates_name", "company_id", "name", "language", unique=True),)

    company_id: Mapped[int] = mapped_column(ForeignKey("companies.id"))
    name: Mapped[str]
    language: Mapped[str]
    category: Mapped[str | None]
    status: Mapped[str] = mapped_column(server_default="unknown")
    quality: Mapped[str | None]
    components: Mapped[list[Json]] = mapped_column(server_default="[]")
