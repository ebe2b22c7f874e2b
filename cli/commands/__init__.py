"""The commands, a module a subject: each parses what was typed, runs one use case and says what came of it."""
