"""The company itself: its users, what it is told (notifications), who did what (audit), and the limits it is under.

Every other room may use this one; it uses none.
"""
