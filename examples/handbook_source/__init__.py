"""The text of the handbook: an invented ferry cooperative, written for this repository. No rendering here."""
