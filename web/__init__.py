"""The face over HTTP: the JSON API, the pages, and the doors for the webhooks of providers."""
