"""The HTTP service, `fast-style serve`: photos in, stylized pictures out; needs the extra serve."""
