"""Mutation testing: small lies in the modules that decide, and whether their unit tests notice."""
