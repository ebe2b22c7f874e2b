"""The session of a phone, and what its state, as an answer or a webhook tells it, says about the account."""

from campaign_engine.providers.base import Health

_SUMMARIES = {
    "open": "connected",
    "connecting": "the phone session is being opened",
    "close": "the phone session is closed",
}
_CLOSED = "The phone session is closed, so nothing can be sent: connect the instance again in Evolution API."


def health_of_session(state: str) -> Health:
    """Return the health of an account whose phone session is in `state`."""
    return Health(
        reachable=True,
        summary=_SUMMARIES.get(state, f"the session is “{state}”"),
        details={"status": state},
        warnings=(_CLOSED,) if state == "close" else (),
    )


def health_after(word: str) -> Health | None:
    """Return what a check would find after a webhook's word for the session; None for an unknown word."""
    state = "close" if word == "refused" else word  # refused: it gave up pairing
    return health_of_session(state) if state in _SUMMARIES else None
