"""What happens to rows of `messages`: which are next (planning), whether they may be sent (screening), taking them for
a turn (claiming), writing what became of them (settling, resting), and sending again (retrying, resending).

This is the heart of the engine: each statement is a compare-and-set, so that two turns at once are harmless.
"""
