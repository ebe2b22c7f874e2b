"""How a script reads the arguments of its call."""
