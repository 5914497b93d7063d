"""The bucket: requests to S3, their signatures, what its answers prove, listings and metadata. It knows no ledger."""
