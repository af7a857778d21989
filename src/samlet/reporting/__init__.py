"""Pages that a run leaves for people to look at."""
