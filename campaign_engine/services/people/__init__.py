"""The people who are written to: contacts and their lists, where they come from (imports, a phone's address book), in
which zone they live, and who asked to be left alone (opt-outs, their confirmations).
"""
