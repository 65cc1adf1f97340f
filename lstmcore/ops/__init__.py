"""Pure operations: arrays in, arrays out, each forward next to its backward. Nothing here remembers anything."""
