"""The Cloud API's error codes as data: one class per code.

Source: Meta's error page as of 11 September 2026, and where it is silent the retry tables of three public clients
(courier, kapso, meta-whatsapp-rs). 131048 is a matter of reputation, not of speed: it counts against the account.
After a fault in `MAY_HAVE_LEFT` the message may be out. It is retried only after a pause in which a status webhook
would have settled the row.
"""

from campaign_engine.rules.failures import ErrorClass

_T, _R, _F, _C, _A = (
    ErrorClass.THROTTLED,
    ErrorClass.TEMPORARY,
    ErrorClass.RECIPIENT,
    ErrorClass.CAMPAIGN,
    ErrorClass.ACCOUNT,
)

CLASS_OF_CODE: dict[int, ErrorClass] = {
    # Credentials, permissions, the number itself.
    **dict.fromkeys((0, 3, 10, 33, 104, 190, 368, 803, 131005, 131031, 131037, 131042, 131045, 131048, 131064), _A),
    **dict.fromkeys(range(200, 300), _A),
    **dict.fromkeys((133000, 133005, 133006, 133008, 133009, 133010, 133015, 133016, 134011), _A),
    # Too fast.
    **dict.fromkeys((4, 80007, 130429, 132069), _T),
    # Try again later. 131056 is the pair limit: only this recipient has to wait.
    **dict.fromkeys((1, 2, 131000, 131016, 131056, 131057, 133004, 134101), _R),
    # Final for this recipient.
    **dict.fromkeys((130403, 130472, 130497, 131021, 131026, 131030, 131047, 131049, 131050, 131062, 137000), _F),
    # The content is wrong.
    **dict.fromkeys(
        (100, 130501, 131008, 131009, 131014, 131051, 131053, 131055, 131063, 132000, 132001, 132005, 132007), _C
    ),
    **dict.fromkeys((132012, 132015, 132016, 132018, 132068, 134100, 134102, 135000), _C),
}

MAY_HAVE_LEFT = frozenset({1, 2, 131000, 131016, 133004})

MARKETING_REFUSED = 131050
"""The person switched this business's marketing off in WhatsApp; nobody else can switch it on again."""

SHIELDED = 131049
"""WhatsApp kept a marketing message back from this person; another try within a day makes it worse."""


def classify(code: int, *, is_transient: bool = False) -> ErrorClass:
    """Return the class of a code; a code nobody has listed is temporary if Meta says so, else final."""
    known = CLASS_OF_CODE.get(code)
    if known is not None:
        return known
    return ErrorClass.TEMPORARY if is_transient else ErrorClass.RECIPIENT
