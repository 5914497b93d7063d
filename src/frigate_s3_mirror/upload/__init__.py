"""From a pending entry to an acknowledged object: when, in which order, and what an error means for the next try."""
