"""What happens to rows of `messages`: which are next (planning), whether they may be sent (screening), what their
limits grant (charging), taking them for a turn (claiming), all of that in one (serving), writing what became of them
(settling, resting), and sending again (retrying, resending).

This is the heart of the engine: each statement is a compare-and-set, so that two turns at once are harmless.
"""
