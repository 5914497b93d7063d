"""The bucket: the only place that knows HTTP to S3, its signatures, and what its answers prove."""
