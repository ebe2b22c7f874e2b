"""The session of a phone, and what its state, as an answer or a webhook tells it, says about the account."""

from campaign_engine.providers.base import Health

_SUMMARIES = {
    "open": "connected",
    "connecting": "the phone session is being opened",
    "close": "the phone session is closed",
}
_CLOSED = "The phone session is closed, so nothing can be sent: connect the instance again in Evolution API."

# The state that a health check would find, by the word of a webhook; `refused`: it gave up pairing.
_STATE_AFTER = {"open": "open", "connecting": "connecting", "close": "close", "refused": "close"}


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
    state = _STATE_AFTER.get(word)
    return health_of_session(state) if state is not None else None
