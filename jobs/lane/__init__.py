"""A lane: one WhatsApp account at work.

`turns` is the turn, its unit of work. A turn is woken by a timer (waking), holds its lane by a lease (lease), confirms
opt-outs (confirming), goes by a plan that it reads anew (plans), claims what goes next (the domain's `serving`), hands
the rows to calls that run on threads (calls, threads), notes in the journal which have left, and writes what became of
them (answers). What a process keeps between its turns is in worker.
"""
