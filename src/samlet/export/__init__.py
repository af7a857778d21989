"""Export: a model for other runtimes, let out only when it agrees with its source there."""
