"""Whether a reply asks to be left alone: `intent` decides, by the `lexicon` of three languages."""
