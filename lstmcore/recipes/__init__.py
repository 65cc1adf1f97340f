"""Whole jobs, one per file: data, model, training, test, picture."""
