"""Evolution API, a phone session: what is sent (adapter), what refusals mean (errors), what comes back (webhooks)."""
