"""A model of lstmcore in the form of other systems: an object of theirs, or a file that they read."""
