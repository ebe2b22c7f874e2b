"""A WhatsApp simulator: an HTTP server that speaks Meta's wire without a WhatsApp account.

It shares no code with the engine, so that it can judge it: its ledger says what was accepted, when, and how often.
`README.md` beside this file describes the settings, the magic numbers and the control API.
"""
