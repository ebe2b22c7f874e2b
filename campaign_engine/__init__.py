"""The domain: pure rules, tables, providers and the use cases. It knows nothing of queues and routes."""
