"""When people may be written to: working hours, whose clock they go by, and when they open next."""
