"""Before the launch: how many get a campaign and who is left out, when it ends, what holds it up, what to look at.

`launch` has the whole answer; it asks the audience, the accounts that would send, and for remarks. Nothing is changed.
"""
