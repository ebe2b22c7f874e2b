"""The shapes of the JSON API: what is accepted, what is answered, and the ranges of values."""
