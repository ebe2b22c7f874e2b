"""Evolution API on the wire: its addresses (api), bodies (messages) and webhooks."""
