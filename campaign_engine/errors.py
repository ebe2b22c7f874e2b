"""What can go wrong in the domain, each with a stable code that scripts may rely on.

    EngineError
    ├── InvalidInput            a value a person gave is not usable; names the field
    ├── NotFound                no such thing, or it belongs to another company
    ├── AlreadyExists           a unique name is taken
    ├── TransitionNotAllowed    the state does not allow it
    │   ├── GraceNotOver        not yet; says from when on
    │   └── OutsideHours        it would stop again at once; says from when on not
    ├── NotAuthenticated        no or wrong credentials
    ├── NotAllowed              the role does not suffice
    ├── TooManyRequests         a limit of the API is spent; says when it is free again
    └── DependencyUnavailable   PostgreSQL or Redis does not answer

HTTP statuses for them live in one table, in `web/errors.py`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo


class EngineError(Exception):
    """A refusal or failure that a person can read and a script can branch on (`code`)."""

    code = "engine_error"

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if code is not None:
            self.code = code


class InvalidInput(EngineError):
    """One or more fields hold values that cannot be used; nothing was changed."""

    code = "invalid_input"

    def __init__(self, errors: Mapping[str, Sequence[str]], *, code: str | None = None) -> None:
        self.errors = {field: list(sentences) for field, sentences in errors.items()}
        first_field, first_sentences = next(iter(self.errors.items()))
        super().__init__(f"{first_field}: {first_sentences[0]}", code=code)

    @classmethod
    def field(cls, name: str, sentence: str, *, code: str | None = None) -> "InvalidInput":
        """Make the error for a single field."""
        return cls({name: [sentence]}, code=code)


class NotFound(EngineError):
    """No such thing for this company; a thing of another company looks as if it did not exist."""

    code = "not_found"

    def __init__(self, kind: str, identity: object) -> None:
        super().__init__(f"There is no {kind} {identity}.")
        self.kind = kind


class AlreadyExists(EngineError):
    """A name that must be unique is taken."""

    code = "already_exists"

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.errors = {field: [sentence]}


class TransitionNotAllowed(EngineError):
    """The state of the thing does not allow this verb now."""

    code = "transition_not_allowed"

    def __init__(self, *, kind: str, verb: str, status: str, code: str | None = None) -> None:
        super().__init__(f"This {kind} is {status}; it cannot {verb} now.", code=code)
        self.status = status

    @classmethod
    def by_status(cls, kind: str, status: str, *, verb: str) -> "TransitionNotAllowed":
        """Make the error with a code that names the status, such as `campaign_cancelled`."""
        return cls(kind=kind, verb=verb, status=status, code=f"{kind}_{status}")


class GraceNotOver(TransitionNotAllowed):
    """The outcome of a message is unknown, and a webhook may still tell it until `over_at`."""

    code = "grace_not_over"

    def __init__(self, over_at: datetime) -> None:
        EngineError.__init__(
            self,
            "The provider may still say what became of this message;"
            f" it can be resent from {over_at.isoformat(timespec='seconds').replace('+00:00', 'Z')} on.",
        )
        self.status = "unknown"
        self.over_at = over_at


class OutsideHours(TransitionNotAllowed):
    """The campaign stops at closing time and would stop again at once; its hours open at `opens_at` (None: never)."""

    code = "outside_hours"

    def __init__(self, *, status: str, opens_at: datetime | None, zone: ZoneInfo) -> None:
        opens = (
            f"they open at {opens_at.astimezone(zone):%Y-%m-%d %H:%M} ({zone.key})"
            if opens_at is not None
            else "they do not open within a year"
        )
        EngineError.__init__(self, f"This campaign stops outside its working hours; {opens}.")
        self.status = status
        self.opens_at = opens_at


class NotAuthenticated(EngineError):
    """No credentials, or wrong ones."""

    code = "not_authenticated"


class NotAllowed(EngineError):
    """The user's role does not include this."""

    code = "not_allowed"


class TooManyRequests(EngineError):
    """A limit of the HTTP API is spent."""

    code = "too_many_requests"

    def __init__(self, detail: str, *, retry_at: datetime) -> None:
        super().__init__(detail)
        self.retry_at = retry_at


class DependencyUnavailable(EngineError):
    """PostgreSQL or Redis does not answer; nothing was changed."""

    code = "dependency_unavailable"
