"""Meta's WhatsApp Cloud API: what is sent (adapter), what refusals mean (errors), what comes back (webhooks)."""
