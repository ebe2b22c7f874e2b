"""What keeps a person from being written to, and the reason that a row left out for it carries."""

REASON_OF_BAR = {"opted_out": "opted_out", "blocked": "blocked", "held": "held_for_review"}
"""The `status_reason` of a row that is left out, by the kind of the bar."""
