"""A campaign until its messages are rows: its draft and audience, its start (by hand, by schedule, as one of a
series), the writing of the rows, and the states it moves through. What becomes of the rows is the room `messages`.
"""
