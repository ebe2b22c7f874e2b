"""A lane: one WhatsApp account at work.

`turns` is the turn, its unit of work. Woken by a timer and holding the lane by a lease (`jobs.waking`, `jobs.lease`),
it confirms opt-outs (confirming), goes by a plan that it reads anew (plans) and claims what goes next (the domain's
`serving`). It hands the rows to calls that run on threads (calls, threads), notes in the journal which have left, and
writes what became of them (answers). What a process keeps between its turns is in worker.
"""
