"""One training step, recorded, and gone back through once more."""
