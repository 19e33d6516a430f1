"""Files on disk and behind URLs, downloads, and hardware detection."""
