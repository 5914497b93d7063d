"""The bucket: listings, object metadata and whatever else is asked of S3. It knows no ledger."""
