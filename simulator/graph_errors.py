"""Meta's error codes as data: the title and the HTTP status that go with each.

Titles are ours, in the sense of Meta's error page of 11 Sep 2026. That page gives few HTTP statuses and other
sources disagree, so the statuses here are a choice: a client has to branch on `code`.
"""

import secrets
from dataclasses import dataclass

_HELP_PAGE = "https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes"


@dataclass(frozen=True, slots=True)
class GraphError:
    title: str
    http_status: int = 400
    transient: bool = False


GRAPH_ERRORS: dict[int, GraphError] = {
    0: GraphError("AuthException", 401),
    1: GraphError("API Unknown", 500, transient=True),
    2: GraphError("API Service", 503, transient=True),
    3: GraphError("API Method", 403),
    4: GraphError("API Too Many Calls", 429),
    10: GraphError("API Permission Denied", 403),
    33: GraphError("Parameter value is not valid"),
    100: GraphError("Invalid parameter"),
    104: GraphError("An access token is required to request this resource.", 401),
    190: GraphError("Invalid OAuth access token", 401),
    200: GraphError("API Permission", 403),
    368: GraphError("Temporarily blocked for policies violations", 403),
    80007: GraphError("Rate limit issues", 429),
    130403: GraphError("User is blocked by the business"),
    130429: GraphError("Rate limit hit", 429),
    130472: GraphError("User's number is part of an experiment"),
    130497: GraphError("Business account is restricted from messaging users in this country", 403),
    130501: GraphError("Message type is not currently supported"),
    131000: GraphError("Something went wrong", 500),
    131005: GraphError("Access denied", 403),
    131008: GraphError("Required parameter is missing"),
    131009: GraphError("Parameter value is not valid"),
    131014: GraphError("Request for media URL failed"),
    131016: GraphError("Service unavailable", 503, transient=True),
    131021: GraphError("Recipient cannot be sender"),
    131026: GraphError("Message undeliverable"),
    131030: GraphError("Recipient phone number not in allowed list"),
    131031: GraphError("Account has been locked", 403),
    131037: GraphError("Display name approval is needed"),
    131042: GraphError("Business eligibility payment issue"),
    131045: GraphError("Incorrect certificate", 500),
    131047: GraphError("Re-engagement message"),
    131048: GraphError("Spam rate limit hit", 429),
    131049: GraphError("This message was not delivered to maintain healthy ecosystem engagement"),
    131050: GraphError("User has stopped marketing messages from this business"),
    131051: GraphError("Unsupported message type"),
    131052: GraphError("Media download error"),
    131053: GraphError("Media upload error"),
    131055: GraphError("Method not allowed"),
    131056: GraphError("(Business Account, Consumer Account) pair rate limit hit"),
    131057: GraphError("Account in maintenance mode", 500),
    131062: GraphError("Business-scoped user id is not supported for this message"),
    131063: GraphError("Marketing templates are disabled on the Cloud API"),
    131064: GraphError("Account is limited for wrongly categorised templates", 403),
    132000: GraphError("Number of parameters does not match the expected number of params"),
    132001: GraphError("Template name does not exist in the translation", 404),
    132005: GraphError("Translated text too long"),
    132007: GraphError("Template format character policy violated"),
    132012: GraphError("Parameter format does not match format in the created template"),
    132015: GraphError("Template is paused"),
    132016: GraphError("Template is disabled"),
    132018: GraphError("Template validation failed"),
    132068: GraphError("Flow is blocked"),
    132069: GraphError("Flow is throttled"),
    133000: GraphError("Incomplete deregistration", 500),
    133004: GraphError("Server temporarily unavailable", 503, transient=True),
    133005: GraphError("Two step verification PIN mismatch"),
    133006: GraphError("Phone number re-verification needed"),
    133008: GraphError("Too many two step verification PIN guesses"),
    133009: GraphError("Two step verification PIN guessed too fast"),
    133010: GraphError("Phone number not registered"),
    133015: GraphError("Wait before registering this number again"),
    133016: GraphError("Account register/deregister rate limit exceeded"),
    134011: GraphError("Payments terms of service not accepted"),
    134100: GraphError("Only marketing messages are supported"),
    134101: GraphError("Template is still syncing"),
    134102: GraphError("Template cannot be used here", 500),
    135000: GraphError("Generic user error"),
    137000: GraphError("Recipient identity key hash mismatch"),
}

# The codes that mean "too fast": the only ones that may carry Retry-After.
THROTTLING_CODES = frozenset({4, 80007, 130429, 131048, 131056})


def describe(code: int) -> GraphError:
    """Return what is known of a code; a code without an entry gets a plain 400."""
    return GRAPH_ERRORS.get(code, GraphError("An error occurred"))


def answer_body(code: int, details: str, *, subcode: int | None = None) -> dict[str, object]:
    """Return the envelope of a refused request (docs/wire.md, Errors)."""
    known = describe(code)
    error: dict[str, object] = {
        "message": f"(#{code}) {known.title}",
        "type": "OAuthException",
        "code": code,
        "error_data": {"messaging_product": "whatsapp", "details": details or known.title},
        "fbtrace_id": "A" + secrets.token_urlsafe(16),
        "is_transient": known.transient,
    }
    if subcode is not None:
        error["error_subcode"] = subcode
    return {"error": error}


def webhook_error(code: int) -> dict[str, object]:
    """Return the form the same error takes inside a status webhook (docs/wire.md, Errors)."""
    title = describe(code).title
    return {
        "code": code,
        "title": title,
        "message": title,
        "error_data": {"details": f"{title}."},
        "href": _HELP_PAGE,
    }
