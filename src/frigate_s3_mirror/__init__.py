"""Mirror Frigate's snapshots to S3-compatible storage."""

__version__ = "0.1.0"
