"""The OpenAI-shaped gateway and the processes around it."""
