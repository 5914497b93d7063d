"""What the user may set: how it is read, checked and spelled."""
