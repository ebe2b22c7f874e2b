"""What a simulator remembers, whichever wire asks: who may send, what was accepted, and how much of it."""
