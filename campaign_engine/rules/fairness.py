"""How campaigns that share an account take turns."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeVar


class OfCampaign(Protocol):
    """Anything that belongs to a campaign."""

    @property
    def campaign_id(self) -> int:
        """The campaign it belongs to."""
        ...


T = TypeVar("T", bound=OfCampaign)


def interleave(waiting: Mapping[int, int], *, order: Sequence[int], quantum: int, room: int) -> list[int]:
    """Return the campaign of each next message, at most `room` of them: `quantum` each, round and round in `order`.

    `waiting` says how many messages each campaign could send now. A campaign that is not in `order` gets no turn.
    """
    left = {campaign: waiting[campaign] for campaign in order if waiting.get(campaign, 0) > 0}
    sequence: list[int] = []
    while left and len(sequence) < room:
        for campaign in order:
            if campaign not in left:
                continue
            share = min(quantum, left[campaign], room - len(sequence))
            sequence.extend([campaign] * share)
            left[campaign] -= share
            if left[campaign] == 0:
                del left[campaign]
            if len(sequence) >= room:
                break
    return sequence


def last_served(sent: Iterable[OfCampaign]) -> dict[int, int]:
    """Return the place, from 0, of each campaign's last message in the order of sending, by campaign id."""
    return {each.campaign_id: at for at, each in enumerate(sent)}


def after_serving(order: Iterable[T], sent: Iterable[OfCampaign]) -> list[T]:
    """Return `order` with the campaigns that were served moved to its end, in the order of their last messages."""
    served = last_served(sent)
    return sorted(order, key=lambda each: served.get(each.campaign_id, -1))
