"""The command line: the face for a terminal, and what keeps a whole installation running on one machine."""
