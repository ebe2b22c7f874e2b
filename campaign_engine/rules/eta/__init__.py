"""When campaigns will end, foretold by a simulation in rates instead of messages.

`ends.ends_of` is the door; `flow` is how one account shares what it can send, `terms` what it is given.
"""
