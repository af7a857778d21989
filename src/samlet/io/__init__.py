"""Reading and writing files: atomic, locked, JSON without NaN; remarks on what was read."""
