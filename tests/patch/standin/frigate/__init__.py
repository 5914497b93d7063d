"""A stand-in for Frigate that starts and stops like the real ones; STANDIN names its variants, comma separated."""
