"""The people who are written to: contacts and their lists, where contacts come from (imports, a phone's address book),
their time zones, and those who asked to be left alone (opt-outs, and their confirmations).
"""
