"""A company: the tenant. Nothing of one company is ever visible to another."""

from sqlalchemy.orm import Mapped, mapped_column

from campaign_engine.json_types import Json
from campaign_engine.models.base import Base, Identified, Timestamped


class Company(Identified, Timestamped, Base):
    """A tenant; `settings` overrides limits and pacing of the environment (`services.company.settings`)."""

    __tablename__ = "companies"

    name: Mapped[str]
    timezone: Mapped[str]
    settings: Mapped[Json] = mapped_column(server_default="{}")
