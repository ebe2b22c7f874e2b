"""Meta's Cloud API on the wire: its addresses (api), bodies (messages), nodes and webhooks."""
