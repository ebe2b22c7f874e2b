"""How news reaches its receiver: what it is (updates), when it is due (delivery), how it is sent again (outbox)."""
