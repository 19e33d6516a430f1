"""Files on disk and behind URLs, downloads, and what this machine has."""
