"""The labels of states on a page, and their meaning in one sentence each."""

from collections.abc import Mapping
from dataclasses import dataclass

from campaign_engine.rules.states import CAMPAIGN_TRANSITIONS, CampaignStatus, MessageStatus


@dataclass(frozen=True, slots=True)
class Word:
    """A label and its meaning."""

    label: str
    meaning: str


CAMPAIGN_STATUS: Mapping[str, Word] = {
    CampaignStatus.DRAFT: Word("Draft", "Not started; everything can still change."),
    CampaignStatus.SCHEDULED: Word("Scheduled", "Starts by itself at its time."),
    CampaignStatus.PREPARING: Word("Preparing", "Its messages are being written, one for each recipient."),
    CampaignStatus.RUNNING: Word("Running", "Sends as fast as its accounts, limits and pace allow."),
    CampaignStatus.PAUSED: Word("Paused", "Sends nothing until somebody resumes it."),
    CampaignStatus.COMPLETED: Word("Completed", "Nothing is left to send; deliveries may still come in."),
    CampaignStatus.CANCELLED: Word("Cancelled", "Ended by a person; what was not sent is never sent."),
    CampaignStatus.FAILED: Word("Failed", "Could not be prepared; nothing was sent."),
}

MESSAGE_STATUS: Mapping[str, Word] = {
    MessageStatus.PENDING: Word("Pending", "Not sent; waits for its turn, a limit or a retry."),
    MessageStatus.SENDING: Word("Sending", "Handed to the provider just now."),
    MessageStatus.SENT: Word("Sent", "Accepted by the provider, not yet on the phone."),
    MessageStatus.DELIVERED: Word("Delivered", "On the phone, not yet read."),
    MessageStatus.READ: Word("Read", "Read; people can switch this receipt off."),
    MessageStatus.FAILED: Word("Failed", "Certainly not delivered; the reasons are below."),
    MessageStatus.UNKNOWN: Word("Unknown", "Answer lost; it may have arrived, so it is not resent."),
    MessageStatus.SKIPPED: Word("Skipped", "Left out on purpose: opted out, excluded or not usable."),
}

IMPORT_STATUS: Mapping[str, Word] = {
    "pending": Word("Waiting", "The file is stored; its rows are read in a moment."),
    "running": Word("Running", "Its rows are being read."),
    "completed": Word("Completed", "Every row has been read."),
    "failed": Word("Failed", "It could not go on; what it wrote so far stays."),
}

ACCOUNT_STATUS: Mapping[str, Word] = {
    "active": Word("Active", "Campaigns send from it."),
    "deactivated": Word("Deactivated", "Nothing is sent from it until somebody reactivates it."),
    "deleted": Word("Deleted", "Kept for the history of its messages."),
}

INTENT: Mapping[str, Word] = {
    "certain": Word("Opted out", "Asked to be left alone; gets no more messages."),
    "likely": Word("May mean stop", "Nothing is sent to this person until somebody has decided."),
    "resume": Word("Wants messages", "Asked to be written to again."),
    "none": Word("Reply", "Says nothing about further messages."),
}
INTENT_BADGE = {"certain": "failed", "likely": "warning", "resume": "active", "none": "info"}
DECISION = {"opted_out": "Decided: no more messages.", "dismissed": "Decided: written to again."}

SEVERITY: Mapping[str, Word] = {
    "info": Word("Information", "Good to know; nothing needs to be done."),
    "warning": Word("Warning", "Somebody should look at it soon."),
    "error": Word("Problem", "Something has stopped until a person acts."),
}

MESSAGE_REASON = {
    "opted_out": "opted out",
    "blocked": "on the blocklist",
    "held_for_review": "a reply of theirs waits for a decision",
    "excluded": "on an excluded list",
    "duplicate": "the same person twice",
    "answer_lost": "the provider's answer was lost",
    "worker_died": "the process that sent it died",
}

ERROR_CLASS = {
    "throttled": "too fast; tried again later",
    "temporary": "passing; tried again",
    "recipient": "this recipient only",
    "campaign": "the content",
    "account": "the account",
    "unknown": "outcome not known",
}

LEFT_OUT = {
    "duplicate": "Named twice",
    "opted_out": "Opted out",
    "blocked": "Blocked",
    "held_for_review": "Held for review",
    "excluded": "On an excluded list",
    "frequency_cap": "At the frequency cap",
    "missing_variables": "Lack a variable",
}

VERBS = {"start": "Start", "pause": "Pause", "resume": "Resume", "cancel": "Cancel"}
DONE = {
    "start": "The campaign has started.",
    "pause": "The campaign is paused. Messages already on their way may still go out.",
    "resume": "The campaign goes on.",
    "cancel": "The campaign is cancelled. What was not sent is never sent.",
}


def verbs_of(status: str) -> list[str]:
    """Return what a person can do with a campaign in this state, in the order of the buttons."""
    return [verb for verb in VERBS if status in CAMPAIGN_TRANSITIONS[verb][0]]


def reason(code: str | None) -> str:
    """Return a reason code in words; an unknown one is made readable."""
    return MESSAGE_REASON.get(code, code.replace("_", " ")) if code else ""
