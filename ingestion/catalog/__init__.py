"""The rows: knowledge bases, data sources, documents, jobs and the chunk ledger. The only SQL for them.

The modules that serve the gateway take the tenant in every function. `ledger` is for the worker, which
follows ids of jobs and items; the service does not import it. Both rules are tests.
"""
