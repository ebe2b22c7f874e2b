"""The Lua of the limiter, one file for each script or part of one; each says what it reads and returns."""
