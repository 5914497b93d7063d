"""Every answer that S3, or another program in its place, may give to an upload: tried with the real sending code against a model."""
