"""A campaign until its messages are rows: its draft and audience, its start (by hand, by schedule, as one of a
series), the writing of the rows, and the states it moves through. The room `messages` has the rows after that.
"""
