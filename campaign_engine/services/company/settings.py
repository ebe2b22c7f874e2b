"""The settings in which a company may differ from the installation."""

from dataclasses import dataclass, fields
from typing import Self

from campaign_engine.models import Company


@dataclass(frozen=True, slots=True, kw_only=True)
class CompanySettings:
    """A company's settings; for None the installation's value holds."""

    whatsapp_rate_limit: str | None
    campaign_rate_limit: str | None
    frequency_cap: str | None
    start_late_s: float | None
    opt_out_confirmation: bool | None
    opt_out_confirmation_text: str | None
    message_interval_s: float | None
    longer_interval_after: int | None
    greater_interval_s: float | None
    message_delay_s: float | None
    jitter_s: float | None

    @classmethod
    def of(cls, company: Company) -> Self:
        """Return the settings in a company's row: checked when they were stored; unknown names are ignored."""
        return cls(**{name: company.settings.get(name) for name in SETTINGS})


SETTINGS = tuple(field.name for field in fields(CompanySettings))
