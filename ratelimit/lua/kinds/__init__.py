"""The Lua of the kinds, one file for each letter."""
