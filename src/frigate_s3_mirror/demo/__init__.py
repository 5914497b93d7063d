"""`make demo`: an S3 server of its own, a simulated Frigate, and the real mirror between them.

`SimulatedFrigate`, `EmbeddedS3` and `MirrorProcess` also serve the tests and benchmarks.
"""
