"""Moving pictures: reading, writing, steadying, and the pipeline between them.

Needs the extra `video` (PyAV and OpenCV); importing this package alone needs neither.
"""
