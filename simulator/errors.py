"""What the simulator may answer instead of accepting, whichever wire asked.

SimulatorError
├── Refused            one of Meta's error codes, in the answer
├── ServerFault        an HTTP status without a Graph body
├── InvalidField       the control API got a value it cannot take
├── StateDirDamaged    the journal cannot be read back
└── StateDirInUse      another simulator writes there
"""


class SimulatorError(Exception):
    """Anything the simulator raises on purpose."""


class Refused(SimulatorError):
    """The wire refuses this request with one of Meta's codes."""

    def __init__(self, code: int, details: str = "", *, subcode: int | None = None) -> None:
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = details
        self.subcode = subcode


class ServerFault(SimulatorError):
    """The wire answers this HTTP status with a body that is no Graph envelope."""

    def __init__(self, http_status: int) -> None:
        super().__init__(f"HTTP {http_status}")
        self.http_status = http_status


class InvalidField(SimulatorError):
    """A value for the control API or the command line that cannot be used; the message is for a person."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field
        self.problem = problem


class StateDirDamaged(SimulatorError):
    """A line of the journal, other than a torn last one, cannot be read."""


class StateDirInUse(SimulatorError):
    """Another simulator holds the journal."""
