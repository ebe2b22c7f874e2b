"""The way of news to their receiver: what it is (updates), when it is due (delivery), who gets it again (outbox)."""
