"""What keeps a person from being written to, and what a row that is left out for it says."""

REASON_OF_BAR = {"opted_out": "opted_out", "blocked": "blocked", "held": "held_for_review"}
"""What a row that is left out says, by the kind of the bar."""
