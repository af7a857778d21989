"""One kind of run: its folder, recipe, lock, checkpoints, records, log, and the processes that share it."""
