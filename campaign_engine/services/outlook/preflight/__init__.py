"""Before the launch: how many get a campaign and who is left out, when it ends, what holds it up, what to look at.

`launch` gives the whole answer, from the audience, the accounts that would send, and remarks. It changes nothing.
"""
