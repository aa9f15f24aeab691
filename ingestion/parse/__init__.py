"""Files in, canonical text out: detection, one parser per family, and the sandbox that they run in."""
