"""The use cases, in rooms: verbs that take a session, write models, and never commit.

From the top: `outlook` and `webhooks` stand on `messages` and `accounts`, these on `campaigns` and `people`, and all on
`company`. Rooms side by side know nothing of each other; import-linter keeps it so.
"""
