"""Whether a reply asks to be left alone: `intent` decides, by the `words` of three languages."""
