"""Documents in: parse, chunk, embed and store, with a ledger that proves nothing was lost."""
