"""Files of contacts: their encoding, their records, and what each column means."""
