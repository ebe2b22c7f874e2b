"""The PostgreSQL and the Redis that `campaign-engine up` and the tests bring along."""
