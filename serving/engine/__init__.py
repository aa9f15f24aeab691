"""The embedded chat engine: a vLLM child on CPU with the small model that a package ships."""
