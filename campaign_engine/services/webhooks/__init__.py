"""What providers tell by webhook: stored raw and answered at once, applied later in batches. Statuses move rows
forward (even when they come before the answer to the call), replies may be opt-outs, notices act on accounts.
"""
