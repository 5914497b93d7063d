"""Process plumbing: clocks, logs, threads, files, values from outside. It knows no domain: no event, no ledger, no S3."""
