"""The shapes on the wire, OpenAI's and ours: pydantic models that never leave serving."""
